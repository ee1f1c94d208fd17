"""Core types: `Batch`, `Attribution`, `Measurement`, and the `Method` and `Metric` protocols.

Shape alphabet: S samples, N rows of a batch, *F feature axes of one sample, G features (groups),
D draws, K classes, M methods, P points of a curve.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from igbench.core import rng
from igbench.core.features import on, resolve, total
from igbench.core.score import Score
from igbench.schema import MethodSpec, MetricSpec


@dataclass(frozen=True)
class Batch:
    """Samples to explain, with the scalar that is explained.

    Attributes:
        score: The scalar f.
        x: (N, *F) inputs.
        baseline: (N, *F) reference inputs x'.
        target: (N,) classes, or (N, k) indices for outputs of k axes, fixed on the clean inputs;
            None for single-output models.
        sample_ids: N identifiers, stable across runs.
        features: The features that metrics use by default: a name ("pixel", "patch:16", ...) or
            numbers (*F), see `igbench.core.features.resolve`; with `active` also (N, *F).
        seed: Seed of everything random.
        repeat: Number of the repeat of a measurement; 0 for the first.
        active: (N, *F) boolean, true where an element takes part; the others (padding, special
            tokens, constant columns) keep their value and are never removed or counted, see
            `igbench.core.active`.  None where all take part.
        replacements: What may stand in place of removed features, by name, (N, *F) each.
        still: (*F) boolean, true where noise leaves an element alone: marks that are no quantity,
            see `igbench.core.dataset.Data`, and for methods also what takes no part.  None where
            noise may move all.
    """

    score: Score
    x: Tensor
    baseline: Tensor
    target: Tensor | None
    sample_ids: tuple[str, ...]
    features: str | Tensor = "element"
    seed: int = 0
    repeat: int = 0
    active: Tensor | None = None
    replacements: Mapping[str, Tensor] = field(default_factory=dict)
    still: Tensor | None = None

    @property
    def metric_seed(self) -> int:
        """Seed of what metrics draw: another one in each repeat, where methods keep `seed`."""
        return rng.repeat(self.seed, self.repeat)

    def __len__(self) -> int:
        return len(self.x)

    def target_of(self, i: int) -> Tensor | None:
        """Target of one sample, (1,), or None."""
        return None if self.target is None else self.target[i : i + 1]

    def per_feature(self, values: Tensor) -> Tensor:
        """What a map shows, (N, *F) to (N, G) float64: sums over columns or words, else elements.

        How a method shares a value out over the elements of one feature says nothing.

        Args:
            values: Maps of these samples, or of copies of one of them.
        """
        if not isinstance(self.features, Tensor):
            return values.flatten(1).double()
        unit = resolve(self.features, tuple(self.x.shape[1:]))
        return total(values, on(unit, values.device))

    def select(self, keep: slice | Tensor) -> Batch:
        """Some of the samples, by a slice or by their positions (n,)."""
        ids = range(len(self))[keep] if isinstance(keep, slice) else keep.tolist()
        features, active = self.features, self.active
        if isinstance(features, Tensor) and features.dim() == self.x.dim():
            features = features[keep]
        return replace(
            self,
            x=self.x[keep],
            baseline=self.baseline[keep],
            target=None if self.target is None else self.target[keep],
            sample_ids=tuple(self.sample_ids[i] for i in ids),
            features=features,
            active=None if active is None else active[keep],
            replacements={name: fill[keep] for name, fill in self.replacements.items()},
        )


@dataclass(frozen=True)
class Attribution:
    """A map with its definition and its method.

    Attributes:
        values: (N, *F).
        spec: Kind (global or local), signed or not.
        explain: The method that made it, for metrics that explain changed inputs; None for a map
            that was given as it is.
    """

    values: Tensor
    spec: MethodSpec
    explain: Method | None = None


@dataclass(frozen=True, eq=False)
class Measurement:
    """What a metric says about N samples; works as the tensor of its values.

    Arithmetic, comparisons, indexing, functions and methods of torch, and numpy all take `value`;
    where a `Tensor` itself is asked for, as in `torch.testing.assert_close`, give `.value`.

    >>> import torch
    >>> found = Measurement(torch.tensor([1.0, 3.0]), torch.tensor([0.1, 0.2]))
    >>> found
    Measurement(value=tensor([1., 3.]), std_error=tensor([0.1000, 0.2000]))
    >>> found.mean(), (found - 1)[0], torch.stack([found, found]).shape
    (tensor(2.), tensor(0.), torch.Size([2, 2]))

    Attributes:
        value: (N,); NaN where the metric is undefined.
        std_error: (N,) Monte Carlo standard error: 0 where no draw matters to the sample; None for
            exact metrics, and where a single draw says nothing of its error.
        reason: Why a value is NaN, one text for all such samples.
        curves: Name to (x (P,), y (N, P)).
    """

    value: Tensor
    std_error: Tensor | None = None
    reason: str = ""
    curves: Mapping[str, tuple[Sequence[float], Tensor]] = field(default_factory=dict)

    @property
    def reasons(self) -> list[str]:
        """Reason of each NaN, N texts; empty where the value is a number."""
        return [self.reason if math.isnan(v) else "" for v in self.value.tolist()]

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call functions of torch with the values."""
        return function(*_plain(args), **_plain(kwargs or {}))

    def __getattr__(self, name: str) -> Any:
        """Attributes and methods of the values."""
        if name.startswith("_") or name == "value":
            raise AttributeError(name)
        return getattr(self.value, name)

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.value)

    def __getitem__(self, index: Any) -> Tensor:
        return self.value[index]

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        values = self.value.detach().cpu().numpy()
        return values.astype(dtype or values.dtype, copy=copy is not False)

    def __repr__(self) -> str:
        shown = {"value": self.value, "std_error": self.std_error, "reason": self.reason or None}
        parts = [f"{name}={part!r}" for name, part in shown.items() if part is not None]
        return f"Measurement({', '.join(parts)})"


