"""Build objects from a configuration: resolve each `_target_` and bind its arguments.

A `_target_` is code that the configuration chooses to run, so only the user's own configurations
are read.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from igbench.core import callers
from igbench.core.batch import Method
from igbench.core.dataset import Data
from igbench.core.inference import PRECISIONS, Compiled, InferenceOptions
from igbench.core.layers import AUTO, with_cam_layer
from igbench.core.model import Model
from igbench.core.probe import Outputs
from igbench.core.score import Score
from igbench.errors import InputError, check_choice, one_line, suggestion, typed_line
from igbench.evaluation import compilation, isolation, loading
from igbench.evaluation.batch_size import Question, best_rows
from igbench.evaluation.definitions import check_data, check_methods, check_metrics
from igbench.evaluation.experiment import Experiment
from igbench.evaluation.folding import EXACT, with_folding
from igbench.evaluation.loading import Loading
from igbench.evaluation.look import look
from igbench.files import cache_folder

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def experiment(config: Mapping[str, Any]) -> Experiment:
    """Build the experiment that a resolved configuration describes.

    Args:
        config: From `igbench.config.compose`; with `handed_on` what is measured here is taken from
            another process.

    Raises:
        InputError: A value cannot be used; the message names the key to change.
    """
    if isinstance(config["target"], bool) or not isinstance(config["target"], int):
        check_choice("target", str(config["target"]), ("prediction", "label"))
    check_choice("output", config["output"], ("logit", "probability", "log_probability"))
    device = pick_device(config["device"])
    seed = _whole(config, "seed", least=0) or 0
    for group in ("method", "metric"):
        if not config.get(group):
            raise InputError(f"no {group} is chosen; set for example {group}=[{EXAMPLES[group]}].")
    model, data = model_and_data(config, device)
    dtype = DTYPES[config["dtype"]]
    samples = [x for _, x in loading.some(data, _loading(config), 3)]
    fitting = [x for x in samples if tuple(x.shape) == data.shape]
    if fitting and any(node.get("layer") == AUTO for node in config["method"].values()):
        model = with_cam_layer(model, fitting[0][None].to(device, dtype))
    methods = {
        name: construct(_with_layer(node, model), f"method.{name}", data=data, pool=data.reference)
        for name, node in config["method"].items()
    }
    check_methods(methods)
    metrics = {
        name: construct(node, f"metric.{name}", data=data)
        for name, node in config["metric"].items()
    }
    check_metrics(metrics)
    baseline = construct(config["baseline"], "baseline")
    outputs = config.get("outputs") or _outputs(config, model, data, samples, device, methods)
    built = Experiment(
        name=str(config["name"]),
        model=model,
        data=data,
        methods=methods,
        metrics=metrics,
        baseline=baseline,
        output=config["output"],
        target=config["target"],
        seed=seed,
        batch_size=_given_batch_size(config) or UNMEASURED,
        shard_size=_whole(config, "shard_size", least=1) or 1,
        device=device,
        dtype=dtype,
        keep_maps=_whole(config, "keep_maps", least=0) or 0,
        convergence=_whole(config, "convergence", least=0) or 0,
        loading=_loading(config),
        quick=_quick(config, model, device),
        outputs=outputs,
    )
    if config.get("precision") != EXACT:
        built = with_folding(built, config.get("folding"))
    if _given_batch_size(config) is None:
        built = replace(built, batch_size=_measured_batch_size(built, fitting))
    return compilation.chosen(built) if config.get("compile") == compilation.AUTO else built


def handed_on(config: Mapping[str, Any], built: Experiment) -> dict[str, Any]:
    """The configuration with what was found out here, so that other processes measure nothing.

    All of them split batches, compile and fold identically.

    Args:
        config: The resolved configuration.
        built: What `experiment` made of it.
    """
    folding = built.folding
    return {
        **config,
        "batch_size": built.batch_size,
        "device": built.device.type,
        "compile": built.quick.backend or False,
        "outputs": built.outputs,
        "folding": None if folding is None else replace(folding, module=None),
    }


def model_and_data(config: Mapping[str, Any], device: torch.device) -> tuple[Model, Data]:
    """Build the model, on a device and in the dtype of a configuration, and the data.

    Args:
        config: From `igbench.config.compose`.
        device: Where the model goes.

    Raises:
        InputError: A value cannot be used, or the data have no samples.
    """
    limit = _whole(config, "limit", least=1, optional=True)
    check_choice("dtype", config["dtype"], tuple(DTYPES))
    model: Model = construct(config["model"], "model")
    if not isinstance(model, Model):
        raise InputError(
            f"model: {config['model']['_target_']} returned {type(model).__name__}; it must return "
            "an igbench Model."
        )
    data: Data = construct(config["data"], "data", model=model, limit=limit)
    check_data(data)
    if len(data) == 0:
        raise InputError(f"the data set {data.name!r} has no samples.")
    return replace(
        model, module=callers.placed(model.module, device, DTYPES[config["dtype"]])
    ), data


def _outputs(
    config: Mapping[str, Any],
    model: Model,
    data: Data,
    samples: Sequence[Tensor],
    device: torch.device,
    methods: Mapping[str, Method],
) -> Outputs | None:
    """Outputs of the model by `igbench.evaluation.look`; None if no sample can be loaded."""
    fitting = [x for x in samples if tuple(x.shape) == data.shape]
    if not fitting:
        return None  # the run says why of each sample
    x = torch.stack(fitting).to(device, DTYPES[config["dtype"]])
    most = _given_batch_size(config) or 2
    score = Score(model.module, config["output"], most, channels_last=model.channels_last)
    fixed = isinstance(config["target"], int)
    return look(score, x, methods, torch.tensor([config["target"]]) if fixed else None)


EXAMPLES = {"method": "ig,occlusion", "metric": "completeness,srg"}


def construct(node: Any, where: str, **extra: Any) -> Any:
    """Call the `_target_` of a node with its other keys and `extra` as arguments.

    A target gets only those of `extra` that it has parameters for: methods and metrics may take
    the `data`, methods its `pool` of reference samples.

    Raises:
        InputError: The target does not exist, an argument is unknown or missing, or a value is
            not valid.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise InputError(
            f"{where} has no _target_, the dotted name of the class or function to call."
        )
    target = locate(str(node["_target_"]), where)
    if not callable(target):
        raise InputError(f"{where}._target_={node['_target_']} is no class or function.")
    known = _parameters(target, where)
    arguments = _arguments(node, where, [k for k in known if k not in extra], known)
    arguments |= {k: v for k, v in extra.items() if k in known}
    try:
        return target(**arguments)
    except InputError as error:
        raise _about(error, where) from error
    except OSError:
        raise
    except TypeError as error:
        raise InputError(f"{where}: {one_line(error)}") from error
    except isolation.CAUGHT as error:  # whatever a target of the user's raises
        raise InputError(
            f"{where}: calling {node['_target_']} raised {typed_line(error)}."
        ) from error


