"""A numeric table of the user's, from a file of comma-separated values."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from igbench import files
from igbench.core.arguments import checked
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.data.images import printable, spread
from igbench.errors import InputError, check_positive, one_line, suggestion

MOST = 2**28
"""Bytes of a table that are read."""

POOL = 100
"""Largest number of rows that baselines and methods may use."""


@dataclass(frozen=True, eq=False)
class Table:
    """Chosen columns of a table.

    Attributes:
        names: F names.
        values: (R, F) float64.
        labels: R classes, None where unknown.
        ids: R names of rows.
    """

    names: tuple[str, ...]
    values: Tensor
    labels: tuple[int | None, ...]
    ids: tuple[str, ...]

    def take(self, rows: Sequence[int]) -> Table:
        """Some of the rows, in another order."""
        return Table(
            self.names,
            self.values[list(rows)],
            tuple(self.labels[i] for i in rows),
            tuple(self.ids[i] for i in rows),
        )

    def load(self, index: int) -> Tensor:
        """One row, (F,)."""
        return self.values[index].clone()

    def columns(self, index: int) -> tuple[str, ...]:
        """Names of the columns, the same for each row."""
        return self.names

    def cells(self, index: int) -> tuple[float, ...]:
        """The values of one row as numbers."""
        return tuple(self.values[index].tolist())


@checked
def table_file(
    model: Model,
    *,
    limit: int | None,
    path: str | None = None,
    columns: Sequence[str] | None = None,
    label: str | None = None,
    id: str | None = None,
    name: str = "table_file",
) -> Data:
    """A table of numbers with a line of names at its top, as comma-separated values.

    Each column is a feature.  The order of the rows is a hash of their names, so that the first n
    are a fair sample for every n; up to 100 of the others are the pool of baselines and methods.

    Args:
        model: Whose `columns`, where it has any, are taken in its order.
        limit: Number of rows; None for all, which leaves no pool.
        path: The file.
        columns: Names of the columns, in the order of the model; null for those of the model, or
            else all but `label` and `id`.
        label: Column with the true class, a name of a class or its number; null for none.
        id: Column that names the rows; null for their number in the file.
        name: Name in tables.

    Raises:
        InputError: The file is missing or no such table, a column is not there or another than the
            model takes, or a cell is no finite number, which says where.
    """
    if not path:
        raise InputError(
            "data=table_file needs a table; set data.path=FILE.csv, with names in its first line."
        )
    if limit is not None:
        check_positive("limit", limit)
    file = Path(path).expanduser()
    head, rows = read(file)
    chosen = _columns(file, head, columns, model, {label, id} - {None})
    labels = _labels(file, [] if label is None else _cells(file, head, rows, label), model)
    ids = [f"row-{i + 1}" for i in range(len(rows))] if id is None else _ids(file, head, rows, id)
    values = torch.tensor(
        [[_number(file, row[k], i, head[k]) for k in chosen] for i, row in enumerate(rows)],
        dtype=torch.float64,
    )
    names = tuple(head[k] for k in chosen)
    whole = Table(names, values, tuple(labels) or (None,) * len(rows), tuple(ids))
    order = spread(whole.ids)
    own = whole.take(order[:limit])
    pool = whole.take([] if limit is None else order[limit : limit + POOL])
    return Data(
        name=name,
        kind="table",
        shape=(len(names),),
        sample_ids=own.ids,
        labels=own.labels,
        load=own.load,
        features="column",
        display=None,
        black=(0.0,),
        reference=partial(torch.clone, pool.values) if pool.ids else None,
        source=f"{len(rows)} rows of {printable(file.name)}",
        reference_labels=partial(list, pool.labels) if pool.ids else None,
        groups=torch.arange(len(names)),
        feature_names=own.columns,
        feature_values=own.cells,
        files=partial(_files, file),
    )


def _files(file: Path, index: int) -> tuple[Path, ...]:
    """The file of a row, for `Data.files`."""
    return (file,)


def read(file: Path) -> tuple[list[str], list[list[str]]]:
    """Names and rows of a table.

    Raises:
        InputError: It is missing, no text, has a row of another length, a name twice, or no rows.
    """
    shown = repr(str(file))
    try:
        text = files.text(file, MOST)
        lines = [row for row in csv.reader(io.StringIO(text), strict=True) if row]
    except FileNotFoundError as error:
        raise InputError(f"there is no table {shown}; set data.path=FILE.csv.") from error
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{shown} cannot be read as a table: {one_line(error)}.") from error
    if len(lines) < 2:
        raise InputError(f"{shown} has no rows; expected a line of names, and a line for each row.")
    head = [name.strip() for name in lines[0]]
    twice = [name for k, name in enumerate(head) if name in head[:k]]
    if twice:
        raise InputError(f"{shown} has the column {twice[0]!r} twice; give each a name of its own.")
    for i, row in enumerate(lines[1:]):
        if len(row) != len(head):
            raise InputError(
                f"{shown} has {len(row)} cells in row {i + 1}, and {len(head)} names; are there "
                "commas within cells, or other separators?"
            )
    return head, lines[1:]


def _columns(
    file: Path,
    head: Sequence[str],
    given: Sequence[str] | None,
    model: Model,
    other: set[str | None],
) -> list[int]:
    """Places of the columns that the model takes."""
    names = list(given or model.columns) or [name for name in head if name not in other]
    if given and model.columns and tuple(given) != model.columns:
        wrong = next((n for n in given if n not in model.columns), None)
        what = "another order" if wrong is None else f"{wrong!r}, which it does not know"
        if wrong is None and len(given) != len(model.columns):
            what = f"{len(given)} names"
        raise InputError(
            f"data.columns has {what}; the model {model.name!r} was fitted to "
            f"{len(model.columns)} columns, which are taken by their names: leave data.columns out."
        )
    if not names:
        raise InputError(f"{str(file)!r} has no column besides those for label and id.")
    return [_place(file, head, name) for name in names]


def _place(file: Path, head: Sequence[str], name: str) -> int:
    if name not in head:
        raise InputError(
            f"{str(file)!r} has no column {name!r}; it has {', '.join(map(repr, head[:8]))}"
            f"{', ...' if len(head) > 8 else ''}.{suggestion(name, head)}"
        )
    return list(head).index(name)


def _cells(file: Path, head: Sequence[str], rows: Sequence[list[str]], name: str) -> list[str]:
    place = _place(file, head, name)
    return [row[place].strip() for row in rows]


def _ids(file: Path, head: Sequence[str], rows: Sequence[list[str]], name: str) -> list[str]:
    found = [printable(cell) for cell in _cells(file, head, rows, name)]
    if len(set(found)) < len(found):
        raise InputError(
            f"the column {name!r} of {str(file)!r} names two rows alike; leave data.id out."
        )
    return found


def _labels(file: Path, cells: Sequence[str], model: Model) -> list[int | None]:
    """Classes by their names; empty cells are unknown."""
    names = model.label_names or model.class_names
    names = names if len(names) > 1 else ("0", "1")
    known = {name: k for k, name in enumerate(names)}
    for i, cell in enumerate(cells):
        if cell and cell not in known:
            raise InputError(
                f"{str(file)!r} has the label {cell!r} in row {i + 1}, and the classes of the "
                f"model are {', '.join(map(repr, names[:8]))}{', ...' if len(names) > 8 else ''}; "
                "name them by model.class_names, or leave data.label out."
            )
    return [known[cell] if cell else None for cell in cells]


def _number(file: Path, cell: str, i: int, name: str) -> float:
    try:
        found = float(cell)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        what = f"{cell.strip()!r}" if cell.strip() else "nothing"
        raise InputError(
            f"{str(file)!r} has {what} in row {i + 1}, column {name!r}, which is no finite number; "
            "encode categories as numbers, and fill gaps or leave their rows out."
        )
    return found
