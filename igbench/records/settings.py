"""Settings of the process that reach numbers, tables and pictures, as in a fresh process."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pandas as pd

OPTIONS = (
    "compute.use_bottleneck",
    "compute.use_numexpr",
    "display.encoding",
    "display.float_format",
    "display.html.border",
    "display.max_colwidth",
    "display.max_columns",
    "display.max_rows",
    "display.precision",
    "display.width",
    "future.infer_string",
    "mode.string_storage",
    "styler.format.decimal",
    "styler.format.escape",
    "styler.format.formatter",
    "styler.format.na_rep",
    "styler.format.precision",
    "styler.format.thousands",
    "styler.html.mathjax",
    "styler.latex.environment",
    "styler.latex.hrules",
    "styler.latex.multicol_align",
    "styler.latex.multirow_align",
    "styler.render.encoding",
    "styler.render.max_columns",
    "styler.render.max_elements",
    "styler.render.max_rows",
    "styler.render.repr",
    "styler.sparse.columns",
    "styler.sparse.index",
)
"""Options of pandas that change a sum, a type or a text."""
_ERRORS: Any = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
_PRINT: Any = {
    "precision": 8, "threshold": 1000, "edgeitems": 3, "linewidth": 75, "suppress": False,
    "nanstr": "nan", "infstr": "inf", "sign": "-", "floatmode": "maxprec", "formatter": None,
    "legacy": False,
}  # fmt: skip


@contextmanager
def own_settings() -> Iterator[None]:
    """Compute and write with the defaults of pandas and NumPy, whatever the process has set.

    Warnings that the process turns into errors stay warnings.  Everything is as before afterwards,
    after an exception too.  Works as a decorator.

    >>> np.set_printoptions(precision=2)
    >>> with own_settings():
    ...     print(np.array([1 / 3]))
    [0.33333333]
    >>> print(np.array([1 / 3]))
    [0.33]
    >>> np.set_printoptions(precision=8)
    """
    with (
        _no_errors(),
        _default_options(),
        np.printoptions(**_PRINT),
        np.errstate(**_ERRORS),
    ):
        yield


@contextmanager
def _no_errors() -> Iterator[None]:
    """Show all warnings where the process turns some into errors."""
    with warnings.catch_warnings():
        if any(action == "error" for action, *_ in warnings.filters):
            warnings.simplefilter("default")
        yield


@contextmanager
def _default_options() -> Iterator[None]:
    known = {}
    with _quiet():
        for name in OPTIONS:
            with suppress(KeyError):  # of another version of pandas
                known[name] = pd.get_option(name)
                pd.reset_option(name)
    try:
        yield
    finally:
        with _quiet():
            for name, value in known.items():
                pd.set_option(name, value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Ignore what pandas says of options that are on their way out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
