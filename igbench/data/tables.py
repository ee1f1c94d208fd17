"""Make `Data` of data frames: one feature for each column, whatever it is encoded as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import Tensor

from igbench.core import callers, rng
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.data.encoder import TableEncoder
from igbench.data.given import as_labels
from igbench.errors import InputError, SampleError, check_positive

__all__ = ["Split", "TableEncoder", "check_takes_tables", "split_by_content", "table_data"]

POOL = 256
"""Number of training rows that baselines may use."""


@dataclass(frozen=True, eq=False)
class Split:
    """A table with its split; equal rows are on the same side.

    Attributes:
        frame: All rows, without the label.
        labels: Class of every row.
        class_names: Names of the classes.
        train: Positions of the rows to train on.
        held_out: Positions of the rows to evaluate.
        encoder: Fitted to the rows to train on.
    """

    frame: pd.DataFrame
    labels: tuple[int, ...]
    class_names: tuple[str, ...]
    train: tuple[int, ...]
    held_out: tuple[int, ...]
    encoder: TableEncoder


def split_by_content(
    frame: pd.DataFrame, share: float, seed: int, purpose: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Positions of rows to train on and of rows to hold out, each in a fixed random order.

    Which side a row is on depends on its values alone, so that equal rows are never on both, and
    rows that are added or left out move no other.

    Args:
        frame: Without the label.
        share: Of distinct rows that are held out, about.
        seed: Of the split.
        purpose: Of the split, such as the name of the table.

    >>> frame = pd.DataFrame({"age": [20, 30, 20, 40, 50, 60]})
    >>> train, held_out = split_by_content(frame, 0.5, 0, "example")
    >>> sorted(train + held_out), (0 in train) == (2 in train)
    ([0, 1, 2, 3, 4, 5], True)
    """
    texts = ["\x1f".join(map(str, row)) for row in frame.itertuples(index=False)]
    limit = share * 2**63
    held = [rng.key(seed, f"{purpose} split", text) < limit for text in texts]
    order = sorted(range(len(texts)), key=lambda i: rng.key(seed, f"{purpose} order", str(i)))
    return tuple(i for i in order if not held[i]), tuple(i for i in order if held[i])


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of a frame as samples.

    Attributes:
        encoder: From rows to tensors.
        frame: The rows, with the columns of the encoder in its order.
    """

    encoder: TableEncoder
    frame: pd.DataFrame

    def load(self, index: int) -> Tensor:
        """One row, (W,).

        Raises:
            SampleError: A number is missing or infinite, or a category is unknown.
        """
        try:
            return self.encoder.encode(self.frame.iloc[[index]])[0]
        except InputError as error:
            raise SampleError(str(error).removesuffix(".")) from error

    def names(self, index: int) -> tuple[str, ...]:
        """Names of the columns."""
        return self.encoder.names

    def values(self, index: int) -> tuple[float | str, ...]:
        """Values of a row as people read them, such as 39 and "Private"."""
        row = (self.frame[name].iloc[index] for name in self.encoder.names)
        pairs = zip(row, self.encoder.columns, strict=True)
        return tuple(str(v) if c.categories else _plain(v) for v, c in pairs)


@dataclass(frozen=True, eq=False)
class Background:
    """Rows that are never evaluated, encoded when they are needed."""

    encoder: TableEncoder
    frame: pd.DataFrame

    def __call__(self) -> Tensor:
        """All of them, (R, W)."""
        return self.encoder.encode(self.frame)


@dataclass(frozen=True)
class Labels:
    """True classes of the rows that are never evaluated."""

    values: tuple[int | None, ...]

    def __call__(self) -> Sequence[int | None]:
        """One for each row."""
        return self.values


def table_data(
    encoder: TableEncoder,
    frame: pd.DataFrame,
    labels: Any = None,
    *,
    background: pd.DataFrame | None = None,
    background_labels: Any = None,
    name: str = "table",
    source: str = "given by the caller",
    sample_ids: Sequence[str] | None = None,
) -> Data:
    """Data of a frame: W elements for each row, and one feature for each of its G columns.

    Everything that permutes, masks, removes, ranks or shows features does so with whole columns.

    Args:
        encoder: Fitted to the frame that the model was trained on.
        frame: S rows.  One with a missing number or an unknown category becomes a failed sample
            that says so; the others go on.
        labels: S true classes, None where unknown.
        background: Rows that are never evaluated, for baselines and methods that need some.
        background_labels: Their true classes.
        name: Name in every table.
        source: Where the rows come from, in words.
        sample_ids: S names; those of the index by default.

    Raises:
        InputError: Columns that are not those of the encoder, an index with a name twice, labels
            that do not fit, or a background with missing numbers.

    >>> import igbench
    >>> from torch import nn
    >>> frame = pd.DataFrame({"age": [20, 40, 60], "work": ["State", "Private", "State"]})
    >>> encoder = TableEncoder.fit(frame)
    >>> data = table_data(encoder, frame, background=frame)
    >>> data.feature_names(0), data.feature_values(0)
    (('age', 'work'), (20, 'State'))
    >>> model = nn.Linear(encoder.width, 1).eval()
    >>> found = igbench.evaluate(
    ...     model, data, methods=["ig"], metrics=["completeness"], baseline="feature_mode"
    ... )
    >>> found.results.maps["ig"]["sample-1"].shape
    (2,)
    """
    encoder.encode(frame.iloc[:0])
    if background is not None:
        encoder.encode(background)
    rows = frame[list(encoder.names)].copy()
    ids = callers.names(sample_ids or _index_names(rows), len(rows))
    own = [None] * len(rows) if labels is None else as_labels(labels, len(rows))
    known = None
    if background is not None and background_labels is not None:
        known = Labels(tuple(as_labels(background_labels, len(background))))
    table = Table(encoder, rows)
    return Data(
        name=name,
        kind="table",
        shape=(encoder.width,),
        sample_ids=ids,
        labels=tuple(own),
        load=table.load,
        features="column",
        display=None,
        black=(0.0,),
        reference=None if background is None else Background(encoder, background.copy()),
        source=source,
        reference_labels=known,
        groups=encoder.groups,
        feature_names=table.names,
        feature_values=table.values,
    )


def held_out_data(split: Split, limit: int | None, *, name: str, source: str, digits: int) -> Data:
    """Data of the rows of a table that were held out, before a pool of rows to train on.

    Args:
        split: The table.
        limit: Number of samples; None for all.
        name: Name in tables, and the beginning of the names of the rows.
        source: Where the rows come from, in words.
        digits: Of the numbers of the rows.

    Raises:
        InputError: The limit is not above zero.
    """
    if limit is not None:
        check_positive("limit", limit)
    chosen, pool = list(split.held_out[:limit]), list(split.train[:POOL])
    return table_data(
        split.encoder,
        split.frame.iloc[chosen],
        [split.labels[i] for i in chosen],
        background=split.frame.iloc[pool],
        background_labels=[split.labels[i] for i in pool],
        name=name,
        source=source,
        sample_ids=[f"{name.replace('_', '-')}-{i:0{digits}d}" for i in chosen],
    )


def check_takes_tables(model: Model, classes: int, otherwise: str) -> None:
    """Raise unless a model may take a table of some classes.

    Args:
        model: The model.
        classes: Number of them.
        otherwise: What fits, for the message.

    Raises:
        InputError: It takes photographs or texts, or has other classes.
    """
    others = model.class_names and len(model.class_names) != classes
    if model.preprocess is not None or model.text is not None or others:
        raise InputError(f"model {model.name!r} does not take this table; {otherwise}.")


def _index_names(frame: pd.DataFrame) -> list[str]:
    plain = isinstance(frame.index, pd.RangeIndex)
    return [f"sample-{i}" if plain else str(i) for i in frame.index]


def _plain(value: Any) -> float:
    """A number as Python's own, whole where it is."""
    number = float(value)
    return int(number) if number.is_integer() else number
