"""Look at a model before any work: outputs, rows that are functions of themselves, gradients."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from igbench.core import rng
from igbench.core.batch import Method
from igbench.core.probe import Outputs, check_target, outputs_of, probe
from igbench.core.score import Score, frozen, is_out_of_memory
from igbench.errors import InputError, one_line
from igbench.evaluation.experiment import WITHOUT_GRADIENT
from igbench.integration.integrate import input_gradient


def look(
    score: Score,
    x: Tensor,
    methods: Mapping[str, Method],
    target: Tensor | None = None,
    labels: Tensor | None = None,
) -> Outputs | None:
    """What a model returns, after a look at all that would make every score of it wrong.

    Costs up to 9 rows, and one for each sample that the model does not take; they are not counted.

    Args:
        score: The scalar that is explained.
        x: (N, *F) samples, of which the first two that the model takes are used.
        methods: Methods by name.
        target: Classes that will be explained, (n,), where they are given.
        labels: True classes (n,), where they are known.

    Returns:
        The outputs of a row; None where not even one row fits into memory.

    Raises:
        InputError: The model fails on all of these samples, its rows are not functions of
            themselves, its outputs have more than one axis, it has no class of that number, or it
            has no gradients and a method needs them.
    """
    try:
        x = _taken(score, x)
    except RuntimeError as error:
        if is_out_of_memory(error):
            return None
        raise
    outputs = probe(score, x)
    if len(outputs.shape) > 1:
        raise InputError(
            f"the model returns outputs of shape {outputs.shape} for a sample, of which none is "
            "the class; wrap it to return (N, K)."
        )
    check_target(target, outputs)
    if labels is not None:
        check_labels(labels, outputs)
    needing = [name for name, m in methods.items() if m.spec.needs_gradient]
    if needing and score.differentiable:
        _check_gradient(score, x[:1], needing, list(methods))
    return outputs


def _taken(score: Score, x: Tensor) -> Tensor:
    """The first two samples that the model takes; raises where it takes none."""
    good: list[Tensor] = []
    error: InputError | None = None
    for row in x.split(1):
        try:
            with rng.untouched():
                outputs_of(score, row)
        except InputError as found:
            error = error or found
        else:
            good.append(row)
        if len(good) == 2:
            break
    if not good:
        raise error or InputError("there is no sample to look at the model with.")
    return torch.cat(good)


def check_labels(labels: Tensor, outputs: Outputs) -> None:
    """Raise unless labels are classes of a model; those of a single output are 0 and 1.

    Args:
        labels: (n,) whole numbers.
        outputs: What the model returns.

    Raises:
        InputError: A label out of range.

    >>> check_labels(torch.tensor([0, 3]), Outputs((3,)))
    Traceback (most recent call last):
    igbench.errors.InputError: label 3 is not one of the model's classes, 0 to 2.
    """
    most = 1 if outputs.single else outputs.count - 1
    wrong = labels[(labels < 0) | (labels > most)]
    if len(wrong):
        why = "; a model with a single output has labels 0 and 1, or none" if outputs.single else ""
        raise InputError(
            f"label {int(wrong[0])} is not one of the model's classes, 0 to {most}{why}."
        )


def _check_gradient(score: Score, x: Tensor, needing: list[str], methods: list[str]) -> None:
    """Raise if the model has no gradient by its input."""
    target = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    before = score.cost.snapshot()
    try:
        with frozen(score.model):
            input_gradient(score, x, target)
    except (InputError, RuntimeError, NotImplementedError) as error:
        if is_out_of_memory(error):
            return
        working = [m for m in methods if m not in needing] or WITHOUT_GRADIENT
        raise InputError(
            f"the model has no gradient by its inputs ({one_line(error)}), which "
            f"{', '.join(needing)} cannot do without; choose methods that evaluate it alone: "
            f"{', '.join(working)}."
        ) from error
    finally:
        score.cost.forward, score.cost.backward = before.forward, before.backward
