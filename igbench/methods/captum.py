"""Any attribution class of `captum.attr` as a method; one YAML file each."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor, nn

from igbench.core.batch import Batch
from igbench.core.score import Score
from igbench.errors import InputError, NotDefinedError, suggestion
from igbench.methods.base import BaseMethod
from igbench.methods.custom import one_by_one
from igbench.propagation.guided import guided_gradient
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

BY_GRADIENT = frozenset({"GradientShap", "InputXGradient", "IntegratedGradients", "Saliency"})
"""Classes of `captum.attr` that take values and gradients of the model, and touch no layer."""

LOCAL = {"Saliency": False, "GuidedBackprop": True, "Deconvolution": True, "GuidedGradCam": True}
"""Classes of `captum.attr` whose maps are sensitivities, and whether these are signed."""

GLOBAL = (
    "DeepLift",
    "DeepLiftShap",
    "FeatureAblation",
    "FeaturePermutation",
    "GradientShap",
    "InputXGradient",
    "IntegratedGradients",
    "KernelShap",
    "LRP",
    "Lime",
    "Occlusion",
    "ShapleyValueSampling",
    "ShapleyValues",
)
"""Classes of `captum.attr` whose maps are contributions."""

BY_MODULE = {
    "GuidedBackprop": ("GuidedBackprop", "guided_backprop"),
    "GuidedGradCam": ("GuidedBackprop", "guided_backprop"),
    "Deconvolution": ("Deconvolution", "deconvolution"),
    "DeepLift": ("DeepLift", "deep_lift"),
    "DeepLiftShap": ("DeepLift", "deep_shap"),
}
"""Classes whose rules Captum puts on some classes of modules: what to check, our own method."""

INCOMPLETE = 1e-3
"""Share of its size that a map of Captum's DeepLift may miss of f(x) - f(x')."""


@dataclass(frozen=True)
class Captum(BaseMethod):
    """An attribution class of `captum.attr`, called on one sample at a time.

    Captum draws from the global generators, and some of its methods depend on what else is in the
    batch; with one sample for each call and generators seeded from (seed, class, sample id), a
    map depends on its sample alone.  Captum explains the scalar `batch.score`, so its own target
    logic is not involved.

    Captum's rules of DeepLift, GuidedBackprop and Deconvolution belong to classes of modules: other
    activations (ReLU6, functions) would get their plain gradient.  Models with these are refused,
    see `check_rules`; `deep_lift`, `guided_backprop` and `deconvolution` have no such limit.

    Args:
        attribution: Name of the class in `captum.attr`, for example "Occlusion".
        title: Name in tables; by default that of the class.
        reference: Paper.
        kind: "global" or "local", see `igbench.schema.MethodSpec`; by default what the class is
            known to be, `LOCAL` or `GLOBAL`.
        signed: False where the map is a magnitude; by default as known.
        role: "method" or "oracle".
        arguments: Arguments of `attribute`; lists become tuples, and None is the default: windows
            of Occlusion that fit the shape of the samples, see `occlusion_windows`.
        init: Further arguments of the constructor.
        noise_tunnel: Arguments of `NoiseTunnel.attribute` (nt_type, nt_samples, stdevs, ...) where
            the method is to be averaged over noisy inputs.

    Raises:
        InputError: A class that Captum does not have, or of an unknown kind where none is given.

    >>> from igbench.methods import explain
    >>> explain(Captum("InputXGradient"), lambda x: (x**2).sum(dim=1), [[1.0, 3.0]]).tolist()
    [[2.0, 18.0]]
    """

    attribution: str
    title: str = ""
    reference: str = ""
    kind: Literal["global", "local"] | None = None  # type: ignore[assignment]
    signed: bool | None = None  # type: ignore[assignment]
    role: Literal["method", "oracle", "control"] = "method"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    init: Mapping[str, Any] = field(default_factory=dict)
    noise_tunnel: Mapping[str, Any] = field(default_factory=dict)

    label = "{title}"

    def __post_init__(self) -> None:
        super().__post_init__()
        kind, signed = kind_of(self.attribution)
        if kind is None:
            attribution_class(self.attribution)
        known = {
            "title": f"captum.attr.{self.attribution}",
            "reference": "captum.attr",
            "kind": kind,
            "signed": signed,
        }
        for name, value in known.items():
            if getattr(self, name) in ("", None):
                object.__setattr__(self, name, value)
        if self.kind is None:
            raise InputError(
                f"captum.attr.{self.attribution} may return contributions or sensitivities; say "
                "which: kind=global or kind=local."
            )

    def check_fit(self, model: object, shape: tuple[int, ...]) -> None:
        """Raise on arguments that the class of Captum does not take."""
        own = attribution_class(self.attribution)
        known = inspect.signature(own.attribute).parameters
        for name in [] if self.noise_tunnel else self.arguments:
            if name not in known:
                raise InputError(
                    f"captum.attr.{self.attribution}.attribute has no argument {name!r}; known: "
                    f"{', '.join(k for k in known if k != 'self')}.{suggestion(name, known)}"
                )

    @property
    def foldable(self) -> bool:  # type: ignore[override]
        """Whether the class takes values and gradients alone, and touches no layer."""
        return self.attribution in WITHOUT_GRADIENT | BY_GRADIENT

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
            if self.attribution in BY_MODULE:
                start, target = batch.baseline[i : i + 1], batch.target_of(i)
                forwarded = own.get("additional_forward_args")
                check_rules(
                    self.attribution,
                    batch.score,
                    batch.score,
                    x,
                    start,
                    target,
                    forwarded=forwarded,
                )
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


def check_rules(
    attribution: str,
    model: nn.Module,
    score: Score,
    x: Tensor,
    baseline: Tensor,
    target: Tensor | None,
    *,
    forwarded: tuple[Tensor | None, ...] | None = None,
) -> None:
    """Raise where a model has activations that a rule of Captum's does not see.

    GuidedBackprop and Deconvolution are compared with our own, and DeepLift is checked for its sum;
    names of modules would not tell of functions.

    Args:
        attribution: Name of the class, one of `BY_MODULE`.
        model: What Captum explains.
        score: The same as a scalar, for our own.
        x: (1, *F).
        baseline: (1, *F).
        target: (1,) or None.
        forwarded: Arguments of the model after x, for one that selects the target itself.

    Raises:
        NotDefinedError: Such an activation, or an output that is no logit.
    """
    checked, own = BY_MODULE[attribution]
    selected: dict[str, Any] = {"target": target}
    if forwarded is not None:
        selected = {"additional_forward_args": forwarded}
    explainer = attribution_class(checked)(model)
    if checked == "DeepLift":
        found = explainer.attribute(x, baselines=baseline, **selected).detach()
        ends = [score.evaluate(v.detach(), target) for v in (x, baseline)]
        size = found.abs().sum() + sum(v.abs() for v in ends)
        missed = bool((found.sum() - (ends[0] - ends[1])).abs() > INCOMPLETE * size)
    else:
        found = explainer.attribute(x, **selected).detach()
        title, gated = f"captum.attr.{attribution}", checked == "GuidedBackprop"
        ours = guided_gradient(score, x, target, gated=gated, title=title)
        missed = bool((found - ours).abs().max() > 1e-4 * ours.abs().max())
    if missed:
        raise NotDefinedError(
            f"captum.attr.{attribution} has rules for some classes of modules alone (nn.ReLU), and "
            "takes the plain gradient of other activations of this model, as ReLU6 or functions; "
            f"use method {own}."
        )


def kind_of(name: str) -> tuple[Literal["global", "local"] | None, bool]:
    """What the maps of a class of `captum.attr` are, None where that is unknown; and their sign.

    >>> kind_of("Saliency"), kind_of("DeepLift")
    (('local', False), ('global', True))
    """
    if name in LOCAL:
        return "local", LOCAL[name]
    return ("global" if name in GLOBAL else None), True


def attribution_class(name: str) -> Any:
    """The class `captum.attr.<name>`.

    Raises:
        InputError: Captum has no such class.
    """
    module = importlib.import_module("captum.attr")
    found = getattr(module, name, None)
    if not inspect.isclass(found) or not hasattr(found, "attribute"):
        near = suggestion(name, dir(module))
        raise InputError(
            f"captum.attr has no class {name!r} that attributes; see dir(captum.attr).{near}"
        )
    return found


def tuples(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with lists, as they come from YAML, turned into the tuples Captum expects."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
