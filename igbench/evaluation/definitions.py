"""Check the definitions of what takes part in an experiment, before any work."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from igbench.core.arguments import UNSET, check_argument
from igbench.core.dataset import Data
from igbench.errors import InputError, typed_line
from igbench.files import check_name
from igbench.schema import MethodSpec, MetricSpec

METRIC_PARTS = (
    "sharing_key", "for_shape", "for_outputs", "restricted", "leaves_out", "observe", "measure",
)  # fmt: skip
"""What a metric has, see `igbench.core.batch.Metric`."""

PICTURES = "inputs"
"""Name of the samples as pictures among the maps, which no method has."""


def check_methods(methods: Mapping[str, Any]) -> None:
    """Raise unless every entry is a method with a definition that a record can keep.

    Args:
        methods: By name.

    Raises:
        InputError: Names the method, and what is wrong with it.
    """
    if PICTURES in methods:
        raise InputError(
            f"method={PICTURES} has the name of the pictures among the maps; choose another name."
        )
    for name, method in methods.items():
        where = f"method.{name}"
        check_name("method", name)
        if isinstance(method, type) or not callable(method):
            raise InputError(f"{where} is {_kind(method)}, which cannot be called with a batch.")
        check_fields(f"{where}.spec", _spec(where, method, MethodSpec))


def check_metrics(metrics: Mapping[str, Any]) -> None:
    """Raise unless every entry is a metric with a definition that a record can keep.

    Args:
        metrics: By name.

    Raises:
        InputError: Names the metric, and what is wrong with it.
    """
    for name, metric in metrics.items():
        where = f"metric.{name}"
        check_name("metric", name)
        spec = _spec(where, metric, MetricSpec)
        missing = [part for part in METRIC_PARTS if not hasattr(metric, part)]
        if isinstance(metric, type) or missing:
            raise InputError(
                f"{where} is {_kind(metric)}, which has no {', '.join(missing)}; derive it from "
                "igbench.metrics.BaseMetric."
            )
        check_fields(f"{where}.spec", spec, unbounded=("low", "high", "min_effect"))
        if not spec.low < spec.high:
            raise InputError(
                f"{where}.spec has the range {spec.low} to {spec.high}; the first number must be "
                "the smaller."
            )


def check_data(data: Any, where: str = "data") -> None:
    """Raise unless these are data whose samples can be told apart.

    Args:
        data: Anything.
        where: For the message.

    Raises:
        InputError: Says what is wrong.
    """
    if not isinstance(data, Data):
        raise InputError(f"{where} is {_kind(data)}; it must be an igbench Data.")
    ids, labels = data.sample_ids, data.labels
    if len(ids) != len(labels):
        raise InputError(f"{where} has {len(ids)} sample ids and {len(labels)} labels.")
    if not all(isinstance(i, str) and i for i in ids) or len(set(ids)) < len(ids):
        raise InputError(f"{where} has sample ids that are no texts, empty, or not unique.")
    if not callable(data.load):
        raise InputError(f"{where}.load is {_kind(data.load)}; it must be a function.")


def check_fields(where: str, spec: Any, unbounded: Iterable[str] = ()) -> None:
    """Raise unless every field of a definition is what its annotation says.

    Args:
        where: Whose definition.
        spec: The definition.
        unbounded: Fields that may be infinite.

    Raises:
        InputError: Names the field.
    """
    hints = get_type_hints(type(spec))
    for field in fields(spec):
        value = getattr(spec, field.name)
        default = math.inf if field.name in unbounded else UNSET
        check_argument(f"{where}.{field.name}", value, hints[field.name], default)


def _spec(where: str, part: Any, cls: type) -> Any:
    """The definition of a method or metric, whatever asking for it does."""
    try:
        found = part.spec
    except Exception as error:  # of code of the user's
        raise InputError(
            f"{where} is {_kind(part)} without a definition to record ({typed_line(error)}); give "
            f"it a property `spec`, an igbench.schema.{cls.__name__}."
        ) from error
    if not isinstance(found, cls):
        raise InputError(
            f"{where}.spec is {_kind(found)}; it must be an igbench.schema.{cls.__name__}."
        )
    return found


def _kind(value: object) -> str:
    """The type of a value, for a message."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return "None" if value is None else f"of type {type(value).__name__}"
