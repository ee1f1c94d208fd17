"""Decide whether a folded copy of the model stands in, by its error on inputs of the run."""

from __future__ import annotations

import logging
from dataclasses import replace

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


def with_folding(experiment: Experiment) -> Experiment:
    """The experiment with a folded copy of its model, if there is something to fold.

    The copy is used where values and gradients of the model are all that is asked for.  It is not
    where its outputs differ from those of the model by more than 1e-4 of the largest output of a
    sample, on up to 16 inputs.

    Args:
        experiment: Without a folded copy.
    """
    module = experiment.model.module
    if not any(isinstance(m, NORMS) for m in module.modules()):
        return experiment
    copied, norms = folded(module)
    if not norms:
        return experiment
    e = experiment
    trial = Score(module, e.output, e.batch_size, e.model.channels_last, folded=copied)
    try:
        with frozen(module), full_precision(e.device):
            errors = precision.errors_of(e, trial)
    except isolation.CAUGHT as error:
        log.debug("the model is not folded: %s", error)
        return experiment
    if not len(errors):  # no sample can be read, which the run itself says
        return experiment
    largest, mean = float(errors.max()), float(errors.mean())
    fits = largest <= LARGEST
    found = Folding(copied if fits else None, norms, largest, mean, len(errors))
    quick = experiment.quick
    if fits and quick.compiled is not None:
        quick = replace(quick, compiled=Compiled(copied, quick.compiled.backend))
    return replace(experiment, folding=found, quick=quick)
