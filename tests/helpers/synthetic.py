"""What does a run look like?  Records with known shifts, made up so that no model has to run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from igbench.schema import COSTS, MethodSpec, MetricSpec, Point, Records, Row, Run, Status

INF = math.inf
MODEL = "synthetic_net"
EXPERIMENT = "synthetic"
RULES = ("left", "middle", "trapezoid", "gauss_legendre")
STEPS = (8, 16, 32, 64, 128, 256)
FRACTIONS = tuple(round(0.1 * i, 1) for i in range(11))
SUBSET_SIZES = (1, 4, 16, 64, 256)
FAILED_SAMPLE = 5  # occlusion fails on it, for every metric and cost
CONSTANT_SAMPLE = 11  # sensitivity-n is undefined on it, for every method

METRICS: dict[str, MetricSpec] = {
    "completeness": MetricSpec(
        "Relative completeness gap (Sundararajan 2017)", "lower", 0, INF, 1,
        "Sundararajan et al. 2017, Prop. 1", needs="global",
    ),
    "infidelity": MetricSpec(
        "Infidelity (Yeh 2019)", "lower", 0, INF, 2, "Yeh et al. 2019, Def. 2.1",
        unit="element", needs="global signed", min_effect=0.01,
    ),
    "sensitivity_n": MetricSpec(
        "Sensitivity-n (Ancona 2018)", "higher", -1, 1, 1, "Ancona et al. 2018, sec. 4",
        unit="pixel", needs="global signed", undefined="where the model's output does not vary",
    ),
    "deletion": MetricSpec(
        "Deletion (Petsiuk 2018)", "lower", 0, 1, 1, "Petsiuk et al. 2018, Alg. 1",
        scalar="probability", unit="pixel",
    ),
    "insertion": MetricSpec(
        "Insertion (Petsiuk 2018)", "higher", 0, 1, 1, "Petsiuk et al. 2018, Alg. 1",
        scalar="probability", unit="pixel",
    ),
    "srg": MetricSpec(
        "Symmetric relevance gain (Blücher 2024)", "higher", -1, 1, 1, "Blücher et al. 2024",
        scalar="probability", unit="pixel",
    ),
    "difference_from_ig": MetricSpec(
        "Relative L1 difference from IG", "none", 0, INF, 1, "igbench", needs="global"
    ),
}  # fmt: skip

METHODS: dict[str, MethodSpec] = {
    "ig": MethodSpec("Integrated Gradients", "Sundararajan et al. 2017", "global", True),
    "ig_captum": MethodSpec("IG of Captum", "Captum", "global", True, role="oracle"),
    "gradient_shap": MethodSpec("GradientSHAP", "Lundberg and Lee 2017", "global", True),
    "saliency": MethodSpec(
        "Saliency", "Simonyan et al. 2014", "local", False, reduction="abs_max"
    ),
    "input_x_gradient": MethodSpec("Input x gradient", "Shrikumar et al. 2016", "global", True),
    "occlusion": MethodSpec("Occlusion", "Zeiler and Fergus 2014", "global", True),
    "grad_cam": MethodSpec("Grad-CAM", "Selvaraju et al. 2017", "local", False),
    "random": MethodSpec("Random map", "control", "global", True, role="control"),
    "edges": MethodSpec("Edge map", "control", "local", False, role="control"),
}  # fmt: skip

ORDER = tuple(METHODS)
# Centre of every cell, one number for each method in ORDER.
CENTRES: dict[str, tuple[float, ...]] = {
    "completeness": (0.01, 0.07, 0.15, 0, 0.6, 0.5, 0, 1.0, 0),
    "infidelity": (0.30, 0.31, 0.35, 0, 0.60, 0.40, 0, 1.2, 0),
    "sensitivity_n": (0.70, 0.69, 0.62, 0, 0.35, 0.75, 0, 0.01, 0),
    "deletion": (0.15, 0.155, 0.17, 0.20, 0.22, 0.14, 0.25, 0.45, 0.40),
    "insertion": (0.62, 0.615, 0.60, 0.50, 0.48, 0.66, 0.68, 0.40, 0.42),
    "srg": (0.40, 0.395, 0.36, 0.25, 0.22, 0.44, 0.42, 0.0, 0.05),
    "difference_from_ig": (0.0, 0.04, 0.25, 0, 0.9, 0.8, 0, 1.4, 0),
    "forward_rows": (51, 50, 50, 1, 1, 197, 1, 0, 0),
    "backward_rows": (50, 50, 50, 1, 1, 0, 1, 0, 0),
    "seconds": (0.9, 1.0, 1.0, 0.03, 0.03, 2.1, 0.04, 0.001, 0.002),
    "peak_memory": (420, 600, 600, 400, 400, 410, 400, 390, 390),
}
MONTE_CARLO = ("infidelity", "sensitivity_n")
Shift = Mapping[tuple[str, str], float]


def sample_ids(samples: int = 24) -> tuple[str, ...]:
    """Identifiers of the samples, in order."""
    return tuple(f"photo-{i:03d}" for i in range(samples))


def make_run(
    *,
    run_id: str = "20260102-030405-0a1b2c3d",
    created: str = "2026-01-02T03:04:05+00:00",
    experiment: str = EXPERIMENT,
    samples: int = 24,
    versions: Mapping[str, str] | None = None,
    comparability: Mapping[str, object] | None = None,
) -> Run:
    """The description of a run; `comparability` replaces single fields, `versions` packages."""
    packages = {"igbench": "0.1.0", "torch": "2.14.1", "captum": "0.9.0", **(versions or {})}
    return Run(
        id=run_id,
        experiment=experiment,
        created=created,
        state="finished with failures",
        config={"seed": 0, "model": {"name": MODEL}, "data": {"name": "photos"}, "limit": None},
        metrics={**METRICS, **COSTS},
        methods=dict(METHODS),
        comparability={
            "samples": "5f" * 32,
            "weights": "a7" * 32,
            "target": "predicted",
            "seed": 0,
            "metric_versions": {name: spec.version for name, spec in {**METRICS, **COSTS}.items()},
            **(comparability or {}),
        },
        identity={
            "methods": {"ig": {"n_steps": 50, "rule": "middle"}, "occlusion": {"window": 16}},
            "versions": packages,
            "device": "cpu",
        },
        environment={"packages": packages, "git": "0123abc", "device": "cpu", "threads": 2},
        samples=[
            {"sample_id": s, "label": i % 9, "target": i % 10, "score": 8 + i / 7, "status": "ok"}
            for i, s in enumerate(sample_ids(samples))
        ],
        totals={
            "forward_rows": 8424, "backward_rows": 3672,
            "seconds": {"observe": 41.0, "attribute": 122.5, "score": 210.25},
            "peak_memory": 600.0, "status": {"ok": 2071, "undefined": 294, "failed": 11},
        },
    )  # fmt: skip


def make_rows(
    seed: int = 0,
    shift: Shift | None = None,
    *,
    noise: float = 0.0,
    noise_seed: int = 1,
    samples: int = 24,
    run: Run | None = None,
) -> list[Row]:
    """One row for each method, metric or cost, and sample.

    Args:
        seed: Of the values that two releases share.
        shift: (method, metric) to a number that is added to every sample.
        noise: Standard deviation of what differs between two releases (scores only).
        noise_seed: Of that noise; different for each release.
        samples: Number of samples.
        run: Whose identifiers to use.
    """
    run = run or make_run(samples=samples)
    shared, own = np.random.default_rng(seed), np.random.default_rng(noise_seed)
    hardness = shared.normal(size=samples)  # what the methods have in common on one sample
    rows = []
    for metric in CENTRES:
        for j, method in enumerate(ORDER):
            values = _values(metric, CENTRES[metric][j], hardness, shared)
            if metric not in COSTS:
                values = values + noise * own.normal(size=samples)
            values = values + (shift or {}).get((method, metric), 0.0)
            for i, sample in enumerate(sample_ids(samples)):
                rows.append(_row(run, method, metric, i, sample, float(values[i])))
    return rows


def _values(
    metric: str, centre: float, hardness: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    own = rng.normal(size=len(hardness))
    if metric in ("forward_rows", "backward_rows"):
        return np.full(len(hardness), float(centre))
    spec = {**METRICS, **COSTS}[metric]
    if spec.high == 1:
        return np.clip(centre + 0.08 * hardness + 0.04 * own, spec.low, spec.high)
    return centre * np.exp(0.2 * hardness + 0.1 * own)


def _row(run: Run, method: str, metric: str, i: int, sample: str, value: float) -> Row:
    status, reason = _status(method, metric, i)
    return Row(
        run=run.id, experiment=run.experiment, model=MODEL, method=method, metric=metric,
        sample_id=sample, value=value if status == "ok" else math.nan, status=status,
        reason=reason,
        std_error=0.02 if metric in MONTE_CARLO and status == "ok" else math.nan,
        n_forward=22 if metric in ("deletion", "insertion", "srg") else 0,
        n_backward=0, seconds=0.002,
    )  # fmt: skip


def _status(method: str, metric: str, i: int) -> tuple[Status, str]:
    if method == "occlusion" and i == FAILED_SAMPLE:
        return "failed", "RuntimeError: not enough memory"
    needs = METRICS[metric].needs if metric in METRICS else "any"
    if "global" in needs and METHODS[method].kind != "global":
        return "undefined", "needs a global attribution; this one is local"
    if metric == "sensitivity_n" and i == CONSTANT_SAMPLE:
        return "undefined", "the model's output does not vary"
    return "ok", ""


def make_points(seed: int = 0, *, samples: int = 24, run: Run | None = None) -> list[Point]:
    """Curves of every method on every sample, and of every quadrature rule."""
    run = run or make_run(samples=samples)
    rng = np.random.default_rng(seed + 1000)
    return [
        Point(run.id, run.experiment, MODEL, method, curve, sample, float(x), float(y))
        for i, sample in enumerate(sample_ids(samples))
        for method, curve, xs, ys in (*_method_curves(i, rng), *_rule_curves(rng))
        for x, y in zip(xs, ys, strict=True)
    ]


Curve = tuple[str, str, tuple[float, ...], np.ndarray]


def _method_curves(i: int, rng: np.random.Generator) -> Iterator[Curve]:
    x = np.array(FRACTIONS)
    for j, method in enumerate(ORDER):
        if method == "occlusion" and i == FAILED_SAMPLE:
            continue
        top = 0.85 + 0.1 * rng.random()
        rate = 1 / max(CENTRES["deletion"][j], 0.05)
        yield method, "deletion", FRACTIONS, top * np.exp(-rate * x)
        yield method, "insertion", FRACTIONS, top * (1 - np.exp(-rate * x))
        yield method, "srg_lif", FRACTIONS, top * (1 - x**rate)
        if METHODS[method].kind == "global" and i != CONSTANT_SAMPLE:
            y = CENTRES["sensitivity_n"][j] - 0.02 * np.arange(5) + 0.03 * rng.normal(size=5)
            yield method, "sensitivity_n", SUBSET_SIZES, np.clip(y, -1, 1)


def _rule_curves(rng: np.random.Generator) -> Iterator[Curve]:
    n = np.array(STEPS, dtype=float)
    for rule, constant in zip(RULES, (4.0, 2.5, 2.0, 1.0), strict=True):
        wobble = np.exp(0.3 * rng.normal(size=len(n)))
        yield rule, "convergence_gap", STEPS, constant / n * wobble
        yield rule, "convergence_error", STEPS, (1 + constant / 4) / n * wobble


def make_records(
    seed: int = 0,
    shift: Shift | None = None,
    *,
    noise: float = 0.0,
    noise_seed: int = 1,
    samples: int = 24,
    run: Run | None = None,
) -> Records:
    """A run as `store.read` returns it; the arguments are those of `make_rows`."""
    run = run or make_run(samples=samples)
    rows = make_rows(seed, shift, noise=noise, noise_seed=noise_seed, samples=samples, run=run)
    points = make_points(seed, samples=samples, run=run)
    return Records(
        run,
        pd.DataFrame(rows, columns=list(Row._fields)),
        pd.DataFrame(points, columns=list(Point._fields)),
    )
