"""What the page of a comparison shows of maps that moved: base, new and difference, plain values.

The three share one scale: full colour at the larger of the limits of the two maps, by the rule of
maps elsewhere.  A difference of a tenth of it or less is drawn stronger, by a power of ten that
stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from igbench.report import browser, heatmaps, raster, samples, table_rows, text_words
from igbench.report.map_changes import INPUTS, MovedMap, distance_text, features
from igbench.report.phrases import count, number
from igbench.report.table_rows import Rows
from igbench.schema import Records

View = dict[str, Any]

SIDES = (224, 112, 64)
"""Pixels of the longer side of maps of images, from the finest; the first that fits is taken."""
TRIED = 3
"""Maps by whose size it is told whether all of them fit."""

RULES = {
    "image": "Red raises the score of the target, blue lowers it; violet is a magnitude without a "
    "sign; grey pixels are not finite. The limit is the larger 99.5th percentile of |a| of the two "
    "maps.",
    "text": "Red with a solid underline raises the score of the target, blue with a dotted one "
    "lowers it; violet is a magnitude without a sign; grey words are no features. The limit is the "
    "largest |a| of the two maps. The value shows over a word.",
    "table": "Red raises the output, blue and hatched lowers it; violet is a magnitude without a "
    "sign. The limit, the length of a full bar, is the largest |a| of the two maps.",
}
"""Rules of scale and colour by kind of data; maps of other kinds are told in numbers alone."""


def views(
    base: Records, new: Records, chosen: Sequence[MovedMap], budget: int
) -> tuple[list[View], list[str]]:
    """What is shown of maps, in their order, as many as fit; and what was reduced or left out.

    Args:
        base: The run to compare with.
        new: The other run.
        chosen: The maps, the most telling first.
        budget: Characters of all views.
    """
    kind, remarks = samples.kind(new.run), []
    body: Callable[[MovedMap], View] = {
        "text": partial(_words, new), "table": partial(_bars, new),
    }.get(kind, _nothing)  # fmt: skip
    if kind == "image":
        side = _side(new, chosen, budget)
        body, remarks = partial(_pictures, new, side), _reduced(side, chosen)
    elif kind not in RULES and chosen:
        remarks = [f"Maps of samples of kind {kind!r} are told in numbers alone."]
    about = _about(base, new)
    places = {str(i): one for i, one in enumerate(chosen)}
    found = raster.within(places, lambda i: about(places[i]) | body(places[i]), budget)
    if len(found) < len(chosen):
        drawn = f"{len(found):,} of {count(len(chosen), 'map')}"
        remarks.append(f"The page is full: it shows the first {drawn} of the choice.")
    return [dict(view) for view in found.values()], remarks


def magnification(limit: float, difference: float) -> int:
    """Power of ten by which a difference is drawn stronger: 1 above a tenth of the limit.

    Args:
        limit: That of both maps.
        difference: That of the difference.

    >>> magnification(1.0, 0.3), magnification(1.0, 0.1), magnification(1.0, 0.002)
    (1, 10, 100)
    >>> magnification(1.0, 0.0), magnification(1.0, 1e-320)
    (1, 1)
    """
    ratio = limit / difference if difference > 0 else 0.0
    return 10 ** math.floor(math.log10(ratio)) if 1 < ratio < math.inf else 1


def _about(base: Records, new: Records) -> Callable[[MovedMap], dict[str, Any]]:
    """What is said above a map: its sample, how far it moved, and what else changed."""
    listed = [{str(s["sample_id"]): s for s in r.run.samples} for r in (base, new)]
    inputs = [r.maps.get(INPUTS, {}) for r in (base, new)]
    described = [features(r) for r in (base, new)]

    def about(one: MovedMap) -> dict[str, Any]:
        old, now = (own.get(one.sample, {"sample_id": one.sample}) for own in listed)
        was, found = ({name: text for name, text in browser.facts(own)} for own in (old, now))
        said = [
            f"{name}: {was.get(name, '–')} → {found.get(name, '–')}"
            for name in dict.fromkeys([*was, *found])
            if was.get(name) != found.get(name)
        ]
        pixels = [own[one.sample] for own in inputs if one.sample in own]
        values = [own.get(one.sample, {}).get("values") for own in described]
        if (len(pixels) == 2 and not np.array_equal(*pixels)) or values[0] != values[1]:
            said.append("the input itself differs, that of the new run is shown")
        if one.base.dtype != one.new.dtype:
            said.append(f"numbers: {one.base.dtype} → {one.new.dtype}")
        return {
            "method": one.method,
            "head": samples.head(now),
            "distance": distance_text(one.distance),
            "rank_distance": distance_text(one.rank_distance),
            "notes": said,
        }

    return about


def _difference(one: MovedMap) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(one.new, dtype=float) - np.asarray(one.base, dtype=float)


def _three(
    run_signed: bool, base: np.ndarray, new: np.ndarray, change: np.ndarray, limit: Any
) -> tuple[float, list[tuple[str, np.ndarray, bool, float, str]]]:
    """The common limit; and of each panel its title, values, sign, own limit and remark."""
    top = max(limit(base), limit(new))
    times = magnification(top, limit(change))
    stronger = f"drawn {times:,} times as strong" if times > 1 else ""
    return top, [
        ("base", base, run_signed, top, heatmaps.remark(base)),
        ("new", new, run_signed, top, heatmaps.remark(new)),
        ("new − base", change, True, top / times, stronger),
    ]


def _largest(values: np.ndarray, remark: str) -> str:
    """The largest |a| of a panel, and what must be said of it."""
    return "; ".join(filter(None, [f"largest |a| {number(samples.limit(values))}", remark]))


def _nothing(_: MovedMap) -> View:
    return {}


# -- images ----------------------------------------------------------------------------------


def _side(new: Records, chosen: Sequence[MovedMap], budget: int) -> int:
    """The finest side with which all maps fit, as far as a few of them tell."""
    step = max(1, len(chosen) // TRIED)
    some = chosen[::step][:TRIED]
    for side in SIDES:
        sizes = [raster.length(_pictures(new, side, one)) for one in some]
        if len(chosen) * sum(sizes) <= 0.9 * budget * len(some):
            return side
    return SIDES[-1]


def _reduced(side: int, chosen: Sequence[MovedMap]) -> list[str]:
    longest = max((max(m.base.shape) for m in chosen), default=0)
    if longest <= side:
        return []
    return [
        f"Maps of {longest} pixels are shown as means over blocks, at most {side} pixels wide, so "
        "that the page stays small; limits are those of the means, distances those of the maps."
    ]


def _pictures(new: Records, side: int, one: MovedMap) -> View:
    if one.base.ndim != 2:
        return {}
    image = new.maps.get(INPUTS, {}).get(one.sample)
    grey = np.ones((*one.base.shape, 1)) if image is None else heatmaps.pale_grey(image)
    base, new_map, change = (
        raster.reduced(np.asarray(v, dtype=float), side)
        for v in (one.base, one.new, _difference(one))
    )
    top, panels = _three(samples.signed(new.run, one.method), base, new_map, change, heatmaps.limit)
    shown = [] if image is None else [_picture("input", "", np.asarray(image), side)]
    for title, values, signed, limit, remark in panels:
        rgb = heatmaps.colourise(values, grey, signed, limit).rgb
        pixels = (rgb * 255).round().astype(np.uint8)
        shown.append(_picture(title, _largest(values, remark), pixels, side))
    return {"limit": number(top), "pictures": shown}


def _picture(title: str, note: str, pixels: np.ndarray, side: int) -> View:
    return {
        "title": title,
        "note": note,
        "uri": raster.image(pixels, side),
        "coarse": "coarse" if max(pixels.shape) < 100 else "",
    }


# -- texts and tables ------------------------------------------------------------------------


def _words(new: Records, one: MovedMap) -> View:
    own = features(new).get(one.sample, {})
    names = tuple(own.get("names", ()))
    if one.base.shape != (len(names),):
        return {}
    signed = samples.signed(new.run, one.method)
    top, panels = _three(signed, one.base, one.new, _difference(one), samples.limit)
    lines = []
    for title, values, has_sign, limit, remark in panels:
        pieces = text_words.pieces(
            names, values.tolist(), gaps=own.get("gaps", ()), signed=has_sign, limit=limit or None
        )
        said = f" ({remark})" if remark else ""
        lines.append((f"{title}{said}", pieces))
    return {"limit": number(top), "words": text_words.lines_to_html(lines)}


def _bars(new: Records, one: MovedMap) -> View:
    own = features(new).get(one.sample, {})
    names = tuple(own.get("names", ()))
    if one.base.shape != (len(names),):
        return {}
    sizes = np.nan_to_num(np.maximum(np.abs(one.base), np.abs(one.new)), posinf=math.inf)
    order = sorted(range(len(names)), key=lambda i: -sizes[i])
    most = table_rows.COLUMNS if len(names) > table_rows.COLUMNS + 1 else len(names)
    values = tuple(own.get("values", ()))
    rows = Rows(new.run, names, (values,) if values else (), {}, tuple(order[:most]))
    labels = table_rows.line_labels(rows, 0)
    base, new_map, change = (
        table_rows.with_rest(rows, np.asarray(v, dtype=float))
        for v in (one.base, one.new, _difference(one))
    )
    signed = samples.signed(new.run, one.method)
    top, panels = _three(signed, base, new_map, change, samples.limit)
    return {
        "limit": number(top),
        "bars": [
            {"title": title, "note": _largest(shown, remark),
             "lines": [_bar(*line, has_sign, limit)
                       for line in zip(labels, shown.tolist(), strict=True)]}
            for title, shown, has_sign, limit, remark in panels
        ],
    }  # fmt: skip


def _bar(label: str, value: float, signed: bool, limit: float) -> View:
    """A bar: its label, number, look, and where it begins and ends in percent of the track."""
    share = max(-1.0, min(1.0, value / limit)) if math.isfinite(value) and limit else 0.0
    size = abs(share) * (50 if signed else 100)
    return {
        "label": label,
        "number": text_words.number(value),
        "look": ("lowers" if share < 0 else "raises") if signed else "",
        "left": f"{(50 - size if share < 0 else 50) if signed else 0:.1f}",
        "width": f"{size:.1f}",
    }
