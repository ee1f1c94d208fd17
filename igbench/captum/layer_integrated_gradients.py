"""Layer Integrated Gradients with the interface of `captum.attr.LayerIntegratedGradients`."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

import captum.attr
import torch
from captum._utils.common import _run_forward
from captum.attr._utils.common import _tensorize_baseline
from captum.log import log_usage
from torch import Tensor, nn

from igbench.captum import tuples
from igbench.captum.integrated_gradients import IntegratedGradients
from igbench.captum.tuples import Baselines, Target, Tensors
from igbench.errors import InputError

LayerMaps: TypeAlias = Tensors | list[Tensors]
"""One layer's tensor or tuple, or a list of them for a list of layers."""


class LayerIntegratedGradients(captum.attr.LayerIntegratedGradients):
    """Integrated Gradients of what enters or leaves a layer, a drop-in for Captum's class.

    The path is straight between the layer's activations z' for the baselines and z for the inputs:
    phi = (z - z') * integral over a in [0, 1] of df/dz(z' + a (z - z')).  A subclass of Captum's
    class that differs from it as `igbench.captum.IntegratedGradients` does, and in that

    - memory does not grow with `n_steps`, whether or not `internal_batch_size` is given;
    - `internal_batch_size` bounds every call of the model, also those at both ends;
    - "captum_trapezoid" and the rules of `igbench.integration.quadrature` are known;
    - a scalar baseline of whole-number inputs (token ids) must be whole: Captum cuts its fraction
      off;
    - a layer that is called several times in one pass is refused where the output depends on more
      than the last call: Captum puts the activations of that one into all.

    Hooks are removed when the call ends, whether or not it raises.  Several devices of a
    `DataParallel` are not supported.

    Args:
        forward_func: The model, or any function of `(*inputs, *additional_forward_args)`.
        layer: A module that the forward function calls, or a list of modules of which none feeds
            another.
        device_ids: None, or one device.
        multiply_by_inputs: True for global attributions, multiplied by z - z'; False for local.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)).requires_grad_(False)
    >>> x = torch.tensor([[1.0, 2.0]])
    >>> phi = LayerIntegratedGradients(model, model[0]).attribute(x)
    >>> torch.allclose(phi.sum(), (model(x) - model(0 * x)).sum())
    True
    """

    def __init__(
        self,
        forward_func: Callable[..., Tensor],
        layer: nn.Module | list[nn.Module],
        device_ids: list[int] | None = None,
        multiply_by_inputs: bool = True,
    ) -> None:
        ids = getattr(forward_func, "device_ids", None) if device_ids is None else device_ids
        if ids is not None and len(ids) > 1:
            raise InputError(
                f"LayerIntegratedGradients works on one device, not on {len(ids)}; give the module "
                "inside DataParallel, `model.module`."
            )
        super().__init__(forward_func, layer, device_ids, multiply_by_inputs)
        self.ig = IntegratedGradients(forward_func, multiply_by_inputs)

    @log_usage(part_of_slo=True)
    def attribute(
        self,
        inputs: Tensors,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        n_steps: int = 50,
        method: str = "gausslegendre",
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
    ) -> LayerMaps | tuple[LayerMaps, Tensor]:
        """Attribute the target's output to the layer.

        Args:
            inputs: Tensor (B, *F), or a tuple of them.
            baselines: Where the path starts, see `IntegratedGradients.attribute`.
            target: Output that is explained, see there.
            additional_forward_args: Further arguments of the forward function, one or a tuple.
            n_steps: Number of gradients for each example.
            method: Quadrature rule, see `IntegratedGradients.attribute`.
            internal_batch_size: Largest number of rows in one call of the model.
            return_convergence_delta: Also return (B,): the sum of all attributions of an example
                minus (f(inputs) - f(baselines)).
            attribute_to_layer_input: Whether to explain what enters the layer, not what leaves it.
            grad_kwargs: Further arguments of `torch.autograd.grad`.

        Returns:
            Attributions in the shape of the activations: a tensor, or a tuple where the layer has
            several; a list of these for a list of layers.  With the delta, a pair.

        Raises:
            InputError: Arguments do not fit, or the layer is not called, has no tensors, or is
                called several times to an effect that no single map explains.
        """
        ends = tuples.as_tuple("inputs", inputs)
        starts = _whole_baselines(tuples.as_baselines(baselines, ends), ends)
        arguments = tuples.as_arguments(additional_forward_args)
        limit = tuples.row_limit(internal_batch_size, ends, arguments)
        begin, f_begin, _ = self._at(starts, target, arguments, limit, attribute_to_layer_input)
        end, f_end, calls = self._at(ends, target, arguments, limit, attribute_to_layer_input)
        if calls > 1:
            self._check_calls(ends, arguments, attribute_to_layer_input)
        counts = [0, *accumulate(len(part) for part in end)]
        checked = copy.copy(self)
        checked.forward_func = tuples.checked(self.forward_func, target)
        self.ig.gradient_func = checked._make_gradient_func(
            torch.tensor(counts), attribute_to_layer_input, grad_kwargs
        )
        with _in_place_named():
            found = self.ig._attribute(
                inputs=tuple(z for part in end for z in part),
                baselines=tuple(z for part in begin for z in part),
                target=target,
                additional_forward_args=(*ends, *(arguments or ())),
                n_steps=n_steps,
                method=method,
                internal_batch_size=internal_batch_size,
            )
        parts = [found[a] if b == a + 1 else found[a:b] for a, b in pairwise(counts)]
        shaped = parts if isinstance(self.layer, list) else parts[0]
        if not return_convergence_delta:
            return shaped
        return shaped, _deltas(found, f_end - f_begin)

    def _at(
        self,
        inputs: tuple[Tensor, ...],
        target: Target,
        arguments: tuple[Any, ...] | None,
        limit: int,
        to_input: bool,
    ) -> tuple[list[tuple[Tensor, ...]], Tensor, int]:
        """Activations of each layer, and the explained output, (B,), in chunks of examples.

        The last of three is how often a layer is called in one pass.
        """
        layers, calls = self._layers, [0]
        kept: list[list[tuple[Tensor, ...]]] = [[] for _ in layers]
        with torch.no_grad(), _watched(layers, to_input) as seen:

            def forward(*values: Any) -> Tensor:
                out: Tensor = self.forward_func(*values)
                for found, activations in zip(kept, seen, strict=True):
                    found.append(_tensors(activations))
                    calls.append(len(activations))
                    activations.clear()
                return out

            outputs = tuples.outputs(forward, inputs, target, arguments, limit)
        joined = [tuple(torch.cat(z) for z in zip(*found, strict=True)) for found in kept]
        return joined, outputs, max(calls)

    @property
    def _layers(self) -> list[nn.Module]:
        return self.layer if isinstance(self.layer, list) else [self.layer]

    def _check_calls(
        self, inputs: tuple[Tensor, ...], arguments: tuple[Any, ...] | None, to_input: bool
    ) -> None:
        """Raise where the output depends on several calls of a layer, which has one map.

        A layer may be called several times in one pass: of an activation that a block uses twice in
        a row, the last call decides alone.  Of an embedding of two texts both calls do.
        """
        alone = tuples.separable(inputs, None, arguments)
        first = slice(1) if alone else slice(None)
        rows = tuples.repeat_all(1, first)
        with torch.enable_grad(), _cut(self._layers, to_input) as calls:
            total = _run_forward(
                self.forward_func,
                tuple(x[first] for x in inputs),
                None,
                tuples.take_arguments(arguments, rows),
            ).sum()
        for found in calls:
            earlier = [z for call in found[:-1] for z in call]
            if not earlier or not total.requires_grad:
                continue
            used = torch.autograd.grad(total, earlier, retain_graph=True, allow_unused=True)
            if any(gradient is not None for gradient in used):
                raise InputError(
                    f"the layer is called {len(found)} times in one pass, and the output depends "
                    "on more than the last call, so no single map explains it; give each call a "
                    "module of its own (copy.deepcopy), or attribute to another layer."
                )


