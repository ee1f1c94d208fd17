"""Decide whether a folded copy of the model stands in, by its error on inputs of the run."""

from __future__ import annotations

import logging
from dataclasses import replace

from torch import nn

from igbench.core.fold import NORMS, Folding, folded
from igbench.core.inference import Compiled, full_precision
from igbench.core.score import Score, frozen
from igbench.evaluation import isolation, precision
from igbench.evaluation.experiment import Experiment

log = logging.getLogger(__name__)

EXACT = "exact"
"""The precision at which nothing is folded."""

LARGEST = 1e-4
"""Relative error beyond which a folded copy is not used: ten times what float32 gives."""


def with_folding(experiment: Experiment, known: Folding | None = None) -> Experiment:
    """The experiment with a folded copy of its model, if there is something to fold.

    The copy is used where values and gradients of the model are all that is asked for.  It is not
    where its outputs differ from those of the model by more than 1e-4 of the largest output of a
    sample, on up to 16 inputs.

    Args:
        experiment: Without a folded copy.
        known: What another process found of the same model, which is not measured again.
    """
    module = experiment.model.module
    if not any(isinstance(m, NORMS) for m in module.modules()):
        return experiment
    copied, norms = folded(module)
    if not norms:
        return experiment
    if known is None or known.norms != norms:
        known = _measured(experiment, copied, norms)
    if known is None:
        return experiment
    fits = known.largest <= LARGEST
    found = replace(known, module=copied if fits else None)
    quick = experiment.quick
    if fits and quick.compiled is not None:
        quick = replace(quick, compiled=Compiled(copied, quick.compiled.backend))
    return replace(experiment, folding=found, quick=quick)


def _measured(experiment: Experiment, copied: nn.Module, norms: int) -> Folding | None:
    """The error of a folded copy; None where no input can be evaluated."""
    e = experiment
    module = e.model.module
    trial = Score(module, e.output, e.batch_size, e.model.channels_last, folded=copied)
    try:
        with frozen(module), full_precision(e.device):
            errors = precision.errors_of(e, trial)
    except isolation.CAUGHT as error:
        log.debug("the model is not folded: %s", error)
        return None
    if not len(errors):  # no sample can be read, which the run itself says
        return None
    return Folding(None, norms, float(errors.max()), float(errors.mean()), len(errors))