def _arguments(
    node: Mapping[str, Any], where: str, shown: Sequence[str], known: Sequence[str]
) -> dict[str, Any]:
    """The keys of a node as arguments of its target."""
    arguments = {str(k): _fixed(v) for k, v in node.items() if k != "_target_"}
    for name in arguments:
        if name not in known:
            raise InputError(
                f"unknown key '{where}.{name}'; known: {', '.join(shown)}.{suggestion(name, known)}"
            )
    if isinstance(arguments.get("factory"), str):
        arguments["factory"] = users_function(arguments["factory"], f"{where}.factory")
    return arguments


def _about(error: InputError, where: str) -> InputError:
    """An error of a part, with the entry in front unless it names it."""
    group, _, name = where.partition(".")
    if group not in NAMED or (name or group) in str(error):
        return error
    return type(error)(f"{where}: {error}")


NAMED = ("method", "metric", "baseline", "executor")
"""Groups whose errors get the name of the entry in front."""


def _parameters(target: Callable[..., Any], where: str) -> list[str]:
    """Names of what a target takes."""
    try:
        return list(inspect.signature(target).parameters)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}._target_ cannot be called by name: {one_line(error)}.") from (
            error
        )


def _fixed(value: Any) -> Any:
    """Convert the lists of YAML to tuples, which are hashable."""
    return tuple(_fixed(v) for v in value) if isinstance(value, list) else value


_PUBLIC = {
    "metrics": "igbench.metrics",
    "methods": "igbench.methods",
    "engine": "igbench.run.executors",
}
"""Package within igbench to the module with its public classes."""


def locate(name: str, where: str) -> Any:
    """Import the object with a dotted name.

    A class of metrics, methods or executors is found by its public name, whichever module of
    igbench defined it when the configuration was written.

    Raises:
        InputError: It cannot be imported.
    """
    module, _, attribute = name.rpartition(".")
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise InputError(
            f"{where}._target_={name} is of Python itself, which makes no {where.partition('.')[0]}"
            "; name a class or function of igbench or of your own module."
        )
    for old, public in _PUBLIC.items():
        if module.startswith(f"igbench.{old}."):
            found = getattr(importlib.import_module(public), attribute, None)
            if inspect.isclass(found):
                return found
    try:
        return getattr(importlib.import_module(module), attribute)
    except isolation.CAUGHT as error:  # whatever a module of the user's raises
        raise InputError(
            f"{where}._target_ {name!r} cannot be imported: {one_line(error)}"
        ) from error


