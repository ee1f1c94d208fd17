"""Base of all metrics: metadata, and the two phases observe and measure.

A metric is a frozen dataclass: its fields are its parameters, and its class attributes its
metadata.  `observe` does the model work that no attribution influences, `measure` the rest.
Calling a metric does both:

    SensitivityN(n=0.1)(model, x, phi, target=y)

and `igbench.metrics.sensitivity_n(model, x, phi, target=y, n=0.1)` is the same, derived from the
class by `igbench.metrics.functions.as_function`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

from torch import Tensor, nn

from igbench.core import callers
from igbench.core.active import restrict, restrict_features, restrict_maps
from igbench.core.arguments import Checked
from igbench.core.batch import Attribution, Batch, Measurement, Method, concatenate, mismatch
from igbench.core.content import ByContent
from igbench.core.features import Features, as_unit, check_unit, counts_of, resolve
from igbench.core.inference import full_precision
from igbench.core.outputs import Output, Target, as_target
from igbench.core.probe import Outputs, check_target, probe
from igbench.core.score import Score, frozen
from igbench.errors import InputError, check_choice, check_finite, check_same_shape, check_whole
from igbench.methods.custom import CallableMethod
from igbench.metrics.units import default_features, describe_unit
from igbench.schema import AS_DATA, Direction, Family, MethodSpec, MetricSpec, Needs

Forward = nn.Module | Callable[[Tensor], Tensor]
Array = Any
"""A tensor, or whatever `igbench.core.callers.tensor` makes one of."""
Maps = Array | Mapping[str, Array]
Kind = Literal["global", "local"]
REASON_FLAT_MAP = "the map is flat, so it ranks nothing"


class BaseMetric(ByContent, Checked):
    """Base class of metrics; subclasses are frozen dataclasses.

    A subclass defines the metadata and `measure`, and `observe` where a part of the model work is
    independent of the attributions.

    Class attributes, or properties where they depend on the parameters:

        name: Name of the function, and in tables.
        family: "faithfulness", "robustness", "localisation", "complexity", "randomisation",
            "axiomatic" or "agreement".
        explains: The question that the metric answers.
        title: Human-readable name with its author and year.
        direction, range, version, reference, needs, tracked, unit, undefined, min_effect,
            shared_draws, ranks: See `igbench.schema.MetricSpec`.
        foldable: Whether it takes values of `batch.score` alone, so that a folded copy of the model
            may stand in, see `igbench.core.fold`.
        needs_method: Whether the metric explains again, so that a map alone is not enough.
        curve_axes: Name of every curve that the metric may have to what its x and y are.
        image_defaults, other_defaults: Values of parameters that are None, for samples (C, H, W)
            and for all others; a value may be a function of the shape.
        kind_defaults: Values of parameters that are None by the kind of the data ("text", "table",
            ...), before those of the shape.

    Example:
        >>> from igbench.metrics import Completeness
        >>> metric = Completeness(relative=False)
        >>> metric.title, metric.direction, metric.range
        ('Completeness gap, absolute', 'lower', (0, inf))
    """

    name: ClassVar[str] = ""
    family: Family
    explains: ClassVar[str] = ""
    version: ClassVar[int] = 1
    reference: str = "defined here"
    needs: Needs = "any"
    min_effect: float = 0.01
    shared_draws: bool = False
    ranks: ClassVar[bool] = False
    foldable: ClassVar[bool] = False
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {}
    image_defaults: ClassVar[Mapping[str, Any]] = {}
    other_defaults: ClassVar[Mapping[str, Any]] = {}
    kind_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __post_init__(self) -> None:
        """Check every argument.

        Raises:
            InputError: One has another type than its annotation, or names unknown features.
        """
        super().__post_init__()
        check_unit(getattr(self, "features", None), players=False)

    def check_fit(self, features: str, shape: tuple[int, ...]) -> None:
        """Raise, before any sample is scored, if a parameter does not fit the samples.

        Args:
            features: Unit of the data.
            shape: *F, the shape of a sample.

        Raises:
            InputError: Names the parameter.
            NotDefinedError: The metric has no meaning for such samples.
        """
        fitted = self.for_shape(shape)
        if not hasattr(fitted, "features"):
            return
        chosen = getattr(fitted, "features", None)
        own = resolve(features if chosen is None else chosen, shape)
        for name in ("n", "fractions"):
            shares = getattr(fitted, name, ())
            if shares:
                counts_of(shares if isinstance(shares, Sequence) else (shares,), own.count, name)

    @property
    def entry_name(self) -> str:
        """Name of the entry in a run whose curves have no prefix."""
        return self.name

    @cached_property
    def title(self) -> str:
        """Human-readable name."""
        return self.name

    @cached_property
    def direction(self) -> Direction:
        """Direction of better values; "none" for descriptive numbers."""
        return "none"

    @cached_property
    def undefined(self) -> str:
        """Condition under which there is no value."""
        return "never"

    @cached_property
    def needs_method(self) -> bool:
        """Whether the metric explains again, so that a map alone is not enough."""
        return False

    @cached_property
    def tracked(self) -> str:
        """The model output that is explained or tracked."""
        return "score"

    @cached_property
    def range(self) -> tuple[float, float]:
        """Smallest and largest possible value."""
        raise NotImplementedError

    @cached_property
    def unit(self) -> str:
        """Unit of the features, for the record."""
        own = getattr(self, "features", "")
        return AS_DATA if own is None else describe_unit(own)

    @property
    def spec(self) -> MetricSpec:
        """Definition that is recorded with every score."""
        low, high = self.range
        return MetricSpec(
            title=self.title,
            direction=self.direction,
            low=low,
            high=high,
            version=self.version,
            reference=self.reference,
            scalar=self.tracked,
            unit=self.unit,
            needs=self.needs,
            undefined=self.undefined,
            min_effect=self.min_effect,
            shared_draws=self.shared_draws,
            family=self.family,
            explains=self.explains,
            ranks=self.ranks,
        )

    # -- what a subclass defines -----------------------------------------------------------

    @property
    def sharing_key(self) -> object:
        """Hashable key; metrics with equal keys share one observation."""
        return "nothing"

    def observe(self, batch: Batch) -> Any:
        """Model outputs that no attribution influences, in any form that `measure` takes.

        Args:
            batch: N samples and the scalar that is explained.
        """
        return None

    def measure(
        self, batch: Batch, attributions: Mapping[str, Attribution], observation: Any
    ) -> dict[str, Measurement]:
        """Score every attribution.

        Args:
            batch: N samples and the scalar that is explained.
            attributions: Maps (N, *F) by name of the method.
            observation: Result of `observe` on the same batch.

        Returns:
            One `Measurement` of N values for each name that is scored.
        """
        raise NotImplementedError

    def leaves_out(self) -> frozenset[str]:
        """Names of methods that are not scored."""
        return frozenset()

    def for_samples(self, sample_ids: Sequence[str]) -> Self:
        """The same metric for N samples, where a parameter is given sample by sample.

        Args:
            sample_ids: N identifiers.
        """
        return self

    # -- what follows ----------------------------------------------------------------------

    def for_shape(self, shape: Sequence[int]) -> Self:
        """The same metric with the parameters that depend on the shape of a sample filled in.

        Args:
            shape: *F, the shape of one sample.

        Example:
            >>> from igbench.metrics import Deletion
            >>> Deletion().for_shape((3, 224, 224)).occluder, Deletion().for_shape((10,)).occluder
            ('zero', 'baseline')
        """
        chosen = self.image_defaults if len(shape) == 3 else self.other_defaults
        own = {
            name: value(shape) if callable(value) else value
            for name, value in chosen.items()
            if getattr(self, name) is None
        }
        return replace(self, **own) if own else self  # type: ignore[type-var]

    def for_kind(self, kind: str) -> Self:
        """The same metric with the parameters that depend on the kind of the data filled in.

        Args:
            kind: That of `igbench.core.dataset.Data`.

        Example:
            >>> from igbench.metrics import Sufficiency
            >>> Sufficiency().for_kind("text").occluder
            'delete'
        """
        chosen = self.kind_defaults.get(kind, {})
        own = {name: value for name, value in chosen.items() if getattr(self, name) is None}
        return replace(self, **own) if own else self  # type: ignore[type-var]

    def for_outputs(self, outputs: Outputs) -> Self:
        """The same metric for the outputs of a model: a single output is no probability by default.

        Args:
            outputs: What the model returns for a row.

        Example:
            >>> from igbench.core.probe import Outputs
            >>> from igbench.metrics import Deletion
            >>> Deletion().for_outputs(Outputs(())).for_shape((3, 224, 224)).scalar
            'score'
        """
        if not outputs.single or getattr(self, "scalar", "") is not None:
            return self
        return replace(self, scalar="score")  # type: ignore[type-var]

    def features_of(self, batch: Batch) -> Features:
        """Features that the metric changes together: its own, or those of the batch.

        Raises:
            InputError: Features that do not fit the shape of the samples.
        """
        own = getattr(self.for_shape(batch.x.shape[1:]), "features", None)
        return resolve(batch.features if own is None else own, tuple(batch.x.shape[1:]))

    def restricted(self, batch: Batch, i: int) -> Self:
        """The same metric for the active elements of one sample, see `igbench.core.active`."""
        own = self.for_shape(batch.x.shape[1:])
        features = getattr(own, "features", None)
        if features is None:
            return own
        return replace(own, features=restrict_features(features, batch, i))  # type: ignore[type-var]

    def with_features(self, features: str | Tensor) -> Self:
        """The same metric with another unit.

        Args:
            features: Unit, see `igbench.core.features.resolve`.

        Raises:
            InputError: The metric has no unit.
        """
        if not hasattr(self, "features"):
            raise InputError(f"{self.title} has no unit to choose; leave features= out.")
        return replace(self, features=features)  # type: ignore[type-var]

    def score(
        self, batch: Batch, attributions: Mapping[str, Attribution]
    ) -> dict[str, Measurement]:
        """Observe and measure: the score of every attribution of a batch.

        Args:
            batch: N samples and the scalar that is explained.
            attributions: Maps (N, *F) by name of the method.
        """
        if batch.active is not None:
            parts = [
                self.restricted(batch, i).score(
                    restrict(batch, i), restrict_maps(attributions, batch, i)
                )
                for i in range(len(batch))
            ]
            return {name: concatenate([part[name] for part in parts]) for name in parts[0]}
        own = self.for_shape(batch.x.shape[1:])
        return own.measure(batch, attributions, own.observe(batch))

    @callers.own_modes()
    def __call__(
        self,
        forward: Forward,
        inputs: Array,
        attributions: Maps,
        *,
        target: Target = None,
        baselines: float | Array = 0.0,
        output: Output = "logit",
        features: str | Array | None = None,
        kind: Kind = "global",
        seed: int = 0,
        sample_ids: Sequence[str] | None = None,
        explain: Callable[[Tensor, Tensor | None], Tensor] | None = None,
        method: Callable[[Batch], Tensor] | None = None,
        active: Array | None = None,
    ) -> Any:
        """Score attributions of a model; nothing that is given is changed.

        Args:
            forward: Maps (N, *F) to (N,), or to (N, K) with `target`; a torch module in eval mode,
                or a function.
            inputs: (N, *F): a tensor, a NumPy array, a pandas frame or lists, as all arrays here.
            attributions: (N, *F), or a dict of such maps, which share one observation.
            target: Class of each sample, (N,), or one number for all; for models with more axes
                of outputs, a tuple or (N, k), see `igbench.core.outputs.as_target`.
            baselines: Baseline x', a number or a tensor that broadcasts to the inputs.
            output: Scalar that is explained: "logit" (the output itself), "probability" or
                "log_probability".
            features: Unit of the features, see `igbench.core.features.resolve`; None for the
                default of the metric, which fits the shape of the inputs.
            kind: "global" (contributions) or "local" (sensitivities).
            seed: Seed of everything random.
            sample_ids: N names; random numbers are drawn by seed and name.  0..N-1 by default.
            explain: For robustness metrics, the method: maps (x (1, *F), target (1,)) to a map.
            method: The method, where a metric explains another model: maps a `Batch` to a map of
                its `score`; an object of `igbench.methods`, or a function.
            active: (N, *F) boolean, false where an element is no feature (padding, special
                tokens): it keeps its value, and its attribution is ignored.

        Returns:
            A `Measurement`, which works as a tensor (N,), NaN where undefined; a dict of them for a
            dict of maps.

        Raises:
            InputError: Shapes that do not fit, a map of the wrong kind, NaN in a map, a class that
                the model does not have, or a model whose rows are not functions of themselves.
        """
        own = self if features is None else self.with_features(as_unit(features))
        check_choice("kind", kind, ("global", "local"))
        check_whole("seed", seed)
        score = Score(callers.private(forward), output)
        x = callers.rows("inputs", inputs, forward)
        check_finite("inputs", x)
        n, several = len(x), isinstance(attributions, Mapping)
        given = dict(attributions) if isinstance(attributions, Mapping) else {"": attributions}
        maps = {m: callers.tensor("the attribution", v).to(x.device) for m, v in given.items()}
        spec = MethodSpec("given", "", kind, signed=True)
        reason = mismatch(own.needs, spec)
        if reason:
            raise InputError(f"{own.title} {reason}.")
        for name, values in maps.items():
            check_same_shape(f"the attribution {name!r}" if name else "the attribution", values, x)
            check_finite("the attribution", values)
        ids = callers.names(sample_ids, n)
        batch = Batch(
            score,
            x,
            callers.like("baselines", baselines, x),
            as_target(target, n, x.device),
            ids,
            default_features(x.shape[1:]),
            seed,
            active=None if active is None else callers.tensor("active", active).to(x.device),
        )
        outputs = probe(score, x)
        check_target(batch.target, outputs)
        again: Method | None = None if explain is None else CallableMethod(explain, kind)
        if method is not None:
            again = CallableMethod(method, kind, per_batch=True)
        scored = {name: Attribution(values, spec, again) for name, values in maps.items()}
        with frozen(score.model), full_precision(x.device):
            found = own.for_outputs(outputs).for_samples(ids).score(batch, scored)
            found = {name: _explained(m, batch) for name, m in found.items()}
        return found if several else found[""]


def _explained(found: Measurement, batch: Batch) -> Measurement:
    """The measurement with the true reason where a model has no number for some of the samples."""
    missing = found.value.isnan().to(batch.x.device)
    if not bool(missing.any()):
        return found
    outputs = batch.score.evaluate(batch.x[missing], _some(batch.target, missing))
    if bool(outputs.isfinite().all()):
        return found
    return replace(found, reason="the model returned NaN or infinite outputs")


def _some(target: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if target is None else target[rows]
