"""Compare two runs with a paired verdict for each cell (model, method, metric).

Runs are comparable if they have the same samples, weights, target rule and seed, and metrics if
they have the same version.  Every cell is judged over the samples that have a value in both runs;
samples that lost their value are reported.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
import pandas as pd

from igbench.errors import InputError, printable
from igbench.records import stats
from igbench.records.settings import own_settings
from igbench.records.shorten import shorten
from igbench.schema import COSTS, Change, MetricSpec, Records, Verdict

METRIC_VERSIONS = "metric_versions"
"""The comparability field that is compared metric by metric; all others must agree."""
LEVEL = 0.05
TOLERANCE = 1e-9
"""Relative difference of a sample up to which two runs agree, to allow for rounding."""

Cell = tuple[str, str, str]
Exit = Literal[0, 1, 3, 4]
NOT_COMPARABLE: Exit = 4
_MARKDOWN = re.compile(r"([\\`*|~$]|\[(?=[^\]]*\][(\[:]))")
"""What Markdown reads in a cell; brackets only where a link begins."""
_LABELS: dict[Verdict, str] = {
    "worse": "REGRESSION", "failed": "FAILED", "missing": "MISSING", "changed": "CHANGED",
    "better": "IMPROVED", "new": "NEW", "same": "same", "identical": "identical",
}  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Verdicts on a new run against a base run.

    Attributes:
        base: Identifier of the base run.
        new: Identifier of the new run.
        changes: One for each cell of either run, in the order of the base run; `p_value` is
            Holm-adjusted over all tested cells, NaN for cells without a test.
        incomparable: Fields that must agree and do not, with both values.
        differences: Identity fields that differ, with both values.
        detectable: Metric to the smallest mean difference that is detected with 90 % power in each
            tested cell, after the correction; in the unit of the metric.
        metrics: Definitions of the metrics.
        accepted: Cell name "model/method/metric" to the reason why its verdict is accepted.
        exit_code: 0 same or better, 1 regression, 3 incomplete, 4 not comparable.
    """

    base: str
    new: str
    changes: list[Change]
    incomparable: list[str]
    differences: list[str]
    detectable: dict[str, float]
    metrics: Mapping[str, MetricSpec]
    accepted: Mapping[str, str] = field(default_factory=dict)
    exit_code: Exit = 0


@dataclass(frozen=True)
class _Pair:
    """One cell of both runs, over the samples with a number in both."""

    cell: Cell
    spec: MetricSpec
    base: np.ndarray
    new: np.ndarray
    note: str
    lost: int

    @property
    def n(self) -> int:
        """Number of paired samples."""
        return len(self.base)

    @property
    def tested(self) -> bool:
        """Whether the verdict needs a test; counts, times and cells that agree do not."""
        gates = self.cell[2] not in COSTS and math.isfinite(self.spec.min_effect)
        return gates and self.n > 0 and not _agree(self.base, self.new)


