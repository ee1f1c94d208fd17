"""Tell whether the files of a run are those that were written, by their hashes.

The record of a run, `run.json`, ends with two fields: `files`, the SHA-256 of every other file that
belongs to the numbers, and `hash`, the SHA-256 of all bytes before it.  So every bit of these files
is covered, white space included.  The report is not: it can be drawn again, and nothing reads it.
Hashes are no signatures: they tell damage, not forgery.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from safetensors import SafetensorError

from igbench.errors import InputError
from igbench.files import check_file
from igbench.records import checked
from igbench.records.specs import shown
from igbench.schema import SCHEMA_VERSION

RUN_FILE = "run.json"
MAPS_FOLDER = "attributions"
FIELDS = ("files", "hash")
"""Fields of `run.json` that are no part of the description of a run."""

CHANGED = "its bytes are not those that were written"
STRANGER = "it is no file of this run"
MISSING = "it is missing"
ADVICE = "copy the run again, or repeat it with overwrite=true."

_FILES = b'\n "files": {'
"""Where the first field begins; text in JSON holds no line break."""


def digest(content: bytes) -> str:
    """SHA-256 as 64 hexadecimal digits.

    >>> digest(b"abc")[:16]
    'ba7816bf8f01cfea'
    """
    return hashlib.sha256(content).hexdigest()


def sign(text: bytes) -> bytes:
    r"""Add the last field `hash` to a JSON object: the SHA-256 of all bytes before that field.

    >>> sign(b'{"a": 1}')[:23]
    b'{"a": 1,\n "hash": "795e'
    """
    body = text.rstrip().removesuffix(b"}").rstrip()
    return body + _last(body)


def signed(content: bytes) -> bool:
    """Whether these are, to the last bit, bytes from `sign`."""
    size = len(_last(b""))
    return content[-size:] == _last(content[:-size])


def _last(body: bytes) -> bytes:
    return f',\n "hash": "{digest(body)}"\n}}\n'.encode()


@dataclass(frozen=True)
class RunFiles:
    """The files of a finished run.

    Attributes:
        folder: Its folder.
        record: The bytes of `run.json`.
        hashes: Path in the folder to SHA-256; None for a run that was written without.
    """

    folder: Path
    record: bytes
    hashes: Mapping[str, str] | None

    def read(self, name: str, most: int | None = None) -> bytes:
        """The content of a file, of at most so many bytes; reads it once, and compares its hash.

        Raises:
            InputError: It is missing, or not what was written.
        """
        path = self.folder / name
        with readable(path, most):
            content = path.read_bytes()
            if self.hashes is not None and digest(content) != self.hashes.get(name):
                raise ValueError(CHANGED)
            return content

    def maps(self) -> list[str]:
        """Paths of the files of maps, sorted.

        Raises:
            InputError: There is one that the run did not write.
        """
        for name in self._strange():
            raise InputError(f"{self.folder / name} is damaged ({STRANGER}); remove it.")
        return sorted(self._found() if self.hashes is None else self._recorded())

    def check(self) -> None:
        """Compare all hashes.

        Raises:
            InputError: A file is missing, damaged or strange, or the run has no hashes.
        """
        if self.hashes is None:
            raise InputError(
                f"{self.folder / RUN_FILE} has no hashes, so that the run cannot be verified; "
                "repeat it with overwrite=true."
            )
        for name in self.hashes:
            self.read(name)
        self.maps()

    def faults(self) -> dict[str, str]:
        """Damaged, missing and strange files, with the reason; all of them."""
        found = {}
        for name, wanted in (self.hashes or {}).items():
            try:
                if digest((self.folder / name).read_bytes()) != wanted:
                    found[name] = CHANGED
            except FileNotFoundError:
                found[name] = MISSING
            except OSError as error:
                found[name] = error.strerror or type(error).__name__
        return found | dict.fromkeys(self._strange(), STRANGER)

    def _found(self) -> set[str]:
        paths = self.folder.glob(f"{MAPS_FOLDER}/*.safetensors")
        return {f"{MAPS_FOLDER}/{path.name}" for path in paths}

    def _recorded(self) -> set[str]:
        return {name for name in self.hashes or {} if name.startswith(f"{MAPS_FOLDER}/")}

    def _strange(self) -> list[str]:
        return [] if self.hashes is None else sorted(self._found() - self._recorded())


def open_run(folder: Path) -> RunFiles:
    """Read `run.json` and the hashes in it.

    Raises:
        InputError: It is missing, damaged, or of another schema version.
    """
    path = Path(folder) / RUN_FILE
    with readable(path, checked.MOST_BYTES):
        record = path.read_bytes()
        if signed(record):
            fields = json.loads(b"{" + record[record.rindex(_FILES) :])
            return RunFiles(Path(folder), record, dict(fields["files"]))
        content = checked.parse(record)
        check_version(path, content)
        if content.keys() & set(FIELDS):
            raise ValueError(CHANGED)
        return RunFiles(Path(folder), record, None)


def check_version(path: Path, content: Any) -> None:
    """Raise on a schema version that cannot be read.

    Raises:
        InputError: It is newer, or unknown.
        ValueError: The content is no mapping.
    """
    if not isinstance(content, dict):
        raise ValueError(f"it is {shown(content)}, not a mapping")
    version = content.get("schema_version")
    if type(version) is int and version > SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {version}, this igbench reads {SCHEMA_VERSION}; "
            "upgrade igbench to read it."
        )
    if type(version) is not int or version != SCHEMA_VERSION:
        raise InputError(
            f"{path} has the unknown schema version {version!r}, this igbench reads "
            f"{SCHEMA_VERSION}; run the experiment again."
        )


_STRANGE = (
    OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError,
    MemoryError, NotImplementedError, pa.ArrowException, SafetensorError,
)  # fmt: skip
"""What the readers of JSON, Parquet, CSV and safetensors raise for other content."""


@contextmanager
def readable(path: Path, most: int | None = None) -> Iterator[None]:
    """Turn the errors of a missing, damaged or strange file into an `InputError`.

    Args:
        path: The file.
        most: Largest size in bytes.

    Raises:
        InputError: In place of the error; or the file is a link, no file, or larger.
    """
    check_file(path, most)
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing; the run is incomplete. Run the experiment again."
        ) from error
    except _STRANGE as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is damaged ({detail}); {ADVICE}") from error
