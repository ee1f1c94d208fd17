"""The record format: rows, curve points, metric and method definitions, runs and verdicts.

Standard library only, so that reading old runs never needs torch.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

SCHEMA_VERSION = 1
"""Version of the record format.  Readers refuse newer ones and migrate older ones."""

Direction = Literal["higher", "lower", "none"]
Status = Literal["ok", "undefined", "failed"]
Needs = Literal["any", "global", "signed", "global signed"]
Family = Literal[
    "faithfulness",
    "robustness",
    "localisation",
    "complexity",
    "randomisation",
    "axiomatic",
    "agreement",
    "",
]
Verdict = Literal[
    "regressed",
    "failed",
    "missing",
    "incomparable",
    "changed",
    "improved",
    "new",
    "undecided",
    "equivalent",
    "close",
    "identical",
    "unjudged",
]
"""Verdicts on a cell of two runs, the gravest first; see `igbench.records.compare`."""

RANDOM_WEIGHTS = "random weights"
"""What the source of a model says, and every table and figure of it, where nothing was learned."""

AS_DATA = "as the data"
"""The `unit` of a metric that takes the features of the data."""


class Row(NamedTuple):
    """One score of one method on one sample: a row of the table of scores.

    >>> row = Row("run", "e", "resnet50", "ig", "completeness", "cat", value=0.06)
    >>> row.status, row.std_error, row.n_forward
    ('ok', nan, 0)

    Attributes:
        run: Identifier of the run.
        experiment: Name of the experiment.
        model: Name of the model.
        method: Name of the attribution method.
        metric: Name of the metric, or of a cost (see `COSTS`).
        sample_id: Identifier of the sample, stable across runs.
        value: The score; NaN unless `status` is "ok".
        status: "ok", "undefined" (the metric has no value here) or "failed" (an error).
        reason: Why the status is not "ok"; empty otherwise.
        std_error: Monte Carlo standard error of `value`; NaN for exact metrics.
        n_forward: Model rows evaluated for this cell alone (not the shared observation).
        n_backward: Model rows differentiated for this cell alone.
        seconds: Wall time of this cell's share of its batch.
    """

    run: str
    experiment: str
    model: str
    method: str
    metric: str
    sample_id: str
    value: float
    status: Status = "ok"
    reason: str = ""
    std_error: float = math.nan
    n_forward: int = 0
    n_backward: int = 0
    seconds: float = 0.0


class Point(NamedTuple):
    """One point of a curve of one method on one sample.

    `curve` names the curve ("deletion", "sensitivity_n", "srg_lif", "convergence_gap", ...), with
    the entry of the run before it where that has another name than its metric, see `curve_name`;
    `x` and `y` are what the metric says of them in `curve_axes`.
    """

    run: str
    experiment: str
    model: str
    method: str
    curve: str
    sample_id: str
    x: float
    y: float


def curve_name(entry: str, own: str, curve: str) -> str:
    """Name of a curve on the record: that of the metric, or with the entry of the run before it.

    Args:
        entry: Name of the metric in the run.
        own: Name of the entry whose curves have no prefix: that of the metric, "" for metrics
            without a name, whose curves have none if they begin with the entry.
        curve: Name of the curve in the metric.

    >>> curve_name("srg", "srg", "srg_lif"), curve_name("srg_other", "srg", "srg_lif")
    ('srg_lif', 'srg_other:srg_lif')
    """
    plain = entry == own if own else curve.startswith(entry)
    return curve if plain else f"{entry}:{curve}"


def curve_parts(name: str) -> tuple[str, str]:
    """Entry, "" where it has no prefix, and curve of a name on the record.

    >>> curve_parts("srg_other:srg_lif"), curve_parts("srg_lif")
    (('srg_other', 'srg_lif'), ('', 'srg_lif'))
    """
    entry, _, curve = name.rpartition(":")
    return entry, curve


@dataclass(frozen=True)
class MetricSpec:
    """The definition of a metric, kept on the record of every run.

    Attributes:
        title: Human-readable name with its author and year.
        direction: Which way is better; "none" for descriptive numbers.
        low: Smallest possible value.
        high: Largest possible value.
        version: Raised whenever the numbers of the metric change.
        reference: Paper and equation.
        scalar: The model output that is explained or tracked: "score" (whatever the attribution
            explains), "logit" or "probability".
        unit: What one feature is ("element", "pixel", "patch:16", ...), or "" where none is used.
        needs: Attribution kind that is required: "any", "global", "signed" or "global signed".
        undefined: When the value does not exist.
        min_effect: Smallest difference of means that is worth a verdict.
        shared_draws: Whether what is drawn at random is the same for all samples, so that their
            Monte Carlo errors do not average out.
        family: What kind of property is measured; "" for costs.
        explains: The question that the metric answers.
        ranks: Whether the order of the features alone decides, as in removal metrics, so that a
            random order is a floor and the best order found a ceiling.
    """

    title: str
    direction: Direction
    low: float
    high: float
    version: int
    reference: str
    scalar: str = "score"
    unit: str = ""
    needs: Needs = "any"
    undefined: str = "never"
    min_effect: float = 0.005
    shared_draws: bool = False
    # Left out of the representation, which is hashed to tell definitions apart: they do not change
    # what a number is.
    family: Family = field(default="", repr=False)
    explains: str = field(default="", repr=False)
    ranks: bool = field(default=False, repr=False)

    @property
    def arrow(self) -> str:
        """Direction as an arrow: "↑", "↓" or ""."""
        return {"higher": "↑", "lower": "↓", "none": ""}[self.direction]


@dataclass(frozen=True)
class MethodSpec:
    """The definition of an attribution method, kept on the record of every run.

    Attributes:
        title: Human-readable name.
        reference: Paper and equation.
        kind: "global" (input-multiplied: entries are contributions to f(x) - f(x')) or "local"
            (entries are sensitivities, per unit of input).
        signed: False where the map is a magnitude.
        role: "method", "oracle" (an independent implementation), "control" or "ceiling" (a search
            for the best that a removal metric can reach).
        reduction: How a map over elements becomes a map over pixels: "sum" or "abs_max".
        needs_gradient: Whether the model must have gradients.
    """

    title: str
    reference: str
    kind: Literal["global", "local"]
    signed: bool
    role: Literal["method", "oracle", "control", "ceiling"] = "method"
    reduction: Literal["sum", "abs_max"] = "sum"
    # Left out of the representation, which is hashed to tell definitions apart: it does not change
    # what a map is.
    needs_gradient: bool = field(default=True, repr=False)


def _cost(title: str, reference: str, min_effect: float = math.inf) -> MetricSpec:
    return MetricSpec(title, "lower", 0, math.inf, 1, reference, min_effect=min_effect)


COSTS: dict[str, MetricSpec] = {
    "forward_rows": _cost("Model rows evaluated per attribution", "counted", 0.5),
    "backward_rows": _cost("Model rows differentiated per attribution", "counted", 0.5),
    "seconds": _cost("Wall seconds per attribution", "timed"),
    "peak_memory": _cost("Peak memory of the process while attributing (MiB)", "measured"),
}
"""Definitions of costs, which are rows like any score.  Only counts decide a verdict."""


@dataclass(frozen=True)
class Run:
    """Metadata of a run: the content of `run.json`, everything that is not a row.

    Attributes:
        id: UTC time and eight random hexadecimal digits.
        experiment: Name of the experiment.
        created: UTC start, ISO 8601.
        state: "finished", or "finished with failures".
        config: The resolved configuration.
        metrics: Definition of every metric in the rows, costs included.
        methods: Definition of every method in the rows.
        comparability: What must agree for two runs to be compared: the hashes of the ordered
            sample ids and of the weights, metric versions, target rule, seed.
        identity: What else decides the numbers: method arguments, versions of packages, device; see
            `igbench.records.compare.identity` for what may differ between two runs.
        environment: Versions of packages, git revision, device, threads.
        samples: Ordered sample ids with label, target, score and status.
        totals: Model rows forwards and backwards, seconds by stage, peak memory in MiB, counts by
            status.
        schema_version: Version of this format.
    """

    id: str
    experiment: str
    created: str
    state: str
    config: dict[str, Any]
    metrics: dict[str, MetricSpec]
    methods: dict[str, MethodSpec]
    comparability: dict[str, Any]
    identity: dict[str, Any]
    environment: dict[str, Any]
    samples: list[dict[str, Any]]
    totals: dict[str, Any]
    schema_version: int = SCHEMA_VERSION

    @property
    def random_weights(self) -> bool:
        """Whether the model has random weights, so that its scores say nothing of a trained one."""
        return RANDOM_WEIGHTS in str(self.environment.get("model_source", ""))

    def as_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class ConceptScore:
    """The influence of one concept on one class, by TCAV; see `igbench.concepts.tcav`.

    Attributes:
        concept: Name of the concept.
        target: Name of the class, or "prediction" for the predicted class of each sample.
        layer: Name of the layer.
        score: Share of the samples whose output rises along the vector of the concept, mean over
            the random sets; 0.5 is what a random concept has on average.
        score_low: 2.5 % quantile of the score over the random sets.
        score_high: 97.5 % quantile.
        null_low: 2.5 % quantile of the score of random sets in the place of the concept.
        null_high: 97.5 % quantile.
        magnitude: Mean directional derivative over samples and random sets.
        null_magnitude: Root mean square of the same for random sets in the place of the concept.
        critical: Size of the magnitude from which on it is significant at 5 % by itself.
        accuracy: Share of held-out pictures on the right side of the classifiers.
        accuracy_low: Lower end of its 95 % interval (Wilson).
        accuracy_high: Upper end.
        p_value: Two-sided, of the magnitude among those of random sets.
        p_holm: The same after Holm's correction over all concepts and classes.
        n_samples: Samples of the class.
        n_sets: Random sets, and vectors of the concept.
        n_pictures: Pictures of the concept.
        n_random: Pictures in the random pool.
        n_set: Pictures of a set, on either side of one classifier.
        status: "ok" or "undefined".
        reason: Why the status is not "ok"; empty otherwise.
    """

    concept: str
    target: str
    layer: str
    score: float
    score_low: float
    score_high: float
    null_low: float
    null_high: float
    magnitude: float
    null_magnitude: float
    critical: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    p_value: float
    p_holm: float
    n_samples: int
    n_sets: int
    n_pictures: int
    n_random: int
    n_set: int
    status: Status = "ok"
    reason: str = ""


class SampleChange(NamedTuple):
    """A sample of a cell whose value appears or disappears between two runs.

    Attributes:
        sample_id: Identifier of the sample.
        base: Its status in the base run: "ok", "undefined", "failed", "NaN" or "missing".
        new: Its status in the new run.
        reason: Why it has no value, from the run where it has none.
    """

    sample_id: str
    base: str
    new: str
    reason: str = ""


@dataclass(frozen=True)
class Drift:
    """The verdict on a cell against the earlier run in which its mean was best.

    Attributes:
        run: Identifier of that run.
        verdict: As in `Change`.
        base: Mean in that run.
        new: Mean in the new run, over the samples with a value in both.
        difference: New minus base; `low` and `high` bound it with 95 % confidence.
        low: Lower end.
        high: Upper end.
        p_value: Of the signed-rank test, times the number of distinct earlier runs, Holm-adjusted.
        n: Number of paired samples.
    """

    run: str
    verdict: Verdict
    base: float
    new: float
    difference: float
    low: float
    high: float
    p_value: float
    n: int


@dataclass(frozen=True)
class Change:
    """The verdict on one (model, method, metric) between two runs.

    Attributes:
        model: Name of the model.
        method: Name of the method.
        metric: Name of the metric or cost.
        verdict: The verdict.
        base: Mean over the paired samples, those that have a value in both runs.
        new: The same in the new run.
        difference: New minus base.
        low: Lower end of the 95 % interval of the difference.
        high: Upper end.
        p_value: Holm-adjusted; NaN for cells without a test.
        n: Number of paired samples.
        note: What else is to be said.
        lost: Samples that lost their value or fail now.
        recovered: Samples that have a value now, or fail no longer.
        drift: The verdict against the best earlier run; None without one.
        new_model: Name of the model in the new run where it is another one.
    """

    model: str
    method: str
    metric: str
    verdict: Verdict
    base: float = math.nan
    new: float = math.nan
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p_value: float = math.nan
    n: int = 0
    note: str = ""
    lost: tuple[SampleChange, ...] = ()
    recovered: tuple[SampleChange, ...] = ()
    drift: Drift | None = None
    new_model: str = ""

    @property
    def name(self) -> str:
        """The cell as "model/method/metric", which patterns are matched with."""
        return f"{self.model}/{self.method}/{self.metric}"


@dataclass(frozen=True)
class Records:
    """A run read from disk: its metadata, and its rows as data frames.

    `scores` has the columns of `Row`, `curves` those of `Point` (pandas data frames; typed loosely
    so that this file needs no pandas).
    """

    run: Run
    scores: Any
    curves: Any
    folder: str = ""
    maps: dict[str, Any] = field(default_factory=dict)
