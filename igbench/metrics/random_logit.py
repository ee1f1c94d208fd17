"""Random logit: does the map depend on the class that it explains?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from igbench import checks, keyed
from igbench.metrics.again import explained
from igbench.metrics.similarity import FLAT, Similarity
from igbench.rows import MetricSpec
from igbench.types import Attribution, Batch, Measurement


@dataclass(frozen=True)
class RandomLogit:
    """Similarity of the map for the target to the map for another class (Sixt et al. 2020).

    Section 5 of "When Explanations Lie".  The other class is drawn by (seed, sample id) from all
    others, alike for all methods.  Some likeness is right where classes share evidence; 1 means
    that the map does not know what it explains.

    Args:
        similarity: "spearman" or "ssim", see `igbench.metrics.similarity.Similarity`; the paper
            has SSIM.
        absolute: Compare magnitudes.  Otherwise a mere change of sign counts as -1, the best.
        features: What one feature is, for "spearman"; None for the default of the data.
        window: Side of the window of "ssim".

    Raises:
        InputError: A model with a single output, or no targets.
    """

    similarity: Literal["spearman", "ssim"] = "spearman"
    absolute: bool = True
    features: str | None = None
    window: int = 7

    def __post_init__(self) -> None:
        self.compare()

    def compare(self) -> Similarity:
        """How maps are compared."""
        return Similarity(self.similarity, self.absolute, self.features, self.window)

    @property
    def spec(self) -> MetricSpec:
        """Definition."""
        return MetricSpec(
            f"Random logit ({self.compare().words()})",
            "lower",
            -1,
            1,
            1,
            "Sixt, Granz, Landgraf 2020, section 5",
            unit="pixel" if self.similarity == "ssim" else self.features or "as the data",
            undefined=FLAT,
            min_effect=0.01,
        )

    @property
    def observation_key(self) -> object:
        """Only the classes; variants share them."""
        return "random logit"

    def observe(self, batch: Batch) -> Tensor:
        """Another class of each sample, (N,)."""
        with torch.inference_mode():
            outputs = batch.score.model(batch.x[:1])
        if batch.target is None or outputs.dim() != 2 or outputs.shape[1] < 2:
            raise checks.InputError(
                "random_logit compares the maps of two classes, so it needs targets and a model "
                "with an output for each class."
            )
        classes = outputs.shape[1]
        further = [
            int(
                torch.randint(
                    1, classes, (), generator=keyed.generator(batch.seed, "random_logit", s)
                )
            )
            for s in batch.sample_ids
        ]
        return (batch.target + torch.tensor(further, device=batch.target.device)) % classes

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Tensor
    ) -> dict[str, Measurement]:
        """Similarity of the two maps of every attribution."""
        changed = replace(batch, target=observation)
        result = {}
        for name, attribution in attributions.items():
            again = explained(name, attribution, changed)
            value = self.compare().between(attribution.values, again, batch)
            result[name] = Measurement(value, reason=FLAT)
        return result