@own_settings()
def compare(
    base: Records,
    new: Records,
    *,
    accept: Mapping[str, str] | None = None,
    resamples: int = stats.RESAMPLES,
) -> Comparison:
    """Compare two runs.

    Verdicts: "identical" if all paired values are bit-equal; "same" if they agree within 1e-9 or
    the difference is not significant; "better" or "worse" if the Wilcoxon signed-rank test rejects
    at 5 % after Holm's correction over all tested cells and the mean difference reaches
    `MetricSpec.min_effect`; "changed" for such a difference in a metric without direction, or for
    another version of the metric; "failed" if samples lost their value and it is not worse.  Counts
    of model rows are deterministic and need no test; seconds and memory never decide.

    Args:
        base: The run to compare with.
        new: The run to judge.
        accept: Pattern of "metric", "method/metric" or "model/method/metric" ("*" matches
            anything) to the reason why such verdicts do not count for the exit code.
        resamples: Number of bootstrap resamples of each interval.

    Raises:
        InputError: A pattern of `accept` matches no cell, or a metric has no definition.
    """
    old_cells, new_cells = _cells(base.scores), _cells(new.scores)
    specs = {**COSTS, **base.run.metrics, **new.run.metrics}
    versions = _changed_versions(base, new)
    incomparable = _incomparable(base, new, versions)
    # Long texts are cut, as they are in a baseline.
    differences = _differing(shorten(base.run.identity), shorten(new.run.identity))
    if incomparable:
        return Comparison(
            base.run.id, new.run.id, [], incomparable, differences, {}, specs,
            exit_code=NOT_COMPARABLE,
        )  # fmt: skip
    judged: dict[Cell, Change | _Pair] = {}
    for cell in dict.fromkeys([*old_cells, *new_cells]):
        judged[cell] = _pair(cell, old_cells.get(cell), new_cells.get(cell), specs, versions)
    tested = [p for p in judged.values() if isinstance(p, _Pair) and p.tested]
    p_raw = [stats.signed_rank_p(stats.subtract(p.base, p.new)) for p in tested]
    p_holm = {p.cell: float(q) for p, q in zip(tested, stats.holm(p_raw), strict=True)}
    changes = [
        _judge(item, p_holm.get(cell, math.nan), resamples) if isinstance(item, _Pair) else item
        for cell, item in judged.items()
    ]
    accepted = _accepted(changes, accept or {})
    return Comparison(
        base=base.run.id, new=new.run.id, changes=changes, incomparable=[],
        differences=differences, detectable=_detectable(tested), metrics=specs, accepted=accepted,
        exit_code=_exit_code([c for c in changes if _name(c) not in accepted]),
    )  # fmt: skip


def _cells(scores: pd.DataFrame) -> dict[Cell, pd.DataFrame]:
    key = ["model", "method", "metric"]
    twice = scores[scores.duplicated([*key, "sample_id"])]
    if len(twice):
        raise InputError(
            f"sample {twice['sample_id'].iloc[0]!r} occurs twice in "
            f"{'/'.join(twice[key].iloc[0])}; compare one run with one run."
        )
    return {
        (str(model), str(method), str(metric)): rows.set_index("sample_id")
        for (model, method, metric), rows in scores.groupby(key, sort=False)
    }


def _changed_versions(base: Records, new: Records) -> dict[str, str]:
    """Metric to what changed in its definition, for metrics of both runs."""
    old, now = (
        {k: spec.version for k, spec in r.run.metrics.items()}
        | r.run.comparability.get(METRIC_VERSIONS, {})
        for r in (base, new)
    )
    changed = [k for k in old if k in now and old[k] != now[k]]
    return {k: _version_change(str(old[k]), str(now[k]), k, base, new) for k in changed}


def _version_change(old: str, now: str, metric: str, base: Records, new: Records) -> str:
    """What differs between two versions "number-hash", where the hash is over all settings."""
    if old.partition("-")[0] != now.partition("-")[0]:
        return f"version {old.partition('-')[0]} -> {now.partition('-')[0]}"
    given = [
        shorten((r.run.environment.get("parameters") or {}).get("metrics", {}).get(metric, {}))
        for r in (base, new)
    ]
    return f"other settings ({', '.join(_differing(*given)) or f'{old} -> {now}'})"


def _incomparable(base: Records, new: Records, versions: Mapping[str, str]) -> list[str]:
    old_fields, new_fields = (
        {k: v for k, v in r.run.comparability.items() if k != METRIC_VERSIONS} for r in (base, new)
    )
    found = []
    for name in dict.fromkeys([*old_fields, *new_fields]):
        differing = _differing(
            {name: old_fields.get(name, _ABSENT)}, {name: new_fields.get(name, _ABSENT)}
        )
        describe = _IN_WORDS.get(name)
        words = describe(base, new) if differing and describe else ""
        found += [f"{name}: {words}"] if words else differing
    old, now = (set(r.scores["metric"]) - set(COSTS) for r in (base, new))
    if (old or now) and not (old & now) - set(versions):
        shared = [f"{k} {versions[k]}" for k in sorted(old & now)]
        found.append(
            f"{METRIC_VERSIONS}: every metric in common changed: {', '.join(shared)}"
            if shared
            else f"metrics: {sorted(old)} -> {sorted(now)}, none in common"
        )
    return found


