"""Evaluate attribution methods from Python, `evaluate`, and test concepts, `tcav`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from igbench import baselines
from igbench.baselines import as_baseline
from igbench.concepts import subjects
from igbench.concepts import tcav as concepts_
from igbench.concepts.activations import Positions
from igbench.config import compose, folders
from igbench.config.build import construct
from igbench.config.words import check_folder
from igbench.core import callers
from igbench.core.batch import Method, Metric
from igbench.core.dataset import Data
from igbench.core.features import as_unit, resolve
from igbench.core.layers import AUTO, check_layer, with_cam_layer
from igbench.core.model import Model, Preprocess, as_module, function_hash
from igbench.core.outputs import as_target
from igbench.core.score import Output, Score
from igbench.data.given import given as given_data
from igbench.data.masks import with_given
from igbench.errors import InputError, SampleError, check_choice, check_whole
from igbench.evaluation import loading, loop
from igbench.evaluation import precision as forwards
from igbench.evaluation.definitions import check_methods
from igbench.evaluation.experiment import Experiment
from igbench.evaluation.folding import EXACT, with_folding
from igbench.evaluation.loading import Loading
from igbench.evaluation.look import look
from igbench.evaluation.results import Results
from igbench.files import check_name
from igbench.methods.base import BaseMethod
from igbench.methods.given import as_method
from igbench.models.weights import state_hash
from igbench.records import concepts as concept_records
from igbench.records import stats, store, view
from igbench.report.notebook import Plots
from igbench.run import lock, provenance
from igbench.run.progress import show_progress
from igbench.schema import COSTS, Records, Run

KEPT_ROWS = 200
"""Rows of a table whose attributions are kept for the report."""


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
        experiment = _experiment(
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
        wrapped = _model(model, x)
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


def _experiment(
    model: Any,
    data: Any,
    methods: Any,
    metrics: Any,
    baseline: Any,
    output: Output,
    target: Any,
    features: Any,
    layer: str | None,
    preprocess: Any,
    masks: Any,
    limit: int | None,
    seed: int,
    batch_size: int,
    precision: str,
    name: str,
) -> Experiment:
    """The experiment that the arguments of `evaluate` describe; the model has been looked at."""
    check_whole("seed", seed)
    check_whole("batch_size", batch_size, least=1)
    check_choice("precision", precision, ("float32", EXACT))
    check_folder(name)
    for group, chosen_by_name in (("method", methods), ("metric", metrics)):
        for own in chosen_by_name if isinstance(chosen_by_name, Mapping) else ():
            check_name(group, own)
    if limit is not None:
        check_whole("limit", limit, least=1)
    module = model.module if isinstance(model, Model) else model
    if preprocess is None and isinstance(model, Model) and isinstance(data, str | Path):
        preprocess = model.preprocess
    source = given_data(
        data,
        model=module,
        preprocess=preprocess,
        limit=limit,
        labelled=isinstance(target, str) and target == "label",
        owner=model if isinstance(model, Model) else None,
    )
    if len(source) == 0:
        raise InputError("the data hold no samples.")
    if masks is not None:
        source = with_given(source, masks, limit)
    loaded = [x for _, x in loading.some(source, Loading(), 3) if tuple(x.shape) == source.shape]
    if not loaded:
        raise InputError(f"no sample can be loaded as {source.shape}; {_why(source)}.")
    x = torch.stack(loaded)
    wrapped = _model(model, x)
    dtypes = callers.dtypes(wrapped.module)
    dtype = dtypes.pop() if len(dtypes) == 1 else x.dtype
    device = next((p.device for p in wrapped.module.parameters()), x.device)
    items = _items("method", methods)
    if layer is None and any(_looks_into_a_layer(item) for item in items.values()):
        wrapped = with_cam_layer(wrapped, x[:1].to(device, dtype))
    chosen = _methods(items, wrapped, source, layer)
    check_methods(chosen)
    classes = _target(target, len(source))
    labels = torch.tensor([v for v in source.labels if v is not None], dtype=torch.int64)
    explained = target == "label" if isinstance(data, Data) else True
    outputs = look(
        Score(wrapped.module, output, batch_size, channels_last=wrapped.channels_last),
        x.to(device, dtype),
        chosen,
        None if isinstance(classes, str) else torch.tensor(classes).reshape(-1),
        labels if explained else None,
    )
    if classes == "label" and not len(labels):
        raise InputError("target='label' needs labels: give the data as (inputs, labels).")
    built = Experiment(
        name=name,
        model=wrapped,
        data=source,
        methods=chosen,
        metrics=_metrics(metrics, source, features),
        baseline=as_baseline(baseline, source),
        output=output,
        target=classes,
        seed=seed,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        outputs=outputs,
        keep_maps=KEPT_ROWS if source.kind == "table" else Experiment.keep_maps,
    )
    return built if precision == EXACT else with_folding(built)


def _why(data: Data) -> str:
    """Why the first sample cannot be used."""
    try:
        return f"the first has shape {tuple(data.load(0).shape)}"
    except SampleError as error:
        return f"the first: {error}"


def _target(target: Any, n: int) -> Literal["prediction", "label"] | int | tuple[int, ...]:
    """The rule by which targets are chosen, a class, or one for each of N samples."""
    if isinstance(target, str):
        check_choice("target", target, ("prediction", "label"))
        return target  # type: ignore[return-value]
    found = as_target(target, n, torch.device("cpu"))
    if found is None or found.dim() != 1:
        raise InputError(
            f"target is {target!r}; expected 'prediction', 'label', a class, or one for each "
            "sample."
        )
    return int(target) if isinstance(target, int) else tuple(found.tolist())


def _items(group: str, given: Any) -> dict[str, Any]:
    """What is chosen of a group, by name."""
    if isinstance(given, Mapping):
        found = dict(given)
    else:
        words = [given] if isinstance(given, str) or not isinstance(given, Sequence) else given
        found = {}
        for word in words:
            name = word if isinstance(word, str) else type(word).__name__
            if name in found:
                raise InputError(
                    f"{group} {name!r} is chosen twice; give a dictionary, with a name for each."
                )
            found[name] = word
    if not found and group == "method":
        raise InputError("no method is chosen; see `igbench list methods`.")
    return found


def _looks_into_a_layer(item: Any) -> bool:
    """Whether a method takes its layer from the model or from the argument `layer`."""
    if isinstance(item, str):
        return folders.node("method", item).get("layer") == AUTO
    return isinstance(item, BaseMethod) and getattr(item, "layer", "") == AUTO


def _methods(
    items: Mapping[str, Any], model: Model, data: Data, layer: str | None
) -> dict[str, Method]:
    """Attribution methods by name."""
    looking = {name for name, item in items.items() if _looks_into_a_layer(item)}
    if layer is not None:
        if not looking:
            raise InputError(
                f"layer={layer!r} is for methods that look into a layer, and none of "
                f"{', '.join(items)} does; leave it out, or choose grad_cam."
            )
        check_layer(model.module, layer)
    known = layer or model.cam_layer or AUTO
    found: dict[str, Method] = {}
    for name, item in items.items():
        if isinstance(item, str):
            node = folders.node("method", item) | ({"layer": known} if name in looking else {})
            found[name] = construct(node, f"method.{item}", data=data, pool=data.reference)
        else:
            own = replace(item, layer=known) if name in looking else item
            found[name] = as_method(name, own, data.sample_ids, data.shape)
    return found


def _metrics(given: Any, data: Data, features: Any) -> dict[str, Metric]:
    """Metrics by name, with the unit that is chosen for all of them."""
    unit = None if features is None else as_unit(features)
    if unit is not None:
        resolve(unit, data.shape)
    found: dict[str, Metric] = {}
    for name, item in _items("metric", given).items():
        if isinstance(item, str):
            name, chosen = compose.settle(name), compose.settle(item)
            found[name] = construct(folders.node("metric", chosen), f"metric.{item}", data=data)
        elif isinstance(item, type) or not hasattr(item, "measure"):
            raise InputError(
                f"metric {name!r} is a {type(item).__name__}; give a name of conf/metric, or an "
                "object of igbench.metrics, such as igbench.metrics.Deletion()."
            )
        else:
            found[name] = item
        if unit is not None and getattr(found[name], "features", "") is None:
            found[name] = found[name].with_features(unit)  # type: ignore[attr-defined]
    return found


def _model(model: Any, x: Tensor) -> Model:
    """A model of the caller's, as a private copy around its weights."""
    if isinstance(model, Model):
        return replace(model, module=callers.private(model.module))
    module = model if isinstance(model, nn.Module) else as_module(model, x)
    tensors = [*module.parameters(), *module.buffers()]
    function = getattr(module, "predict", getattr(module, "function", type(module)))
    return Model(
        name=type(module).__name__ if module is model else getattr(model, "__name__", "function"),
        module=callers.private(module),
        class_names=(),
        cam_layer="",
        weights_hash=state_hash(module) if tensors else function_hash(function),
        source="given by the caller",
    )
