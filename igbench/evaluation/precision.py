"""Measure the error of reduced precision and compilation on perturbed inputs before a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from igbench.core import rng
from igbench.core.score import Score
from igbench.evaluation import isolation, loading
from igbench.evaluation.experiment import Experiment

SAMPLES = 4
"""Samples that are looked at: the first ones that can be read."""

HALVES = 2
"""Versions of each with a random half of the elements at the baseline."""


def report(experiment: Experiment) -> dict[str, Any]:
    """How forwards of perturbed inputs differ from others, on the first samples.

    The error of an input is |f_quick - f| / max |f|, where f is the output that the experiment
    explains, in the class that the sample is taken for, and the maximum is over the versions of the
    same sample: the clean one, its baseline, and `HALVES` with half of the elements at the baseline
    (drawn by seed and sample).  It is 0 or more, without a unit.

    Returns:
        "forwards" (the precision) and "compile" (the backend, "" for none).  Where batch norms can
        be folded, "norms" (how many), "folded" (how many are), and the "fold_largest" and
        "fold_mean" error of that, from "fold_inputs".  Where precision or compilation change
        something also "largest" and "mean" error, the number of "inputs" that they are
        from, and "fallback": why the model is not compiled after all, else "".
    """
    quick = experiment.quick
    known: dict[str, Any] = {"forwards": quick.precision, "compile": quick.backend}
    if (folding := experiment.folding) is not None:
        known |= {
            "norms": folding.norms,
            "folded": folding.used,
            "fold_largest": folding.largest,
            "fold_mean": folding.mean,
            "fold_inputs": folding.inputs,
        }
    if not quick.changes:
        return known
    errors = errors_of(experiment, experiment.score())
    fallback = "" if quick.compiled is None else quick.compiled.broken
    return known | {
        "largest": float(errors.max()) if len(errors) else 0.0,
        "mean": float(errors.mean()) if len(errors) else 0.0,
        "inputs": len(errors),
        "fallback": fallback,
    }


def words(report: Mapping[str, Any]) -> str:
    """A report in a line or two; empty where nothing differs.

    >>> words({"forwards": "float32", "compile": ""})
    ''
    """
    return "\n".join(line for line in (_folding(report), _quick(report)) if line)


def _folding(report: Mapping[str, Any]) -> str:
    if "norms" not in report:
        return ""
    off = (
        f"outputs off by up to {report['fold_largest']:.2g}, {report['fold_mean']:.2g} on average, "
        f"relative to the largest of a sample ({report['fold_inputs']} inputs)"
    )
    if not report["folded"]:
        return f"batch norms are not folded into convolutions, which has {off}"
    return (
        f"{report['folded']} batch norms folded into convolutions: {off}; precision=exact leaves "
        "the model as it is"
    )


def _quick(report: Mapping[str, Any]) -> str:
    if "largest" not in report:
        return ""
    how = str(report["forwards"])
    if report["compile"]:
        how += f", compiled by {report['compile']}" if not report["fallback"] else ", not compiled"
    return (
        f"perturbed inputs in {how}: outputs off by up to {report['largest']:.2g}, "
        f"{report['mean']:.2g} on average, relative to the largest of a sample "
        f"({report['inputs']} inputs)"
    )


def errors_of(experiment: Experiment, score: Score) -> Tensor:
    """Errors of perturbed inputs of an experiment as a scalar has them, (V,) float64 on the CPU."""
    found = [_errors(score, *versions) for versions in _versions(experiment, score)]
    return torch.cat(found).cpu() if found else torch.zeros(0)


def _versions(experiment: Experiment, score: Score) -> Iterator[tuple[Tensor, Tensor]]:
    """Versions (2 + HALVES, *F) of samples, and the class of each, (2 + HALVES,)."""
    e, taken = experiment, 0
    here = loading.Loading(timeout=e.loading.timeout)
    everywhere = range(len(e.data))
    with loading.opened(e.data, everywhere, here, device=e.device, batch=1) as data:
        for i in everywhere:
            try:
                x = data.load(i)[None].to(e.device, e.dtype)
                baseline = e.baseline(x, [e.data.sample_ids[i]], e.data, e.seed)
                with torch.no_grad():
                    outputs = score.outputs(x).reshape(1, -1)
            except isolation.CAUGHT:  # the run itself says why
                continue
            if not bool(torch.isfinite(outputs).all()):
                continue
            rows = torch.cat([x, baseline, _halves(x, baseline, e.seed, e.data.sample_ids[i])])
            yield rows, outputs.argmax(dim=1).expand(len(rows))
            taken += 1
            if taken == SAMPLES:
                return


def _halves(x: Tensor, baseline: Tensor, seed: int, sample_id: str) -> Tensor:
    """The sample (1, *F) with random halves of its elements at the baseline, (HALVES, *F)."""
    g = rng.generator(seed, "precision", sample_id)
    gone = torch.rand(HALVES, *x.shape[1:], generator=g, dtype=torch.float32) < 0.5
    return torch.where(gone.to(x.device), baseline, x)


def _errors(score: Score, rows: Tensor, target: Tensor) -> Tensor:
    """Errors of the versions of one sample, (V,) float64."""
    full = score.evaluate(rows, target).double()
    with score.folding(True):
        quick = score.evaluate_draws(
            len(rows), target[:1], lambda draw: rows[draw], device=rows.device
        ).double()
    size = full.abs().amax()
    return (quick - full).abs() / size.clamp_min(torch.finfo(torch.float64).tiny)
