"""Check a model's explanations against a baseline: `igbench.check`, for test suites and CI."""

from __future__ import annotations

import math
import shlex
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from igbench.api import Evaluation, evaluate
from igbench.errors import InputError
from igbench.records import baselines, causes, compare, store
from igbench.records.compare import Comparison, acceptance
from igbench.schema import COSTS, Records, Verdict

ACROSS = ("all",)
"""What may differ from a baseline by default: model, libraries and machine, but not the question.

A test suite runs wherever its people are, and what changes in it is the model or a library."""

GRAVE: tuple[Verdict, ...] = (
    "regressed", "failed", "missing", "incomparable", "new", "changed", "improved",
)  # fmt: skip
"""Verdicts that can fail a check, the gravest first."""
NUMBERS = (
    "base -> new: means over the same n samples; [low, high]: 95 % interval of their difference",
    "p: paired test, corrected for the number of cells; below the min effect nothing fails",
    "detectable: the smallest difference that n samples show; more samples show smaller ones",
)
_SENTENCES: dict[compare.Outcome, str] = {
    "regression": "explanations are worse than in baseline {}",
    "change": "explanations are not those of baseline {}",
    "not comparable": "explanations cannot be compared with baseline {}",
    "incomplete": "explanations have scores that baseline {} lacks, or lack some that it has",
}