def users_function(name: str, where: str) -> Callable[..., Any]:
    """Import a function or class of the user's by its dotted name.

    Raises:
        InputError: Says which part is missing, or what its module raised.
    """
    place, _, attribute = name.rpartition(".")
    if not place:
        raise InputError(
            f"{where}={name} is no dotted name; give the module, too, as in my_module.build."
        )
    try:
        module = importlib.import_module(place)
    except Exception as error:  # whatever the user's module raises
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{place}.".startswith(f"{missing}."):
            raise InputError(
                f"{where}={name}: there is no module {missing!r}; run the command in the "
                "folder that holds it, or put that folder on PYTHONPATH."
            ) from error
        raise InputError(
            f"{where}={name}: importing {place} raised {typed_line(error)}."
        ) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        what = "has no" if found is None else "holds no function or class"
        near = suggestion(attribute, dir(module)) if found is None else ""
        raise InputError(f"{where}={name}: {place} {what} {attribute!r}.{near}")
    return found


def pick_device(name: str) -> torch.device:
    """The device with a name; "auto" is the first of cuda, mps and cpu that is available.

    Raises:
        InputError: The name is unknown, or the device is not available.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"device {name!r} is unknown; use auto, cpu, cuda, cuda:1 or mps.") from (
            error
        )
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device={name}, but no CUDA device is available; use device=cpu.")
    return device


def _whole(
    config: Mapping[str, Any], key: str, *, least: int, optional: bool = False
) -> int | None:
    value = config[key]
    if value is None and optional:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{key}={value} must be a whole number of at least {least}.")
    return value


UNMEASURED = 4
"""Rows in a call until it is measured how many are fastest."""


def _given_batch_size(config: Mapping[str, Any]) -> int | None:
    """Rows per call as configured; None where they are to be measured."""
    return None if config["batch_size"] == "auto" else _whole(config, "batch_size", least=1)


def _measured_batch_size(built: Experiment, samples: Sequence[Tensor]) -> int:
    """Rows per call that are fastest on the device of an experiment."""
    if not samples:
        return 1
    try:
        return best_rows(rows_question(built, samples[0]))
    except InputError:
        raise
    except isolation.CAUGHT as error:  # the run records which samples fail
        log.warning(
            "the model cannot be timed (%s), so batch_size is 1; batch_size=N sets another number",
            isolation.describe(error),
        )
        return 1


def rows_question(built: Experiment, sample: Tensor | None = None) -> Question:
    """How many rows in a call are fastest for an experiment, with the file of answers.

    Args:
        built: The experiment.
        sample: (*F); None where only answers that are known matter.
    """
    x = torch.empty(built.data.shape) if sample is None else sample
    return Question(
        built.score(),
        x[None].to(built.device, built.dtype),
        torch.zeros(1, dtype=torch.int64, device=built.device),
        cache_folder(None) / "rows.json",
        built.model.weights_hash,
    )


def _loading(config: Mapping[str, Any]) -> Loading:
    """Options of loading; missing keys have the defaults of `Loading`."""
    node = config.get("loading") or {}
    for name in node:
        check_choice("key of loading", name, [f.name for f in fields(Loading)])
    return Loading(**node)


def _quick(config: Mapping[str, Any], model: Model, device: torch.device) -> InferenceOptions:
    """Options for faster forwards of perturbed inputs."""
    precision, backend = config.get("precision", "float32"), config.get("compile", False)
    check_choice("precision", str(precision), (*PRECISIONS, EXACT))
    if precision == EXACT:
        precision = "float32"
    if precision != "float32" and config["dtype"] != "float32":
        raise InputError(
            f"precision={precision} lowers float32; with dtype={config['dtype']} use "
            "precision=float32."
        )
    if precision == "tf32" and device.type != "cuda":
        raise InputError(
            f"precision=tf32 exists on CUDA alone, and the device is {device}; use "
            "precision=float32 or bf16."
        )
    if not backend:
        return InferenceOptions(precision)
    name = compilation.BACKEND if backend in (True, compilation.AUTO) else str(backend)
    if name != compilation.BACKEND:
        known = sorted({"eager", "aot_eager", *torch.compiler.list_backends()})
        check_choice("backend for compile", name, [compilation.AUTO, *known])
    return InferenceOptions(precision, Compiled(model.module, name))


def _with_layer(node: Mapping[str, Any], model: Model) -> Mapping[str, Any]:
    """The node with the model's layer for `auto`, where that is known."""
    known = node.get("layer") == AUTO and model.cam_layer
    return {**node, "layer": model.cam_layer} if known else node
