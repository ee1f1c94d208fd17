"""Compare two runs: is the comparison allowed, the verdict on every cell, and the exit status."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import pandas as pd

from igbench.errors import check_choice
from igbench.records import stats
from igbench.records.compare import acceptance, drift, identity, questions, remarking
from igbench.records.compare.acceptance import Acceptance
from igbench.records.compare.identity import Difference
from igbench.records.compare.judging import detectable, judge
from igbench.records.compare.pairing import TOLERANCES, Cell, Pair, cells, pair, quick_pairs
from igbench.records.settings import own_settings
from igbench.schema import COSTS, Change, MetricSpec, Records, Verdict

Exit = Literal[0, 1, 2, 3]
FailOn = Literal["regression", "any-change", "never"]
Outcome = Literal["no regression", "regression", "change", "not comparable", "incomplete"]

NOT_COMPARABLE: Exit = 2
NO_CHANGE: tuple[Verdict, ...] = ("identical", "close", "unjudged")
"""Verdicts that never fail."""


@dataclass(frozen=True)
class Comparison:
    """Verdicts on a new run against a base run.

    Attributes:
        base: Identifier of the base run.
        new: Identifier of the new run.
        changes: One for each cell of either run, in the order of the base run; `p_value` is
            Holm-adjusted over all tested cells, NaN for cells without a test.  Empty where the runs
            are not comparable.
        incomparable: What differs and must not, with both values and the option that allows it.
        differences: Everything else that differs, with both values.
        detectable: Metric to the smallest mean difference that is detected with 90 % power in each
            tested cell, after the correction; in the unit of the metric.
        metrics: Definitions of the metrics.
        accepted: Cell name "model/method/metric" to the reason why its verdict is accepted.
        exit_code: 0 no regression, 1 regression (or change, if that is to fail), 2 not comparable,
            3 incomplete.
        outcome: The same in words, whatever is to fail.
        warnings: What never fails: times and memory, other targets, acceptances without effect.
        across: What may differ.
        fail_on: What fails.
        found: Every entry that differs, as data.
        history: Identifiers of the earlier runs that the new one was compared with as well.
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
    outcome: Outcome = "no regression"
    warnings: list[str] = field(default_factory=list)
    across: tuple[str, ...] = ()
    fail_on: FailOn = "regression"
    found: tuple[Difference, ...] = ()
    history: tuple[str, ...] = ()


