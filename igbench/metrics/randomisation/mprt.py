"""Model parameter randomisation test (MPRT): similarity of maps before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import rng
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.errors import InputError, check_choice, check_positive
from igbench.metrics.base import BaseMetric
from igbench.metrics.monte_carlo import averaged, mean_of, repeated
from igbench.metrics.randomisation.network import Init, Network, Order, network, stages
from igbench.metrics.reexplain import explained, method_of_batch, rescored
from igbench.metrics.similarity import REASON_FLAT_PAIR, Similarity

ORDERS: dict[str, str] = {
    "top_down": "cascading from the output",
    "bottom_up": "cascading from the input",
    "independent": "layer by layer",
}


@dataclass(frozen=True)
class Mprt(BaseMetric):
    """MPRT: mean over stages of the similarity of the map to that of a randomised network.

    In the cascading orders, stage k has the first ceil(k L / S) of L layers at random and the
    others as learnt; in "independent" one layer alone.  The curve over stages is what the paper
    shows; the value is its mean, so that a map that follows the model all the way is near 0 and one
    that ignores it, as edges do, is 1.

    Weights are drawn by (seed, name of layer and parameter) alone: every layer differently, the
    same for all samples and methods.  Batch normalisation keeps its statistics and parameters.

    Lower is better, in [-1, 1].  Undefined where any of the maps is flat or not finite.  The value
    and the curve are means over R networks, and the standard error is that of this mean; all
    samples share the networks, so that the errors of samples do not average out.  Cost: R S
    explanations for each method.

    Source: Adebayo et al. 2018, sections 3.1 and 3.2.

    Args:
        order: "top_down" (the paper's cascade), "bottom_up" or "independent".
        similarity: "spearman" or "ssim", see `igbench.metrics.similarity.Similarity`.
        absolute: Compare magnitudes; otherwise signs count.
        stages: Number S of stages; None for one for each layer.
        init: "scale" (normal, as large as the learnt weights) or "torch" (PyTorch's
            initialisation).
        features: Unit that is compared, for "spearman", see `igbench.core.features.resolve`; None
            for the unit of the data (pixels of images, elements otherwise, by default).
        window: Side of the window of "ssim", odd, in pixels.
        repeats: Number R of random networks; 1 gives no standard error.

    Raises:
        InputError: Unknown order, similarity or init; fewer than one stage or network; a model that
            is not a torch module; no method to explain with.

    Example:
        A map that shows the input whatever the weights are.

        >>> import torch
        >>> from igbench.metrics import mprt
        >>> x = torch.tensor([[1.0, 2.0, 3.0]])
        >>> net = torch.nn.Linear(3, 1).eval()
        >>> found = mprt(net, x, x, method=lambda batch: batch.x)
        >>> found.round(decimals=6).tolist()
        [1.0]
    """

    name = "mprt"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "mprt_top_down": (
            "fraction of the layers that are random, above 0 and at most 1, from the output",
            "similarity to the map of the network as it is",
        ),
        "mprt_bottom_up": (
            "fraction of the layers that are random, above 0 and at most 1, from the input",
            "similarity to the map of the network as it is",
        ),
        "mprt_independent": (
            "place of the one random layer as a fraction, counted from the output",
            "similarity to the map of the network as it is",
        ),
    }
    family = "randomisation"
    needs_method = True
    explains = "Does the map change when the weights that it explains do?"
    direction = "lower"
    reference = "Adebayo et al. 2018, section 3"
    range = (-1, 1)
    undefined = REASON_FLAT_PAIR
    shared_draws = True
    label: ClassVar[str] = "MPRT"

    order: Order = "top_down"
    similarity: Literal["spearman", "ssim"] = "spearman"
    absolute: bool = True
    stages: int | None = 4
    init: Init = "scale"
    features: str | Tensor | None = None
    window: int = 7
    repeats: int = 2

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"{self.label} ({ORDERS[self.order]}, {self.compare().describe()})"

    @property
    def unit(self) -> str:
        """Unit of the features."""
        return "pixel" if self.similarity == "ssim" else super().unit

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("repeats", self.repeats)
        check_choice("order", self.order, tuple(ORDERS))
        check_choice("init", self.init, ("scale", "torch"))
        if self.stages is not None:
            check_positive("stages", self.stages)
        self.compare()

    def compare(self) -> Similarity:
        """Similarity between two maps."""
        return Similarity(self.similarity, self.absolute, self.features, self.window)

    @property
    def sharing_key(self) -> object:
        """Metrics with equal parameters share an observation."""
        return self

    def observe(self, batch: Batch) -> Network:
        """Copy of the network to randomise, with the order of its layers.

        Raises:
            InputError: The model is not a torch module, or has no weights.
        """
        return network(batch, self.init)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Network
    ) -> dict[str, Measurement]:
        """Mean similarity of every attribution; x of the curve is the fraction of layers."""
        for name, attribution in attributions.items():
            method_of_batch(name, attribution)
        return mean_of(
            [
                self._once(own, attributions, observation.drawn_by(own.metric_seed))
                for own in repeated(batch, self.repeats)
            ]
        )

    def _once(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Network
    ) -> dict[str, Measurement]:
        first = {n: self.map_of(n, a, batch, known=True) for n, a in attributions.items()}
        x: list[float] = []
        found: dict[str, list[Tensor]] = {name: [] for name in attributions}
        changed = replace(batch, score=rescored(batch.score, observation.copy))
        for fraction, layers in stages(observation.layers, self.order, self.stages):
            observation.restore()
            for layer in layers:
                observation.randomise(layer)
            x.append(fraction)
            for name, attribution in attributions.items():
                again = self.map_of(name, attribution, changed)
                found[name].append(self.compare().between(first[name], again, batch))
        return {name: self._measurement(x, torch.stack(y, dim=1)) for name, y in found.items()}

    def map_of(
        self, name: str, attribution: Attribution, batch: Batch, *, known: bool = False
    ) -> Tensor:
        """The maps that are compared, (N, *F).

        Args:
            name: Name of the method.
            attribution: Its maps of the user's network, and itself.
            batch: The samples, with the score to explain.
            known: Whether that score is the user's.
        """
        return attribution.values if known else explained(name, attribution, batch)

    def _measurement(self, x: list[float], curve: Tensor) -> Measurement:
        defined = torch.isfinite(curve).all(dim=1)
        value = curve.mean(dim=1).where(defined, math.nan)
        return Measurement(value, reason=REASON_FLAT_PAIR, curves={self.curve: (x, curve)})

    @property
    def curve(self) -> str:
        """Name of the curve."""
        return f"mprt_{self.order}"


@dataclass(frozen=True)
class SmoothMprt(Mprt):
    """Smooth MPRT: `Mprt` of maps that are averaged over noisy inputs.

    phi is replaced, for the network and for each of its randomised copies, by the mean of phi(x +
    e) over D draws of e ~ N(0, s^2) with s = `noise` times the range of the sample.  Noise in maps
    lowers similarities whatever the model does; the mean takes it out.  Draws are keyed by the
    sample and are the same for all methods and stages.

    Lower is better, in [-1, 1].  Undefined where any of the maps is flat or not finite.  Standard
    error as in `Mprt`.  Cost: R (S + 1) D explanations for each method.

    Source: Hedstroem et al. 2023, section 4.1.

    Args:
        order: "top_down", "bottom_up" (the paper's) or "independent".
        similarity: "spearman" or "ssim", see `igbench.metrics.similarity.Similarity`.
        absolute: Compare magnitudes; otherwise signs count.
        stages: Number S of stages; None for one for each layer.
        init: "scale" (normal, as large as the learnt weights) or "torch" (PyTorch's
            initialisation).
        features: Unit that is compared, for "spearman", see `igbench.core.features.resolve`; None
            for the unit of the data (pixels of images, elements otherwise, by default).
        window: Side of the window of "ssim", odd, in pixels.
        repeats: Number R of random networks; 1 gives no standard error.
        draws: Number D of noisy inputs.
        noise: s as a share of the range of the sample.

    Raises:
        InputError: As in `Mprt`; fewer than one draw, or noise that is not above zero.

    Example:
        A map that shows the input whatever the weights are.

        >>> import torch
        >>> from igbench.metrics import smooth_mprt
        >>> x = torch.tensor([[1.0, 2.0, 3.0]])
        >>> net = torch.nn.Linear(3, 1).eval()
        >>> found = smooth_mprt(net, x, x, method=lambda batch: batch.x)
        >>> found.round(decimals=6).tolist()
        [1.0]
    """

    name = "smooth_mprt"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "smooth_mprt_top_down": (
            "fraction of the layers that are random, above 0 and at most 1, from the output",
            "similarity to the map of the network as it is",
        ),
        "smooth_mprt_bottom_up": (
            "fraction of the layers that are random, above 0 and at most 1, from the input",
            "similarity to the map of the network as it is",
        ),
        "smooth_mprt_independent": (
            "place of the one random layer as a fraction, counted from the output",
            "similarity to the map of the network as it is",
        ),
    }
    explains = "Does the map, freed of its noise, change when the weights do?"
    reference = "Hedstroem et al. 2023, 4.1"

    order: Order = "bottom_up"
    draws: int = 8
    noise: float = 0.1

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        how = f"Smooth MPRT, {self.draws} draws of noise {self.noise:g}"
        return f"{how} ({ORDERS[self.order]}, {self.compare().describe()})"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("draws", self.draws)
        check_positive("noise", self.noise)

    @property
    def curve(self) -> str:
        """Name of the curve."""
        return f"smooth_mprt_{self.order}"

    def map_of(
        self, name: str, attribution: Attribution, batch: Batch, *, known: bool = False
    ) -> Tensor:
        """The mean map over the noisy inputs, (N, *F)."""
        low, high = batch.x.flatten(1).aminmax(dim=1)
        size = (self.noise * (high - low)).view(-1, *[1] * (batch.x.dim() - 1))
        total = torch.zeros_like(attribution.values, dtype=torch.float64)
        for draw in range(self.draws):
            unit = torch.stack(
                [
                    torch.randn(
                        batch.x.shape[1:],
                        generator=rng.generator(batch.metric_seed, "smooth_mprt", s, draw),
                        dtype=torch.float64,
                    )
                    for s in batch.sample_ids
                ]
            )
            noisy = replace(batch, x=batch.x + size * unit.to(batch.x))
            total += explained(name, attribution, noisy)
        return (total / self.draws).to(attribution.values.dtype)


NO_ENTROPY = "a map is flat or not finite: its histogram has no entropy"


@dataclass(frozen=True)
class EfficientMprt(BaseMetric):
    """Efficient MPRT: (H(phi_r) - H(phi)) / H(phi), rise of entropy in a randomised network.

    phi_r is the map of the network with all layers at random.  H is the entropy of the histogram of
    the map, in equal bins from its least to its greatest value.  Neither a cascade over layers nor
    a measure of similarity is needed.  Weights are those of the last stage of `Mprt`.

    Higher is better, in [-1, inf): 0 for a map that ignores the model, positive where a random
    network has a less ordered map.  Undefined where a map is flat or not finite.  The value is the
    mean over R networks, and the standard error is that of this mean; all samples share the
    networks, so that the errors of samples do not average out.  Cost: R explanations for each
    method.

    Source: Hedstroem et al. 2023, section 4.2.

    Args:
        bins: Number of bins.
        init: "scale" (normal, as large as the learnt weights) or "torch" (PyTorch's
            initialisation).
        features: Unit of the histogram, see `igbench.core.features.resolve`; None for the unit of
            the data (pixels of images, elements otherwise, by default).
        repeats: Number R of random networks; 1 gives no standard error.

    Raises:
        InputError: Fewer than two bins or one network, unknown init, a model that is not a torch
            module, no method to explain with.

    Example:
        A map that shows the input whatever the weights are.

        >>> import torch
        >>> from igbench.metrics import efficient_mprt
        >>> x = torch.tensor([[1.0, 2.0, 3.0]])
        >>> net = torch.nn.Linear(3, 1).eval()
        >>> found = efficient_mprt(net, x, x, method=lambda batch: batch.x)
        >>> found.round(decimals=6).tolist()
        [0.0]
    """

    name = "efficient_mprt"
    family = "randomisation"
    needs_method = True
    explains = "Does the map become more disordered when all weights are random?"
    direction = "higher"
    reference = "Hedstroem et al. 2023, 4.2"
    range = (-1, math.inf)
    undefined = NO_ENTROPY
    shared_draws = True

    bins: int = 100
    init: Init = "scale"
    features: str | Tensor | None = None
    repeats: int = 2

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"Efficient MPRT (rise of the entropy, {self.bins} bins)"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("repeats", self.repeats)
        check_choice("init", self.init, ("scale", "torch"))
        if self.bins < 2:
            raise InputError(f"bins is {self.bins}; an entropy needs at least 2.")

    @property
    def sharing_key(self) -> object:
        """Metrics with equal parameters share an observation."""
        return self

    def observe(self, batch: Batch) -> Network:
        """Copy of the network to randomise.

        Raises:
            InputError: The model is not a torch module, or has no weights.
        """
        return network(batch, self.init)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Network
    ) -> dict[str, Measurement]:
        """Relative rise of the entropy of every attribution."""
        features = self.features_of(batch)
        changed = replace(batch, score=rescored(batch.score, observation.copy))
        found: dict[str, list[Tensor]] = {name: [] for name in attributions}
        for own in repeated(batch, self.repeats):
            network_of_draw = observation.drawn_by(own.metric_seed)
            for layer in observation.layers:
                network_of_draw.randomise(layer)
            for name, attribution in attributions.items():
                method_of_batch(name, attribution)
                again = explained(name, attribution, changed)
                before, after = (
                    entropy(feature_units.total(v, features), self.bins)
                    for v in (attribution.values, again)
                )
                found[name].append((after - before) / before)
        return {name: averaged(torch.stack(rises), NO_ENTROPY) for name, rises in found.items()}


def entropy(values: Tensor, bins: int) -> Tensor:
    """Entropy (nats) of the histogram of every row, (N, G) to (N,); NaN where a row is flat.

    Bins have equal width from the least to the greatest value of the row, the last one closed.

    Args:
        values: (N, G).
        bins: Number of bins.

    Example:
        Two of four values in each of two bins: ln 2.

        >>> entropy(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 2).round(decimals=4).tolist()
        [0.6931]
    """
    low, high = values.aminmax(dim=1, keepdim=True)
    place = (values - low) / (high - low) * bins
    # Rounding must not decide on which side of an edge a value falls.
    place = torch.where((place - place.round()).abs() < 1e-6, place.round(), place)
    defined = torch.isfinite(place).all(dim=1)
    index = place.nan_to_num(0).long().clamp(0, bins - 1)
    counts = torch.zeros(len(values), bins, dtype=torch.float64, device=values.device)
    counts.scatter_add_(1, index, torch.ones_like(place, dtype=torch.float64))
    share = counts / values.shape[1]
    return -torch.special.xlogy(share, share).sum(dim=1).where(defined, math.nan)
