"""Check files of weights before they are read: reading one takes about its own size in memory."""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from igbench import files
from igbench.errors import InputError

MOST = 2**25
"""Bytes that are read of the list of entries of an archive, and of a pickle without tensors."""

ZIP = b"PK\x03\x04"
"""How archives begin."""

INSTEAD = "save the tensors alone with torch.save(model.state_dict(), PATH)"

SIZED = ("builtins bytearray", "__builtin__ bytearray")
"""What builds an object of a size that a number in a pickle says, filled with zeros."""

ENCODE = "_codecs encode"
"""Writes bytes as text and back, which numbers of NumPy need."""

CODECS = re.compile("(base64|bz2|hex|quopri|quotedprintable|rot13|uu|zip|zlib)(codec)?")
"""Encodings of bytes as bytes, which unfold when they are repeated; letters and digits alone."""

LEGACY_PICKLES = 5
"""Pickles before the tensors in a file that is no archive."""


def members(path: Path) -> dict[str, str]:
    """Names in a zip archive without the folder around them, to their full names.

    Raises:
        ValueError: It cannot be read, or lists too many entries.
    """
    with files.opened(path) as stream:
        if not zipfile.is_zipfile(stream):
            return {}
        with _archive(stream) as archive:
            return {name.partition("/")[2]: name for name in archive.namelist()}


def check(path: Path) -> None:
    """Raise unless a file that `torch.save` may have written is what it writes.

    An archive holds entries that are stored as they are, one after the other, so that all of them
    are no larger than the file; and no pickle builds what is much larger than itself.

    Raises:
        InputError: It unfolds.
        OSError: It cannot be read.
        ValueError: It is broken.
    """
    with files.opened(path) as stream:
        archived = stream.read(len(ZIP)) == ZIP  # as torch decides
        stream.seek(0)
        if not archived:
            for _ in range(LEGACY_PICKLES):
                if stream.peek(1):  # type: ignore[attr-defined]
                    _check_pickle(path, stream)
            return
        with _archive(stream) as archive:
            _check_entries(path, archive.infolist())
            for entry in archive.infolist():
                if entry.filename.lower().endswith(".pkl"):
                    with archive.open(entry) as content:
                        _check_pickle(path, io.BytesIO(content.read(MOST + 1)))


class _Bounded:
    """A stream of which no more than `MOST` is read at once, as the list of entries is."""

    def __init__(self, stream: BinaryIO) -> None:
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable
        self._read = stream.read

    def read(self, size: int = -1) -> bytes:
        if size > MOST:
            raise ValueError(f"its entries or a pickle have {size:,} bytes beside the tensors")
        return self._read(size)


@contextmanager
def _archive(stream: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """Open an archive; `zipfile.BadZipFile` becomes a `ValueError`."""
    try:
        with zipfile.ZipFile(cast("IO[bytes]", _Bounded(stream))) as archive:
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise ValueError(str(error)) from error


def check_stored(path: Path, content: BinaryIO, writer: str, instead: str) -> None:
    """Raise unless an archive holds entries that are stored as they are, without overlap.

    Args:
        path: Its file, for messages.
        content: What is in the file.
        writer: The function that writes such files.
        instead: How to write the file so that it can be read.

    Raises:
        InputError: It unfolds.
        ValueError: It is no archive, or a broken one.
    """
    with _archive(content) as archive:
        _check_entries(path, archive.infolist(), writer, instead)


def _check_entries(
    path: Path,
    entries: list[zipfile.ZipInfo],
    writer: str = "torch.save",
    instead: str = INSTEAD,
) -> None:
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise _unfolds(
                path,
                f"its entry {entry.filename!r} is compressed, from {entry.file_size:,} bytes to "
                f"{entry.compress_size:,}; {writer} stores entries as they are",
                instead,
            )
        if ".." in re.split(r"[/\\]", entry.filename) or re.match(r"[/\\]|\w:", entry.filename):
            why = f"the name of its entry {entry.filename!r} leads out of it"
            raise _unfolds(path, why, instead)
    names = {entry.filename for entry in entries}
    if len(names) < len(entries):
        why = f"{len(entries) - len(names)} of its entries have the name of another"
        raise _unfolds(path, why, instead)
    total, size = sum(entry.file_size for entry in entries), files.size(path)
    if total > size:
        why = f"its entries overlap: they have {total:,} bytes, the file {size:,}"
        raise _unfolds(path, why, instead)


def _check_pickle(path: Path, stream: Any) -> None:
    """Read the operations of one pickle, up to its end, without doing them."""
    start = stream.tell()
    texts = []
    for _, argument, position in pickletools.genops(stream):
        if position - start > MOST:
            raise ValueError(f"a pickle in it has more than {MOST:,} bytes")
        if isinstance(argument, str):
            texts.append(argument)
    encodes = ENCODE in texts
    for text in texts:
        if text in SIZED:
            raise _unfolds(path, f"it builds a {text.split()[1]} of any size")
        if encodes and CODECS.fullmatch(re.sub("[^a-z0-9]", "", text.lower())):
            raise _unfolds(path, f"it encodes bytes as {text[:20]!r}, which unfolds when repeated")


def _unfolds(path: Path, why: str, instead: str = INSTEAD) -> InputError:
    return InputError(f"{str(path)!r} is not read, since it may unfold: {why}; {instead}.")