@dataclass(frozen=True)
class Checked:
    """A check, with the records behind it.

    Attributes:
        comparison: The verdicts.
        base: The baseline that was compared with.
        new: The run of the check; its `folder` is "" unless it was written.
        baseline: Folder of the baseline.
        updated: "" for a check, "written" or "replaced" where the baseline was.
        used: The patterns that are accepted from now on and match a cell that has changed.
    """

    comparison: Comparison
    base: Records
    new: Records
    baseline: Path
    updated: str = ""
    used: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the check fails."""
        return self.comparison.exit_code != 0 and not self.updated


def check(
    model: Any,
    data: Any,
    *,
    baseline: str,
    baselines_dir: str | Path = baselines.ROOT,
    update: bool = False,
    across: Collection[str] = ACROSS,
    fail_on: compare.FailOn = "regression",
    accept: Mapping[str, str] | None = None,
    results_dir: str | Path | None = None,
    input_baseline: Any = None,
    **options: Any,
) -> Comparison:
    """Compare attribution methods on a model with a baseline.

    Samples, methods and metrics must be those of the baseline; the weights of the model and the
    versions of libraries may differ.  A method or metric that the baseline does not have makes the
    check incomplete, exit code 3.  Times and memory are left out.  What the file
    `baselines/NAME.accepted.yaml` accepts does not count, see `igbench compare --accept`.

    Args:
        model: As for `igbench.evaluate`.
        data: As for `igbench.evaluate`.
        baseline: Name of the baseline, a folder in `baselines_dir`.
        baselines_dir: Folder of all baselines.
        update: Write the baseline, in the place of one of this name, instead of checking; the
            comparison is then with the one that was replaced, or of the new one with itself.
        across: What may differ, see `igbench.records.compare.compare`.
        fail_on: What makes an exit code other than 0, see there.
        accept: Patterns of cells to the reason why their verdicts do not count, see there.
        results_dir: Where the run is written, maps included, if the check fails; nowhere by
            default.
        input_baseline: The baseline x′ of the attributions, `baseline` of `igbench.evaluate`.
        **options: All others of `igbench.evaluate`: methods and metrics, and any further ones.

    Returns:
        The verdicts; `igbench.records.compare.format_text` writes them.

    Raises:
        InputError: There is no baseline of this name, or `igbench.evaluate` refuses something.

    >>> import tempfile, torch, igbench
    >>> model, x = torch.nn.Linear(3, 2).eval(), torch.rand(8, 3)
    >>> with tempfile.TemporaryDirectory() as root:
    ...     same = {"methods": ["ig"], "metrics": ["completeness"], "baselines_dir": root}
    ...     _ = igbench.check(model, x, baseline="v1", update=True, **same)
    ...     igbench.check(model, x, baseline="v1", **same).exit_code
    0
    """
    return checked(
        model, data, baseline=baseline, baselines_dir=baselines_dir, update=update, across=across,
        fail_on=fail_on, accept=accept, results_dir=results_dir, input_baseline=input_baseline,
        **options,
    ).comparison  # fmt: skip


def checked(
    model: Any,
    data: Any,
    *,
    baseline: str,
    baselines_dir: str | Path = baselines.ROOT,
    update: bool = False,
    across: Collection[str] = ACROSS,
    fail_on: compare.FailOn = "regression",
    accept: Mapping[str, str] | None = None,
    accept_now: Mapping[str, str] | None = None,
    results_dir: str | Path | None = None,
    input_baseline: Any = None,
    **options: Any,
) -> Checked:
    """Do what `check` does, and return the records behind the verdicts too.

    What `accept_now` matches is written to the file of acceptances, as `igbench compare --accept`
    does; its patterns may match no cell of this check.
    """
    root = Path(baselines_dir)
    base = None if update else _untimed(store.read(baselines.find(baseline, root)))
    if input_baseline is not None:
        options["baseline"] = input_baseline
    found = evaluate(model, data, **{"name": baseline} | options)
    if base is None:
        return _update(found, baseline, root, across)
    new = _untimed(found.records)
    kept = acceptance.beside(root / baseline)
    before = acceptance.read(kept)
    judge = partial(compare.compare, base, new, across=across, fail_on=fail_on, accept=accept or {})
    verdicts = judge(acceptances=before)
    used = _changed(accept_now or {}, verdicts)
    if used:
        before += acceptance.entries_of(
            verdicts.changes, used, base=verdicts.base, new=verdicts.new
        )
        acceptance.write(kept, before)
        verdicts = judge(acceptances=before)
    verdicts = _complete(verdicts)
    if verdicts.exit_code and results_dir is not None:
        new = replace(new, folder=str(_write(found, Path(results_dir))))
    return Checked(verdicts, base, new, root / baseline, used=tuple(used))


def _changed(patterns: Mapping[str, str], found: Comparison) -> dict[str, str]:
    """The patterns that match a cell which has changed."""
    loud = [one for one in found.changes if acceptance.needs_acceptance(one)]
    return {p: w for p, w in patterns.items() if any(acceptance.matches(p, one) for one in loud)}


def _untimed(records: Records) -> Records:
    """Records without times and memory, which never fail and change from machine to machine."""
    timed = [name for name, spec in COSTS.items() if math.isinf(spec.min_effect)]
    return replace(records, scores=records.scores[~records.scores["metric"].isin(timed)])


def _complete(found: Comparison) -> Comparison:
    """A comparison that is incomplete if the baseline has nothing to judge a cell by."""
    unjudged = [c for c in found.changes if c.verdict == "new" and c.name not in found.accepted]
    blind = unjudged and found.fail_on != "never" and found.exit_code == 0
    return replace(found, exit_code=3, outcome="incomplete") if blind else found


def _update(found: Evaluation, name: str, root: Path, across: Collection[str]) -> Checked:
    """Write a baseline, and compare it with the one in whose place it is."""
    exists = name in baselines.names(root)
    base = _readable(root / name) if exists else None
    with tempfile.TemporaryDirectory() as place:
        written = _write(found, Path(place))
        folder = baselines.set_baseline(written, name, root, replace=exists)
    new = _untimed(store.read(folder))
    verdicts = compare.compare(base or new, new, across=across)
    return Checked(verdicts, base or new, new, folder, "replaced" if exists else "written")


def _readable(folder: Path) -> Records | None:
    """A baseline that is to be replaced; None if it is damaged."""
    try:
        return _untimed(store.read(folder))
    except InputError:
        return None


def _write(found: Evaluation, results_dir: Path) -> Path:
    """Write a run with its maps and without a report."""
    place, kept = store.place(results_dir, found.run), found.results
    return store.write(place, found.run, kept.rows, kept.points, kept.maps)


def state(found: Checked) -> str:
    """What became of a check: "written", "replaced", "passed", "failed" or "ignored"."""
    if found.updated or found.failed:
        return found.updated or "failed"
    return "passed" if found.comparison.outcome == "no regression" else "ignored"


def verdict(found: Checked) -> str:
    """The verdict of a check on one line."""
    text = compare.headline(_named(found))
    if not found.updated:
        return text
    run = found.new.run
    kept = (
        f"baseline {found.baseline.name}: {len(run.samples)} samples, methods "
        f"{', '.join(run.methods)} in {_short(found.baseline)}"
    )
    failed = (run.totals.get("status") or {}).get("failed", 0)
    kept += f"; {failed} scores failed" if failed else ""
    if found.updated == "written":
        return kept
    damaged = found.base is found.new
    return f"{kept}; " + (
        "the one before was damaged" if damaged else f"against the one before: {text}"
    )


def _named(found: Checked) -> Comparison:
    """The comparison with words in place of the identifiers of both runs."""
    return replace(found.comparison, base=f"baseline {found.baseline.name}", new="now")


def worst(found: Checked) -> str:
    """The gravest cell that is not accepted, as "method/metric"; "" if there is none."""
    c = found.comparison
    open_ = [one for one in c.changes if one.verdict in GRAVE and one.name not in c.accepted]
    gravest = min(open_, key=lambda one: GRAVE.index(one.verdict), default=None)
    return f"{gravest.method}/{gravest.metric}" if gravest else ""


def message(found: Checked, accept: str, update: str) -> str:
    """What a failed check found, for somebody who sees it for the first time.

    Args:
        found: The check.
        accept: How to accept the gravest cell, a command.
        update: How to make the baseline anew, likewise.
    """
    c = found.comparison
    grave = [one for one in c.changes if one.verdict in GRAVE[:-1]]
    methods = causes.titles(found.base.run.methods | found.new.run.methods, grave)
    legend = [*methods, *causes.legend(c.metrics, (one.metric for one in grave)), *NUMBERS]
    blocks = {
        "What the numbers are": legend if grave else [],
        "What else changed": [*causes.model_changes(found.base, found.new), *c.differences],
        "What to do": _to_do(found, accept, update),
    }
    sentence = _SENTENCES.get(c.outcome, "{}").format(repr(found.baseline.name))
    said = compare.format_text(replace(_named(found), differences=[]))
    lines = [sentence, *said.splitlines()]
    for title, inner in blocks.items():
        lines += ["", f"{title}:", *(f"  {line}" for line in inner)] if inner else []
    return "\n".join(lines)


def _to_do(found: Checked, accept: str, update: str) -> list[str]:
    """What a maintainer can do about a failed check."""
    lines = ["not meant: undo what changed, and run the test again"]
    if found.new.folder:
        across = [word for name in found.comparison.across for word in ("--across", name)]
        both = [_short(found.baseline), _short(found.new.folder)]
        command = shlex.join(["igbench", "compare", *both, *across])
        lines += [
            "to look closer, on a page with plots:",
            f"    {command} --html changes.html",
        ]
    if worst(found):
        kept = _short(acceptance.beside(found.baseline))
        lines += [f"meant, for now: say why, and commit {kept}:", f"    {accept}"]
    return [
        *lines,
        f"meant, for good: make the baseline anew, and commit {_short(found.baseline)}:",
        f"    {update}",
    ]


def _short(path: str | Path) -> str:
    """A path as one types it in the current folder."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