@own_settings()
def compare(
    base: Records,
    new: Records,
    *,
    across: Collection[str] = (),
    fail_on: FailOn = "regression",
    accept: Mapping[str, str] | None = None,
    acceptances: Sequence[Acceptance] = (),
    history: Sequence[Records] = (),
    chosen_from: int = 0,
    resamples: int = stats.RESAMPLES,
) -> Comparison:
    """Compare two runs, cell by cell and paired on the samples.

    Verdicts on a cell: "identical" if all paired values are equal to the last bit; "close" if they
    agree within 1e-6 (float32) or 1e-9 of their size; "equivalent" if the 90 % interval of the mean
    difference lies within ± `MetricSpec.min_effect`; "regressed" or "improved" if the difference
    reaches `min_effect` and the signed-rank test rejects at 5 % after Holm's correction over all
    tested cells, "changed" for metrics without direction; they are so without a test where it
    reaches `min_effect` and most samples agree to the last bit, unless scores have few values;
    "undecided" otherwise.  "failed" if a sample has lost its value and the cell has not regressed;
    "missing" and "new" if it is in one run only; "incomparable" if it answers another question, as
    with another definition of the metric or another baseline; "unjudged" for times and memory,
    which are only remarked.

    The test and the interval are those of `igbench.records.stats.pairwise`.  Counts of model rows
    are exact and need no test.

    Args:
        base: The run to compare with.
        new: The run to judge.
        across: What may differ, see `igbench.records.compare.identity.FIELDS`: "captum", "torch",
            "igbench", "libraries", "model", "device", ...; "all" for all but the question.
        fail_on: "regression"; "any-change" for every verdict but identical, close and unjudged;
            "never".  Runs that are not comparable fail in any case.
        accept: Pattern of "metric", "method/metric" or "model/method/metric" ("*" matches
            anything) to the reason why such verdicts do not count for the exit code.
        acceptances: What was accepted before, see `igbench.records.compare.acceptance`.
        history: Earlier runs: the best of them in each cell is compared with as well.
        chosen_from: Number of earlier runs of which `history` was chosen by its scores, which the
            p-value against the best of them accounts for; those of `history` alone by default.
        resamples: Number of bootstrap resamples of each interval.

    Raises:
        InputError: A word of `across` or `fail_on` is unknown, a pattern of `accept` matches no
            cell, or a metric has no definition.
    """
    check_choice("fail_on", fail_on, get_args(FailOn))
    words = identity.words(across, base.run, new.run)
    found = identity.differences(base, new)
    specs = {**COSTS, **base.run.metrics, **new.run.metrics}
    made = Comparison(
        base.run.id, new.run.id, [], _refused(base, new, found, words),
        [d.text for d in found if d.allowed(words) or questions.of_cells(d)], {}, specs,
        across=tuple(sorted(words)), fail_on=fail_on, found=tuple(found),
    )  # fmt: skip
    if made.incomparable:
        return replace(made, exit_code=NOT_COMPARABLE, outcome="not comparable")
    judged = _pairs(base, new, specs, found, words)
    pairs = {cell: item for cell, item in judged.items() if isinstance(item, Pair)}
    by_cell = dict(zip(pairs, judge([*pairs.values()], resamples=resamples), strict=True))
    changes = [by_cell[cell] if isinstance(item, Pair) else item for cell, item in judged.items()]
    earlier, left_out = _earlier(base, new, history, words)
    unread = max(0, chosen_from - len(history))
    changes = drift.with_drift(changes, earlier, unread=unread, resamples=resamples)
    changes = _with_models(changes, base, new, words)
    before, said = acceptance.kept(changes, acceptances, base.run.id, specs)
    accepted = before | acceptance.accepted(changes, accept or {})
    outcome = _outcome([c for c in changes if c.name not in accepted], fail_on)
    return replace(
        made, changes=changes, detectable=detectable([*pairs.values()]), accepted=accepted,
        warnings=[*remarking.of_targets(base, new), *remarking.of_costs(base, new, pairs),
                  *left_out, *said],
        outcome=outcome, exit_code=_exit_code(outcome, fail_on), history=tuple(earlier),
    )  # fmt: skip


def _refused(
    base: Records, new: Records, found: Sequence[Difference], words: Collection[str]
) -> list[str]:
    """What makes two runs as a whole not comparable, with the option that would allow it."""
    refused = [
        f"{d.text} (--across {d.word} allows it)"
        for d in found
        if not d.allowed(words) and not questions.of_cells(d)
    ]
    changed = {} if "metrics" in words else questions.changed_metrics(base.run, new.run)
    none = questions.no_common_metric(base, new, changed)
    if not refused and _shared_samples(base, new) == set():
        refused.append("samples: none in common")
    return [*refused, none] if none else refused


def _shared_samples(base: Records, new: Records) -> set[str] | None:
    """The samples that both runs have; None where they are the same."""
    ids = [set(identity.sample_ids(r.run)) or set(r.scores["sample_id"]) for r in (base, new)]
    return None if ids[0] == ids[1] else ids[0] & ids[1]


def _pairs(
    base: Records,
    new: Records,
    specs: Mapping[str, MetricSpec],
    found: Sequence[Difference],
    words: Collection[str],
) -> dict[Cell, Change | Pair]:
    """Every cell of either run, paired, or with its verdict where there is nothing to pair."""
    shared = _shared_samples(base, new)
    old_cells = cells(base.scores, shared)
    new_cells = cells(_renamed(base, new, words), shared)
    asked = questions.questions(base, new, found, words)
    tolerance = _tolerance(base, new)
    judged: dict[Cell, Change | Pair] = {}
    for cell in dict.fromkeys([*old_cells, *new_cells]):
        old, now = old_cells.get(cell), new_cells.get(cell)
        reason = asked.asked(*cell[1:]) if old is not None and now is not None else ""
        judged[cell] = (
            Change(*cell, "incomparable", note=f"{reason}: not compared")
            if reason
            else pair(cell, old, now, specs, tolerance)
        )
    return judged


