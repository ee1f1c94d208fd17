"""Data of the sample browser of the page: samples, their scores, and what is shown of each.

Everything is plain values in one JSON text; `templates/browser.js` draws it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from igbench.errors import printable
from igbench.report import heatmaps, raster, samples, series, styles, table_rows, text_words
from igbench.report.raster import LADDER, MIDDLE, Quality
from igbench.report.samples import Sample
from igbench.report.table import decimals, line_name, mean_text, methods_of
from igbench.schema import Records, Run

MOST_VALUES = 100_000
"""Scores on the page, at most; those of the first sample are there in any case."""
SHADES = np.append((np.arange(2 * MIDDLE + 1) - MIDDLE) / MIDDLE, np.nan)
"""Shares of the limit of the 255 colours of a table, and NaN at `raster.NOT_FINITE`."""

RULES = {
    "image": "Each map is scaled by itself: 0 in the middle, full colour at its limit, the 99.5th "
    "percentile of |a|. Red raises the score of the target, blue lowers it; violet is a magnitude "
    "without a sign; grey pixels are not finite.",
    "text": "Each map is scaled by its largest |a|. Red with a solid underline raises the score of "
    "the target, blue with a dotted one lowers it; violet is a magnitude without a sign; grey "
    "words are no features. The value shows over a word.",
    "table": "Bars are scaled by the largest |a| of their method. Red raises the output, blue and "
    "hatched lowers it; violet is a magnitude without a sign.",
    "series": "The series over bands in the colours of its attributions, each map scaled by its "
    "largest |a|. Red raises the output, blue lowers it; violet is a magnitude without a sign; "
    "grey points take no part. The attribution of a window is divided over its points.",
}
"""Rules of scale and colour by kind of data."""

View = Mapping[str, Any]


@dataclass(frozen=True)
class Browser:
    """What the template needs.

    Attributes:
        data: JSON, safe within `<script type="application/json">`.
        first: Head of the first sample.
        head: Names of metrics, after the column of methods.
        lines: Name and scores of each method on the first sample, for readers without scripts.
        reasons: Number and text of the reasons why scores of the first sample do not exist.
        rule: Rule of scale and colours; "" where nothing but scores is shown.
        remarks: What was left out or reduced.
    """

    data: str
    first: str
    head: Sequence[str]
    lines: Sequence[tuple[str, Sequence[str]]]
    reasons: Sequence[tuple[str, str]]
    rule: str
    remarks: Sequence[str]


def browser(records: Records, summary: pd.DataFrame) -> Browser | None:
    """The sample browser of a run; None for a run without samples or without scores.

    Args:
        records: A run.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
    """
    run = records.run
    known = _samples(records)
    scores = Scores.of(records, summary)
    if not known or not scores.lines or not scores.metrics:
        return None
    views, remarks = _views(records)
    shown, left_out = _chosen(known, set(views), len(scores.lines) * len(scores.metrics))
    cells, reasons = scores.cells(records.scores, shown)
    kind = samples.kind(run)
    methods = [m for m in styles.method_names(run) if any(m in v["maps"] for v in views.values())]
    remarks += [f"{left_out:,} more samples are in scores.parquet alone."] if left_out else []
    content = {
        "kind": kind,
        "metrics": scores.metrics,
        "lines": [name for _, _, name in scores.lines],
        "owners": [method for _, method, _ in scores.lines],
        "reasons": reasons,
        "methods": [
            {"name": m, "label": samples.method_label(m), "signed": samples.signed(run, m)}
            for m in methods
        ],
        "colours": {str(s).lower(): colours(kind, signed=s) for s in (True, False)},
        "samples": [
            {"head": samples.head(known[s]), "facts": facts(known[s]), "scores": cells[s]}
            | ({"view": views[s]} if s in views else {})
            for s in shown
        ],
    }
    clean = _printable(content)
    texts, footnotes = numbered(clean["samples"][0]["scores"], clean["reasons"])
    return Browser(
        data=_script_json(clean),
        first=clean["samples"][0]["head"],
        head=clean["metrics"],
        lines=list(zip(clean["lines"], texts, strict=True)),
        reasons=footnotes,
        rule=RULES.get(kind, "") if views else "",
        remarks=remarks,
    )


def _script_json(content: Any) -> str:
    r"""JSON that ends no element and starts no comment, whatever its texts say.

    >>> print(_script_json({"a": "</script><!--"}))
    {"a":"\u003c/script\u003e\u003c!--"}
    """
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _printable(value: Any) -> Any:
    """Plain values in whose texts nothing turns the direction of writing."""
    if isinstance(value, str):
        return printable(value, keep=text_words.JOINERS)
    if isinstance(value, Mapping):
        return {_printable(k): _printable(v) for k, v in value.items()}
    return [_printable(v) for v in value] if isinstance(value, list) else value


# -- samples and their scores ----------------------------------------------------------------


def _samples(records: Records) -> dict[str, Mapping[str, Any]]:
    """All samples by identifier, in the order of the run; those that it does not list come last."""
    listed = {str(s["sample_id"]): s for s in records.run.samples if "sample_id" in s}
    others = dict.fromkeys(records.scores["sample_id"].astype(str).unique())
    return listed | {s: {"sample_id": s} for s in others if s not in listed}


def _chosen(
    known: Mapping[str, Any], with_views: set[str], values_each: int
) -> tuple[list[str], int]:
    """The samples that the page lists, in the order of the run, and how many it does not."""
    most = max(1, MOST_VALUES // max(1, values_each))
    ranked = sorted(known, key=lambda s: s not in with_views)[:most]  # stable
    kept = set(ranked)
    return [s for s in known if s in kept], len(known) - len(kept)


def facts(own: Mapping[str, Any]) -> list[list[str]]:
    """What the run says of a sample, as pairs of a name and a text.

    >>> facts({"sample_id": "a", "target": 3, "target_name": "cat", "label": 3, "score": 1.5})
    [['sample', 'a'], ['target', 'cat (3)'], ['label', '3'], ['output', '1.5']]
    """
    name, target = own.get("target_name"), own.get("target")
    found = [["sample", str(own["sample_id"])]]
    if target is not None:
        found.append(
            ["target", str(target) if name in (None, "", str(target)) else f"{name} ({target})"]
        )
    for key in ("label", "prediction"):
        if own.get(key) is not None:
            found.append([key, str(own[key])])
    for key, title in (("probability", "probability"), ("score", "output")):
        if own.get(key) is not None:
            found.append([title, f"{own[key]:.4g}".replace("-", "−")])
    if own.get("status", "ok") != "ok":
        found.append(["status", f"{own['status']}: {own.get('reason') or 'no reason recorded'}"])
    return found


@dataclass(frozen=True)
class Scores:
    """Scores of single samples as tables of lines by metrics.

    Attributes:
        lines: Model, method and name of each line.
        metrics: Heads of the columns: names with arrows.
        names: Names of the metrics.
        digits: Decimals of each, as in the table of means.
    """

    lines: Sequence[tuple[str, str, str]]
    metrics: Sequence[str]
    names: Sequence[str]
    digits: Mapping[str, int]

    @classmethod
    def of(cls, records: Records, summary: pd.DataFrame) -> Scores:
        """The lines and columns of a run."""
        run = records.run
        models = list(dict.fromkeys(summary["model"]))
        names = styles.metric_names(run)
        return cls(
            [(o, m, line_name(run, o, m, len(models))) for o in models
             for m in methods_of(run, summary, o)],
            [f"{m} {run.metrics[m].arrow}".strip() for m in names],
            names,
            {m: decimals(summary[summary["metric"] == m]) for m in names},
        )  # fmt: skip

    def cells(
        self, scores: pd.DataFrame, chosen: Sequence[str]
    ) -> tuple[dict[str, list[list[Any]]], list[str]]:
        """Cells of each sample, and the reasons of those without a value.

        A cell is the text of a value, the position of the reason why it has none, or None where
        the run has no such row.
        """
        place = {(model, m): i for i, (model, m, _) in enumerate(self.lines)}
        column = {m: i for i, m in enumerate(self.names)}
        found: dict[str, list[list[Any]]] = {
            s: [[None] * len(column) for _ in place] for s in chosen
        }
        reasons: dict[str, int] = {}
        ids = scores["sample_id"].astype(str)
        own = scores[ids.isin(found) & scores["metric"].isin(column)]
        fields = ("model", "method", "metric", "sample_id", "value", "status", "reason")
        for model, method, metric, sample, value, status, reason in zip(
            *(own[f] for f in fields), strict=True
        ):
            if status == "ok":
                cell: Any = mean_text(float(value), math.nan, self.digits[metric])
            else:
                cell = reasons.setdefault(f"{status}: {reason or 'no reason recorded'}",
                                          len(reasons))  # fmt: skip
            found[str(sample)][place[model, method]][column[metric]] = cell
        return found, list(reasons)


def numbered(
    table: Sequence[Sequence[Any]], reasons: Sequence[str]
) -> tuple[list[list[str]], list[tuple[str, str]]]:
    """A table of cells in texts, and the reasons that it refers to with their numbers.

    >>> numbered([["0.5", 3], [None, 3]], ["", "", "", "undefined: flat"])
    ([['0.5', 'n/a 1'], ['–', 'n/a 1']], [('1', 'undefined: flat')])
    """
    used = list(dict.fromkeys(c for row in table for c in row if isinstance(c, int)))
    number = {reason: str(i + 1) for i, reason in enumerate(used)}
    texts = [
        ["–" if c is None else f"n/a {number[c]}" if isinstance(c, int) else c for c in row]
        for row in table
    ]
    return texts, [(number[c], reasons[c]) for c in used]


# -- what is shown of a sample ---------------------------------------------------------------


def colours(kind: str, *, signed: bool) -> list[list[str]]:
    """The 256 colours of maps of one kind, by code: fill, and the ink that can be read on it.

    Args:
        kind: Kind of the data.
        signed: Whether colours diverge around 0.
    """
    if kind == "text":
        fills = [text_words.colour(float(s), signed) for s in SHADES[:-1]]
        return [[f, text_words.ink(f)] for f in fills] + [["", ""]]
    pale = series.PALE if kind == "series" else 1.0
    blank = np.ones((1, len(SHADES), 1))
    rgb = heatmaps.colourise(SHADES[None] * pale, blank, signed, 1.0).rgb[0]
    return [[f"#{r:02x}{g:02x}{b:02x}"] for r, g, b in (rgb * 255).round().astype(int).tolist()]


def _views(records: Records) -> tuple[dict[str, View], list[str]]:
    """What is shown of samples, by identifier, and what was left out or reduced."""
    run = records.run
    if samples.kind(run) == "image":
        return _images(records)
    found = {s.sample_id: s for s in samples.samples(records)}
    makers: dict[str, Callable[[Run, Sample], View]] = {
        "text": _words, "table": _bars, "series": _bands,
    }  # fmt: skip
    make = makers.get(samples.kind(run))
    fit = {k: s for k, s in found.items() if s.series.size or samples.kind(run) != "series"}
    fit = {k: s for k, s in fit.items() if s.names or samples.kind(run) == "series"}
    if make is None or not fit:
        return {}, []
    views = raster.within(fit, lambda s: make(run, fit[s]), raster.BUDGET)
    return views, _first_only(len(views), len(fit))


def _first_only(shown: int, kept: int) -> list[str]:
    if shown == kept:
        return []
    return [f"Maps of the first {shown:,} of {kept:,} samples that have some: the page is full."]


def _images(records: Records) -> tuple[dict[str, View], list[str]]:
    inputs: Mapping[str, np.ndarray] = records.maps.get("inputs", {})
    ordered = [s["sample_id"] for s in records.run.samples if s.get("sample_id") in inputs]
    chosen, methods = ordered or list(inputs), styles.method_names(records.run)
    if not any(records.maps.get(m) for m in methods):
        return {}, []
    for quality in LADDER:
        view = partial(_image, records, methods, quality)
        views = raster.within(chosen, view, raster.BUDGET)
        if len(views) == len(chosen):
            break
    shapes = [a.shape for m in methods for a in records.maps.get(m, {}).values()]
    return views, _quality_remarks(quality, shapes) + _first_only(len(views), len(chosen))


def _image(records: Records, methods: Sequence[str], quality: Quality, sample: str) -> View:
    own = {m: records.maps[m][sample] for m in methods if sample in records.maps.get(m, {})}
    return {
        "image": raster.image(records.maps["inputs"][sample], quality.side),
        "maps": {m: raster.map_raster(a, quality) for m, a in own.items()},
    }


def _quality_remarks(quality: Quality, shapes: Sequence[tuple[int, ...]]) -> list[str]:
    said = []
    longest = max((max(s) for s in shapes), default=0)
    if longest > quality.side:
        said.append(
            f"Maps of {longest} pixels are shown as means over blocks, at most {quality.side} "
            "pixels wide, so that the page stays small; limits are those of the means."
        )
    if quality.levels < MIDDLE:
        said.append(f"Colours are in {quality.levels} steps on each side of 0.")
    return said


def _limit_text(values: np.ndarray) -> str:
    return f"{samples.limit(values):.3g}"


def _words(run: Run, own: Sample) -> View:
    maps, words = {}, []
    for method, values in own.maps.items():
        pieces = text_words.pieces(
            own.names, values.tolist(), gaps=own.gaps, signed=samples.signed(run, method)
        )
        named = [p for p in pieces if p.value is not None]
        shares = np.array([_share(p) for p in named])
        maps[method] = {
            "codes": raster.codes(shares, 1.0).tolist(),
            "values": [text_words.number(float(p.value or 0.0)) for p in named],
            "limit": _limit_text(values),
            "note": "no map" if text_words.unmapped(pieces) else "",
        }
        words = [[samples.visible(p.text), True] if p.value is not None else [p.text, False]
                 for p in pieces]  # fmt: skip
    return {"words": words, "maps": maps}


def _share(piece: text_words.Word) -> float:
    """The share of the limit, 0 for a word that is too faint for a colour."""
    if piece.value is None or not math.isfinite(piece.value):
        return math.nan
    return piece.share if piece.fill else 0.0


def _bars(run: Run, own: Sample) -> View:
    whole = table_rows.rows(run, [own])
    maps = {}
    for method, all_values in whole.maps.items():
        values = table_rows.with_rest(whole, all_values[0])
        maps[method] = {
            "codes": raster.codes(values, samples.limit(values)).tolist(),
            "values": [text_words.number(v) for v in values.tolist()],
            "limit": _limit_text(values),
            "note": "" if np.isfinite(values).any() else "no map",
        }
    return {"labels": table_rows.line_labels(whole, 0), "maps": maps}


def _bands(run: Run, own: Sample) -> View:
    chosen = series.channels(own)
    left_out = len(own.series) - len(chosen)
    maps = {}
    for method in own.maps:
        values = series.bands(own, method)
        made = raster.raster(values[chosen], samples.limit(values))
        empty = not np.isfinite(values).any()
        maps[method] = made | {"limit": _limit_text(values), "note": "no map" if empty else ""}
    return {
        "channels": [
            {"label": series.range_text(own.series[c], c, len(own.series)).replace("\n", " to "),
             "points": [float(f"{v:.4g}") if math.isfinite(v) else None for v in own.series[c]]}
            for c in chosen
        ],
        "note": f"{left_out} other channels are not shown" if left_out else "",
        "maps": maps,
    }  # fmt: skip
