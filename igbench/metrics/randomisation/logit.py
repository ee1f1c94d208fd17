"""Random logit: similarity of the maps for the target and for other classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from igbench.core import rng
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.errors import NotDefinedError, check_positive
from igbench.metrics.base import BaseMetric
from igbench.metrics.monte_carlo import averaged
from igbench.metrics.reexplain import explained
from igbench.metrics.similarity import REASON_FLAT_PAIR, Similarity


@dataclass(frozen=True)
class RandomLogit(BaseMetric):
    """Random logit: similarity of the map for the target to the map for another class.

    The other class is drawn by (seed, sample id) from all others, the same for all methods.  Some
    similarity is right where classes share evidence; 1 means that the map is independent of the
    class.

    Lower is better, in [-1, 1].  Undefined where a map is flat or not finite.  The value is the
    mean over D such classes, drawn without replacement from the K - 1; its standard error is sd /
    sqrt(D) sqrt(1 - D / (K - 1)), so that all of them give an error of 0.  Cost: D explanations for
    each method.

    Source: Sixt, Granz and Landgraf 2020, When explanations lie, section 5.

    Args:
        similarity: "spearman" or "ssim" (the paper's), see `igbench.metrics.similarity.Similarity`.
        absolute: Compare magnitudes.  Otherwise a mere change of sign counts as -1, the best.
        features: Unit that is compared, for "spearman", see `igbench.core.features.resolve`; None
            for the unit of the data (pixels of images, elements otherwise, by default).
        window: Side of the window of "ssim", odd, in pixels.
        classes: Number D of other classes, K - 1 at most; 1 gives no standard error, unless there
            are no more.

    Raises:
        InputError: A model with a single output, no targets, fewer than one class, or no method to
            explain with.

    Example:
        The map of a linear model at x = 1 is its row of weights; two of three ranks are swapped.

        >>> import torch
        >>> from igbench.metrics import random_logit
        >>> x, w = torch.ones(1, 3), torch.tensor([[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]])
        >>> explain = lambda x, target: w[target] * x
        >>> found = random_logit(lambda x: x @ w.T, x, w[:1], target=0, explain=explain)
        >>> found.round(decimals=6).tolist()
        [0.5]
    """

    name = "random_logit"
    family = "randomisation"
    needs_method = True
    explains = "Does the map depend on the class that it explains?"
    direction = "lower"
    reference = "Sixt, Granz, Landgraf 2020, section 5"
    range = (-1, 1)
    undefined = REASON_FLAT_PAIR

    similarity: Literal["spearman", "ssim"] = "spearman"
    absolute: bool = True
    features: str | Tensor | None = None
    window: int = 7
    classes: int = 2

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"Random logit ({self.compare().describe()})"

    @property
    def unit(self) -> str:
        """Unit of the features."""
        return "pixel" if self.similarity == "ssim" else super().unit

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("classes", self.classes)
        self.compare()

    def compare(self) -> Similarity:
        """Similarity between two maps."""
        return Similarity(self.similarity, self.absolute, self.features, self.window)

    @property
    def sharing_key(self) -> object:
        """Metrics with the same number of classes share them."""
        return (RandomLogit, self.classes)

    def observe(self, batch: Batch) -> Others:
        """Other classes of each sample.

        Raises:
            InputError: No targets, or a model with a single output.
        """
        with torch.no_grad():
            outputs = batch.score.outputs(batch.x[:1])
        if batch.target is None or outputs.dim() != 2 or outputs.shape[1] < 2:
            raise NotDefinedError(
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
