"""Say a warning or reason that many samples share once, with their number."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from igbench.errors import printable

SHOWN = 5
"""Reasons that are listed, at most."""

_VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|[0-9][0-9.e+-]*")
"""Parts of a message in which two of the same kind may differ: names in quotes, and numbers."""


def kind(message: str, sample: str = "") -> str:
    """A message without what differs between samples.

    >>> kind("cat/1: cannot read 'cat/1.png': 3 bytes", sample="cat/1")
    '…: cannot read …: … bytes'
    """
    return _VARYING.sub("…", message.replace(sample, "…") if sample else message)


class Repeats(logging.Filter):
    """Let the first message of each kind through, and count the samples of the others.

    Messages about a sample, which have it as their attribute `sample`, are of one kind if nothing
    but the sample, numbers and names in quotes differs; others, if they are equal.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[tuple[str, str], str] = {}
        self.about: dict[tuple[str, str], set[str]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a message is the first of its kind."""
        message, sample = record.getMessage(), getattr(record, "sample", None)
        key = record.name, message if sample is None else kind(message, str(sample))
        self.about.setdefault(key, set()).add(str(sample or len(self.about.get(key, ()))))
        return self.first.setdefault(key, message) is message

    def summary(self) -> list[str]:
        """A line for each kind that more than one sample has, or that occurred more than once."""
        return [
            f"{len(about) - 1} more like: {self.first[key]}"
            for key, about in self.about.items()
            if len(about) > 1
        ]


class Plain(logging.Formatter):
    """Messages in one line that steer no terminal, whatever names and reasons are in them."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line of a message, without a traceback."""
        return printable(super().formatMessage(record))


@contextmanager
def collapsed() -> Iterator[None]:
    """Print warnings on standard error, each kind once; a program that has handlers keeps them."""
    if logging.root.handlers:
        yield
        return
    handler, repeats = logging.StreamHandler(), Repeats()
    handler.setFormatter(Plain("%(levelname)s: %(message)s"))
    handler.addFilter(repeats)
    logging.root.addHandler(handler)
    try:
        yield
    finally:
        logging.root.removeHandler(handler)
        for line in repeats.summary():
            handler.stream.write(f"WARNING: {printable(line)}\n")


def reasons(cells: Iterable[tuple[str, str, str, str]]) -> list[str]:
    """Lines that say why cells failed, each kind of reason once, the most frequent first.

    Args:
        cells: Method, metric, sample and reason of each.

    >>> for line in reasons([("ig", "srg", "a", "no file 'a'"), ("ig", "srg", "b", "no file 'b'")]):
    ...     print(line)
    2 cells failed, all for one reason; the first: ig, srg, a: no file 'a'
    """
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for method, metric, sample, reason in cells:
        key = kind(reason, sample)
        counts[key] += 1
        first.setdefault(key, f"{method}, {metric}, {sample}: {reason}")
    total = f"{counts.total()} cells failed"
    if len(counts) == 1:
        return [f"{total}, all for one reason; the first: {next(iter(first.values()))}"]
    lines = [f"  {count}, the first: {first[key]}" for key, count in counts.most_common(SHOWN)]
    more = f"; the most frequent {SHOWN}" if len(counts) > SHOWN else ""
    return [f"{total}, for {len(counts)} reasons{more}:", *lines]
