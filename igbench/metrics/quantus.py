"""Metrics of Quantus: any class of `quantus.metrics` as a metric of igbench."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from igbench.core import rng
from igbench.core.batch import Attribution, Batch, Measurement, Method, attribute
from igbench.core.outputs import repeat_target
from igbench.core.score import Score
from igbench.errors import InputError, check_positive, suggestion
from igbench.metrics.base import BaseMetric
from igbench.metrics.monte_carlo import averaged, repeated
from igbench.metrics.robustness.neighbourhood import copies
from igbench.schema import Direction, Family, MetricSpec

REFUSED = "Quantus refuses maps that are flat, negative everywhere or not finite"


@dataclass(frozen=True)
class Quantus(BaseMetric):
    """Metric of Quantus (Hedstroem et al. 2023), evaluated on one sample at a time.

    Several metrics of Quantus depend on what else is in the batch, and all draw from numpy's global
    generator.  With one sample for each call, and the global generators seeded from (seed, class,
    sample id) and restored, a number depends on its sample alone, and all methods get the same
    draws.  Quantus gets a model with a single output, the scalar that is explained, in place of the
    classes: it adds no softmax, and it passes inputs to the model in float32 whatever their type.
    Its elements are numbers, not pixels.  The number is what Quantus computes: where that is not
    the published metric, this class does not correct it.

    Metrics that explain changed inputs (MaxSensitivity, ...) get the method itself.  Those that
    change the model's parameters or need segmentation masks do not work here.

    Undefined for maps that are flat, negative everywhere or not finite, which Quantus refuses.
    Cost: that of the Quantus metric, for each method, R times if it draws.

    Args:
        metric: Name of the class in `quantus.metrics`, for example "FaithfulnessCorrelation".
        title: Human-readable name.
        reference: Paper.
        direction: Which way is better: "higher", "lower" or "none".
        low: Smallest possible value.
        high: Largest possible value.
        needs: Attribution kind that is required, see `igbench.schema.MetricSpec`.
        arguments: Arguments of the constructor.
        fractions: Arguments of the constructor that are whole numbers of elements, given as
            fractions of all elements of a sample (rounded, at least 1).
        fill: Replacement of removed elements: "quantus" (`perturb_baseline` in the arguments) or
            "baseline" (the baseline of the sample); the latter for metrics whose `perturb_func`
            takes indices.
        reduce: Reduction of several numbers for one sample: "none" (an error) or "mean".
        repeats: Number R of calls with other draws, if the metric draws at all (from the global
            generators of torch or numpy); the value is their mean, with its standard error.
        family: What kind of property is measured, see `igbench.schema.MetricSpec`.

    Raises:
        InputError: Fewer than one repeat; when scored, a class that Quantus lacks, arguments that
            it refuses, or a result that is no number.

    Example:
        The Gini index of (1, 2, 3, 4).

        >>> gini = Quantus("Sparseness", "Sparseness", "Chalasani et al. 2020", "higher")
        >>> x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
        >>> gini(lambda x: x.sum(dim=1), x, x).round(decimals=3).tolist()
        [0.25]
    """

    explains = "What does a metric of Quantus say?"
    unit = "element"
    undefined = REFUSED

    metric: str
    title: str = field()
    reference: str = field()
    direction: Direction = field()
    low: float = -math.inf
    high: float = math.inf
    needs: Literal["any", "global", "signed", "global signed"] = "any"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    fractions: Mapping[str, float] = field(default_factory=dict)
    fill: Literal["quantus", "baseline"] = "quantus"
    reduce: Literal["none", "mean"] = "none"
    repeats: int = 2
    family: Family = field(default="", repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("repeats", self.repeats)

        if not self.low < self.high:
            raise InputError(f"low is {self.low}, high {self.high}; low must be below high.")

    def check_fit(self, features: str, shape: tuple[int, ...]) -> None:
        """Raise if Quantus has no such class, or refuses its arguments."""
        self._metric(math.prod(shape), np.zeros(math.prod(shape)))

    @property
    def spec(self) -> MetricSpec:
        """Definition from the fields."""
        return replace(super().spec, title=f"{self.title} (Quantus)")

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value from the fields."""
        return self.low, self.high

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: None
    ) -> dict[str, Measurement]:
        """The number that Quantus returns for every sample and map, (N,) each.

        Raises:
            InputError: Quantus has no such class, refuses its arguments, or returns no number.
        """
        result = {}
        for name, attribution in attributions.items():
            values = np.array([self._calls(batch, i, attribution) for i in range(len(batch))])
            found = torch.from_numpy(values.T.copy()).to(batch.x.device)  # (R, N)
            result[name] = averaged(found, REFUSED)
        return result

    def _calls(self, batch: Batch, i: int, attribution: Attribution) -> list[float]:
        """Numbers for one sample, one for each repeat; the first for all if nothing is drawn."""
        first, drew = self._one(batch, i, attribution)
        if not drew:
            return [first] * self.repeats
        others = repeated(batch, self.repeats)[1:]
        return [first, *(self._one(own, i, attribution)[0] for own in others)]

    def _one(self, batch: Batch, i: int, attribution: Attribution) -> tuple[float, bool]:
        """One number for one sample, and whether it was drawn."""
        phi = with_channel(as_array(attribution.values[i : i + 1]))
        if not np.isfinite(phi).all() or not np.ptp(phi) > 0 or bool((phi < 0).all()):
            return math.nan, False
        target = batch.target_of(i)
        call = {
            "model": column(batch.score, target, batch.x),
            "x_batch": with_channel(as_array(batch.x[i : i + 1])),
            "y_batch": np.zeros(1, dtype=int),
            "a_batch": phi,
            "channel_first": True,
            "explain_func": explainer(batch, i, attribution.explain),
            "softmax": False,
            "device": "cpu",
            "batch_size": 1,
        }
        with (
            quiet(),
            rng.global_state(
                batch.metric_seed, f"quantus.{self.metric}", batch.sample_ids[i]
            ) as moved,
        ):
            start = as_array(batch.baseline[i]).reshape(-1)
            metric = self._metric(batch.x[i].numel(), start)
            known = inspect.signature(metric.__call__).parameters
            try:
                found = metric(**{k: v for k, v in call.items() if k in known})
            except (AssertionError, ValueError, IndexError, KeyError, AttributeError) as error:
                raise InputError(f"quantus.{self.metric}: {_line(error)}") from error
            drew = moved()
        return self._number(found), drew

    def _metric(self, elements: int, baseline: np.ndarray) -> Any:
        target = metric_class(self.metric)
        own: dict[str, Any] = {k: _listed(v) for k, v in self.arguments.items()}
        own |= {k: max(1, round(v * elements)) for k, v in self.fractions.items()}
        if self.fill == "baseline":
            own["perturb_func"] = to_baseline(baseline)
        fixed = {"disable_warnings": True, "display_progressbar": False, "return_aggregate": False}
        try:
            return target(**{**fixed, **own})
        except (TypeError, ValueError, AssertionError) as error:
            raise InputError(f"quantus.{self.metric}: {_line(error)}") from error

    def _number(self, found: Any) -> float:
        try:
            numbers = np.asarray(found, dtype=float).reshape(-1)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"quantus.{self.metric} returned {type(found).__name__} and no numbers for a "
                "sample; it cannot be a metric here."
            ) from error
        if len(numbers) != 1 and self.reduce == "none":
            raise InputError(
                f"quantus.{self.metric} returned {len(numbers)} numbers for one sample; choose "
                "arguments that give one, or reduce=mean."
            )
        return float(numbers.mean()) if len(numbers) else math.nan


