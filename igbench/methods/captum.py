"""Any attribution class of `captum.attr` as a method; one YAML file each."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor

from igbench.core.batch import Batch
from igbench.errors import InputError, suggestion
from igbench.methods.base import BaseMethod
from igbench.methods.custom import one_by_one
from igbench.schema import MethodSpec
from igbench.surrogates.windows import windows_of

WITHOUT_GRADIENT = frozenset(
    {
        "FeatureAblation",
        "FeaturePermutation",
        "KernelShap",
        "Lime",
        "Occlusion",
        "ShapleyValueSampling",
        "ShapleyValues",
    }
)
"""Classes of `captum.attr` that evaluate the model alone."""


@dataclass(frozen=True)
class Captum(BaseMethod):
    """An attribution class of `captum.attr`, called on one sample at a time.

    Captum draws from the global generators, and some of its methods depend on what else is in the
    batch; with one sample for each call and generators seeded from (seed, class, sample id), a
    map depends on its sample alone.  Captum explains the scalar `batch.score`, so its own target
    logic is not involved.

    Args:
        attribution: Name of the class in `captum.attr`, for example "Occlusion".
        title: Name in tables.
        reference: Paper.
        kind: "global" or "local", see `igbench.schema.MethodSpec`.
        signed: False where the map is a magnitude.
        role: "method" or "oracle".
        arguments: Arguments of `attribute`; lists become tuples, and None is the default: windows
            of Occlusion that fit the shape of the samples, see `occlusion_windows`.
        init: Further arguments of the constructor.
        noise_tunnel: Arguments of `NoiseTunnel.attribute` (nt_type, nt_samples, stdevs, ...) where
            the method is to be averaged over noisy inputs.

    >>> import torch
    >>> from igbench.methods import explain
    >>> method = Captum("InputXGradient", "Input x gradient", "Shrikumar 2016", "global", True)
    >>> explain(method, lambda x: (x**2).sum(dim=1), torch.tensor([[1.0, 3.0]])).tolist()
    [[2.0, 18.0]]
    """

    attribution: str
    title: str
    reference: str
    kind: Literal["global", "local"]
    signed: bool
    role: Literal["method", "oracle", "control"] = "method"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    init: Mapping[str, Any] = field(default_factory=dict)
    noise_tunnel: Mapping[str, Any] = field(default_factory=dict)

    label = "{title}"

    @property
    def spec(self) -> MethodSpec:
        """As configured; whether gradients are needed follows from the class."""
        return replace(super().spec, needs_gradient=self.attribution not in WITHOUT_GRADIENT)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        explainer = attribution_class(self.attribution)(batch.score, **tuples(self.init))
        arguments = tuples({k: v for k, v in self.arguments.items() if v is not None})
        if self.attribution == "Occlusion":
            arguments = occlusion_windows(tuple(batch.x.shape[1:])) | arguments
        takes_baseline = "baselines" in inspect.signature(explainer.attribute).parameters
        if self.noise_tunnel:
            explainer = attribution_class("NoiseTunnel")(explainer)
            arguments |= tuples(self.noise_tunnel)

        def explained(x: Tensor, i: int) -> Tensor:
            own = dict(arguments)
            if takes_baseline:
                own["baselines"] = batch.baseline[i : i + 1]
            if batch.target is not None:
                own["additional_forward_args"] = (batch.target_of(i),)
            found: Tensor = explainer.attribute(x, **own)
            return found

        return one_by_one(batch, f"captum.{self.attribution}", explained).to(batch.x.dtype)


def occlusion_windows(shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Windows and strides of Captum's Occlusion for samples of one shape: those of our own.

    Args:
        shape: *F.

    >>> occlusion_windows((3, 224, 224))
    {'sliding_window_shapes': (3, 32, 32), 'strides': (3, 16, 16)}
    """
    axes = windows_of(shape).axes
    return {
        "sliding_window_shapes": tuple(axis.window for axis in axes),
        "strides": tuple(axis.stride for axis in axes),
    }


def attribution_class(name: str) -> Any:
    """The class `captum.attr.<name>`.

    Raises:
        InputError: Captum has no such class.
    """
    module = importlib.import_module("captum.attr")
    if not hasattr(module, name):
        near = suggestion(name, dir(module))
        raise InputError(f"captum.attr has no class {name!r}; see dir(captum.attr).{near}")
    return getattr(module, name)


def tuples(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with lists, as they come from YAML, turned into the tuples Captum expects."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
