"""Sensitivity of Integrated Gradients to its baseline: scores, and rank correlation of maps."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from igbench.errors import InputError
from igbench.report import map_ranks, styles
from igbench.schema import Records

CLASSES = ("IntegratedGradients", "AveragedIG")
"""Classes of methods that are Integrated Gradients but for their baseline."""
_OWN = ("baseline", "baselines")
"""Parameters that name a baseline; methods without one take that of the run."""
_SHARED = ("data",)
"""Parameters that are the same for all methods of a run, and no setting."""
_SAME = ("samples", "weights", "output", "target", "seed")
"""What several runs must have in common, besides the definition of the metric."""


@dataclass(frozen=True)
class Entry:
    """Integrated Gradients with one baseline.

    Attributes:
        name: The baseline in words, and the parameters in which entries differ.
        method: Name of the method in its run.
        records: The run.
        line: Its line in the summary of the headline metric.
    """

    name: str
    method: str
    records: Records
    line: Mapping[str, Any]


def figure(runs: Sequence[tuple[Records, pd.DataFrame]]) -> Figure | None:
    """Score of Integrated Gradients by baseline, with the rank correlation of its maps.

    Baselines are those of the methods `CLASSES` in one run, or of several runs that differ in their
    baseline.  None for fewer than two baselines, or where the runs have no headline metric.

    Args:
        runs: Runs of one model with their summaries, from `igbench.records.stats.summarise`.

    Raises:
        InputError: The runs differ in their samples, weights, explained output, target, seed, or in
            the definition of the metric.
    """
    metric = styles.headline(runs[0][0].run, runs[0][1]) if runs else ""
    found = entries(runs, metric)
    if len({baseline for baseline, _ in _known(runs)}) < 2 or len(found) < 2:
        return None
    _comparable([records for records, _ in runs], metric)
    alike, counts = map_ranks.between([e.records.maps.get(e.method, {}) for e in found])
    with_maps = bool(counts.max())
    size = 0.6 + 0.3 * len(found)
    with styles.style():
        wide = styles.FULL_WIDTH if with_maps else 4.2
        made = styles.canvas(wide, max(1.6, size + (0.9 if with_maps else 0.3)))
        panels: Any = made.subplots(1, 2 if with_maps else 1, squeeze=False)[0]
        _scores(panels[0], found, runs[0], metric)
        if with_maps:
            _matrix(panels[1], [e.name for e in found], alike, counts)
    return made


def entries(runs: Sequence[tuple[Records, pd.DataFrame]], metric: str) -> list[Entry]:
    """The baselines of runs, in their order; those without a line of the metric are left out.

    Args:
        runs: Runs with their summaries.
        metric: Name of the metric.
    """
    found = []
    settings = [_others(records, method) for records, method in _methods(runs)]
    differ = {k for s in settings for k in s if any(o.get(k) != s[k] for o in settings)}
    for records, summary in runs:
        lines = summary[summary["metric"] == metric].set_index("method")
        for method in _of(records):
            if method in lines.index:
                own = _others(records, method)
                notes = [
                    f"{own[k]} steps" if k == "n_steps" else f"{k} = {own[k]}"
                    for k in own
                    if k in differ
                ]
                name = words(baseline(records, method)) + (f" ({', '.join(notes)})" * bool(notes))
                line: dict[Any, Any] = lines.loc[method].to_dict()
                found.append(Entry(name, method, records, line))
    return found


def _methods(runs: Sequence[tuple[Records, pd.DataFrame]]) -> list[tuple[Records, str]]:
    return [(records, m) for records, _ in runs for m in _of(records)]


def _known(runs: Sequence[tuple[Records, pd.DataFrame]]) -> list[tuple[str, str]]:
    return [(words(baseline(records, m)), m) for records, m in _methods(runs)]


def _of(records: Records) -> list[str]:
    """The methods of a run that are Integrated Gradients."""
    made = records.run.identity.get("methods")
    made = made if isinstance(made, dict) else {}
    chosen = styles.method_names(records.run)
    return [m for m in chosen if str(made.get(m, "")).partition("(")[0] in CLASSES]


def _parameters(records: Records, method: str) -> dict[str, Any]:
    known = (records.run.environment.get("parameters") or {}).get("methods") or {}
    return dict(known.get(method) or {})


def _others(records: Records, method: str) -> dict[str, Any]:
    return {k: v for k, v in _parameters(records, method).items() if k not in (*_OWN, *_SHARED)}


def baseline(records: Records, method: str) -> str:
    """The baseline of a method as its run has recorded it: its own, otherwise that of the run."""
    own = next((v for k, v in _parameters(records, method).items() if k in _OWN and v), None)
    if own is None:
        return str(records.run.identity.get("baseline", "not recorded"))
    return ", ".join(map(str, own)) if isinstance(own, list | tuple) else str(own)


def words(recorded: str) -> str:
    """A recorded baseline in words.

    >>> words("Zero()"), words("uniform_noise"), words("GaussianNoise(sigma=1.0)")
    ('zero', 'uniform noise', 'gaussian noise (sigma=1.0)')
    >>> words("black, white")
    'mean over black, white'
    """
    if ", " in recorded and "(" not in recorded:
        return f"mean over {recorded.replace('_', ' ')}"
    name, _, rest = recorded.partition("(")
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").lower()
    return f"{parts} ({rest}" if rest not in ("", ")") else parts


def _comparable(runs: Sequence[Records], metric: str) -> None:
    first = runs[0].run.comparability
    versions = [r.run.comparability.get("metric_versions", {}).get(metric) for r in runs]
    differing = [k for k in _SAME if any(r.run.comparability.get(k) != first.get(k) for r in runs)]
    differing += [metric] if any(v != versions[0] for v in versions) else []
    if differing:
        raise InputError(
            f"the runs differ in more than their baseline: {', '.join(differing)}. Make them with "
            "the same settings but for baseline=NAME."
        )


def _scores(
    axes: Axes, found: Sequence[Entry], first: tuple[Records, pd.DataFrame], metric: str
) -> None:
    """Means with their intervals, baselines one under another."""
    records, summary = first
    for i, entry in enumerate(found):
        mean, low, high = (float(entry.line[k]) for k in ("mean", "low", "high"))
        if math.isnan(mean):
            axes.text(0.02, i, "n/a", transform=axes.get_yaxis_transform(), va="center",
                      fontsize=7, color="#707070")  # fmt: skip
            continue
        ends = [
            [0.0 if math.isnan(low) else mean - low],
            [0.0 if math.isnan(high) else high - mean],
        ]
        axes.errorbar(mean, i, xerr=ends, fmt="o", ms=4, color=styles.METHOD_COLOURS[0],
                      ecolor="#222222", elinewidth=1, capsize=1.8)  # fmt: skip
    own = summary[(summary["metric"] == metric) & (summary["method"] == "random")]
    if len(own) and math.isfinite(float(own["mean"].iloc[0])):
        axes.axvline(float(own["mean"].iloc[0]), color="#555555", linestyle="--", linewidth=0.8)
    counts = [int(e.line["n"]) for e in found]
    size = len(records.run.samples)
    names = [
        e.name if n == size else f"{e.name} (n = {n})" for e, n in zip(found, counts, strict=True)
    ]
    axes.set_yticks(range(len(found)), [styles.plain(n) for n in names])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="x")
    dashed = "; dashed: random control" if len(own) else ""
    axes.set_xlabel(f"mean over {size} samples, 95 % interval{dashed}", fontsize=7)
    styles.panel_title(
        axes, f"IG by baseline: {styles.metric_label(metric, records.run.metrics[metric])}"
    )


def _matrix(axes: Axes, names: Sequence[str], alike: np.ndarray, counts: np.ndarray) -> None:
    """Mean rank correlations of maps below the diagonal."""
    import seaborn as sns  # for this alone

    hidden = np.triu(np.ones(alike.shape, dtype=bool), 1)
    texts = [styles.plain(n) for n in names]
    frame = pd.DataFrame(alike.round(2) + 0.0, index=texts, columns=texts)
    sns.heatmap(frame, mask=hidden, vmin=-1, vmax=1, cmap="RdBu", annot=True, fmt=".2f",
                square=True, linewidths=1, annot_kws={"fontsize": 6.5}, cbar=False,
                ax=axes)  # fmt: skip
    axes.tick_params(length=0)
    axes.set_yticks(axes.get_yticks(), texts, rotation=0, fontsize=6.5)
    axes.set_xticks(axes.get_xticks(), texts, rotation=35, ha="right", rotation_mode="anchor",
                    fontsize=6.5)  # fmt: skip
    used = counts[np.tril_indices(len(names), -1)]
    span = f"{used.min()}" if used.min() == used.max() else f"{used.min()} to {used.max()}"
    axes.set_title(f"Rank correlation of |a|\n({span} samples)", loc="left", fontweight="bold")
