"""Read a file of Python: a hash of what it does, and what it imports."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

BY_NAME = frozenset({"import_module", "__import__"})
"""Functions that import what a text names."""


class Import(NamedTuple):
    """`from module import name`; `import module` where the name is empty.

    Attributes:
        module: Dotted name; empty for `from . import name`.
        level: Number of leading dots.
        name: What is imported of it.
    """

    module: str
    level: int
    name: str


COMPUTED = Import("", 0, "")
"""An import of what cannot be read from the text."""


class Meaning(NamedTuple):
    """What a file does.

    Attributes:
        digest: SHA-256 of its syntax tree without docstrings, comments and layout; of its bytes
            where it is no Python.
        imports: What it imports, at its top or within functions.
        computes: Whether it also imports modules whose names it works out.
    """

    digest: str
    imports: tuple[Import, ...]
    computes: bool = False


def read(path: Path) -> Meaning:
    """What a file does, from what is in it now.

    Code within an archive stands for the whole archive, and a file that is gone for nothing.
    """
    place = next((p for p in (path, *path.parents) if p.is_file()), None)
    try:
        return meaning(place.read_bytes() if place else b"")
    except OSError:
        return meaning(b"")


@cache
def meaning(content: bytes) -> Meaning:
    """What a text does; worked out once for each text."""
    words: list[str] = []
    found: list[Import] = []
    try:
        _collect(ast.parse(content), words, found)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Meaning(hashlib.sha256(content).hexdigest(), ())
    return Meaning(
        hashlib.sha256("\0".join(words).encode(errors="backslashreplace")).hexdigest(),
        tuple(dict.fromkeys(line for line in found if line.module or line.level)),
        computes=COMPUTED in found,
    )


def _collect(node: ast.AST, words: list[str], found: list[Import]) -> None:
    """Write a node as words, several times faster than `ast.dump`, and collect its imports."""
    words.append(type(node).__name__)
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Call):
        found.extend(_imports(node))
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            words.append(name)
            _collect(value, words, found)
        elif isinstance(value, list):
            words.append(f"{name}[")
            for inner in value:
                if not isinstance(inner, ast.AST):
                    words.append(repr(inner))
                elif name != "body" or not _is_text(inner):
                    _collect(inner, words, found)
            words.append("]")
        elif value is not None:
            words += (name, repr(value))
    words.append(")")


def _imports(node: ast.Import | ast.ImportFrom | ast.Call) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, 0, "")
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield Import(node.module or "", node.level, alias.name)
    else:
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if called in BY_NAME:
            name = getattr(node.args[0], "value", None) if node.args else None
            plain = name.lstrip(".") if isinstance(name, str) else ""
            yield Import(plain, len(name) - len(plain), "") if plain and name else COMPUTED


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a docstring or another unused string."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
