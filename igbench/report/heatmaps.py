"""Grid of attribution maps: images in rows, methods in columns, one colour scale."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure, SubFigure
from PIL import Image

from igbench.report import styles
from igbench.schema import RANDOM_WEIGHTS, MethodSpec, Records, Run

Scale = Literal["per_map", "per_row"]

PERCENTILE = 99.5
MAX_IMAGES = 8
WIDE = 12
"""Methods side by side, at most; more of them wrap."""
ACROSS = 9
"""Pictures side by side where they wrap, at most."""
MAX_WRAPPED = 3
"""Images where the maps wrap, at most."""
SIGNED = "RdBu_r"
UNSIGNED = "Purples"
FAINT = 0.35
"""Opacity of the image under a map: 0 is white, 1 the grey image."""

_MAGNITUDE = ["0", "limit: magnitude, no sign"]
_RULES = {
    "per_map": "Each map is scaled by itself",
    "per_row": "The maps of a row share one scale for each kind",
}


@dataclass(frozen=True)
class MapImage:
    """A map as a picture, (H, W, 3) values in [0, 1], and a remark to print on it."""

    rgb: np.ndarray
    note: str = ""


def grid(records: Records, *, scale: Scale = "per_map") -> Figure | None:
    """Draw images and their maps; None if the run has no maps of images.

    More than 12 methods wrap: each of the first images gets a block of several rows.

    Signed maps are red where they raise the score, blue where they lower it, white at 0, with
    symmetric limits at the 99.5th percentile of |a|; magnitudes run from white at 0 to violet at
    the same percentile.  The image shows through in grey.

    Args:
        records: A run whose `maps` has "inputs" (sample id to (H, W, 3) uint8) and method names
            (sample id to (H, W)).
        scale: "per_map", or "per_row": the largest limit among the maps of an image.
    """
    inputs: Mapping[str, np.ndarray] = records.maps.get("inputs", {})
    methods = styles.method_names(records.run)
    ordered = [s["sample_id"] for s in records.run.samples if s.get("sample_id") in inputs]
    chosen = (ordered or list(inputs))[:MAX_IMAGES]
    if not chosen or not any(records.maps.get(m) for m in methods):
        return None
    if len(methods) > WIDE:
        return _wrapped(records, chosen[:MAX_WRAPPED], methods, scale)
    size = min(1.15, max(0.8, 10.5 / (len(methods) + 1)))
    with styles.style():
        figure = styles.canvas(0.95 + size * (len(methods) + 1), 0.8 + size * len(chosen))
        engine: Any = figure.get_layout_engine()
        engine.set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
        parts: Any = figure.subfigures(2, 1, height_ratios=(size * len(chosen) + 0.2, 0.6))
        axes = parts[0].subplots(len(chosen), len(methods) + 1, squeeze=False)
        for row, sample in zip(axes, chosen, strict=True):
            _draw_row(row, records, sample, methods, scale)
        for column, head in zip(axes[0], ["Input", *map(styles.label, methods)], strict=True):
            column.set_title(textwrap.fill(head, 13), fontsize=7.5, pad=3)
        _legend(parts[1], {records.run.methods[m].signed for m in methods}, scale)
        if records.run.random_weights:
            figure.suptitle(f"The model has {RANDOM_WEIGHTS}.", fontsize=9)
    return figure


def _draw_row(
    row: Sequence[Axes], records: Records, sample: str, methods: list[str], scale: Scale
) -> None:
    """Draw the image and its maps; the axes to the left of them are labelled with the target."""
    _draw_maps(row, records, sample, methods, scale)
    row[0].set_ylabel(row_label(records.run, sample), rotation=0, ha="right", va="center",
                      fontsize=7, labelpad=4)  # fmt: skip


def _wrapped(records: Records, chosen: list[str], methods: list[str], scale: Scale) -> Figure:
    """Draw the maps of each image as a block of several rows, every map under its name."""
    rows, size = -(-(len(methods) + 1) // ACROSS), 1.2
    across = -(-(len(methods) + 1) // rows)  # no row that is nearly empty
    with styles.style():
        block = (size + 0.18) * rows + 0.25
        figure = styles.canvas(size * across, 0.6 + block * len(chosen))
        engine: Any = figure.get_layout_engine()
        engine.set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
        parts: Any = figure.subfigures(
            len(chosen) + 1, 1, height_ratios=[*[block] * len(chosen), 0.6]
        )
        for part, sample in zip(parts, chosen, strict=False):
            part.suptitle(row_label(records.run, sample).replace("\n", ", "), fontsize=8.5)
            axes = part.subplots(rows, across, squeeze=False).flatten()
            _draw_maps(axes, records, sample, methods, scale)
            for place, head in zip(axes, ["Input", *map(styles.label, methods)], strict=False):
                place.set_title(textwrap.fill(head, 22), fontsize=7, pad=2)
            for place in axes[len(methods) + 1 :]:
                place.set_axis_off()
        _legend(parts[-1], {records.run.methods[m].signed for m in methods}, scale)
    return figure


def _draw_maps(
    row: Sequence[Axes], records: Records, sample: str, methods: list[str], scale: Scale
) -> None:
    image = np.asarray(records.maps["inputs"][sample])
    grey = pale_grey(image)
    maps = {m: records.maps.get(m, {}).get(sample) for m in methods}
    limits = _limits(maps, records.run.methods, scale)
    _show(row[0], MapImage(image / 255.0))
    for axes, method in zip(row[1:], methods, strict=False):
        found = maps[method]
        if found is None:
            _show(axes, MapImage(np.full((*grey.shape[:2], 3), 0.93), "no map"))
        else:
            _show(axes, colourise(found, grey, records.run.methods[method].signed, limits[method]))


def _limits(
    maps: Mapping[str, np.ndarray | None], specs: Mapping[str, MethodSpec], scale: Scale
) -> dict[str, float]:
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
    colours = mpl.colormaps[SIGNED if signed else UNSIGNED](place)[..., :3]
    if not signed:
        colours = colours / np.asarray(mpl.colormaps[UNSIGNED](0.0)[:3])
    if grey.shape[:2] != values.shape:
        grey = _resized(grey, values.shape)
    rgb = np.clip(colours * grey, 0, 1)
    rgb[bad] = 0.55
    return MapImage(rgb, remark(values, top))


def remark(values: np.ndarray, top: float) -> str:
    """What to say of a map that is zero everywhere or has entries that are not finite, else "".

    >>> remark(np.zeros(2), 0.0), remark(np.array([1.0, np.nan]), 1.0)
    ('all zero', '50.0% NaN')
    """
    bad = ~np.isfinite(values)
    if bad.all():
        return "NaN"
    if bad.any():
        return f"{bad.mean():.1%} NaN"
    return "all zero" if top == 0 else ""


def _resized(grey: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    picture = Image.fromarray(grey[..., 0].astype(np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))[..., None]


def _show(axes: Axes, picture: MapImage) -> None:
    axes.imshow(picture.rgb, interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=True, color="#d5d5d5", linewidth=0.4)
    if picture.note:
        axes.text(0.5, 0.5, picture.note, transform=axes.transAxes, ha="center", va="center",
                  fontsize=7, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85,
                                    "pad": 1.5})  # fmt: skip


def row_label(run: Run, sample: str) -> str:
    """Target with its probability or score, as far as the run recorded them."""
    known: dict[str, Any] = next((s for s in run.samples if s.get("sample_id") == sample), {})
    name = known.get("target_name") or (
        f"class {known['target']}" if known.get("target") is not None else sample
    )
    lines = [textwrap.fill(styles.plain(str(name)), 14)]
    if known.get("probability") is not None:
        lines.append(f"p = {float(known['probability']):.2f}")
    elif known.get("score") is not None:
        lines.append(f"f = {float(known['score']):.3g}")
    return "\n".join(lines)


def _legend(figure: SubFigure, kinds: set[bool], scale: Scale) -> None:
    axes = figure.subplots(1, 2 * len(kinds) + 1, width_ratios=[0.5, 1] * len(kinds) + [0.5])
    for blank in axes[::2]:
        blank.set_axis_off()
    for place, signed in zip(axes[1::2], sorted(kinds, reverse=True), strict=True):
        low, name = (-1, SIGNED) if signed else (0, UNSIGNED)
        colours = ScalarMappable(mpl.colors.Normalize(low, 1), name)
        bar = figure.colorbar(colours, cax=place, orientation="horizontal")
        place.set_box_aspect(0.035)
        ends = ["− limit: lowers the score", "0", "raises it: + limit"]
        bar.outline.set(linewidth=0.4)
        bar.set_ticks([-1, 0, 1] if signed else [0, 1], labels=ends if signed else _MAGNITUDE)
        place.tick_params(labelsize=6.5, length=2)
    rule = f"{_RULES[scale]}: limit = {PERCENTILE}th percentile of |a|, colours centred at 0."
    width = int(17 * figure.figure.get_size_inches()[0])
    figure.suptitle(textwrap.fill(rule, width), fontsize=7, color="#333333")


def webp(picture: Path, *, quality: int = 85) -> bytes:
    """Convert a PNG file to WebP, a sixth of the size for noisy maps."""
    packed = io.BytesIO()
    with Image.open(picture, formats=["PNG"]) as opened:
        opened.convert("RGB").save(packed, format="WEBP", quality=quality)
    return packed.getvalue()
