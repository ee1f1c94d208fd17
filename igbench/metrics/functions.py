"""The functional form of a metric: a function whose keyword arguments are its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any

from torch import Tensor

from igbench.core.batch import Measurement
from igbench.errors import InputError, suggestion
from igbench.metrics.base import BaseMetric, Forward, Maps


def as_function(
    metric: type[BaseMetric], name: str = "", **fixed: Any
) -> Callable[..., Measurement | dict[str, Measurement]]:
    """Functional form of a metric: its parameters become keyword arguments.

    Args:
        metric: Class.
        name: Name of the function; that of the class by default.
        **fixed: Parameters that the name implies.

    Example:
        >>> from igbench.metrics import Aopc
        >>> abpc = as_function(Aopc, "abpc", order="difference")
        >>> abpc.__name__, "order" in inspect.signature(abpc).parameters
        ('abpc', False)
    """
    own = {f.name: f for f in fields(metric) if f.name not in fixed}  # type: ignore[arg-type]
    common = inspect.signature(BaseMetric.__call__).parameters

    def function(
        forward: Forward, inputs: Tensor, attributions: Maps, **arguments: Any
    ) -> Measurement | dict[str, Measurement]:
        for given in arguments:
            if given not in own and given not in common:
                known = [*own, *list(common)[4:]]
                raise InputError(
                    f"{function.__name__} has no argument {given!r}; it takes {', '.join(known)}."
                    f"{suggestion(given, known)}"
                )
        mine = {k: arguments.pop(k) for k in list(arguments) if k in own}
        found: Measurement | dict[str, Measurement] = metric(**fixed, **mine)(
            forward, inputs, attributions, **arguments
        )
        return found

    keyword_only = [_parameter(f) for f in own.values()]
    first = list(common.values())[1:4]
    rest = [p for p in list(common.values())[4:] if p.name not in own]
    function.__name__ = function.__qualname__ = name or metric.name
    function.__module__ = "igbench.metrics"
    function.__doc__ = _documented(metric)
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [*first, *keyword_only, *rest], return_annotation="Measurement | dict[str, Measurement]"
    )
    return function


def _parameter(field: Field[Any]) -> inspect.Parameter:
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=field.type
    )


def _documented(metric: type[BaseMetric]) -> str:
    """Docstring of the class, and the arguments that all metrics take."""
    common = inspect.getdoc(BaseMetric.__call__) or ""
    return f"{inspect.getdoc(metric)}\n\nAs a function:\n\n{common}"
