"""Evaluate attribution methods from Python: `evaluate` and its result, `Evaluation`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import yaml
from torch import Tensor, nn

from igbench import baselines
from igbench.config import compose
from igbench.config.build import construct
from igbench.core.batch import Method, Metric
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.core.score import Output
from igbench.errors import InputError, check_choice, check_eval_mode
from igbench.evaluation import loop
from igbench.evaluation.experiment import Experiment
from igbench.evaluation.results import Results
from igbench.metrics.base import default_features
from igbench.models.weights import state_hash
from igbench.records import stats, store
from igbench.run import provenance
from igbench.schema import Records, Run


@dataclass(frozen=True)
class Evaluation:
    """Scores of attribution methods, with the record of how they were made.

    Attributes:
        run: The record of the run.
        results: Rows, curves and maps.
    """

    run: Run
    results: Results

    @property
    def records(self) -> Records:
        """The run as it would be read from its folder, with data frames."""
        return store.records(self.run, self.results.rows, self.results.points)

    @property
    def frame(self) -> pd.DataFrame:
        """One line for each score, with the columns of `igbench.schema.Row`."""
        return self.records.scores

    def summary(self) -> pd.DataFrame:
        """Mean, interval and counts by method and metric, see `igbench.records.stats.summarise`."""
        return stats.summarise(self.frame, self.run.metrics, methods=self.run.methods)

    def table(self) -> pd.DataFrame:
        """Means, methods by metrics."""
        return self.summary().pivot_table(
            index="method", columns="metric", values="mean", sort=False
        )

    def save(self, results_dir: str | Path = "results") -> Path:
        """Write the run folder and its report, and return the path of report.html."""
        from igbench import report

        folder = Path(results_dir) / self.run.experiment / self.run.id
        store.writable(Path(results_dir))
        store.write(folder, self.run, self.results.rows, self.results.points, self.results.maps)
        return report.write_report(store.read(folder))

    def _repr_html_(self) -> str:
        return str(self.table().to_html(float_format="{:.3g}".format))


def evaluate(
    model: nn.Module | Model,
    data: Data | Tensor | tuple[Tensor, Tensor],
    *,
    methods: Sequence[str] | Mapping[str, Method],
    metrics: Sequence[str] | Mapping[str, Metric],
    baseline: baselines.Baseline | None = None,
    output: Output = "logit",
    target: Literal["prediction", "label"] = "prediction",
    features: str | None = None,
    seed: int = 0,
    batch_size: int = 32,
    name: str = "evaluate",
) -> Evaluation:
    """Score attribution methods on a model.

    Nothing is written; `Evaluation.save` writes the records and the report.

    Args:
        model: A module in eval mode that maps (N, *F) to (N, K); for a function of NumPy arrays
            an `igbench.core.model.ArrayFunction`, for several input tensors an
            `igbench.core.packing.PackedModel` with the packed inputs as data.
        data: Inputs (S, *F), inputs with labels (S,), or a `Data`.
        methods: Names from conf/method, or methods by name; `igbench.methods.CallableMethod` makes
            a method of any function.
        metrics: Names from conf/metric, or metrics by name.
        baseline: Reference input x', an object of `igbench.baselines`; zero by default.
        output: Scalar that is explained: "logit", "probability" or "log_probability".
        target: Class that is explained: the "prediction" on the clean input, or the "label".
        features: What one feature is; "pixel" for images and "element" otherwise by default.
        seed: Seed of everything random.
        batch_size: Largest number of rows in one call of the model.
        name: Name of the experiment on the record.

    Raises:
        InputError: Unknown names, a model in training mode, no samples.

    >>> import torch
    >>> model = nn.Linear(3, 2).eval()
    >>> found = evaluate(model, torch.randn(4, 3), methods=["ig"], metrics=["completeness"])
    >>> bool(found.table().loc["ig", "completeness"] < 1e-5)  # exact for linear models
    True
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    source = data if isinstance(data, Data) else _data(data, features)
    if len(source) == 0:
        raise InputError("the data hold no samples.")
    wrapped = model if isinstance(model, Model) else _model(model, source)
    experiment = Experiment(
        name=name,
        model=wrapped,
        data=source,
        methods=_named("method", methods, wrapped, source),
        metrics=_named("metric", metrics, wrapped, source),
        baseline=baseline or baselines.Zero(),
        output=output,
        target=target,
        seed=seed,
        batch_size=batch_size,
        device=next((p.device for p in wrapped.module.parameters()), source.load(0).device),
        dtype=next((p.dtype for p in wrapped.module.parameters()), source.load(0).dtype),
    )
    run_id = store.new_id(started)
    results = loop.run(experiment, run_id)
    seconds = time.perf_counter() - clock
    run = provenance.make_run(
        experiment,
        {"name": name},
        results.rows,
        results.samples,
        results.stages,
        run_id=run_id,
        created=started,
        seconds=seconds,
    )
    return Evaluation(run, results)


def _named(
    group: str, given: Sequence[str] | Mapping[str, Any], model: Model, data: Data
) -> dict[str, Any]:
    if isinstance(given, Mapping):
        for name, item in given.items():
            if not hasattr(item, "spec"):
                raise InputError(
                    f"{group} {name!r} has no spec, which says what its numbers mean; wrap a "
                    "function in igbench.methods.CallableMethod(function, kind=...)."
                )
        return dict(given)
    found = {}
    for word in given:
        name = compose.settle(word) if group == "metric" else word
        check_choice(group, name, compose.choices(group))
        text = (compose.FOLDER / group / f"{name}.yaml").read_text(encoding="utf-8")
        node = yaml.safe_load(text)[name]
        if node.get("layer") == "auto":
            node["layer"] = model.cam_layer
        found[name] = construct(node, f"{group}.{name}", data=data, pool=data.reference)
    return found


def _data(data: Tensor | tuple[Tensor, Tensor], features: str | None) -> Data:
    x, labels = data if isinstance(data, tuple) else (data, None)
    image = x.dim() == 4
    return Data(
        name="given",
        kind="image" if image else "table",
        shape=tuple(x.shape[1:]),
        sample_ids=tuple(f"sample-{i:05d}" for i in range(len(x))),
        labels=tuple([None] * len(x) if labels is None else [int(v) for v in labels]),
        load=lambda i: x[i].detach(),
        features=features or default_features(x.shape[1:]),
        display=None,
        black=(0.0,),
        reference=None,
        source="given by the caller",
    )


def _model(module: nn.Module, data: Data) -> Model:
    if not isinstance(module, nn.Module):
        raise InputError(
            f"the model is a {type(module).__name__}; give a torch module, or wrap a function of "
            "NumPy arrays (predict_proba) in igbench.core.model.ArrayFunction."
        )
    check_eval_mode(module)
    return Model(
        name=type(module).__name__,
        module=module,
        class_names=(),
        cam_layer="",
        weights_hash=state_hash(module),
        source="given by the caller",
    )
