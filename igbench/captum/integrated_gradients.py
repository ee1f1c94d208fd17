"""Integrated Gradients with the interface of `captum.attr.IntegratedGradients`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor, nn

from igbench.captum import steps, tuples
from igbench.captum.tuples import Baseline, Baselines, Target, Tensors
from igbench.core.score import frozen


class IntegratedGradients(GradientAttribution):
    """Integrated Gradients (Sundararajan, Taly and Yan 2017, eq. 1), a drop-in for Captum's class.

    phi_i = (x_i - x'_i) * integral over a in [0, 1] of df/dx_i(x' + a (x - x')).  A subclass of
    Captum's `GradientAttribution` with the hooks that NoiseTunnel and the layer and neuron variants
    use (`attribute.__wrapped__`, `gradient_func`, `_attribute`).  It differs from Captum's class in
    that

    - weights are float64 and sums are kept in float64, so float64 inputs get float64 accuracy;
    - "riemann_trapezoid" has weights that sum to 1; Captum's sum to (n-1)/n and make every
      attribution too small by 1/n.  "captum_trapezoid" has Captum's weights;
    - memory does not grow with `n_steps`: without `internal_batch_size`, a call of the model gets
      as many rows as hold 4 Mi elements of input, at most 512;
    - `internal_batch_size` may be smaller than the number of examples;
    - parameters need no gradient during the call, where `forward_func` is a module or a method of
      one, which saves their share of the backward pass; `requires_grad` is restored afterwards;
    - attributions never carry a graph;
    - a forward function that returns fewer outputs than it gets rows is refused: Captum takes the
      gradient of those that there are.

    Args:
        forward_func: The model, or any function of `(*inputs, *additional_forward_args)`.
        multiply_by_inputs: True for global attributions, which are multiplied by
            (inputs - baselines) and sum to f(inputs) - f(baselines); False for local ones.

    >>> ig = IntegratedGradients(lambda x: (x**2).sum(dim=1))
    >>> ig.attribute(torch.tensor([[1.0, 3.0]]), n_steps=2).tolist()
    [[1.0, 9.0]]
    """

    def __init__(
        self, forward_func: Callable[..., Tensor], multiply_by_inputs: bool = True
    ) -> None:
        super().__init__(forward_func)
        self._multiply_by_inputs = multiply_by_inputs

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
    ) -> Tensors | tuple[Tensors, Tensor]:
        """Attribute the target's output to the inputs.

        Args:
            inputs: Tensor (B, *F), or a tuple of them.
            baselines: Where the path starts: None (zero), a number, a tensor (B, *F) or (1, *F), or
                a tuple with one of these for each input.
            target: Output that is explained: None (one output for each example), an int or
                one-element tensor or tuple (index after the batch axis, for all examples), a list
                of ints or of tuples or a tensor (B,) (one for each example).
            additional_forward_args: Further arguments of the forward function, one or a tuple;
                tensors have examples on axis 0 and are repeated over steps.
            n_steps: Number of gradients for each example.
            method: "gausslegendre", "riemann_left", "riemann_right", "riemann_middle",
                "riemann_trapezoid", "captum_trapezoid", or one of
                `igbench.integration.quadrature.RULES`.
            internal_batch_size: Largest number of rows (examples times steps) in one call of the
                model.  Examples are cut apart only where every tensor has one entry for each.
            return_convergence_delta: Also return (B,): the sum of all attributions of an example
                minus (f(inputs) - f(baselines)).

        Returns:
            A tensor for a tensor, a tuple for a tuple, in the shapes of the inputs and their
            dtype, but at least float32; with the delta, a pair.

        Raises:
            InputError: Unknown method, too few steps, shapes that do not fit, or a forward function
                that does not compute one row of outputs from each row of its arguments.
        """
        ends = tuples.as_tuple("inputs", inputs)
        starts = tuples.as_baselines(baselines, ends)
        attributions = self._attribute(
            inputs=ends,
            baselines=starts,
            target=target,
            additional_forward_args=additional_forward_args,
            n_steps=n_steps,
            method=method,
            internal_batch_size=internal_batch_size,
        )
        shaped = tuples.shaped_like(inputs, attributions)
        if not return_convergence_delta:
            return shaped
        arguments = tuples.as_arguments(additional_forward_args)
        limit = tuples.row_limit(internal_batch_size, ends, arguments)
        return shaped, self._deltas(attributions, starts, ends, target, arguments, limit)

    def attribute_future(self) -> None:
        """Not available, as in Captum."""
        raise NotImplementedError("attribute_future is not implemented for IntegratedGradients")

    def has_convergence_delta(self) -> bool:
        """True: `attribute` can return its completeness error."""
        return True

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether attributions are global."""
        return self._multiply_by_inputs

    def _attribute(
        self,
        inputs: tuple[Tensor, ...],
        baselines: tuple[Baseline, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        n_steps: int = 50,
        method: str = "gausslegendre",
        step_sizes_and_alphas: tuple[Sequence[float], Sequence[float]] | None = None,
        internal_batch_size: int | None = None,
    ) -> tuple[Tensor, ...]:
        """Attributions by one rule, or by given weights and nodes (Captum's hook)."""
        weights, nodes = step_sizes_and_alphas or steps.weights_and_nodes(method, n_steps)
        alphas = torch.tensor(np.asarray(nodes, dtype=np.float64))
        sizes = torch.tensor(np.asarray(weights, dtype=np.float64))
        arguments = tuples.as_arguments(additional_forward_args)
        limit = tuples.row_limit(internal_batch_size, inputs, arguments)
        apart = tuples.separable(inputs, target, arguments)
        starts = tuple(steps.on_device(b, x) for b, x in zip(baselines, inputs, strict=True))
        totals = [torch.zeros_like(x, dtype=tuples.accumulator_dtype(x.device)) for x in inputs]
        forward = tuples.unaliased(tuples.checked(self.forward_func, target))
        with frozen(_module(self.forward_func)), tuples.explained():
            for examples, part in steps.blocks(len(inputs[0]), len(alphas), limit, apart):
                rows = tuples.repeat_all(len(alphas[part]), examples)
                gradients = self.gradient_func(
                    forward_fn=forward,
                    inputs=tuple(
                        steps.points(x[examples], b if len(b) == 1 else b[examples], alphas[part])
                        for x, b in zip(inputs, starts, strict=True)
                    ),
                    target_ind=tuples.take_target(target, rows),
                    additional_forward_args=tuples.take_arguments(arguments, rows),
                )
                for total, gradient in zip(totals, gradients, strict=True):
                    total[examples] += steps.weighted(gradient, sizes[part], total)
        if self.multiplies_by_inputs:
            for total, x, b in zip(totals, inputs, starts, strict=True):
                total *= (x.to(total.dtype) - b.to(total.dtype)).detach()
        return tuple(
            total.to(torch.promote_types(steps.point_dtype(x, b), torch.float32))
            for total, x, b in zip(totals, inputs, starts, strict=True)
        )

    def _deltas(
        self,
        attributions: tuple[Tensor, ...],
        starts: tuple[Baseline, ...],
        ends: tuple[Tensor, ...],
        target: Target,
        arguments: tuple[Any, ...] | None,
        limit: int,
    ) -> Tensor:
        """Convergence deltas, (B,), in chunks of examples."""
        apart = tuples.separable(ends, target, arguments)
        full = [steps.on_device(b, x).expand_as(x) for b, x in zip(starts, ends, strict=True)]
        parts = []
        for cut in tuples.cuts(len(ends[0]), limit, apart):
            rows = tuples.repeat_all(1, cut)
            part = self.compute_convergence_delta(
                tuple(a[cut] for a in attributions),
                tuple(b[cut].clone() for b in full),
                tuple(x[cut].clone() for x in ends),
                target=tuples.take_target(target, rows),
                additional_forward_args=tuples.take_arguments(arguments, rows),
            )
            parts.append(part)
        return torch.cat(parts)


def _module(forward: Callable[..., Tensor]) -> Any:
    """The module behind a forward function, where there is one."""
    owner = getattr(forward, "__self__", None)
    return owner if isinstance(owner, nn.Module) else forward
