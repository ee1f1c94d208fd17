"""Check the tables and the maps of a run: names and types of columns, types and shapes of tensors.

What is wrong is a `ValueError`, as in `igbench.records.checked`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from igbench.records.checked import STATUS
from igbench.records.specs import shown
from igbench.schema import Point, Row


def columns(found: pa.Schema, wanted: pa.Schema) -> None:
    """Check names and types of the columns of a table.

    Raises:
        ValueError: A column is missing, unknown, there twice, or of another type.
    """
    for column in wanted:
        times = found.names.count(column.name)
        if times != 1:
            raise ValueError(f"column {column.name} is there {times} times, not once")
        own = found.field(column.name).type
        if own != column.type:
            kind = shown(str(own))[1:-1]
            raise ValueError(f"column {column.name} is of type {kind}, not {column.type}")
    unknown = [n for n in found.names if n not in wanted.names]
    if unknown:
        raise ValueError(f"column {shown(unknown[0])} is no column of this format")


def rows(table: pa.Table, kind: type[Row] | type[Point]) -> None:
    """Check the values of a table of rows or points.

    Raises:
        ValueError: A value is missing, a status is none, or a point has no place.
    """
    for column in table.column_names:
        if table[column].null_count:
            raise ValueError(f"column {column} has {table[column].null_count} missing values")
    if kind is Row:
        for status in pc.unique(table["status"]).to_pylist():
            STATUS("a status", status)
    elif len(table) and not pc.all(pc.is_finite(table["x"])).as_py():
        raise ValueError("column x has values that are NaN or infinite")


_TEXTS = ("model", "method", "metric", "reason")
_COUNTS = ("n", "n_undefined", "n_failed")
_FLAGS = ("best", "tied")


def summary(found: pd.DataFrame, wanted: Sequence[str], optional: Sequence[str]) -> None:
    """Check names and types of the columns of a summary.

    Raises:
        ValueError: A column is missing, unknown or of another type.
    """
    for column in [c for c in wanted if c not in optional and c not in found]:
        raise ValueError(f"column {column} is missing")
    for column in [c for c in found if c not in wanted]:
        raise ValueError(f"column {shown(column)} is no column of this format")
    kinds = dict.fromkeys(_TEXTS, ("O", "texts")) | dict.fromkeys(_COUNTS, ("iu", "whole numbers"))
    kinds |= dict.fromkeys(_FLAGS, ("b", "True or False"))
    for column in found if len(found) else ():
        kind, what = kinds.get(column, ("fiu", "numbers"))
        if found[column].dtype.kind not in kind:
            raise ValueError(f"column {column} holds other values than {what}")


def maps(found: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Check types and shapes of maps, those of pictures together with the pictures.

    Raises:
        ValueError: A tensor holds no real numbers, or does not go with its picture.
    """
    for file, tensors in found.items():
        for sample, values in tensors.items():
            where = f"{file}, {shown(sample)}"
            if values.dtype.kind not in "fiu":
                raise ValueError(f"{where} is of type {values.dtype}, not numbers")
            picture = sample in found.get("inputs", {})
            if file == "inputs" and not _is_picture(values):
                raise ValueError(
                    f"{where} is {values.dtype} of shape {values.shape}, not uint8 of (H, W, 3)"
                )
            if file != "inputs" and picture and (values.ndim != 2 or not values.size):
                raise ValueError(f"{where} is of shape {values.shape}, not of (H, W)")


def _is_picture(values: np.ndarray) -> bool:
    return (
        values.dtype == np.uint8 and values.ndim == 3 and values.shape[2] == 3 and values.size > 0
    )
