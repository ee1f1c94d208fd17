"""Look at a model before work: is a row a function of itself, how many outputs, any gradients?

A score of one row must not depend on the rows beside it, on the calls before it, or on chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from igbench.core import rng
from igbench.core.score import Score, is_out_of_memory
from igbench.errors import InputError, SampleError, typed_line

ULPS = 2.0**13
"""Rounding errors, in units of the last place of the largest output, by which sums that are taken
in another order may differ; what differs more depends on something else."""

MOST = 0.05
"""Largest relative difference that is rounding, in dtypes with few digits."""


@dataclass(frozen=True)
class Outputs:
    """What a model returns for a row.

    Attributes:
        shape: () or (K,) or more axes: of the outputs of one row.
    """

    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of outputs of one row."""
        return torch.Size(self.shape).numel()

    @property
    def single(self) -> bool:
        """Whether there is one output, and nothing to choose."""
        return self.count == 1 and len(self.shape) < 2


def probe(score: Score, x: Tensor) -> Outputs:
    """Check that a row is a function of itself: the same alone, again, and in company.

    Costs up to 8 rows, which are not counted.  The company is the next sample and half of the
    first.  With a `batch_size` of 1 no row has company, so none is looked at.

    Args:
        score: The scalar that is explained.
        x: (N, *F) samples, of which the first two are used.

    Returns:
        What the model returns.

    Raises:
        InputError: The model fails, draws at random, keeps state, or mixes rows; the message says
            what was seen.

    >>> probe(Score(lambda x: x.square()), torch.ones(2, 3)).shape
    (3,)
    """
    one, others = x[:1], torch.cat([x[1:2], x[:1] / 2])
    with rng.untouched():
        alone = outputs_of(score, one)
        again = outputs_of(score, one)
        eps = coarsest(score, one, alone)
        if not _agree(alone, again, eps):
            raise InputError(
                "the model's outputs for the same row differ from call to call "
                f"({_pair(alone, again)}): it draws at random (functional dropout?) or keeps "
                "state; make it deterministic in eval mode."
            )
        if score.batch_size > 1:
            _check_company(score, one, others, alone, eps)
        else:
            outputs_of(score, others[:1])
        last = outputs_of(score, one)
        if not _agree(alone, last, eps):
            raise InputError(
                "the model's outputs for a row changed after it had seen others "
                f"({_pair(alone, last)}): it keeps state between calls; reset it in forward, or "
                "make it stateless."
            )
    return Outputs(tuple(alone.shape[1:]))


def _check_company(score: Score, one: Tensor, others: Tensor, alone: Tensor, eps: float) -> None:
    for company in (others, others[:-1]):
        if not len(company):
            return
        rows = torch.cat([company[:1], one, company[1:]])
        try:
            together = outputs_of(score, rows)
        except InputError:
            if company is others and len(others) > 1:
                continue  # half of a sample may be none that the model takes
            raise
        if not _agree(alone, together[1:2], eps):
            raise InputError(
                "the model's outputs for a row depend on the rows beside it (alone and in "
                f"company: {_pair(alone, together[1:2])}): statistics or a normalisation over the "
                "batch? "
                "Make rows independent, or give batch_size=1, so that every row is alone."
            )
        return


def outputs_of(score: Score, rows: Tensor) -> Tensor:
    """Outputs of some rows, (N, ...), without gradients.

    Args:
        score: The scalar that is explained.
        rows: (N, *F).

    Raises:
        InputError: The model fails; errors that say that memory is full are raised as they are.
    """
    try:
        with torch.no_grad():
            return score.outputs(rows)
    except (InputError, SampleError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        what = "a single row" if len(rows) == 1 else f"{len(rows)} rows"
        text = typed_line(error, 300)
        hint = (
            " An exported or traced model needs a dynamic first axis."
            if "Guard" in text or "batch" in text.lower() or "size of tensor" in text.lower()
            else ""
        )
        raise InputError(
            f"the model cannot be called with {what} of shape {tuple(rows.shape)}: {text}.{hint}"
        ) from error


def coarsest(score: Score, x: Tensor, outputs: Tensor) -> float:
    """Relative rounding of the floats with the fewest digits on the way from inputs to outputs.

    Outputs in float64 may be computed from float32, be it of inputs or of layers; whole numbers are
    not rounded.

    Args:
        score: Whose model it is.
        x: Inputs.
        outputs: Outputs.

    >>> x, score = torch.ones(1, 2), Score(nn.Linear(2, 1).eval())
    >>> coarsest(score, x.double(), x.double()) == torch.finfo(x.dtype).eps
    True
    """
    if not outputs.is_floating_point():
        return 0.0
    model = score.model
    layers = [*model.parameters(), *model.buffers()] if isinstance(model, nn.Module) else []
    kinds = {t.dtype for t in (x, outputs, *layers) if t.is_floating_point()}
    return max(torch.finfo(kind).eps for kind in kinds)


def _agree(a: Tensor, b: Tensor, eps: float) -> bool:
    """Whether two outputs differ by rounding alone; NaN agrees with NaN."""
    if a.shape != b.shape:
        return False
    a, b = a.detach(), b.detach()
    one, two = a.double(), b.double()
    finite = one.isfinite() & two.isfinite()
    if not torch.equal(one.isfinite(), two.isfinite()):
        return False
    size = float(one.where(finite, 0.0).abs().max()) if one.numel() else 0.0
    bound = min(MOST, ULPS * eps) * size
    return bool(((one - two).where(finite, 0.0).abs() <= bound).all())


def _pair(a: Tensor, b: Tensor) -> str:
    """The two outputs that differ most, for a message."""
    if a.shape != b.shape:
        return f"shapes {tuple(a.shape)} and {tuple(b.shape)}"
    one, two = a.detach().double().flatten(), b.detach().double().flatten()
    i = int((one - two).abs().nan_to_num(nan=torch.inf).argmax())
    return f"{float(one[i]):.4g} and {float(two[i]):.4g}"


def check_target(target: Tensor | None, outputs: Outputs) -> None:
    """Raise unless targets choose among the outputs of a model.

    Args:
        target: (N,) or (N, k) integers, or None.
        outputs: What the model returns.

    Raises:
        InputError: Classes out of range, or a choice where there is none.

    >>> check_target(torch.tensor([2]), Outputs((2,)))
    Traceback (most recent call last):
    igbench.errors.InputError: target 2 is not one of the model's 2 outputs, 0 to 1.
    """
    if target is None:
        return
    if outputs.single:
        if bool((target != 0).any()):
            raise InputError(
                f"the model has a single output, so there is no output {int(target.flatten()[0])} "
                "to choose; leave target out."
            )
        return
    indices = target.reshape(len(target), -1)
    if indices.shape[1] != len(outputs.shape):
        return  # `igbench.core.outputs.select` says what is expected
    for axis, size in enumerate(outputs.shape):
        wrong = (indices[:, axis] < 0) | (indices[:, axis] >= size)
        if bool(wrong.any()):
            found = int(indices[wrong, axis][0])
            where = f" on axis {axis}" if len(outputs.shape) > 1 else ""
            raise InputError(
                f"target {found} is not one of the model's {size} outputs{where}, 0 to {size - 1}."
            )
