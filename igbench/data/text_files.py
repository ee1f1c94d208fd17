"""Texts of the user's own, from a file with one a line, a table or JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from igbench import files
from igbench.core.arguments import checked
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.data.images import printable, spread
from igbench.data.texts import Unit, texts_data
from igbench.errors import InputError, check_positive, one_line, suggestion

MOST = 2**26
"""Bytes of a file of texts that are read."""


@dataclass(frozen=True)
class Line:
    """A text of a file.

    Attributes:
        number: Of its line, from 1.
        text: The text.
        label: A class as it was written; None where unknown.
    """

    number: int
    text: str
    label: str | int | None = None


@checked
def texts(
    model: Model,
    *,
    limit: int | None,
    path: str | None = None,
    unit: Unit = "word",
    name: str = "texts",
) -> Data:
    """Texts of a file in UTF-8, in the tokens of any model of texts.

    By its name a file holds one text a line (any other suffix than the following), a table with a
    first line of names and the columns `text` and, if known, `label` (`.csv`; `.tsv`, in which
    quotes are text), or an object with these keys in each line (`.jsonl`).  Other columns are not
    read.  Labels are names of classes or their numbers.  Lines without a text are left out, which
    `Data.source` counts.  The order is a hash of the numbers of the lines, so that the first n are
    a fair sample for every n.

    Args:
        model: Must take texts.
        limit: Number of samples; None for all.
        path: The file.
        unit: What one feature is: a "token" of the model, or a "word" with all of its tokens.
        name: Name in every table.

    Raises:
        InputError: The file is missing, no text, or of another form, which names the line; a label
            is no class of the model; the model takes no texts.
    """
    if not path:
        raise InputError(
            "data=texts needs a file of texts; set data.path=FILE, with one text a line."
        )
    if limit is not None:
        check_positive("limit", limit)
    file = Path(path).expanduser()
    lines, empty = read(file)
    labels = [_label(file, line, model.class_names) for line in lines]
    ids = [f"line-{line.number:05d}" for line in lines]
    order = spread(ids)[:limit]
    left_out = f", {empty} empty lines left out" if empty else ""
    found = texts_data(
        name,
        model,
        [lines[i].text for i in order],
        sample_ids=[ids[i] for i in order],
        labels=[labels[i] for i in order],
        source=f"{len(lines)} texts of {printable(file.name)}{left_out}",
        unit=unit,
    )
    return replace(found, files=partial(_files, file))


def _files(file: Path, index: int) -> tuple[Path, ...]:
    """The file of a text, for `Data.files`."""
    return (file,)


def read(file: Path) -> tuple[list[Line], int]:
    """The texts of a file, and the number of its lines without one.

    Raises:
        InputError: The file is missing, no text, of another form, or without any text.
    """
    shown = repr(str(file))
    try:
        content = files.text(file, MOST)
    except FileNotFoundError as error:
        raise InputError(f"there is no file {shown}; set data.path to a file of texts.") from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{shown} cannot be read as a text in UTF-8 ({one_line(error)}); save it as one."
        ) from error
    kinds: dict[str, Callable[[str, str], Iterator[Line]]] = {
        ".csv": partial(_table, dialect={"delimiter": ",", "strict": True}),
        ".tsv": partial(_table, dialect={"delimiter": "\t", "quoting": csv.QUOTE_NONE}),
        ".jsonl": _objects,
    }
    found = list(kinds.get(file.suffix.lower(), _plain)(shown, content))
    texts_ = [line for line in found if line.text.strip()]
    if not texts_:
        raise InputError(f"{shown} has no texts; write one a line.")
    return texts_, len(found) - len(texts_)


def _plain(shown: str, content: str) -> Iterator[Line]:
    """One text a line."""
    for i, text in enumerate(io.StringIO(content, newline=None)):
        yield Line(i + 1, text.rstrip("\n"))


def _table(shown: str, content: str, *, dialect: dict[str, Any]) -> Iterator[Line]:
    """The rows of a table."""
    rows = csv.reader(io.StringIO(content, newline=""), **dialect)
    try:
        head = next(rows, [])
        at = _column(shown, head)
        label = head.index("label") if "label" in head else None
        for row in rows:
            if not row:
                continue
            if len(row) != len(head):
                raise InputError(
                    f"line {rows.line_num} of {shown} has {len(row)} cells, the first line "
                    f"{len(head)}; quote cells with separators (.csv), or remove them (.tsv)."
                )
            known = None if label is None else row[label].strip() or None
            yield Line(rows.line_num, row[at], known)
    except csv.Error as error:
        raise InputError(
            f"line {rows.line_num} of {shown} is no line of a table: {one_line(error)}."
        ) from error


def _column(shown: str, head: Sequence[str]) -> int:
    """The column of the texts."""
    if head.count("text") != 1:
        raise InputError(
            f"the first line of {shown} must name one column text, and label if classes are "
            f"known; it names {', '.join(head[:8]) or 'nothing'}.{suggestion('text', head)}"
        )
    return list(head).index("text")


def _objects(shown: str, content: str) -> Iterator[Line]:
    """An object of JSON in each line."""
    for i, line in enumerate(io.StringIO(content, newline=None)):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"line {i + 1} of {shown} cannot be read as JSON: {one_line(error)}."
            ) from error
        text = found.get("text") if isinstance(found, dict) else None
        if not isinstance(text, str):
            raise InputError(
                f'line {i + 1} of {shown} has no text; write {{"text": "...", "label": "..."}}.'
            )
        label = found.get("label")
        if isinstance(label, bool) or not isinstance(label, str | int | None):
            raise InputError(
                f"line {i + 1} of {shown} has the label {label!r}; write the name of a class or "
                "its number."
            )
        yield Line(i + 1, text, label)


def _label(file: Path, line: Line, names: Sequence[str]) -> int | None:
    """The class of a text."""
    if line.label is None:
        return None
    written = str(line.label)
    if isinstance(line.label, str) and line.label in names:
        return names.index(line.label)
    if written.isdecimal() and int(written) < max(1, len(names)):
        return int(written)
    raise InputError(
        f"line {line.number} of {str(file)!r} has the label {written!r}, which is no class of the "
        f"model; known: {', '.join(names[:8])} or 0 to {max(0, len(names) - 1)}."
        f"{suggestion(written, names)}"
    )
