"""Grid of attribution maps: images in rows, methods in columns, colours by a stated rule."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from PIL import Image

from igbench.errors import check_choice
from igbench.report import mosaic, samples, styles
from igbench.schema import RANDOM_WEIGHTS, MethodSpec, Records, Run

Scale = Literal["per_map", "per_row", "shared"]

PERCENTILE = 99.5
MAX_IMAGES = 8
WIDE = 10
"""Methods side by side, at most; more of them wrap."""
ACROSS = 10
"""Pictures side by side where they wrap, at most."""
MAX_WRAPPED = 3
"""Images where the maps wrap, at most."""
SIGNED = "RdBu_r"
UNSIGNED = "Purples"
WEB = 1800
"""Pixels across of a picture in a page, at most."""
FAINT = 0.35
"""Opacity of the image under a map: 0 is white, 1 the grey image."""
HEAD = 6.5
"""Points of the names of methods above their maps."""
MARGIN, GAP, FOOT = 0.7, 0.04, 0.7
"""Inches left of the maps, between them, and below them."""

_RULES = {
    "per_map": "Each map is scaled by itself: limit = {p}th percentile of |a|",
    "per_row": "The signed maps of a row share one limit, and so do its magnitudes: the largest "
    "{p}th percentile of |a| among them",
    "shared": "All signed maps share one limit, and so do all magnitudes: the largest {p}th "
    "percentile of |a| among them",
}
"""What the figure says of its colours, by `Scale`."""


@dataclass(frozen=True)
class MapImage:
    """A map as a picture, (H, W, 3) values in [0, 1], and a remark to print on it."""

    rgb: np.ndarray
    note: str = ""


def grid(records: Records, *, scale: Scale = "per_map") -> Figure | None:
    """Draw images and their maps; None if the run has no maps of images.

    More than 10 methods wrap: each of the first images gets a block of several rows.

    Signed maps are red where they raise the score, blue where they lower it, white at 0, with
    symmetric limits at the 99.5th percentile of |a|; magnitudes run from white at 0 to violet at
    the same percentile.  The image shows through in grey.  The figure says which rule it follows.

    Args:
        records: A run whose `maps` has "inputs" (sample id to (H, W, 3) uint8) and method names
            (sample id to (H, W)).
        scale: "per_map", each map by itself, for methods of different units; "per_row", the largest
            limit among the maps of an image; or "shared", the largest of the figure.  The latter
            two keep signed maps and magnitudes apart.

    Raises:
        InputError: An unknown scale.
    """
    check_choice("scale", scale, tuple(_RULES))
    inputs: Mapping[str, np.ndarray] = records.maps.get("inputs", {})
    methods = styles.method_names(records.run)
    ordered = [s["sample_id"] for s in records.run.samples if s.get("sample_id") in inputs]
    chosen = (ordered or list(inputs))[:MAX_IMAGES]
    if not chosen or not any(records.maps.get(m) for m in methods):
        return None
    with styles.style():
        draw = _wrapped if len(methods) > WIDE else _rows
        figure, few = draw(records, chosen, methods, scale)
        _legend(figure, records, few, scale)
        if records.run.random_weights:
            text = f"The model has {RANDOM_WEIGHTS}."
            figure.suptitle(text, fontsize=9, y=1 - 0.04 / figure.get_figheight(), va="top")
    return figure


def _rows(
    records: Records, chosen: Sequence[str], methods: list[str], scale: Scale
) -> tuple[Figure, Sequence[str]]:
    """Draw a row for each image; returns the figure and its samples."""
    size = min(1.15, (styles.FULL_WIDTH - MARGIN) / (len(methods) + 1))
    heads = [textwrap.fill(text, 12) for text in ["Input", *map(styles.label, methods)]]
    font = HEAD if size > 0.66 else 5.5
    above = mosaic.high(heads, font) + _warning(records.run)
    width = max(4.2, MARGIN + size * (len(methods) + 1))
    height = above + (size + GAP) * len(chosen) + FOOT
    figure, page = mosaic.page(width, height)
    tops = limits(records, chosen, scale)
    for i, sample in enumerate(chosen):
        bottom = height - above - (i + 1) * (size + GAP) + GAP
        row = [mosaic.Place(MARGIN + j * size, bottom, size - GAP, size - GAP)
               for j in range(len(heads))]  # fmt: skip
        draw_maps(page, row, records, sample, methods, tops[sample])
        page.text(MARGIN - 4 * mosaic.POINT, row[0].middle[1], row_label(records.run, sample),
                  ha="right", va="center", fontsize=HEAD)  # fmt: skip
        for place, head in zip(row, heads, strict=True) if not i else ():
            mosaic.name(page, place, head, font)
    return figure, chosen


def _wrapped(
    records: Records, chosen: Sequence[str], methods: list[str], scale: Scale
) -> tuple[Figure, Sequence[str]]:
    """Draw the maps of the first images as blocks of several rows, every map under its name."""
    few = chosen[:MAX_WRAPPED]
    rows = -(-(len(methods) + 1) // ACROSS)
    across = -(-(len(methods) + 1) // rows)  # no row that is nearly empty
    size = styles.FULL_WIDTH / across
    heads = [textwrap.fill(text, 14) for text in ["Input", *map(styles.label, methods)]]
    each = size + mosaic.high(heads, 6)
    block, above = each * rows + 0.25, _warning(records.run)
    height = above + block * len(few) + FOOT
    figure, page = mosaic.page(styles.FULL_WIDTH, height)
    tops = limits(records, few, scale)
    for i, sample in enumerate(few):
        top = height - above - i * block
        page.text(0.035, top - 0.04, in_a_line(records.run, sample), fontsize=8, va="top",
                  fontweight="bold")  # fmt: skip
        places = [
            mosaic.Place(GAP / 2 + j % across * size, top - 0.2 - (j // across + 1) * each + GAP,
                         size - GAP, size - GAP)
            for j in range(len(heads))
        ]  # fmt: skip
        draw_maps(page, places, records, sample, methods, tops[sample])
        for place, head in zip(places, heads, strict=True):
            mosaic.name(page, place, head, 6)
    return figure, few


def _warning(run: Run) -> float:
    """Inches above the maps for the warning of random weights."""
    return 0.25 if run.random_weights else 0.0


def draw_maps(
    page: Axes,
    places: Sequence[mosaic.Place],
    records: Records,
    sample: str,
    methods: Sequence[str],
    tops: Mapping[str, float],
) -> None:
    """Draw an image and its maps side by side; a method without a map of it says so.

    Args:
        page: From `igbench.report.mosaic.page`.
        places: Places on it, that of the image first.
        records: A run with maps of images.
        sample: Its identifier.
        methods: Names of methods.
        tops: Limit of the colours of each method.
    """
    image = np.asarray(records.maps["inputs"][sample])
    grey = pale_grey(image)
    mosaic.show(page, places[0], image / 255.0)
    for place, method in zip(places[1:], methods, strict=False):
        found = records.maps.get(method, {}).get(sample)
        if found is None:
            mosaic.show(page, place, np.full((*grey.shape[:2], 3), 0.93), "no map")
        else:
            signed = samples.signed(records.run, method)
            made = colourise(found, grey, signed, tops[method])
            mosaic.show(page, place, made.rgb, made.note)


def limits(
    records: Records, chosen: Sequence[str], scale: Scale = "per_map"
) -> dict[str, dict[str, float]]:
    """Limits of the colours of all maps of a figure, by sample and method; 0 where there is none.

    Args:
        records: A run with maps of images.
        chosen: The samples of the figure.
        scale: The rule, see `grid`.
    """
    methods, specs = styles.method_names(records.run), records.run.methods
    found = {}
    for sample in chosen:
        maps = {m: records.maps.get(m, {}).get(sample) for m in methods}
        found[sample] = _limits(maps, specs, scale)
    if scale == "shared":
        return {s: {m: max(row[m] for row in found.values()) for m in methods} for s in chosen}
    return found


def _limits(
    maps: Mapping[str, np.ndarray | None], specs: Mapping[str, MethodSpec], scale: Scale
) -> dict[str, float]:
    """Limits of the maps of one image."""
    own = {m: 0.0 if a is None else limit(a) for m, a in maps.items()}
    if scale == "per_map":
        return own
    return {
        m: max(v for other, v in own.items() if specs[other].signed == specs[m].signed) for m in own
    }


def limit(values: np.ndarray) -> float:
    """The 99.5th percentile of |a| over finite entries; the maximum if that is 0.

    >>> limit(np.array([-2.0, 0.0, np.nan]))
    1.99
    """
    sizes = np.abs(values[np.isfinite(values)])
    if not sizes.size:
        return 0.0
    return float(np.percentile(sizes, PERCENTILE)) or float(sizes.max())


def pale_grey(image: np.ndarray) -> np.ndarray:
    """Convert an image (H, W, 3) uint8 to pale grey (H, W, 1) in [1 - FAINT, 1]."""
    luminance = (image.astype(float) / 255.0) @ np.array([0.299, 0.587, 0.114])
    return (1 - FAINT * (1 - luminance))[..., None]


def colourise(values: np.ndarray, grey: np.ndarray, signed: bool, top: float) -> MapImage:
    """Colour a map and multiply it with the grey image, so that 0 leaves the image.

    Args:
        values: (H, W).
        grey: The grey image (H, W, 1) in [0, 1]; resized to the map if its size differs.
        signed: Whether colours diverge around 0, or are sequential from 0.
        top: Limit of the colours; 0 for a map that is zero everywhere.

    Returns:
        The picture, with a remark on maps that are zero and on entries that are not finite.
    """
    bad = ~np.isfinite(values)
    scaled = np.where(bad, 0.0, values) / (top or 1.0)
    place = np.clip((scaled + 1) / 2 if signed else np.abs(scaled), 0, 1)
    colours = _colours(SIGNED if signed else UNSIGNED)(place)[..., :3]
    if not signed:
        colours = colours / np.asarray(_colours(UNSIGNED)(0.0)[:3])
    if grey.shape[:2] != values.shape:
        grey = _resized(grey, values.shape)
    rgb = np.clip(colours * grey, 0, 1)
    rgb[bad] = 0.55
    return MapImage(rgb, remark(values))


@cache
def _colours(name: str) -> Colormap:
    """A map of colours, of which matplotlib makes a copy at every look-up."""
    return mpl.colormaps[name]


def remark(values: np.ndarray) -> str:
    """What must be said of a map that its colours do not show; "" for nothing.

    >>> remark(np.zeros(3)), remark(np.full(3, 0.25)), remark(np.array([np.nan, 1.0, 2.0, 3.0]))
    ('all zero', 'constant', '25.0% NaN')
    >>> remark(np.array([np.inf, 1.0])), remark(np.array([1.0, 2.0]))
    ('50.0% not finite', '')
    """
    bad = ~np.isfinite(values)
    if bad.any():
        name = "NaN" if np.isnan(values[bad]).all() else "not finite"
        return name if bad.all() else f"{bad.mean():.1%} {name}"
    if not np.any(values):
        return "all zero"
    return "constant" if values.size > 1 and np.ptp(values) == 0 else ""


def _resized(grey: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    picture = Image.fromarray(grey[..., 0].astype(np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))[..., None]


def row_label(run: Run, sample: str) -> str:
    """Target with its probability or score, as far as the run recorded them."""
    known: dict[str, Any] = next((s for s in run.samples if s.get("sample_id") == sample), {})
    name = str(known.get("target_name") or "")
    if known.get("target") is not None and (not name or name.isdigit()):
        name = f"class {name or known['target']}"
    lines = [textwrap.fill(styles.plain(name or sample), 14)]
    if known.get("probability") is not None:
        lines.append(f"p = {float(known['probability']):.2f}")
    elif known.get("score") is not None:
        lines.append(f"f = {float(known['score']):.3g}")
    return "\n".join(lines)


def in_a_line(run: Run, sample: str) -> str:
    """Identifier, and target with its probability or score, in one line."""
    label = row_label(run, sample).replace("\n", " ").replace(" p = ", ", p = ")
    own = styles.plain(sample)
    return label if label == own else f"{own}: {label}"


def _legend(figure: Figure, records: Records, chosen: Sequence[str], scale: Scale) -> None:
    """The colours, and the rule of their limits in words, at the foot of the figure."""
    methods = styles.method_names(records.run)
    kinds = sorted({records.run.methods[m].signed for m in methods}, reverse=True)
    width = figure.get_figwidth()
    for i, signed in enumerate(kinds):
        low, name = (-1, SIGNED) if signed else (0, UNSIGNED)
        colours = ScalarMappable(mpl.colors.Normalize(low, 1), name)
        centre = width * (0.5 + 0.4 * (i - (len(kinds) - 1) / 2))
        wide = min(0.31 * width, 1.7)
        place = mosaic.panel(figure, mosaic.Place(centre - wide / 2, 0.25, wide, 0.06))
        bar = figure.colorbar(colours, cax=place, orientation="horizontal")
        top = "limit"
        if scale == "shared":
            of_kind = next(m for m in methods if records.run.methods[m].signed == signed)
            top = f"{limits(records, chosen, scale)[chosen[0]][of_kind]:.3g}"
        cast(Any, bar.outline).set(linewidth=0.4)
        bar.set_ticks([-1, 0, 1] if signed else [0, 1], labels=_ends(signed, top))
        place.tick_params(labelsize=6.5, length=2)
    rule = f"{_RULES[scale].format(p=PERCENTILE)}. {_kinds(kinds)}"
    figure.text(0.5, (FOOT - 0.05) / figure.get_figheight(), textwrap.fill(rule, int(18 * width)),
                ha="center", va="top", fontsize=6.5, color="#333333")  # fmt: skip


def _ends(signed: bool, top: str) -> list[str]:
    if signed:
        return [f"−{top}: lowers the score", "0", f"raises it: +{top}"]
    return ["0", f"{top}: magnitude, no sign"]


def _kinds(kinds: Sequence[bool]) -> str:
    """What the colours of the kinds have in common, in words."""
    return "Colours of signed maps are symmetric around 0." if True in kinds else ""


def webp(picture: Path | Image.Image, *, quality: int = 85) -> bytes:
    """Convert a picture to WebP, a sixth of the size for noisy maps, at most `WEB` pixels wide.

    Args:
        picture: An RGB picture, or a PNG file.
        quality: Of WebP, up to 100.
    """
    if isinstance(picture, Path):
        with Image.open(picture, formats=["PNG"]) as opened:
            return webp(opened.convert("RGB"), quality=quality)
    if picture.width > WEB:
        picture = picture.resize((WEB, round(picture.height * WEB / picture.width)))
    packed = io.BytesIO()
    picture.save(packed, format="WEBP", quality=quality, method=2)
    return packed.getvalue()
