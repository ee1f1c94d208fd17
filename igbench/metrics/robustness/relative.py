"""Relative stability: how much faster a map moves than input, output or hidden layer (OpenXAI)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from igbench.core import rng
from igbench.core.batch import Attribution, Batch, Measurement, attribute
from igbench.core.features import resolve
from igbench.core.layers import check_layer
from igbench.core.returned import check_map
from igbench.errors import NotDefinedError, check_choice, check_positive
from igbench.metrics.base import BaseMetric
from igbench.metrics.column_noise import noisy
from igbench.metrics.monte_carlo import maximum
from igbench.metrics.reexplain import method_of
from igbench.metrics.robustness.neighbourhood import copies

NOT_DEFINED = (
    "the map is zero or not finite, no changed input keeps the predicted class, or what is divided "
    "by is zero"
)
ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softplus,
    nn.Mish,
    nn.Hardswish,
)


@dataclass(frozen=True)
class RelativeStability(BaseMetric):
    """Base of the relative stabilities: a maximum over noisy inputs of the same predicted class.

    The noise of a sample is drawn by its identifier, the same for all methods, see
    `igbench.metrics.column_noise`: numbers get normal noise, whole categories become others.

    Args:
        scale: Standard deviation of the noise, in units of the model's input.  OpenXAI has 1e-5,
            which is close to the roundings of float32.
        draws: Number D of changed inputs for each sample.
        form: "norm", a quotient of norms (OpenXAI), or "elementwise": changes are divided by the
            elements first (the paper and Quantus), which needs elements that are not zero.

    Raises:
        InputError: A scale or a number of draws that is not above zero, an unknown form, or no
            method to explain with.
    """

    family = "robustness"
    needs_method = True
    direction = "lower"
    range = (0, math.inf)
    undefined = NOT_DEFINED
    reference = "Agarwal et al. 2022, Rethinking stability"

    scale: float = 0.01
    draws: int = 10
    form: Literal["norm", "elementwise"] = "norm"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("scale", self.scale)
        check_positive("draws", self.draws)
        check_choice("form", self.form, ("norm", "elementwise"))

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        what = self.explains.partition(" than ")[2].removesuffix("?")
        return (
            f"Relative stability to {what} ({self.form}, noise {self.scale:g}, {self.draws} draws; "
            "grows with draws)"
        )

    @property
    def sharing_key(self) -> object:
        """Metrics with the same noise share the inputs and their maps."""
        return (RelativeStability, self.scale, self.draws)

    def observe(self, batch: Batch) -> Changed:
        """Noisy inputs, and which of them keep the predicted class."""
        unit = resolve(batch.features, tuple(batch.x.shape[1:]))
        inputs, same = [], []
        for i in range(len(batch)):
            g = rng.generator(batch.metric_seed, "relative stability", batch.sample_ids[i])
            own = noisy(batch.x[i], unit, self.scale, self.draws, g, batch.still)
            inputs.append(own)
            outputs = outputs_of(batch, torch.cat([batch.x[i : i + 1], own]))
            moved = (own != batch.x[i]).flatten(1).any(dim=1)
            chosen = outputs.argmax(dim=1)
            same.append(moved & (chosen[1:] == chosen[0]))
        return Changed(batch, inputs, same)

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Changed
    ) -> dict[str, Measurement]:
        """The largest ratio of every attribution."""
        below = [self.below(batch, i, observation.inputs[i]) for i in range(len(batch))]
        result = {}
        for name, attribution in attributions.items():
            values, errors = [], []
            for i, maps in enumerate(observation.maps(name, attribution)):
                keep = observation.same[i].cpu()
                clean = batch.per_feature(attribution.values[i : i + 1]).cpu()
                ratios = (self.change(maps - clean, clean) / below[i].cpu())[keep]
                good = bool(keep.any()) and bool(ratios.isfinite().all())
                value, error = maximum(ratios) if good else (torch.tensor(math.nan), None)
                values.append(value.double())
                errors.append(torch.tensor(math.nan) if error is None else error.double())
            error = None if self.draws < 2 else torch.stack(errors)
            result[name] = Measurement(torch.stack(values), error, NOT_DEFINED)
        return result

    def change(self, moved: Tensor, clean: Tensor) -> Tensor:
        """Size of changes (D, E) of values (1, E), relative to these, (D,)."""
        if self.form == "elementwise":
            return (moved / clean).norm(dim=1)
        return moved.norm(dim=1) / clean.norm(dim=1)

    def below(self, batch: Batch, i: int, inputs: Tensor) -> Tensor:
        """What the change of the map is divided by, (D,) float64."""
        raise NotImplementedError

    def outer(self, values: Tensor) -> Tensor:
        """Size of the change of outputs from the first row on, (1 + D, E) to (D,)."""
        values = values.flatten(1).double()
        moved = (values[1:] - values[:1]).norm(dim=1)
        return moved if self.form == "elementwise" else moved / values[0].norm()


@dataclass(frozen=True, eq=False)
class Changed:
    """Noisy versions of the samples of one batch, and their maps, made once for each method.

    Attributes:
        batch: The samples.
        inputs: N tensors (D, *F).
        same: N tensors (D,), whether a version differs and keeps the predicted class.
        known: Maps by feature so far, N tensors (D, G), by method.
    """

    batch: Batch
    inputs: Sequence[Tensor]
    same: Sequence[Tensor]
    known: dict[str, list[Tensor]] = field(default_factory=dict)

    def maps(self, name: str, attribution: Attribution) -> list[Tensor]:
        """Maps of the versions of each sample by feature, N tensors (D, G) on the CPU.

        Raises:
            InputError: The map was given without its method, or a new map is not what it has to be.
        """
        if name not in self.known:
            method = method_of(name, attribution)
            found = []
            for i, inputs in enumerate(self.inputs):
                maps = attribute(method, copies(self.batch, i, inputs))
                check_map(maps, inputs, "the attribution of changed inputs")
                found.append(self.batch.per_feature(maps).cpu())
            self.known[name] = found
        return self.known[name]


def outputs_of(batch: Batch, rows: Tensor) -> Tensor:
    """All outputs of the model, (n, K)."""

    def some(part: slice) -> Tensor:
        with torch.no_grad():
            found = batch.score.outputs(rows[part])
        return found.reshape(len(found), -1)

    return torch.cat(list(batch.score.in_chunks(len(rows), some)))


@dataclass(frozen=True)
class RelativeInputStability(RelativeStability):
    """Relative input stability (RIS): largest change of the map over that of the input.

    A maximum over those of D noisy inputs that keep the predicted class: a lower bound of the
    maximum over all, which grows with D.  Maps are summed over the elements of each feature.  The
    noise of a sample is drawn by its identifier, the same for all methods, see
    `igbench.metrics.column_noise`: numbers get normal noise, whole categories become others.

    Lower is better, in [0, inf).  Undefined where a map is zero or not finite, where no noisy input
    keeps the class, or where what is divided by is zero.  The standard error is how far this
    maximum varies with the draws, see `igbench.metrics.monte_carlo.maximum`.  Cost: 1 + D model
    rows for each sample, and D explanations for each method, shared by the three stabilities.

    Source: Agarwal et al. 2022, "Rethinking Stability for Attribution-based Explanations", in
    OpenXAI (Agarwal et al. 2022, NeurIPS).

    Args:
        scale: Standard deviation of the noise, in units of the model's input.  OpenXAI has 1e-5,
            which is close to the roundings of float32.
        draws: Number D of changed inputs for each sample.
        form: "norm", a quotient of norms (OpenXAI), or "elementwise": changes are divided by the
            elements first (the paper and Quantus), which needs elements that are not zero.

    Raises:
        InputError: A scale or a number of draws that is not above zero, an unknown form, or no
            method to explain with.

    Example:
        phi = 2 x moves as fast as the input.

        >>> import torch
        >>> from igbench.metrics import ris
        >>> x, f = torch.ones(1, 4, dtype=torch.float64), lambda x: (x**2).sum(dim=1)
        >>> found = ris(f, x, 2 * x, explain=lambda x, target: 2 * x)
        >>> found.round(decimals=6).tolist()
        [1.0]
    """

    name = "ris"
    explains = "How much faster does the map move than the input?"

    def below(self, batch: Batch, i: int, inputs: Tensor) -> Tensor:
        """Relative change of the input, (D,)."""
        clean = batch.x[i : i + 1].flatten(1).double()
        return self.change(inputs.flatten(1).double() - clean, clean)


@dataclass(frozen=True)
class RelativeOutputStability(RelativeStability):
    """Relative output stability (ROS): largest change of the map over that of all outputs.

    A maximum over those of D noisy inputs that keep the predicted class: a lower bound of the
    maximum over all, which grows with D.  Maps are summed over the elements of each feature.  The
    noise of a sample is drawn by its identifier, the same for all methods, see
    `igbench.metrics.column_noise`: numbers get normal noise, whole categories become others.

    Lower is better, in [0, inf).  Undefined where a map is zero or not finite, where no noisy input
    keeps the class, or where what is divided by is zero.  The standard error is how far this
    maximum varies with the draws, see `igbench.metrics.monte_carlo.maximum`.  Cost: 2 (1 + D) model
    rows for each sample, and D explanations for each method, shared by the three stabilities.

    Source: Agarwal et al. 2022, "Rethinking Stability for Attribution-based Explanations", in
    OpenXAI (Agarwal et al. 2022, NeurIPS).

    Args:
        scale: Standard deviation of the noise, in units of the model's input.  OpenXAI has 1e-5,
            which is close to the roundings of float32.
        draws: Number D of changed inputs for each sample.
        form: "norm", a quotient of norms (OpenXAI), or "elementwise": changes are divided by the
            elements first, and outputs not divided by
            their size (the paper and Quantus), which needs elements that are not zero.

    Raises:
        InputError: A scale or a number of draws that is not above zero, an unknown form, or no
            method to explain with.

    Example:
        phi = w x of one feature moves as fast as f = w x.

        >>> import torch
        >>> from igbench.metrics import ros
        >>> x, f = torch.ones(1, 1, dtype=torch.float64), lambda x: 3 * x[:, 0]
        >>> found = ros(f, x, 3 * x, explain=lambda x, target: 3 * x)
        >>> found.round(decimals=6).tolist()
        [1.0]
    """

    name = "ros"
    explains = "How much faster does the map move than the outputs?"

    def below(self, batch: Batch, i: int, inputs: Tensor) -> Tensor:
        """Change of the outputs, relative to them in the form of norms, (D,)."""
        return self.outer(outputs_of(batch, torch.cat([batch.x[i : i + 1], inputs])))


@dataclass(frozen=True)
class RelativeRepresentationStability(RelativeStability):
    """Relative representation stability (RRS): largest change of the map over that of a layer.

    A maximum over those of D noisy inputs that keep the predicted class: a lower bound of the
    maximum over all, which grows with D.  Maps are summed over the elements of each feature.  The
    noise of a sample is drawn by its identifier, the same for all methods, see
    `igbench.metrics.column_noise`: numbers get normal noise, whole categories become others.

    Lower is better, in [0, inf).  Undefined where a map is zero or not finite, where no noisy input
    keeps the class, or where what is divided by is zero.  The standard error is how far this
    maximum varies with the draws, see `igbench.metrics.monte_carlo.maximum`.  Cost: 2 (1 + D) model
    rows for each sample, and D explanations for each method, shared by the three stabilities.

    Source: Agarwal et al. 2022, "Rethinking Stability for Attribution-based Explanations", in
    OpenXAI (Agarwal et al. 2022, NeurIPS).

    Args:
        scale: Standard deviation of the noise, in units of the model's input.  OpenXAI has 1e-5,
            which is close to the roundings of float32.
        draws: Number D of changed inputs for each sample.
        form: "norm", a quotient of norms (OpenXAI), or "elementwise": changes are divided by the
            elements first, and the layer not divided by
            its size (the paper and Quantus), which needs elements that are not zero.
        layer: Name of the layer; None for the first activation (ReLU, GELU, ...) among the modules.

    Raises:
        InputError: A scale or a number of draws that is not above zero, an unknown form or layer,
            or no method to explain with.

    Example:
        phi = 3 relu(x) moves as fast as the hidden layer relu(x).

        >>> import torch
        >>> from torch import nn
        >>> from igbench.metrics import rrs
        >>> net = nn.Sequential(nn.ReLU(), nn.Linear(2, 1)).double().eval()
        >>> x = torch.ones(1, 2, dtype=torch.float64)
        >>> found = rrs(net, x, 3 * x, explain=lambda x, target: 3 * x)
        >>> found.round(decimals=6).tolist()
        [1.0]
    """

    name = "rrs"
    explains = "How much faster does the map move than the hidden layer?"

    layer: str | None = None

    def below(self, batch: Batch, i: int, inputs: Tensor) -> Tensor:
        """Change of the layer, relative to it in the form of norms, (D,)."""
        layer, found = hidden_layer(batch.score.model, self.layer), []
        handle = layer.register_forward_hook(lambda _module, _inputs, out: found.append(out))
        try:
            outputs_of(batch, torch.cat([batch.x[i : i + 1], inputs]))
        finally:
            handle.remove()
        kept = [out for out in found if isinstance(out, Tensor)]
        if not kept or sum(len(out) for out in kept) != 1 + len(inputs):
            raise NotDefinedError(
                f"rrs needs a layer with one tensor for each row, called once; choose another "
                f"layer than {type(layer).__name__}."
            )
        return self.outer(torch.cat([out.detach().flatten(1) for out in kept]))


def hidden_layer(model: object, name: str | None) -> nn.Module:
    """The layer with a name, or the first activation among the modules of a network.

    Raises:
        NotDefinedError: There is none.
        InputError: The network has no layer of that name.

    >>> hidden_layer(nn.Sequential(nn.Linear(2, 2), nn.GELU()), None)
    GELU(approximate='none')
    """
    if not isinstance(model, nn.Module):
        raise NotDefinedError("rrs needs a network with layers, and this model is a function.")
    if name is not None:
        return check_layer(model, name)
    for module in model.modules():
        if isinstance(module, ACTIVATIONS):
            return module
    raise NotDefinedError(
        "rrs found no activation among the modules of the model; name a hidden layer: layer=NAME."
    )
