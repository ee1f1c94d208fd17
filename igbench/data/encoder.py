"""Encode data frames of mixed columns as tensors: numbers scaled, categories one-hot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from igbench.core.features import resolve, total
from igbench.errors import InputError, check_choice, suggestion

MOST_CATEGORIES = 1000
"""More categories of one column are names or numbers, not categories."""
SHOWN = 8
"""Categories that a message names."""
MISSING = "(missing)"
"""The category of rows without a value, where the frame that was learned from has some."""


@dataclass(frozen=True)
class Column:
    """One column of a table: a number, scaled to one element, or a category, one element for each.

    Attributes:
        name: Of the column.
        categories: The values of a category, as text, in the order of their elements; empty for a
            number.
        shift: Subtracted from a number.
        scale: Then divided by.
    """

    name: str
    categories: tuple[str, ...] = ()
    shift: float = 0.0
    scale: float = 1.0

    @property
    def width(self) -> int:
        """Number of elements."""
        return len(self.categories) or 1


@dataclass(frozen=True)
class TableEncoder:
    """Encode frames as tensors (S, W), in the columns, categories and order of one frame.

    A number v becomes (v - shift) / scale, a category a one-hot row.  One feature is one column,
    however many elements it has: `groups` says which element belongs to which.

    Attributes:
        columns: G columns in their order.

    >>> frame = pd.DataFrame({"age": [20, 40], "work": ["State", "Private"]})
    >>> encoder = TableEncoder.fit(frame)
    >>> encoder.encode(frame).tolist()
    [[-1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]
    >>> encoder.names, encoder.elements, encoder.groups.tolist()
    (('age', 'work'), ('age', 'work=Private', 'work=State'), [0, 1, 1])
    """

    columns: tuple[Column, ...]

    @classmethod
    def fit(
        cls,
        frame: pd.DataFrame,
        *,
        categorical: Sequence[str] = (),
        scale: Literal["standard", "min_max", "none"] = "standard",
    ) -> Self:
        """Learn columns, categories and scales from a frame, best the one that was trained on.

        Columns of numbers are numbers; columns of text, of `category` dtype and of truth values are
        categories, in the order of their dtype or else sorted.  A category without a value becomes
        one of its own.

        Args:
            frame: Rows to learn from.
            categorical: Names of columns of numbers that are categories, such as codes.
            scale: Of numbers: "standard" (mean 0, deviation 1), "min_max" (0 to 1) or "none".
                Constant columns are shifted only.

        Raises:
            InputError: No frame, no rows, columns without names of their own, of mixed or other
                types, numbers that are missing or infinite, or more than 1000 categories.
        """
        check_choice("scale", scale, ("standard", "min_max", "none"))
        _check_frame(frame)
        for name in categorical:
            if name not in frame.columns:
                raise InputError(f"categorical names {name!r}, which is no column of the frame.")
        return cls(
            tuple(
                _category(name, frame[name])
                if name in categorical or not _is_number(name, frame[name])
                else _number(name, frame[name], scale)
                for name in frame.columns
            )
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the G columns."""
        return tuple(column.name for column in self.columns)

    @property
    def elements(self) -> tuple[str, ...]:
        """Names of the W elements, "column" or "column=category"."""
        return tuple(
            name
            for c in self.columns
            for name in ([f"{c.name}={k}" for k in c.categories] if c.categories else [c.name])
        )

    @property
    def width(self) -> int:
        """W, the number of elements of a row."""
        return sum(column.width for column in self.columns)

    @property
    def groups(self) -> Tensor:
        """The column 0..G-1 of every element, (W,)."""
        return torch.tensor(
            [g for g, column in enumerate(self.columns) for _ in range(column.width)]
        )

    def encode(self, frame: pd.DataFrame) -> Tensor:
        """Rows of a frame as a tensor (S, W) float32.

        Columns are found by name, whatever their order in the frame.

        Raises:
            InputError: A column is missing, unknown or of another type, a number is missing or
                infinite, or a category was not there when the encoder learned; names row and
                column.
        """
        _check_frame(frame, rows=False)
        missing = [name for name in self.names if name not in frame.columns]
        unknown = [name for name in frame.columns if name not in self.names]
        if missing:
            raise InputError(
                f"the frame has no column {missing[0]!r}, which the encoder learned; it takes "
                f"{', '.join(self.names)}.{suggestion(missing[0], list(map(str, frame.columns)))}"
            )
        if unknown:
            raise InputError(
                f"the frame has a column {unknown[0]!r} that the encoder did not learn; drop it: "
                f"frame[list(encoder.names)]."
            )
        parts = [_encoded(column, frame[column.name]) for column in self.columns]
        return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))

    def decode(self, rows: Tensor) -> pd.DataFrame:
        """The frame of encoded rows (S, W): numbers in their own scale, categories as text.

        Raises:
            InputError: Another width, or a row that is half one category and half another (or none
                at all), as on a straight path between two rows.

        >>> frame = pd.DataFrame({"age": [20, 40], "work": ["State", "Private"]})
        >>> encoder = TableEncoder.fit(frame)
        >>> encoder.decode(encoder.encode(frame)).to_dict("list")
        {'age': [20.0, 40.0], 'work': ['State', 'Private']}
        """
        self._check_width("rows", rows)
        values = rows.detach().cpu().double().numpy()
        found: dict[str, Any] = {}
        parts = np.split(values, np.cumsum([c.width for c in self.columns])[:-1], axis=1)
        for column, part in zip(self.columns, parts, strict=True):
            if not column.categories:
                found[column.name] = part[:, 0] * column.scale + column.shift
                continue
            whole = np.isin(part, (0.0, 1.0)).all(axis=1) & (part.sum(axis=1) == 1)
            if not whole.all():
                raise InputError(
                    f"row {int(np.flatnonzero(~whole)[0])} is no category of {column.name!r}; only "
                    "rows that replace whole columns by those of other rows can be decoded."
                )
            found[column.name] = [column.categories[k] for k in part.argmax(axis=1)]
        return pd.DataFrame(found)

    def by_column(
        self, maps: Tensor, index: Sequence[Any] | pd.Index | None = None
    ) -> pd.DataFrame:
        """Maps (S, W) as a frame: one value for each column, the sum over its elements.

        Args:
            maps: Attributions of encoded rows.
            index: Of the frame, best that of the frame that was encoded; 0..S-1 by default.

        Raises:
            InputError: Another width.

        >>> frame = pd.DataFrame({"age": [20, 40], "work": ["State", "Private"]})
        >>> TableEncoder.fit(frame).by_column(torch.tensor([[1.0, 2.0, 3.0]])).to_dict("list")
        {'age': [1.0], 'work': [5.0]}
        """
        self._check_width("maps", maps)
        unit = resolve(self.groups, (self.width,))
        values = total(maps.detach().cpu(), unit).numpy()
        return pd.DataFrame(values, columns=list(self.names), index=index)

    def as_dict(self) -> dict[str, Any]:
        """The encoder as plain values, for JSON; see `from_dict`."""
        return {"columns": [asdict(column) for column in self.columns]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The encoder that `as_dict` described.

        Raises:
            InputError: The values describe none.

        >>> encoder = TableEncoder((Column("work", ("State", "Private")),))
        >>> TableEncoder.from_dict(encoder.as_dict()) == encoder
        True
        """
        try:
            columns = [{**own, "categories": tuple(own["categories"])} for own in values["columns"]]
            return cls(tuple(Column(**own) for own in columns))
        except (KeyError, TypeError) as error:
            raise InputError("these values describe no encoder; use those of as_dict().") from error

    def _check_width(self, what: str, rows: Tensor) -> None:
        if rows.dim() != 2 or rows.shape[1] != self.width:
            raise InputError(
                f"{what} have shape {tuple(rows.shape)}; the encoder makes rows of {self.width} "
                "elements."
            )


def _check_frame(frame: Any, *, rows: bool = True) -> None:
    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"expected a pandas frame, not a {type(frame).__name__}.")
    if rows and not frame.size:
        raise InputError(f"the frame has shape {frame.shape}; give rows and columns to learn from.")
    for name in frame.columns:
        if not isinstance(name, str):
            raise InputError(f"the column {name!r} of the frame is not named by a text; rename it.")
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise InputError(f"the frame has two columns named {twice!r}; rename one.")


def _is_number(name: str, values: pd.Series) -> bool:
    """Whether a column holds numbers.

    Raises:
        InputError: It holds neither numbers nor categories.
    """
    if isinstance(values.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(values):
        return False
    if pd.api.types.is_complex_dtype(values):
        raise InputError(f"column {name!r} holds complex numbers; give real ones.")
    if pd.api.types.is_numeric_dtype(values):
        return True
    kinds = sorted({type(v).__name__ for v in values[values.notna()]})
    if len(kinds) > 1:
        raise InputError(
            f"column {name!r} mixes {' and '.join(kinds)}; convert it to one type: "
            f"frame[{name!r}].astype(str) for a category, pandas.to_numeric for a number."
        )
    if kinds not in ([], ["str"], ["bool"]):
        raise InputError(
            f"column {name!r} holds values of type {kinds[0]}; give numbers, texts or categories."
        )
    return False


def _category(name: str, values: pd.Series) -> Column:
    known: Iterable[Any] = (
        values.cat.categories
        if isinstance(values.dtype, pd.CategoricalDtype)
        else sorted(values.dropna().unique())
    )
    found = [_text(v) for v in known] + [MISSING] * bool(values.isna().any())
    if len(set(found)) < len(found):
        raise InputError(f"column {name!r} has categories that read alike: {_listed(found)}.")
    if not 0 < len(found) <= MOST_CATEGORIES:
        raise InputError(
            f"column {name!r} has {len(found):,} categories; a column of names or identifiers "
            "explains nothing: leave it out, or give numbers as numbers."
        )
    return Column(name, tuple(found))


def _number(name: str, values: pd.Series, scale: str) -> Column:
    numbers = _numbers(name, values)
    if scale == "none":
        return Column(name)
    if scale == "min_max":
        shift, size = float(numbers.min()), float(np.ptp(numbers))
    else:
        shift, size = float(numbers.mean()), float(numbers.std())
    if not math.isfinite(shift) or not math.isfinite(size):
        raise InputError(f"the numbers of column {name!r} are too large to scale.")
    return Column(name, (), shift, size if np.ptp(numbers) > 0 else 1.0)


def _numbers(name: str, values: pd.Series) -> np.ndarray:
    """A column of numbers in float64.

    Raises:
        InputError: One is missing or infinite.
    """
    numbers = values.to_numpy(dtype=np.float64, na_value=math.nan)
    bad = ~np.isfinite(numbers)
    if bad.any():
        place = int(np.flatnonzero(bad)[0])
        what = "missing" if math.isnan(numbers[place]) else "infinite"
        raise InputError(
            f"column {name!r} is {what} in row {values.index[place]!r}; fill it in, drop the row, "
            "or make the column a category."
        )
    return numbers


def _encoded(column: Column, values: pd.Series) -> np.ndarray:
    """The elements of one column, (S, width) float64."""
    if not column.categories:
        if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
            raise InputError(
                f"column {column.name!r} has the type {values.dtype}; the encoder learned numbers."
            )
        return (_numbers(column.name, values)[:, None] - column.shift) / column.scale
    places = {name: k for k, name in enumerate(column.categories)}
    texts = [
        MISSING if missing else _text(v) for v, missing in zip(values, values.isna(), strict=True)
    ]
    for row, text in zip(values.index, texts, strict=True):
        if text not in places:
            raise InputError(
                f"column {column.name!r} has the value {text!r} in row {row!r}, which is no "
                f"category of the encoder: {_listed(column.categories)}."
                f"{suggestion(text, list(column.categories))}"
            )
    return np.eye(column.width)[np.array([places[text] for text in texts], dtype=int)]


def _text(value: Any) -> str:
    """A category as text; whole numbers alike, whether they are stored as 3 or as 3.0."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more