def concatenate(parts: Sequence[Measurement]) -> Measurement:
    """Measurements of samples as one, in float64.

    A standard error is NaN where a part has none.  Curves whose parts have different x are defined
    on all of these, NaN where a sample has no point.

    >>> one, two = Measurement(torch.ones(1)), Measurement(torch.zeros(2), torch.ones(2))
    >>> both = concatenate([one, two])
    >>> both.value.tolist(), both.std_error.tolist()
    ([1.0, 0.0, 0.0], [nan, 1.0, 1.0])
    """
    device = parts[0].value.device
    error = None
    if any(p.std_error is not None for p in parts):
        nothing = [torch.full_like(p.value, math.nan) for p in parts]
        pairs = zip(parts, nothing, strict=True)
        error = _joined([n if p.std_error is None else p.std_error for p, n in pairs], device)
    reason = next((p.reason for p in parts if p.reason), "")
    names = dict.fromkeys(name for p in parts for name in p.curves)
    curves = {name: _joined_curve(name, parts, device) for name in names}
    return Measurement(_joined([p.value for p in parts], device), error, reason, curves)


def _joined(values: Sequence[Tensor], device: torch.device) -> Tensor:
    return torch.cat([v.double().to(device) for v in values])


def _joined_curve(
    name: str, parts: Sequence[Measurement], device: torch.device
) -> tuple[list[float], Tensor]:
    own = [list(p.curves[name][0]) if name in p.curves else [] for p in parts]
    first = next(x for x in own if x)
    xs = first if all(x in (first, []) for x in own) else sorted({v for x in own for v in x})
    rows = []
    for part, x in zip(parts, own, strict=True):
        row = torch.full((len(part), len(xs)), math.nan, dtype=torch.float64, device=device)
        if x:
            columns = list(range(len(xs))) if x == xs else [xs.index(v) for v in x]
            row[:, columns] = part.curves[name][1].double().to(device)
        rows.append(row)
    return xs, torch.cat(rows)


def _plain(value: Any) -> Any:
    """Measurements, wherever they are nested, as their values."""
    return tree_map(lambda v: v.value if isinstance(v, Measurement) else v, value)


for _name in (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "lt",
    "le",
    "gt",
    "ge",
    "eq",
    "ne",
    "neg",
    "pos",
    "abs",
):
    _function = getattr(operator, _name)
    setattr(
        Measurement,
        f"__{_name}__",
        lambda self, *others, f=_function: f(self.value, *_plain(others)),
    )
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    _function = getattr(operator, _name)
    setattr(Measurement, f"__r{_name}__", lambda self, other, f=_function: f(other, self.value))
Measurement.__hash__ = object.__hash__  # type: ignore[method-assign]


class Method(Protocol):
    """An attribution method."""

    @property
    def spec(self) -> MethodSpec:
        """Kind, sign and source of the map."""
        ...

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute `batch.score` at `batch.x`: (N, *F)."""
        ...


def folding(part: Method | Metric, batch: Batch) -> AbstractContextManager[None]:
    """A context in which a folded copy of the model stands in, where a method or metric allows it.

    Args:
        part: It does if it has a true attribute `foldable`.
        batch: The samples.
    """
    return batch.score.folding(getattr(part, "foldable", False))


def attribute(method: Method, batch: Batch) -> Tensor:
    """The map of a method, (N, *F), within `folding`.

    Args:
        method: The method.
        batch: The samples.
    """
    with folding(method, batch):
        return method(batch)


class Metric(Protocol):
    """A metric: two pure functions.

    `observe` does all model work that no attribution influences; it runs once for each batch,
    whatever the number of methods.  Metrics with equal `sharing_key` share an observation.
    """

    @property
    def spec(self) -> MetricSpec:
        """Definition of the metric."""
        ...

    @property
    def sharing_key(self) -> object:
        """Hashable; equal keys mean that the observation is the same."""
        ...

    def for_shape(self, shape: Sequence[int]) -> Metric:
        """The metric with the parameters that depend on the shape of a sample filled in."""
        ...

    def for_outputs(self, outputs: Any) -> Metric:
        """The metric for what the model returns, an `igbench.core.probe.Outputs`."""
        ...

    def restricted(self, batch: Batch, i: int) -> Metric:
        """The metric for the active elements of one sample, see `igbench.core.active`."""
        ...

    def leaves_out(self) -> frozenset[str]:
        """Names of methods that are not scored."""
        ...

    def observe(self, batch: Batch) -> Any:
        """Model outputs that no attribution influences."""
        ...

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Any
    ) -> dict[str, Measurement]:
        """Score every attribution."""
        ...


def mismatch(needs: str, spec: MethodSpec) -> str:
    """Reason why a metric with these `needs` cannot score an attribution of this kind; or "".

    >>> mismatch("signed", MethodSpec("Saliency", "", "local", signed=False))
    'needs a signed attribution; this one holds magnitudes'
    """
    if "global" in needs and spec.kind != "global":
        return (
            "needs a global attribution (contributions that sum to f(x) - f(x')); this one is "
            "local (sensitivities)"
        )
    if "signed" in needs and not spec.signed:
        return "needs a signed attribution; this one holds magnitudes"
    return ""


def nan_reason(measurement: Measurement, i: int) -> str:
    """The reason of sample `i`, empty where its value is defined."""
    return measurement.reason if math.isnan(float(measurement.value[i])) else ""
