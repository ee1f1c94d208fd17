"""Random logit: does the map depend on the class that it explains?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from igbench.core import rng
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.errors import InputError, check_positive
from igbench.metrics.base import BaseMetric
from igbench.metrics.monte_carlo import averaged
from igbench.metrics.reexplain import explained
from igbench.metrics.similarity import REASON_FLAT_PAIR, Similarity
from igbench.schema import AS_DATA


@dataclass(frozen=True)
class RandomLogit(BaseMetric):
    """Similarity of the map for the target to the map for another class (Sixt et al. 2020).

    Section 5 of "When Explanations Lie".  The other class is drawn by (seed, sample id) from all
    others, alike for all methods.  Some likeness is right where classes share evidence; 1 means
    that the map does not know what it explains.

    The value is the mean over D such classes, drawn without replacement from the K - 1; its
    standard error is sd / sqrt(D) sqrt(1 - D / (K - 1)), so that all of them give an error of 0.

    Args:
        similarity: "spearman" or "ssim", see `igbench.metrics.similarity.Similarity`; the paper
            has SSIM.
        absolute: Compare magnitudes.  Otherwise a mere change of sign counts as -1, the best.
        features: What one feature is, for "spearman"; None for the default of the data.
        window: Side of the window of "ssim".
        classes: Number D of other classes, K - 1 at most, each at the cost of an explanation; no
            standard error for 1, unless there are no more.

    Raises:
        InputError: A model with a single output, or no targets; no other class.
    """

    name = "random_logit"
    family = "randomisation"
    explains = "Does the map depend on the class that it explains?"
    direction = "lower"
    reference = "Sixt, Granz, Landgraf 2020, section 5"
    range = (-1, 1)
    undefined = REASON_FLAT_PAIR

    similarity: Literal["spearman", "ssim"] = "spearman"
    absolute: bool = True
    features: str | None = None
    window: int = 7
    classes: int = 2

    @property
    def title(self) -> str:
        """Name, with what the parameters decide."""
        return f"Random logit ({self.compare().describe()})"

    @property
    def unit(self) -> str:
        """What one feature is."""
        return "pixel" if self.similarity == "ssim" else self.features or AS_DATA

    def __post_init__(self) -> None:
        check_positive("classes", self.classes)
        self.compare()

    def compare(self) -> Similarity:
        """How maps are compared."""
        return Similarity(self.similarity, self.absolute, self.features, self.window)

    @property
    def sharing_key(self) -> object:
        """Only the classes; variants share them."""
        return (RandomLogit, self.classes)

    def observe(self, batch: Batch) -> Others:
        """Other classes of each sample."""
        with torch.inference_mode():
            outputs = batch.score.model(batch.x[:1])
        if batch.target is None or outputs.dim() != 2 or outputs.shape[1] < 2:
            raise InputError(
                "random_logit compares the maps of two classes, so it needs targets and a model "
                "with an output for each class."
            )
        others = outputs.shape[1] - 1
        drawn = min(self.classes, others)
        generators = [rng.generator(batch.metric_seed, "random_logit", s) for s in batch.sample_ids]
        further = [1 + torch.randperm(others, generator=g)[:drawn] for g in generators]
        steps = torch.stack(further, dim=1).to(batch.target.device)
        return Others((batch.target + steps) % (others + 1), 1 - drawn / others)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Others
    ) -> dict[str, Measurement]:
        """Similarity of the maps of every attribution to those for the other classes."""
        result = {}
        for name, attribution in attributions.items():
            likenesses = []
            for target in observation.classes:
                again = explained(name, attribution, replace(batch, target=target))
                likenesses.append(self.compare().between(attribution.values, again, batch))
            found = averaged(torch.stack(likenesses), REASON_FLAT_PAIR)
            if observation.unseen == 0:  # no class is left to chance
                error = torch.zeros_like(found.value).where(found.value.isfinite(), math.nan)
                found = replace(found, std_error=error)
            elif found.std_error is not None:
                found = replace(found, std_error=found.std_error * math.sqrt(observation.unseen))
            result[name] = found
        return result


@dataclass(frozen=True)
class Others:
    """Classes other than the target.

    Attributes:
        classes: (D, N).
        unseen: Share of the other classes that was not drawn.
    """

    classes: Tensor
    unseen: float
