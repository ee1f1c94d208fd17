"""Metrics that know the output for all subsets of few features: NAOPC, exact Shapley values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import perturb
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.content import content
from igbench.errors import InputError, NotDefinedError, check_choice, check_whole
from igbench.metrics.base import REASON_FLAT_MAP, BaseMetric
from igbench.metrics.ranking import ranks_something
from igbench.metrics.similarity import on_grid, rank_correlation
from igbench.schema import Direction
from igbench.shapley.exact import coalitions, exact_values

LARGEST = 20
"""Features whose subsets can be evaluated in reasonable time, a million rows for each sample."""


def thirds(shape: Sequence[int]) -> str:
    """Three patches along each side of an image, nine in all where it is square.

    Example:
        >>> thirds((3, 224, 224)), thirds((1, 2, 2))
        ('patch:75', 'pixel')
    """
    side = math.ceil(min(shape[1:]) / 3)
    return "pixel" if side == 1 else f"patch:{side}"


@dataclass(frozen=True)
class Subsets(BaseMetric):
    """Base of metrics of the output for all 2^G subsets of the features, which all methods share.

    Args:
        occluder: Replacement of removed features: "baseline", "zero", "mean" or "blur", or a
            convention of texts such as "mask" and "delete", see `igbench.core.perturb.occluded`.
        scalar: Output: "score" (what the attribution explains), "logit" or "probability".
        most: Largest number G of features, at most 20; 2^G model rows for each sample.
        features: Unit that is removed, see `igbench.core.features.resolve`.  None: 3 x 3 patches of
            images, otherwise the unit of the data (elements by default).

    Raises:
        InputError: An unknown occluder or scalar, or more than 20 features.
        NotDefinedError: A sample has more than `most` features.
    """

    foldable = True
    image_defaults: ClassVar[Mapping[str, Any]] = {"features": thirds}

    occluder: str = "baseline"
    scalar: Literal["score", "logit", "probability"] = "score"
    most: int = 14
    features: str | Tensor | None = None

    @property
    def tracked(self) -> str:
        """The output that is tracked."""
        return self.scalar

    def __post_init__(self) -> None:
        super().__post_init__()
        perturb.check_removal(self.scalar, self.occluder)
        check_whole("most", self.most, least=1)
        if self.most > LARGEST:
            raise InputError(
                f"most is {self.most}; {LARGEST} features have a million subsets, which is the "
                "limit. Choose coarser features."
            )

    @property
    def sharing_key(self) -> object:
        """Metrics with the same occluder, output and features share the outputs of all subsets."""
        return (Subsets, self.occluder, self.scalar, self.most, content(self.features))

    def observe(self, batch: Batch) -> Tensor:
        """Outputs f(x on a subset, the occluder elsewhere), (N, 2^G) float64 on the CPU.

        Column k keeps the features that are the bits of k.

        Raises:
            InputError: Features or an occluder that do not fit the shape of the samples.
            NotDefinedError: There are more than `most` features.
        """
        features = self.features_of(batch)
        if features.count > self.most:
            raise NotDefinedError(
                f"{features.count} features have 2^{features.count} subsets, and the metric stops "
                f"at most={self.most} features; choose coarser ones with features=..., or raise "
                "most."
            )
        score = perturb.tracked(batch.score, self.scalar)
        fill = perturb.occluded(batch, self.occluder)
        device = batch.x.device
        features, bits = feature_units.on(features, device), coalitions(features.count).to(device)
        rows = []
        for i in range(len(batch)):

            def build(draw: Tensor, i: int = i) -> Tensor:
                return perturb.remove(batch.x[i], fill[i], ~bits[draw], features)

            target = batch.target_of(i)
            rows.append(score.evaluate_draws(len(bits), target, build, device=device, full=True))
        return torch.stack(rows).to("cpu", torch.float64)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Tensor
    ) -> dict[str, Measurement]:
        """Score of every attribution, sample by sample."""
        features = self.features_of(batch)
        eps = torch.finfo(batch.x.dtype).eps
        answers = [self.answer(table, eps) for table in observation]
        result = {}
        for name, attribution in attributions.items():
            sums = feature_units.total(attribution.values, features).cpu()
            found = [
                self.of(phi, answer) if bool(phi.isfinite().all()) else math.nan
                for phi, answer in zip(sums, answers, strict=True)
            ]
            result[name] = Measurement(
                torch.tensor(found, dtype=torch.float64, device=batch.x.device),
                reason=self.undefined,
            )
        return result

    def answer(self, table: Tensor, eps: float) -> Any:
        """What is compared with the maps of one sample, from its outputs (2^G,).

        Args:
            table: Outputs of all subsets.
            eps: Rounding error of one output, relative.
        """
        raise NotImplementedError

    def of(self, phi: Tensor, answer: Any) -> float:
        """Score of the features of one sample, (G,) float64, NaN where undefined."""
        raise NotImplementedError


@dataclass(frozen=True)
class Drops:
    """Changes of the output without subsets of the features of one sample.

    Attributes:
        drops: (2^G,) f(x) - f(x without a subset), the subset as bits.
        low: Smallest sum of drops along an order of the features.
        high: Largest.
        known: Whether the two differ by more than rounding.
    """

    drops: Tensor
    low: float
    high: float
    known: bool


@dataclass(frozen=True)
class NormalisedAopc(Subsets):
    """NAOPC: area over the perturbation curve, between the worst and the best of all orders.

    With AOPC = mean over k = 1..G of f(x) - f(x without its top k features), the value is (AOPC -
    min) / (max - min), where min and max are over all G! orders.  Both are exact, by dynamic
    programming over the 2^G subsets: best(S) = drop(S) + max over i in S of best(S without i).  So
    numbers of different models and samples are comparable, which those of `Aopc` are not.  Tied
    features count with the mean over all of their orders.

    Higher is better, in [0, 1].  Undefined for flat maps, which rank nothing, and where all orders
    have the same AOPC.  Exact, no standard error.  Cost: 2^G model rows for each sample (512 for
    the nine patches of an image), shared by all methods and with `DifferenceFromExact`.

    Source: Edin et al. 2024, Normalized AOPC (the paper searches by beams beyond few features).

    Args:
        occluder: Replacement of removed features: "baseline", "zero", "mean" or "blur", or a
            convention of texts such as "mask" and "delete", see `igbench.core.perturb.occluded`.
        scalar: Output: "score" (what the attribution explains), "logit" or "probability".
        most: Largest number G of features, at most 20; 2^G model rows for each sample.
        features: Unit that is removed, see `igbench.core.features.resolve`.  None: 3 x 3 patches of
            images, otherwise the unit of the data (elements by default).

    Raises:
        InputError: An unknown occluder or scalar, or more than 20 features.
        NotDefinedError: A sample has more than `most` features.

    Example:
        Drops 3, 5, 6 are the best, 1, 3, 6 the worst, and 2, 5, 6 those of the map.

        >>> import torch
        >>> from igbench.metrics import naopc
        >>> x = torch.ones(1, 3, dtype=torch.float64)
        >>> phi = x.new_tensor([[3.0, 4.0, 1.0]])
        >>> naopc(lambda x: x @ x.new_tensor([3.0, 2.0, 1.0]), x, phi).tolist()
        [0.75]
    """

    name = "naopc"
    family = "faithfulness"
    ranks = True
    explains = "How near is the order of the map to the best of all orders?"
    direction = "higher"
    reference = "Edin et al. 2024, normalised AOPC"
    range = (0, 1)
    undefined = f"{REASON_FLAT_MAP}, or all orders of the features have the same AOPC"

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"NAOPC, exact ({self.occluder} occluder)"

    def answer(self, table: Tensor, eps: float) -> Drops:
        """Drops of all subsets, and the extremes over orders."""
        drops = table[-1] - table.flip(0)
        low, high = -best_order(-drops), best_order(drops)
        count = len(table).bit_length() - 1
        rounding = 8 * eps * count * float(table.abs().amax())
        return Drops(drops, low, high, high - low > rounding)

    def of(self, phi: Tensor, answer: Drops) -> float:
        """Share of the way from the worst to the best order."""
        if not answer.known or not ranks_something(phi):
            return math.nan
        share = (mean_order(phi, answer.drops) - answer.low) / (answer.high - answer.low)
        return min(1.0, max(0.0, share))  # rounding of sums in another order


def best_order(drops: Tensor) -> float:
    """Largest sum of values of the growing subsets along an order, from (2^G,) values.

    Example:
        >>> best_order(torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64))
        5.0
    """
    count = len(drops).bit_length() - 1
    masks = coalitions(count)
    sizes, best = masks.sum(dim=1), torch.zeros_like(drops)
    for size in range(1, count + 1):
        own = (sizes == size).nonzero()[:, 0]
        before = [
            best[own - 2**i * masks[own, i]].where(masks[own, i], -math.inf) for i in range(count)
        ]
        best[own] = drops[own] + torch.stack(before).amax(dim=0)
    return float(best[-1])


def mean_order(phi: Tensor, drops: Tensor) -> float:
    """Sum of values of the growing subsets in falling order of phi, the mean over orders of ties.

    Args:
        phi: (G,).
        drops: (2^G,) value of each subset.

    Example:
        In both orders of the tied pair 1 or 2 comes first, and then 3.

        >>> mean_order(torch.zeros(2), torch.tensor([0.0, 1.0, 2.0, 3.0]))
        4.5
    """
    total, before = 0.0, 0
    for value in phi.unique().flip(0):
        tied = (phi == value).nonzero()[:, 0]
        masks = coalitions(len(tied))
        sizes, numbers = masks.sum(dim=1), before + (masks * 2**tied).sum(dim=1)
        for size in range(1, len(tied) + 1):
            total += float(drops[numbers[sizes == size]].mean())
        before = int(numbers[-1])
    return total


@dataclass(frozen=True)
class DifferenceFromExact(Subsets):
    """Distance of a map to the exact Shapley values of the same game, or the agreement in rank.

    With s the Shapley values of v(S) = f(x on S, the occluder elsewhere), from all 2^G subsets:

    - "l1": |phi - s|_1 / |s|_1, lower is better, in [0, inf);
    - "spearman": Spearman's rank correlation of phi and s, higher is better, in [-1, 1].

    The error of every approximation of Shapley values (sampling, a regression, Integrated
    Gradients) on the same features.  phi is summed over the elements of each feature.  A method
    that answers another question, such as occlusion, is not wrong for its distance.

    Undefined where the Shapley values are zero, or, for "spearman", where they or the map are flat.
    Exact, no standard error.  Cost: 2^G model rows for each sample (512 for the nine patches of an
    image), shared by all methods and with `NormalisedAopc`.

    Source: defined here; Shapley 1953.

    Args:
        occluder: Replacement of removed features: "baseline", "zero", "mean" or "blur", or a
            convention of texts such as "mask" and "delete", see `igbench.core.perturb.occluded`.
        scalar: Output: "score" (what the attribution explains), "logit" or "probability".
        most: Largest number G of features, at most 20; 2^G model rows for each sample.
        features: Unit that is removed, see `igbench.core.features.resolve`.  None: 3 x 3 patches of
            images, otherwise the unit of the data (elements by default).
        statistic: "l1" or "spearman".

    Raises:
        InputError: An unknown occluder, scalar or statistic, or more than 20 features.
        NotDefinedError: A sample has more than `most` features.

    Example:
        A product of two features shares its 6 as (3, 3, 0); the map is off by 3 + 3.

        >>> import torch
        >>> from igbench.metrics import difference_from_exact
        >>> x = torch.tensor([[2.0, 3.0, 7.0]], dtype=torch.float64)
        >>> phi = x.new_tensor([[6.0, 6.0, 0.0]])
        >>> difference_from_exact(lambda x: x[:, 0] * x[:, 1], x, phi).tolist()
        [1.0]
    """

    name = "difference_from_exact"
    family = "agreement"
    explains = "How far is a map from the exact Shapley values of the same features?"
    reference = "defined here; Shapley 1953"
    needs = "global signed"

    statistic: Literal["l1", "spearman"] = "l1"

    @property
    def direction(self) -> Direction:
        """Direction of better values, which depends on the statistic."""
        return "lower" if self.statistic == "l1" else "higher"

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest possible value."""
        return (0, math.inf) if self.statistic == "l1" else (-1, 1)

    @property
    def undefined(self) -> str:
        """Condition under which there is no value."""
        flat = "" if self.statistic == "l1" else ", or they or the map are flat"
        return f"the exact Shapley values are zero{flat}"

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        how = "Relative L1 difference to" if self.statistic == "l1" else "Spearman correlation with"
        return f"{how} exact Shapley values ({self.occluder} occluder)"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("statistic", self.statistic, ("l1", "spearman"))

    def answer(self, table: Tensor, eps: float) -> Tensor:
        """The Shapley values (G,), zero where they are rounding alone."""
        exact = exact_values(lambda masks: table, len(table).bit_length() - 1).values
        return exact.where(exact.abs() > 8 * eps * table.abs().amax(), 0.0)

    def of(self, phi: Tensor, answer: Tensor) -> float:
        """The distance or the correlation."""
        size = float(answer.abs().sum())
        if not size > 0:
            return math.nan
        if self.statistic == "l1":
            return float((phi - answer).abs().sum()) / size
        rounded = [on_grid(v[None], 1e-6) for v in (phi, answer)]
        return float(rank_correlation(*rounded))