def _tolerance(base: Records, new: Records) -> float:
    """Relative difference that rounding may make, by the coarser precision of two models."""
    names = [str(r.run.identity.get("dtype", "float64")) for r in (base, new)]
    return max(TOLERANCES.get(name, TOLERANCES["float64"]) for name in names)


def _models(scores: pd.DataFrame) -> list[str]:
    return list(map(str, scores["model"].unique()))


def _paired_models(base: Records, new: Records, words: Collection[str]) -> tuple[str, str] | None:
    """The names of the one model on each side, where another model is allowed."""
    old, now = _models(base.scores), _models(new.scores)
    allowed = identity.allows(words, "model") and len(old) == len(now) == 1
    return (old[0], now[0]) if allowed and old != now else None


def _renamed(base: Records, new: Records, words: Collection[str]) -> pd.DataFrame:
    """The scores of the new run, with the name that its model is paired with."""
    named = _paired_models(base, new, words)
    return new.scores.assign(model=named[0]) if named else new.scores


def _with_models(
    changes: Sequence[Change], base: Records, new: Records, words: Collection[str]
) -> list[Change]:
    named = _paired_models(base, new, words)
    return [replace(c, new_model=named[1]) for c in changes] if named else list(changes)


def _earlier(
    base: Records, new: Records, history: Sequence[Records], words: Collection[str]
) -> tuple[dict[str, dict[Cell, Pair]], list[str]]:
    """The cells of earlier runs, paired with the new run, and a remark on runs left out."""
    found: dict[str, dict[Cell, Pair]] = {}
    left_out: list[str] = []
    named, now = _paired_models(base, new, words), _renamed(base, new, words)
    for one in history:
        if one.run.id in (base.run.id, new.run.id, *found):
            continue
        apart = identity.differences(one, new)
        refused = _refused(one, new, apart, words)
        if refused:
            left_out.append(f"{one.run.id} ({refused[0]})")
            continue
        renamed = one.scores
        if named and len(_models(one.scores)) == 1:
            renamed = one.scores.assign(model=named[0])
        specs = {**COSTS, **one.run.metrics, **new.run.metrics}
        pairs = quick_pairs(renamed, now, specs, _tolerance(one, new))
        asked = questions.questions(one, new, apart, words)
        found[one.run.id] = {c: p for c, p in pairs.items() if not asked.asked(*c[1:])}
    if not left_out:
        return found, []
    return found, [
        f"{len(left_out)} earlier runs are not comparable and left out of the best so far; the "
        f"first: {left_out[0]}"
    ]


def fails(change: Change, fail_on: FailOn) -> bool:
    """Whether a cell that is not accepted makes the exit status other than 0."""
    if fail_on == "never":
        return False
    if acceptance.drifted(change) or change.verdict in _GRAVE:
        return True
    return fail_on == "any-change" and change.verdict not in NO_CHANGE


_GRAVE: tuple[Verdict, ...] = ("regressed", "failed", "missing", "incomparable")


def _outcome(changes: Sequence[Change], fail_on: FailOn) -> Outcome:
    """The verdict on the whole from those cells that are not accepted, the gravest first."""
    verdicts = {c.verdict for c in changes}
    if "regressed" in verdicts or any(map(acceptance.drifted, changes)):
        return "regression"
    if "incomparable" in verdicts:
        return "not comparable"
    if fail_on == "any-change" and verdicts - {*NO_CHANGE, *_GRAVE}:
        return "change"
    return "incomplete" if verdicts & {"failed", "missing"} else "no regression"


def _exit_code(outcome: Outcome, fail_on: FailOn) -> Exit:
    if fail_on == "never":
        return 0
    codes: dict[Outcome, Exit] = {
        "no regression": 0, "regression": 1, "change": 1, "not comparable": 2, "incomplete": 3,
    }  # fmt: skip
    return codes[outcome]