def _samples_in_words(base: Records, new: Records) -> str:
    """How the samples of two runs differ; empty where their identifiers agree."""
    old, now = ([str(s["sample_id"]) for s in r.run.samples] for r in (base, new))
    if old == now:
        return ""
    lost, gained = ([i for i in a if i not in set(b)] for a, b in ((old, now), (now, old)))
    if not lost and not gained:
        return "the same samples in another order"
    parts = [f"{len(old)} against {len(now)} samples"] if len(old) != len(now) else []
    for ids, where in ((lost, "base"), (gained, "new")):
        if ids:
            verb = "is" if len(ids) == 1 else "are"
            parts.append(f"{len(ids)} {verb} in the {where} run only, the first: {ids[0]!r}")
    return "; ".join(parts)


def _weights_in_words(base: Records, new: Records) -> str:
    """Hashes of the weights, shortened, with the sources of the models."""
    hashes = [str(r.run.comparability.get("weights", "unknown")) for r in (base, new)]
    sources = [str(r.run.environment.get("model_source", "")) for r in (base, new)]
    named = [
        f"{short[:12]}{f' ({source})' if source else ''}"
        for short, source in zip(hashes, sources, strict=True)
    ]
    return f"the models have other weights, by hash {named[0]} -> {named[1]}"


_IN_WORDS: dict[str, Callable[[Records, Records], str]] = {
    "samples": _samples_in_words,
    "weights": _weights_in_words,
}
"""Comparability fields whose values are hashes, to what is said of them."""


def _differing(old: Any, now: Any, name: str = "") -> list[str]:
    """Differences of two nested dictionaries, each as "dotted.name: old -> new"."""
    if isinstance(old, Mapping) and isinstance(now, Mapping):
        found = []
        for key in dict.fromkeys([*old, *now]):
            inner = f"{name}.{key}" if name else str(key)
            found += _differing(old.get(key, _ABSENT), now.get(key, _ABSENT), inner)
        return found
    return [] if old == now or repr(old) == repr(now) else [f"{name}: {old!r} -> {now!r}"]


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


_ABSENT = _Absent()


def _pair(
    cell: Cell,
    old: pd.DataFrame | None,
    now: pd.DataFrame | None,
    specs: Mapping[str, MetricSpec],
    versions: Mapping[str, str],
) -> Change | _Pair:
    """Pair the samples of a cell, or give the verdict if there is nothing to pair."""
    metric = cell[2]
    if metric not in specs:
        raise InputError(
            f"metric {metric!r} has no definition in either run; run both experiments again."
        )
    if now is None:
        return Change(*cell, "missing", note="in the base run only")
    if old is None:
        return Change(*cell, "new", note="in the new run only")
    if metric in versions:
        return Change(*cell, "changed", note=f"{versions[metric]}: not compared")
    had, has = (rows.loc[stats.usable(rows), "value"] for rows in (old, now))
    if had.empty:
        return (
            _without_values(cell, old, now)
            if has.empty
            else Change(*cell, "new", note=f"{len(has)} values, none in the base run")
        )
    both = had.index.intersection(has.index)
    lost, gained = len(had) - len(both), len(has) - len(both)
    notes = [_loss(had.index.difference(has.index), now, len(had))] if lost else []
    notes += [f"{gained} samples have a value in the new run only"] if gained else []
    return _Pair(
        cell, specs[metric], had[both].to_numpy(), has[both].to_numpy(), "; ".join(notes), lost
    )


def _without_values(cell: Cell, old: pd.DataFrame, now: pd.DataFrame) -> Change:
    """The verdict on a cell without values in both runs: what was undefined may fail now."""
    fails, failed = (bool((rows["status"] != "undefined").any()) for rows in (now, old))
    if fails and not failed:
        reason = now.loc[now["status"] != "undefined", "reason"].iloc[0]
        return Change(*cell, "failed", note=f"undefined in the base run, fails now ({reason})")
    return Change(*cell, "identical", note="no value in either run")


def _loss(lost: pd.Index, now: pd.DataFrame, n: int) -> str:
    """Number of samples that lost their value, by status, with the first reason."""
    there = now.loc[lost.intersection(now.index)]
    ways = Counter(str(s) if s != "ok" else "NaN" for s in there["status"])
    ways["missing"] += len(lost) - len(there)
    text = ", ".join(f"{n} {way}" for way, n in sorted(ways.items()) if n)
    reasons = there.loc[there["reason"] != "", "reason"]
    return f"lost {len(lost)} of {n} samples: {text}" + (
        f" ({reasons.iloc[0]})" if len(reasons) else ""
    )


