"""Hash the source code that rows depend on, as part of the keys of shards.

Code is hashed as a syntax tree without docstrings, so that comments, layout and documentation do
not count.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
METRICS = "igbench.metrics"
SHARED = (
    "errors.py",
    "schema.py",
    "baselines.py",
    "core",
    "integration",
    "surrogates",
    "shapley",
    "methods",
    "models",
    "data",
    "evaluation",
    "config",
)
"""Parts of the package that the rows of every metric depend on."""


def shared(parts: Iterable[object]) -> str:
    """Hash the source that all rows depend on (SHA-256).

    That is `SHARED`, and the files of `parts`, where these live elsewhere.
    """
    files = {path for name in SHARED for path in _python_files(PACKAGE / name)}
    return _digest(files.union(*(_own_file(part) for part in parts)))


def of_metric(metric: object) -> str:
    """Hash the source of one metric (SHA-256): its file, and all files of metrics it imports."""
    found: set[Path] = set()
    waiting = list(_own_file(metric))
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path)
    return _digest(found)


def _python_files(path: Path) -> Iterator[Path]:
    yield from path.rglob("*.py") if path.is_dir() else (path,)


def _own_file(part: object) -> set[Path]:
    """The file of a class, function or object; none for packages, built-ins and consoles."""
    owner = part if inspect.isclass(part) or inspect.isfunction(part) else type(part)
    try:
        path = Path(inspect.getsourcefile(owner) or "").resolve()
    except (TypeError, OSError):
        return set()
    inside = PACKAGE in path.parents
    return {path} if path.is_file() and (inside or "site-packages" not in path.parts) else set()


@cache
def _imported(path: Path) -> tuple[Path, ...]:
    """The files of metrics that a file imports, at its top or within functions.

    The package itself, which imports every metric, does not count.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    inside = sorted(name for name in names if name.startswith(f"{METRICS}."))
    files = (PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py") for name in inside)
    return tuple(file for file in files if file.is_file())


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for part in sorted(_of_file(path) for path in files):
        digest.update(part)
    return digest.hexdigest()


@cache
def _of_file(path: Path) -> bytes:
    """SHA-256 of the code of one file."""
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not _is_text(line)]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).digest()


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is a docstring or another unused string."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