@contextmanager
def _in_place_named() -> Iterator[None]:
    """Explain torch's refusal to overwrite the points of the path."""
    try:
        yield
    except RuntimeError as error:
        if "in-place operation" not in str(error):
            raise
        raise InputError(
            "an operation in place overwrites what leaves the layer, as ReLU(inplace=True) does; "
            "set inplace=False there, or attribute to another layer."
        ) from error


@contextmanager
def _watched(layers: list[nn.Module], to_input: bool) -> Iterator[list[list[Any]]]:
    """Collect what enters or leaves each layer while the context is open."""
    seen: list[list[Any]] = [[] for _ in layers]
    handles = []
    try:
        for layer, values in zip(layers, seen, strict=True):
            if to_input:
                note = functools.partial(_note, values)
                handles.append(layer.register_forward_pre_hook(note))
            else:
                handles.append(layer.register_forward_hook(functools.partial(_note, values)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _cut(layers: list[nn.Module], to_input: bool) -> Iterator[list[list[list[Tensor]]]]:
    """Cut the graph at each call of each layer, and collect the tensors that go on from there."""
    calls: list[list[list[Tensor]]] = [[] for _ in layers]
    handles = []

    def leaves(kept: list[list[Tensor]], _module: nn.Module, inputs: Any, *output: Any) -> Any:
        values = output[0] if output else inputs
        several = values if isinstance(values, tuple) else (values,)
        new = tuple(v.detach().requires_grad_() if _is_real(v) else v for v in several)
        kept.append([v for v in new if _is_real(v)])
        on = tuple(v.clone() if _is_real(v) else v for v in new)  # may be changed in place
        return on if isinstance(values, tuple) else on[0]

    try:
        for layer, kept in zip(layers, calls, strict=True):
            hook = functools.partial(leaves, kept)
            add = layer.register_forward_pre_hook if to_input else layer.register_forward_hook
            handles.append(add(hook))
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _is_real(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _note(seen: list[Any], _module: nn.Module, inputs: Any, *output: Any) -> None:
    """Keep a copy, which operations in place after the layer do not change, of the last call."""
    values = output[0] if output else inputs
    several = values if isinstance(values, tuple) else (values,)
    last = tuple(v.clone() if isinstance(v, Tensor) else v for v in several)
    seen[:] = [*[None] * len(seen), last]


def _tensors(activations: list[Any]) -> tuple[Tensor, ...]:
    """The tensors of a layer's last call.

    Raises:
        InputError: There was no call, or something else than tensors of numbers.
    """
    if not activations:
        raise InputError(
            "the layer was not called by forward_func; give a module that takes part in it."
        )
    values: tuple[Any, ...] = activations[-1]
    for value in values:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise InputError(
                f"the layer's activations hold {kind}, which has no gradient; choose a layer, or "
                "attribute_to_layer_input, with one tensor or a tuple of tensors of real numbers."
            )
    if not values:
        raise InputError(
            "the layer gets its inputs by keyword, where attribute_to_layer_input cannot see them; "
            "attribute to its output."
        )
    return values


def _whole_baselines(baselines: tuple[Any, ...], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Baselines as tensors in the shape of the inputs, scalars in their dtype."""
    for value, x in zip(baselines, inputs, strict=True):
        if isinstance(value, float) and not x.is_floating_point() and not value.is_integer():
            raise InputError(
                f"the baseline {value} is no {x.dtype} as its input; give a whole number."
            )
    found: tuple[Tensor, ...] = _tensorize_baseline(inputs, baselines)
    return tuple(b.expand_as(x) for b, x in zip(found, inputs, strict=True))


def _deltas(attributions: tuple[Tensor, ...], change: Tensor) -> Tensor:
    """Sum of the attributions of each example minus the change of the output, (B,)."""
    n = len(change)
    uneven = [a for a in attributions if len(a) % n]
    if uneven:
        raise InputError(
            f"the layer has {len(uneven[0])} rows for {n} examples, so attributions cannot be "
            "summed for each; leave return_convergence_delta out."
        )
    wide = tuples.accumulator_dtype(change.device)
    sums = [a.to(change.device).reshape(n, -1).sum(dim=1, dtype=wide) for a in attributions]
    return (torch.stack(sums).sum(dim=0) - change).to(change.dtype)