def _agree(base: np.ndarray, new: np.ndarray) -> bool:
    with np.errstate(invalid="ignore"):
        size = np.maximum(np.abs(base), np.abs(new))
        return bool(np.all((base == new) | (np.abs(new - base) <= TOLERANCE * size)))


def _judge(pair: _Pair, p_holm: float, resamples: int) -> Change:
    """The verdict on paired samples."""
    if not pair.n:
        return Change(*pair.cell, "failed", note=pair.note)
    difference = stats.subtract(pair.base, pair.new)
    low, high = stats.interval(difference, resamples=resamples)
    change = Change(
        *pair.cell, "same", float(pair.base.mean()), float(pair.new.mean()),
        float(difference.mean()), low, high, p_holm, len(difference), pair.note,
    )  # fmt: skip
    shown = p_holm <= LEVEL if pair.tested else pair.cell[2] in COSTS
    if shown and abs(change.difference) >= pair.spec.min_effect:
        better = (change.difference > 0) == (pair.spec.direction == "higher")
        directed: Verdict = "better" if better else "worse"
        change = replace(change, verdict="changed" if pair.spec.direction == "none" else directed)
    elif np.array_equal(pair.base, pair.new):
        change = replace(change, verdict="identical")
    elif pair.tested and not math.isfinite(stats.detectable(pair.n, 0.0)):
        change = replace(change, note="; ".join(filter(None, [pair.note, "too few samples"])))
    if pair.lost and change.verdict != "worse":
        change = replace(change, verdict="failed")
    return change


def _detectable(tested: list[_Pair]) -> dict[str, float]:
    """Smallest detectable difference of each metric, in its least sensitive cell."""
    found: dict[str, float] = {}
    for pair in tested:
        with np.errstate(invalid="ignore"):
            sd = float(np.std(stats.subtract(pair.base, pair.new), ddof=1)) if pair.n > 1 else 0.0
        seen = stats.detectable(pair.n, sd, alpha=LEVEL / len(tested))
        metric = pair.cell[2]
        found[metric] = max(found.get(metric, 0.0), seen, pair.spec.min_effect)
    return found


def _accepted(changes: list[Change], accept: Mapping[str, str]) -> dict[str, str]:
    """Names of cells whose verdict is accepted, with the reason."""
    found: dict[str, str] = {}
    quiet = {_name(c) for c in changes if c.verdict in ("identical", "same")}
    for pattern, reason in accept.items():
        names = [_name(c) for c in changes]
        hits = [n for n in names if fnmatchcase(n, pattern) or fnmatchcase(n, f"*/{pattern}")]
        if not hits:
            raise InputError(
                f"accept pattern {pattern!r} matches no cell; give method/metric, for example "
                f"{names[0].split('/', 1)[1] if names else 'ig/deletion'!r}."
            )
        found |= {n: reason for n in hits if n not in quiet}
    return found


def _exit_code(changes: list[Change]) -> Exit:
    verdicts = {c.verdict for c in changes}
    if "worse" in verdicts:
        return 1
    return 3 if verdicts & {"failed", "missing"} else 0


def _name(change: Change) -> str:
    return f"{change.model}/{change.method}/{change.metric}"


def format_text(comparison: Comparison) -> str:
    """Format a comparison for a terminal: headline, one line for each finding, differences."""
    c = comparison
    lines = [headline(c), *(f"NOT COMPARABLE {text}" for text in c.incomparable)]
    lines += [_line(c, change) for change in _findings(c)]
    return "\n".join(map(printable, [*lines, *remarks(c)])) + "\n"


def format_markdown(comparison: Comparison) -> str:
    """Format a comparison as Markdown, with a table of the findings, for a job summary."""
    c = comparison
    lines = [f"### {_escape(headline(c))}", ""]
    lines += [f"- not comparable: {_escape(text)}" for text in c.incomparable]
    rows = finding_rows(c)
    if rows:
        lines += [
            f"| {' | '.join(FINDING_COLUMNS)} |",
            "|---|---|---:|---:|---:|---:|---:|---|",
            *("| " + " | ".join(map(_escape, row)) + " |" for row in rows),
            "",
        ]
    lines += [f"- {_escape(text)}" for text in remarks(c)]
    return "\n".join(lines) + "\n"


