"""Averages over noisy inputs with the interface of `captum.attr.NoiseTunnel`."""

from __future__ import annotations

from typing import Any

import captum.attr
import torch
from captum.attr._core.noise_tunnel import SUPPORTED_NOISE_TUNNEL_TYPES
from captum.attr._utils.attribution import Attribution
from captum.log import log_usage
from torch import Tensor

from igbench.captum import tuples
from igbench.captum.tuples import Tensors
from igbench.errors import InputError, check_choice, check_positive


class NoiseTunnel(captum.attr.NoiseTunnel):
    """Attributions of noisy copies of each input, averaged; a drop-in for Captum's class.

    "smoothgrad" is their mean (Smilkov et al. 2017), "smoothgrad_sq" the mean of their squares
    (Hooker et al. 2019), "vargrad" their variance (Adebayo et al. 2018).  The noise is drawn from
    torch's global generator as Captum draws it, so the same seed gives the same values.  It differs
    from Captum's class in that

    - sums are kept in float64, and a variance is never below zero: in float32 Captum's difference
      of two means loses a variance that is small beside the mean;
    - `stdevs` may be whole numbers;
    - around `igbench.captum.IntegratedGradients`, a call of the model has bounded size whatever
      `nt_samples` and `n_steps` are.

    Args:
        attribution_method: An object of `igbench.captum` or `captum.attr`.

    >>> from igbench.captum import IntegratedGradients
    >>> tunnel = NoiseTunnel(IntegratedGradients(lambda x: (3 * x).sum(dim=1)))
    >>> tunnel.attribute(torch.ones(1, 2), stdevs=0.0).tolist()
    [[3.0, 3.0]]
    """

    def __init__(self, attribution_method: Attribution) -> None:
        if not hasattr(getattr(attribution_method, "attribute", None), "__wrapped__"):
            raise InputError(
                f"NoiseTunnel needs an attribution object of Captum or igbench.captum, not "
                f"{type(attribution_method).__name__}."
            )
        super().__init__(attribution_method)

    @log_usage(part_of_slo=True)
    def attribute(
        self,
        inputs: Tensors,
        nt_type: str = "smoothgrad",
        nt_samples: int = 5,
        nt_samples_batch_size: int | None = None,
        stdevs: float | tuple[float, ...] = 1.0,
        draw_baseline_from_distrib: bool = False,
        **kwargs: Any,
    ) -> Tensors | tuple[Tensors, Tensor]:
        """Attribute noisy copies of each input and combine them.

        Args:
            inputs: Tensor (B, *F), or a tuple of them, of real numbers.
            nt_type: "smoothgrad", "smoothgrad_sq" or "vargrad".
            nt_samples: Number of copies of each example.
            nt_samples_batch_size: Copies that are attributed together; None for all.
            stdevs: Standard deviation of the noise, one for all inputs or a tuple.
            draw_baseline_from_distrib: Whether each copy gets a random one of the baselines.
            **kwargs: Arguments of the attribution method's `attribute`.

        Returns:
            A tensor for a tensor, a tuple for a tuple; with `return_convergence_delta`, also the
            deltas of all copies, (B * nt_samples,).

        Raises:
            InputError: Unknown type, no copies, inputs without noise, or deviations that do not
                fit.
        """
        xs = tuples.as_tuple("inputs", inputs)
        _check(xs, nt_type, nt_samples, nt_samples_batch_size)
        deviations = _deviations(stdevs, xs)
        wants_delta = bool(kwargs.get("return_convergence_delta")) and self.is_delta_supported
        together = min(nt_samples, nt_samples_batch_size or nt_samples)
        sizes = [together] * (nt_samples // together)
        rest = nt_samples % together
        moments: list[tuple[Any, Any]] = []
        deltas: list[Tensor] = []
        many = False
        with torch.no_grad():
            own = dict(kwargs)
            self._expand_partial(together, own, xs, draw_baseline_from_distrib)
            for size in [*sizes, *([rest] if rest else [])]:
                noisy = self._add_noise_to_inputs(size, xs, deviations)
                if size != together:  # after the noise, in Captum's order of draws
                    own = dict(kwargs)
                    self._expand_partial(size, own, xs, draw_baseline_from_distrib)
                maps, many, delta = self._compute_partial_attribution(
                    noisy, own, isinstance(inputs, tuple), wants_delta
                )
                parts = [_sums(_one(m), size) for m in maps]
                pairs = zip(moments or [(0, 0)] * len(parts), parts, strict=True)
                moments = [(a + c, b + d) for (a, b), (c, d) in pairs]
                deltas += [] if delta is None else [delta]
        found = tuple(
            _combined(nt_type, a / nt_samples, b / nt_samples).to(m.dtype)
            for (a, b), m in zip(moments, maps, strict=True)
        )
        shaped: Tensors = found if many else found[0]
        return (shaped, torch.cat(deltas)) if wants_delta else shaped


def _check(xs: tuple[Tensor, ...], nt_type: str, samples: int, together: int | None) -> None:
    check_choice("nt_type", nt_type, SUPPORTED_NOISE_TUNNEL_TYPES)
    check_positive("nt_samples", samples)
    if together is not None:
        check_positive("nt_samples_batch_size", together)
    for i, x in enumerate(xs):
        if not x.is_floating_point():
            raise InputError(
                f"input {i} is {x.dtype}, to which no noise can be added; give real numbers, for "
                "tokens their embeddings."
            )


def _deviations(stdevs: float | tuple[float, ...], xs: tuple[Tensor, ...]) -> tuple[float, ...]:
    values = stdevs if isinstance(stdevs, tuple) else (stdevs,) * len(xs)
    if len(values) != len(xs):
        raise InputError(f"{len(values)} stdevs for {len(xs)} inputs; give one for each.")
    for value in values:
        if not isinstance(value, int | float) or not value >= 0:
            raise InputError(f"stdevs holds {value!r}; give numbers of at least zero.")
    return tuple(float(value) for value in values)


def _one(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise InputError(
            f"the attribution method returned a {type(value).__name__} among its maps; for several "
            "layers, use one NoiseTunnel for each."
        )
    return value


def _sums(maps: Tensor, copies: int) -> tuple[Tensor, Tensor]:
    """Sums over the copies of each example, of the maps and of their squares."""
    wide = maps.detach().to(tuples.accumulator_dtype(maps.device)).unflatten(0, (-1, copies))
    return wide.sum(dim=1), wide.square().sum(dim=1)


def _combined(nt_type: str, mean: Tensor, square: Tensor) -> Tensor:
    if nt_type == "smoothgrad":
        return mean
    return square if nt_type == "smoothgrad_sq" else (square - mean.square()).clamp_min(0)
