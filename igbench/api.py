"""Evaluate attribution methods from Python, `evaluate`, and test concepts, `tcav`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from igbench import arguments, baselines
from igbench.concepts import subjects
from igbench.concepts import tcav as concepts_
from igbench.concepts.activations import Positions
from igbench.core import callers
from igbench.core.batch import Metric
from igbench.core.model import Model, Preprocess
from igbench.core.score import Output, Score
from igbench.data.given import given as given_data
from igbench.errors import InputError, check_whole
from igbench.evaluation import loading, loop
from igbench.evaluation import precision as forwards
from igbench.evaluation.loading import Loading
from igbench.evaluation.look import look
from igbench.evaluation.results import Results
from igbench.records import concepts as concept_records
from igbench.records import stats, store, view
from igbench.report.notebook import Plots
from igbench.run import lock, provenance
from igbench.run.progress import show_progress
from igbench.schema import COSTS, Records, Run


@dataclass(frozen=True)
class Evaluation(Plots):
    """Scores of attribution methods, with the record of how they were made.

    A notebook shows the means and some maps; `plot_metrics`, `plot_curves`, `plot_cost` and
    `plot_maps` return axes of matplotlib.

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
    def maps(self) -> dict[str, dict[str, np.ndarray]]:
        """The maps by method and sample, and the images under "inputs"."""
        return self.results.maps

    @property
    def frame(self) -> pd.DataFrame:
        """One line for each score, with the columns of `igbench.schema.Row`."""
        return self.records.scores

    def summary(self) -> pd.DataFrame:
        """Mean, interval and counts by method and metric, see `igbench.records.stats.summarise`."""
        return stats.summarise(self.frame, self.run.metrics, methods=self.run.methods)

    def __repr__(self) -> str:
        """The evaluation in two lines."""
        counts = self.run.totals["status"]
        said = ", ".join(f"{counts[s]} {s}" for s in ("ok", "undefined", "failed") if counts[s])
        return (
            f"<Evaluation {self.run.experiment!r}: {len(self.run.samples)} samples; methods "
            f"{', '.join(self.run.methods)}; metrics "
            f"{', '.join(m for m in self.run.metrics if m not in COSTS)}; {said or 'no scores'}.\n"
            " .table() of means, .summary() with intervals, .frame of all scores, .save() a report>"
        )

    def table(self) -> pd.DataFrame:
        """Means, methods by metrics, NaN where there is none; `print` shows the counts."""
        return stats.table(self.summary(), **self._whole)

    @property
    def _whole(self) -> dict[str, list[str]]:
        """All methods and metrics of the run, those without a score too."""
        return {"methods": list(self.run.methods), "metrics": list(self.run.metrics)}

    def save(self, results_dir: str | Path = "results") -> Path:
        """Write the run folder and its report, and return the path of report.html."""
        from igbench import report

        folder = store.place(Path(results_dir), self.run)
        store.writable(Path(results_dir))
        store.write(folder, self.run, self.results.rows, self.results.points, self.results.maps)
        with lock.held(folder, "the report of this run"):
            return report.write_report(store.read(folder))

    def __str__(self) -> str:
        """The means as text, with the number of samples that have none, and why."""
        return view.text(self.summary(), **self._whole)

    def _repr_html_(self) -> str:
        return view.html(self.summary(), **self._whole) + self.maps_html()


