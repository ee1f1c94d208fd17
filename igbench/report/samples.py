"""Samples of a run with features in words: what pictures of texts, tables and series share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from igbench.report import styles
from igbench.schema import Records, Run

SHOWN = 8
"""Samples with a picture of their own, at most."""

RULE = "Each map is scaled by itself: limit = largest |a|"
"""What figures of words and series say of their colours, see `limit`."""

NAMELESS = "\u2423"
"""In place of a name without any visible character."""


@dataclass(frozen=True)
class Sample:
    """A sample with its maps.

    Attributes:
        sample_id: Its identifier.
        head: Target with its probability or score, in one line.
        output: f(x), the output that is explained; None where the run does not say.
        names: G names of features; none for a series without names.
        values: Their values; none where names say all.
        gaps: Texts before, between and after the features; none where spaces stand there.
        series: (C, T) points of a series, else (0, 0).
        groups: (C, T) feature of each point, -1 for none; (0, 0) where each has its own number.
        maps: Method to (G,), or to (C, T) for a series without names.
    """

    sample_id: str
    head: str
    output: float | None
    names: tuple[str, ...] = ()
    values: tuple[float | str, ...] = ()
    gaps: tuple[str, ...] = ()
    series: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    groups: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=int))
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)


def kind(run: Run) -> str:
    """What the samples of a run are: "image", "table", "text" or "series"."""
    return str(run.environment.get("data_kind", "image"))


def samples(records: Records) -> list[Sample]:
    """The samples whose features and maps a run has kept, in the order of the run."""
    methods = styles.method_names(records.run)
    found = []
    for own in records.run.samples:
        features, sample_id = own.get("features"), own["sample_id"]
        maps = {m: records.maps[m][sample_id] for m in methods
                if sample_id in records.maps.get(m, {})}  # fmt: skip
        if features and maps:
            found.append(_sample(records.run, own, features, maps))
    return found


def _sample(
    run: Run, own: Mapping[str, Any], features: Mapping[str, Any], maps: Mapping[str, np.ndarray]
) -> Sample:
    points = {k: np.array(features[k]) for k in ("series", "groups") if k in features}
    return Sample(
        sample_id=str(own["sample_id"]),
        head=head(own),
        output=output(run, own),
        names=tuple(features.get("names", ())),
        values=tuple(features.get("values", ())),
        gaps=tuple(features.get("gaps", ())),
        maps=maps,
        **points,
    )


def head(own: Mapping[str, Any]) -> str:
    """Identifier, target, and probability or score of a sample, in one line.

    >>> head({"sample_id": "a", "target": 1, "target_name": "cat", "probability": 0.5})
    'a: cat, p = 0.50'
    """
    target = own.get("target_name") or own.get("target")
    parts = [] if target is None else [str(target)]
    if own.get("probability") is not None:
        parts.append(f"p = {own['probability']:.2f}")
    elif own.get("score") is not None:
        parts.append(f"f = {own['score']:.3g}")
    return f"{own['sample_id']}: {', '.join(parts)}" if parts else str(own["sample_id"])


def output(run: Run, own: Mapping[str, Any]) -> float | None:
    """The output that is explained, of a sample; None where the run does not say."""
    name = run.comparability.get("output", "logit")
    value = own.get("score" if name == "logit" else "probability")
    if value is None or name not in ("logit", "probability", "log_probability"):
        return None
    if name == "log_probability":
        return math.log(value) if value > 0 else None
    return float(value)


def limit(values: Sequence[float] | np.ndarray) -> float:
    """The largest |a| of finite entries, which gets the full colour; 0 where there is none.

    >>> limit([0.5, -2.0, float("nan")])
    2.0
    """
    sizes = np.abs(np.asarray(values, dtype=float))
    return float(sizes[np.isfinite(sizes)].max(initial=0.0))


def signed(run: Run, method: str) -> bool:
    """Whether the maps of a method have a sign; unknown methods count as if they had."""
    return run.methods[method].signed if method in run.methods else True


def visible(name: str) -> str:
    """A name, or a sign for one that nobody could see.

    >>> visible(" "), visible("age")
    ('␣', 'age')
    """
    return name if name.strip() else NAMELESS


def method_label(name: str) -> str:
    """Display name of a method, for what knows no formulas.

    >>> method_label("ig"), method_label("own_$")
    ('IG', 'Own $')
    """
    return styles.label(name).replace(r"\$", "$")