def metric_class(name: str) -> Any:
    """The class `quantus.metrics.<name>`.

    Raises:
        InputError: Quantus is not installed or has no such metric.
    """
    with quiet():
        try:
            import quantus.metrics as module
        except ImportError as error:
            raise InputError(f"metric {name!r} needs quantus: pip install quantus.") from error
    found = getattr(module, name, None)
    if not inspect.isclass(found):
        known = [n for n in dir(module) if inspect.isclass(getattr(module, n))]
        raise InputError(f"quantus.metrics has no metric {name!r}.{suggestion(name, known)}")
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the warnings of Quantus itself; those of other modules pass."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"quantus(\.|$)")
        yield


def _listed(value: Any) -> Any:
    """Convert tuples to lists, which Quantus expects."""
    return list(value) if isinstance(value, tuple) else value


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def as_array(values: Tensor) -> np.ndarray:
    """A float64 copy, since Quantus changes some of its arguments in place."""
    return np.array(values.detach().cpu().double().numpy())


def with_channel(values: np.ndarray) -> np.ndarray:
    """Vectors (N, d) as series of one channel, (N, 1, d), the smallest input of Quantus."""
    return values[:, None] if values.ndim == 2 else values


def column(score: Score, target: Tensor | None, like: Tensor) -> nn.Module:
    """The explained scalar as a model with a single output, (N, *F) to (N, 1).

    The model inside is not among its sub-modules: Quantus would look for a softmax there.

    Args:
        score: The scalar.
        target: (1,) class index, or None.
        like: Inputs whose shape, dtype and device the model needs.
    """
    dtype, device, shape = like.dtype, like.device, like.shape[1:]

    class Column(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            """One output for each row."""
            own = repeat_target(target, len(x))
            return score.evaluate(x.to(device, dtype).reshape(-1, *shape), own)[:, None].cpu()

    return Column().eval()


def explainer(batch: Batch, i: int, method: Method | None) -> Callable[..., np.ndarray] | None:
    """The method in the form of Quantus's `explain_func`, for changed versions of one sample.

    Args:
        batch: The batch of the sample.
        i: Its position.
        method: The method; None where the map was given alone.
    """
    if method is None:
        return None

    def explain(
        model: nn.Module, inputs: np.ndarray, targets: np.ndarray, device: str | None = None
    ) -> np.ndarray:
        rows = torch.from_numpy(inputs).to(batch.x).reshape(-1, *batch.x.shape[1:])
        return as_array(attribute(method, copies(batch, i, rows))).reshape(inputs.shape)

    return explain


def to_baseline(baseline: np.ndarray) -> Callable[..., np.ndarray]:
    """`perturb_func` of Quantus that sets the elements at given indices to the baseline.

    Args:
        baseline: (F,) flat baseline of the sample.

    Returns:
        A function of arr (1, F) and indices (1, n), to (1, F).
    """

    def replace(arr: np.ndarray, indices: np.ndarray, perturb_baseline: Any = None) -> np.ndarray:
        changed = arr.copy()
        changed[0, indices[0]] = baseline[indices[0]]
        return changed

    return replace
