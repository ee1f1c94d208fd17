"""Settle the batch size of a run: one that its results on disk have, or a better measured one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from igbench.config import build
from igbench.evaluation import batch_size, loading, rows_memory
from igbench.evaluation.batch_size import Question
from igbench.evaluation.experiment import Experiment
from igbench.files import cache_folder


def remembered() -> frozenset[str]:
    """Names of the answers that are remembered."""
    return frozenset(rows_memory.recall(cache_folder(None) / "rows.json"))


def settled(
    config: Mapping[str, Any],
    experiment: Experiment,
    before: Collection[str],
    used: Callable[[int], bool],
) -> int:
    """The rows of a call: those of results that are there, or else of a measurement that is sure.

    Results on disk, of this configuration or for other metrics of it, are found by the batch size
    that they were made with, so that it stays theirs.  Without any, an answer that is in doubt is
    measured again.

    Args:
        config: The resolved configuration.
        experiment: What it describes.
        before: Names of the answers that were remembered before it was built.
        used: Whether results with a batch size are on disk.
    """
    question = _question(config, experiment)
    answer = question.known() if question else None
    if question is None or answer is None or question.name not in before:
        return experiment.batch_size
    if not answer.due and not answer.earlier:
        return answer.rows
    there = [rows for rows in (answer.rows, *answer.earlier) if used(rows)]
    if there:
        return there[0]
    found = loading.first(experiment.data, experiment.loading) if answer.due else None
    if found is None:
        return answer.rows
    return batch_size.measured(build.rows_question(experiment, found[1])).rows


def per_row(config: Mapping[str, Any], experiment: Experiment) -> tuple[float, ...]:
    """Seconds of a row evaluated, and of one differentiated, that are remembered; else nothing."""
    question = _question(config, experiment)
    answer = question.known() if question else None
    if answer is None or answer.rows != experiment.batch_size or experiment.quick.changes:
        return ()
    return (*answer.seconds, 0.0)[:2] if answer.seconds else ()


def note_speed(
    config: Mapping[str, Any], experiment: Experiment, stages: Mapping[str, Mapping[str, float]]
) -> None:
    """Have the answer measured again if a run in this process had another speed than remembered.

    The run keeps its rows: the next new one may get others.
    """
    question = _question(config, experiment)
    answer = question.known() if question else None
    if question is None or answer is None or experiment.quick.changes:
        return
    if answer.rows != experiment.batch_size:
        return
    busy = [cost for cost in stages.values() if cost.get("forward", 0) > 0]
    forward, backward, seconds = (
        sum(cost[kind] for cost in busy) for kind in ("forward", "backward", "seconds")
    )
    if batch_size.another_speed(answer, forward, backward, seconds):
        rows_memory.mark(question.memory, question.name)


def _question(config: Mapping[str, Any], experiment: Experiment) -> Question | None:
    """What was measured for an experiment; None where the configuration has the number."""
    return build.rows_question(experiment) if config["batch_size"] == "auto" else None
