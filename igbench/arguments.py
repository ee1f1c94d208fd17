"""What `evaluate` and `tcav` are given, as an experiment, or one clear line why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from igbench.baselines import as_baseline
from igbench.config import compose, folders
from igbench.config.build import construct
from igbench.config.words import check_folder
from igbench.core import callers
from igbench.core.batch import Method, Metric
from igbench.core.dataset import Data
from igbench.core.features import as_unit, resolve
from igbench.core.layers import AUTO, check_layer, with_cam_layer
from igbench.core.model import Model, as_module, function_hash
from igbench.core.outputs import as_target
from igbench.core.score import Output, Score
from igbench.data.given import given as given_data
from igbench.data.masks import with_given
from igbench.errors import InputError, SampleError, check_choice, check_whole
from igbench.evaluation import loading
from igbench.evaluation.definitions import check_methods
from igbench.evaluation.experiment import Experiment
from igbench.evaluation.folding import EXACT, with_folding
from igbench.evaluation.loading import Loading
from igbench.evaluation.look import look
from igbench.files import check_name
from igbench.methods.base import BaseMethod
from igbench.methods.given import as_method
from igbench.models.weights import state_hash

KEPT_ROWS = 200
"""Rows of a table whose attributions are kept for the report."""


def experiment(
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
    wrapped = as_model(model, x)
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


def as_model(model: Any, x: Tensor) -> Model:
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