FINDING_COLUMNS = (
    "verdict", "cell", "base", "new", "difference [95 %]", "p (Holm)", "n", "note",
)  # fmt: skip
"""Heads of the table of findings."""


def finding_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """The findings as texts, one for each of `FINDING_COLUMNS`; the gravest first."""
    return [_columns(comparison, change) for change in _findings(comparison)]


def remarks(comparison: Comparison) -> list[str]:
    """What differs between the runs besides the scores, and the differences that could be seen."""
    c = comparison
    found = [f"differs: {text}" for text in c.differences]
    return found if c.incomparable else [*found, _sensitivity(c)]


def headline(c: Comparison) -> str:
    """The verdict on the whole, with counts of cells and the names of both runs."""
    verdict = {0: "no regression", 1: "regression", 3: "incomplete", 4: "not comparable"}
    counts = Counter(change.verdict for change in c.changes)
    text = ", ".join(f"{counts[v]} {v}" for v in _LABELS if counts[v])
    cells = f": {text} of {len(c.changes)} cells" if text else ""
    cells += f", {len(c.accepted)} accepted" if c.accepted else ""
    return f"{verdict[c.exit_code]}{cells} ({c.base} -> {c.new})"


def _findings(c: Comparison) -> list[Change]:
    """The changes to report, the most serious first."""
    order = list(_LABELS)
    shown = [f for f in c.changes if f.verdict != "identical" and (f.verdict != "same" or f.note)]
    return sorted(shown, key=lambda f: order.index(f.verdict))


def _label(c: Comparison, change: Change) -> str:
    return "ACCEPTED" if _name(change) in c.accepted else _LABELS[change.verdict]


def _cell_name(c: Comparison, change: Change) -> str:
    """Name of a cell, without the model if there is only one."""
    several = len({f.model for f in c.changes}) > 1
    return _name(change) if several else f"{change.method}/{change.metric}"


def _note(c: Comparison, change: Change) -> str:
    reason = c.accepted.get(_name(change))
    return "; ".join(filter(None, [change.note, f"accepted: {reason}" if reason else ""]))


def _line(c: Comparison, change: Change) -> str:
    start, note = f"{_label(c, change)} {_cell_name(c, change)}:", _note(c, change)
    if not change.n:
        return f"{start} {note}"
    p = "" if math.isnan(change.p_value) else f"p={change.p_value:.2g} Holm; "
    return (
        f"{start} {change.base:.4g} -> {change.new:.4g} ({_interval(change)}, {change.verdict}; "
        f"{p}n={change.n}; min effect {c.metrics[change.metric].min_effect:g})"
        + (f"; {note}" if note else "")
    )


def _columns(c: Comparison, change: Change) -> tuple[str, ...]:
    numbers = ["", "", "", "", ""]
    if change.n:
        p = "" if math.isnan(change.p_value) else f"{change.p_value:.2g}"
        numbers = [
            f"{change.base:.4g}", f"{change.new:.4g}", _interval(change), p, str(change.n)
        ]  # fmt: skip
    return (_label(c, change), _cell_name(c, change), *numbers, _note(c, change))


def _interval(change: Change) -> str:
    return f"{change.difference:+.3g} [{change.low:+.3g}, {change.high:+.3g}]"


def _escape(text: str) -> str:
    """A text of a line or a cell: no HTML, link, code or end of the cell; names stay readable."""
    plain = printable(text.replace("\n", " ")).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKDOWN.sub(r"\\\1", plain)


def _sensitivity(c: Comparison) -> str:
    """One line with the smallest differences that the comparison could detect."""
    if not c.detectable:
        return "detectable: every compared score agrees to rounding, so nothing was tested"
    parts = [
        f"{metric} >= {least:.2g}" if math.isfinite(least) else f"{metric}: too few samples"
        for metric, least in c.detectable.items()
    ]
    return "detectable (mean difference, 90 % power, after Holm): " + ", ".join(parts)
