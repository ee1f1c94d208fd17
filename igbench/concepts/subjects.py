"""Choose the samples of a class, whose outputs concepts may move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from igbench.concepts.tcav import Subjects
from igbench.core.score import Score
from igbench.errors import InputError, suggestion

PREDICTION = "prediction"


def choose(
    score: Score,
    x: Tensor,
    labels: Sequence[int | None],
    targets: Sequence[str | int],
    class_names: Sequence[str] = (),
) -> list[Subjects]:
    """Samples by class: those with its label, and of those without a label what is predicted so.

    Args:
        score: The explained output.
        x: (S, *F) samples.
        labels: S classes, None where unknown.
        targets: Classes by name or index, or "prediction" for all samples, each with the class
            that the model predicts.
        class_names: Names of the classes.

    Raises:
        InputError: No such class, a class chosen twice, or one without samples.
    """
    outputs = _outputs(score, x)
    if outputs.shape[1] == 1:
        if list(targets) != [PREDICTION]:
            raise InputError("the model has a single output, so there is no class to choose.")
        return [Subjects(PREDICTION, x, None)]
    predicted = outputs.argmax(dim=1)
    known = [p if v is None else v for v, p in zip(labels, predicted.tolist(), strict=True)]
    found: dict[str, Subjects] = {}
    for target in targets:
        if target == PREDICTION:
            one = Subjects(PREDICTION, x, predicted)
        else:
            one = _of_class(target, x, known, class_names, outputs.shape[1])
        if one.name in found:
            raise InputError(f"the class {one.name!r} is chosen twice; leave one out.")
        found[one.name] = one
    return list(found.values())


def _outputs(score: Score, x: Tensor) -> Tensor:
    with torch.no_grad():
        parts = list(score.in_chunks(len(x), lambda part: score.outputs(x[part])))
    found = torch.cat(parts)
    return found.reshape(len(found), -1)


def _of_class(
    target: str | int, x: Tensor, known: Sequence[int], names: Sequence[str], count: int
) -> Subjects:
    index = class_index(target, names, count)
    rows = [i for i, k in enumerate(known) if k == index]
    if not rows:
        there = Counter(known).most_common(8)
        raise InputError(
            f"no sample is of class {_name(index, names)!r}; among the {len(x)} samples are "
            f"{', '.join(f'{_name(k, names)} ({n})' for k, n in there)}. Set limit=null for all "
            "samples, or other data."
        )
    chosen = torch.full((len(rows),), index, device=x.device)
    return Subjects(_name(index, names), x[rows], chosen)


def _name(index: int, names: Sequence[str]) -> str:
    return names[index] if index < len(names) else str(index)


def class_index(target: str | int, names: Sequence[str], count: int) -> int:
    """The index of a class given by name, whatever its capitals, or by number.

    Args:
        target: Name or number.
        names: Names of the classes.
        count: Number of classes.

    Raises:
        InputError: There is none; the message names the nearest.

    >>> class_index("Cat", ["dog", "cat"], 2), class_index("0", ["dog", "cat"], 2)
    (1, 0)
    """
    text = str(target)
    lowered = [n.casefold() for n in names]
    if text.casefold() in lowered:
        return lowered.index(text.casefold())
    if text.isdecimal() and int(text) < count:
        return int(text)
    raise InputError(
        f"the model has no class {text!r}; give a name, a number from 0 to {count - 1}, or "
        f"target=prediction.{suggestion(text, names)}"
    )
