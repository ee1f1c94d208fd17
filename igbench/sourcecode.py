"""Which source files do numbers depend on?  Hashes of code, as part of the keys of shards."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent
_METRICS = _PACKAGE / "metrics"
_SILENT = (
    "__main__", "api", "captum", "catalogue", "certify", "cli", "compare", "doctor", "engine",
    "lock", "outlook", "plan", "precision", "progress", "report", "reuse", "runner", "slurm",
    "stats",
)  # fmt: skip
"""Parts of the package that no row depends on."""


def shared(parts: Iterable[object]) -> str:
    """SHA-256 over the source that all rows depend on.

    That is the package without its metrics, and the files of `parts`, where these live elsewhere.
    """
    files = {
        path
        for path in _PACKAGE.rglob("*.py")
        if _METRICS not in path.parents
        and path.relative_to(_PACKAGE).parts[0].removesuffix(".py") not in _SILENT
    }
    return _digest(files.union(*(_own(part) for part in parts)))


def of_metric(metric: object) -> str:
    """SHA-256 over the source of one metric: its file, and all files of metrics that it imports."""
    found: set[Path] = set()
    waiting = list(_own(metric))
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path)
    return _digest(found)


def _own(part: object) -> set[Path]:
    """The file of an object's class; none if it was installed, built in or typed into a console."""
    try:
        path = Path(inspect.getsourcefile(type(part)) or "").resolve()
    except (TypeError, OSError):
        return set()
    inside = _PACKAGE in path.parents
    return {path} if path.is_file() and (inside or "site-packages" not in path.parts) else set()


@cache
def _imported(path: Path) -> tuple[Path, ...]:
    """The files of metrics that a file imports, at its top or within functions."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    prefix = f"{__package__}.metrics."
    stems = {name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)}
    return tuple(p for stem in sorted(stems) if (p := _METRICS / f"{stem}.py").is_file())


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for content in sorted(path.read_bytes() for path in files):
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()