def evaluate(
    model: nn.Module | Model | Callable[..., Any],
    data: Any,
    *,
    methods: str | Sequence[Any] | Mapping[str, Any],
    metrics: str | Sequence[str] | Mapping[str, Metric],
    baseline: baselines.Baseline | str | float | Tensor | None = None,
    output: Output = "logit",
    target: Literal["prediction", "label"] | int | Sequence[int] | Tensor = "prediction",
    features: str | Tensor | None = None,
    layer: str | None = None,
    preprocess: Preprocess | Callable[[Any], Tensor] | None = None,
    masks: Any = None,
    limit: int | None = None,
    seed: int = 0,
    batch_size: int = 32,
    precision: Literal["float32", "exact"] = "float32",
    name: str = "evaluate",
    progress: bool | None = None,
) -> Evaluation:
    """Score attribution methods on a model.

    Nothing is written; `Evaluation.save` writes the records and the report.  Nothing that is given
    is changed: the model is copied around its weights, arrays are copied, and the modes, settings
    and global generators of the process are afterwards what they were.

    Args:
        model: A module in eval mode that maps (N, *F) to (N, K) or (N,), or a function of tensors
            or of NumPy arrays that does, such as `predict_proba`; for several input tensors an
            `igbench.PackedModel` with the packed inputs as data.
        data: Inputs (S, *F) as a tensor, a NumPy array, a pandas frame or lists; a pair of inputs
            and labels (S,); a `Dataset`, a `DataLoader` in a fixed order, the path of a folder of
            images, or a `Data`; for an igbench `Model` of texts S texts, a pair of texts and
            labels, or the path of a file of texts (`igbench.data.text_files.texts`).
        methods: Names from conf/method; or methods by name: names, methods, maps (S, *F) that exist
            already, objects of captum.attr or shap, functions of x (1, *F) and target (1,).
        metrics: Names from conf/metric, or metrics by name.
        baseline: Reference input x': a name from conf/baseline, a number, a tensor that broadcasts
            to the inputs, or an object of `igbench.baselines`; zero by default.
        output: Scalar that is explained: "logit" (the output itself), "probability" or
            "log_probability".
        target: Class that is explained: the "prediction" on the clean input, the "label", a class,
            or one for each sample.
        features: What one feature is, for all metrics that have a choice, see
            `igbench.core.features.resolve`; by default that of each metric.
        layer: Name of the layer for Grad-CAM and its kin; by default the last with spatial axes.
        preprocess: For folders of images: from an image of Pillow to a tensor.
        masks: Marks of people, for localisation metrics: S masks (H, W) of 0 and 1, None where
            there is none; one mark for each word, (G,), for texts; for a folder of images a folder
            of black and white `SAMPLE_ID.png`.
        limit: Number of samples, the first ones; all by default.  Up to 16 of the others become the
            pool that baselines and methods may use.
        seed: Seed of everything random.
        batch_size: Largest number of rows in one call of the model.
        precision: "exact" keeps the model as it is, where otherwise batch norms are folded into
            convolutions in a copy, see `igbench.core.fold`.
        name: Name of the experiment on the record.
        progress: Show progress on standard error; by default on a terminal and in a notebook.

    Raises:
        InputError: Whatever cannot be used, before any work: unknown names, a model in training
            mode or whose rows are not functions of themselves, no samples, classes out of range.

    >>> import torch
    >>> model = nn.Linear(3, 2).eval()
    >>> found = evaluate(model, torch.randn(4, 3), methods=["ig"], metrics=["completeness"])
    >>> bool(found.table().loc["ig", "completeness"] < 1e-5)  # exact for linear models
    True
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    with callers.own_modes():
        experiment = arguments.experiment(
            model, data, methods, metrics, baseline, output, target, features, layer, preprocess,
            masks, limit, seed, batch_size, precision, name,
        )  # fmt: skip
        run_id = store.new_id(started)
        with show_progress(experiment, progress) as advance:
            results = loop.run(experiment, run_id, advance)
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
        precision=forwards.report(experiment),
    )
    return Evaluation(run, results)


def tcav(
    model: nn.Module | Model,
    data: Any,
    concepts: Mapping[str, Any],
    *,
    random: Any = None,
    layer: str | None = None,
    target: str | int | Sequence[str | int] = "prediction",
    sets: int = concepts_.LEAST_SETS,
    positions: Positions = "mean",
    output: Output = "logit",
    limit: int | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> pd.DataFrame:
    """Test whether concepts, given as pictures of them, move an output (TCAV).

    Nothing is written, and nothing that is given is changed; see `igbench.concepts.tcav` for the
    definitions and the test.

    Args:
        model: A module in eval mode that maps (N, *F) to (N, K) or (N,).
        data: The samples whose output may rise, as for `evaluate`.
        concepts: Arrays (n, *F) of at least 10 pictures by the name of the concept, prepared as the
            samples are.
        random: (P, *F) random pictures; the samples by default.  Pictures of a concept are left
            out.
        layer: Name of a layer; that for Grad-CAM of an igbench `Model` by default.
        target: Classes by name or index, or "prediction": all samples, each with the class that the
            model predicts.
        sets: Random sets for each concept.
        positions: "mean" of the activations over the places of an image, or "all" of them.
        output: "logit", "probability" or "log_probability".
        limit: Number of samples, the first ones; all by default.
        seed: Seed of everything random.
        batch_size: Largest number of rows in one call of the model.

    Returns:
        A row for each concept and class, with the columns of `igbench.schema.ConceptScore`.

    Raises:
        InputError: Whatever cannot be used: too few pictures, unknown layers and classes.
    """
    check_whole("seed", seed)
    check_whole("batch_size", batch_size, least=1)
    with callers.own_modes():
        module = model.module if isinstance(model, Model) else model
        preprocess = model.preprocess if isinstance(model, Model) else None
        folder = isinstance(data, str | Path)
        source = given_data(
            data, model=module, preprocess=preprocess if folder else None, limit=limit
        )
        found = loading.some(source, Loading(), len(source))
        if not found:
            raise InputError("the data hold no samples that can be loaded.")
        x = torch.stack([sample for _, sample in found])
        wrapped = arguments.as_model(model, x)
        x = callers.rows("the data", x, wrapped.module)
        given = {
            name: _pictures(f"concept {name!r}", v, wrapped, x) for name, v in concepts.items()
        }
        drawn = x if random is None else _pictures("random", random, wrapped, x)
        score = Score(wrapped.module, output, batch_size, channels_last=wrapped.channels_last)
        look(score, x, {})
        chosen = subjects.choose(
            score,
            x,
            [source.labels[i] for i, _ in found],
            [target] if isinstance(target, str | int) else list(target),
            wrapped.class_names,
        )
        lines = concepts_.concept_scores(
            score,
            layer or wrapped.cam_layer,
            chosen,
            given,
            concepts_.random_pool(drawn, given),
            sets=sets,
            positions=positions,
            seed=seed,
        )
    return concept_records.frame(concept_records.corrected(lines))


def _pictures(what: str, value: Any, model: Model, x: Tensor) -> Tensor:
    """Pictures of the caller's as the model takes them."""
    found = callers.rows(what, value, model.module)
    if found.shape[1:] != x.shape[1:]:
        raise InputError(
            f"{what} has pictures of shape {tuple(found.shape[1:])}, the samples "
            f"{tuple(x.shape[1:])}; prepare both alike."
        )
    return found
