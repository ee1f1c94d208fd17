"""Find the files of code that objects run: their own, and those that these import.

Imports are read from the text, at the top and within functions, and from what a loaded module
holds.  Nothing is imported to find them.  Installed packages and the standard library are not
followed.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Literal, NamedTuple

from igbench.run.held import held, in_standard_library, is_installed
from igbench.run.syntax import Import, read

PACKAGE = Path(__file__).resolve().parent.parent
METRICS = "igbench.metrics"
DOORS = ("igbench", METRICS)
"""Packages that only hand on what others define."""

SHARED = (
    "errors.py",
    "files.py",
    "schema.py",
    "baselines",
    "core",
    "integration",
    "propagation",
    "surrogates",
    "shapley",
    "methods",
    "models",
    "data",
    "evaluation",
    "config",
)
"""Parts of the package that the rows of every metric depend on; they are not followed."""


Whose = Literal["shared", "own", "installed", "standard", "user"]


class Source(NamedTuple):
    """A file of code under the name of its module."""

    name: str
    path: Path

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        return self.name if self.path.stem == "__init__" else self.name.rpartition(".")[0]

    @property
    def inside(self) -> bool:
        """Whether it is a file of igbench."""
        return _whose(self.path, PACKAGE) in ("shared", "own")


class Code(NamedTuple):
    """The files of code that some objects run.

    Attributes:
        files: Those outside of installed packages; what is `SHARED` left out.
        installed: Names of the installed packages that they use.
    """

    files: frozenset[Source]
    installed: frozenset[str]


def shared() -> Iterator[Source]:
    """The files that all rows depend on."""
    for name in SHARED:
        place = PACKAGE / name
        for path in place.rglob("*.py") if place.is_dir() else (place,):
            yield _inside(path)


def code(*roots: object) -> Code:
    """The files that objects, functions, classes or modules run, and what these hold."""
    found: dict[Source, str] = {}
    waiting = list(own(*roots))
    while waiting:
        source = waiting.pop()
        if source in found or source.name in DOORS:
            continue
        found[source] = whose = _whose(source.path, PACKAGE)
        if whose in ("user", "own"):
            waiting += imported(source)
    installed = {s.name.partition(".")[0] for s, whose in found.items() if whose == "installed"}
    files = frozenset(s for s, whose in found.items() if whose in ("user", "own"))
    return Code(files, frozenset(installed))


def own(*roots: object) -> Iterator[Source]:
    """The files in which objects, and all that they hold, are defined; none for consoles."""
    for part in held(*roots):
        if isinstance(part, type):
            for kind in part.__mro__:
                yield from _of_class(kind)
        elif isinstance(part, FunctionType):
            yield from _of_function(part)
        elif isinstance(part, ModuleType):
            yield from _source(part.__name__, getattr(part, "__file__", None))


def imported(source: Source) -> Iterator[Source]:
    """The files that a file imports, and those of what its module holds.

    A file that works out what it imports may import any that are beside it, or a folder below.
    """
    text = read(source.path)
    if text.computes and not source.inside:
        folder = source.path.parent
        for path in (*folder.glob("*.py"), *folder.glob("*/*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield Source(".".join((source.package, *parts)).strip("."), path.resolve())
    for line in text.imports:
        name = _absolute(line, source.package)
        if name.partition(".")[0] == PACKAGE.name:
            yield from _of_igbench(name, line.name, asked=not source.inside)
        elif name and not source.inside:
            yield from _of_module(name, line.name, source.path)
    if not source.inside:
        yield from own(*_loaded(source))


def _loaded(source: Source) -> list[object]:
    """The modules, classes and functions that a file has at hand, however it came to them."""
    module = sys.modules.get(source.name)
    file = getattr(module, "__file__", None)
    if not file or _resolved(file) != source.path:
        return []
    values = list(vars(module).values())
    found: list[object] = [v for v in values if isinstance(v, type | FunctionType)]
    # Modules of a package are bound there by whoever imports them, and so are left out.
    inner = f"{source.name}."
    modules = [v for v in values if isinstance(v, ModuleType)]
    return found + [v for v in modules if not v.__name__.startswith(inner)]


def _of_class(kind: type) -> Iterator[Source]:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if file:
        yield from _source(kind.__module__, file)
    elif kind.__module__ not in sys.builtin_module_names:  # its module was not kept
        for value in vars(kind).values():
            if isinstance(value, FunctionType):
                yield from _of_function(value)


def _of_function(function: FunctionType) -> Iterator[Source]:
    space = function.__globals__
    file = space.get("__file__") or function.__code__.co_filename
    yield from _source(space.get("__name__") or "", file)


def _source(name: str, file: str | None) -> Iterator[Source]:
    """A file, if there is one; for a file of igbench whatever it is called here."""
    if file:
        path = _resolved(file)
        if any(p.is_file() for p in (path, *path.parents)):
            yield _inside(path) if PACKAGE in path.parents else Source(name, path)


def _inside(path: Path) -> Source:
    """A file of igbench."""
    parts = [PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts]
    return Source(".".join(parts).removesuffix(".__init__"), path)


@cache
def _whose(path: Path, package: Path) -> Whose:
    """Whose a file is; "shared" and "own" are files of igbench."""
    if package in path.parents:
        return "shared" if path.relative_to(package).parts[0] in SHARED else "own"
    if is_installed(path):
        return "installed"
    return "standard" if in_standard_library(path) else "user"


def _resolved(file: str) -> Path:
    return Path(file).resolve()


def _absolute(line: Import, package: str) -> str:
    """The name of the module that a line imports from."""
    if not line.level:
        return line.module
    parts = package.split(".")
    base = ".".join(parts[: len(parts) - line.level + 1])
    return f"{base}.{line.module}".strip(".")


def _of_igbench(name: str, part: str, *, asked: bool) -> Iterator[Source]:
    """The files of igbench that `from name import part` reads.

    Args:
        name: Of a module.
        part: A module within, or what is asked of it; empty for the module itself.
        asked: Whether a package that only hands on what others define stands for what is asked of
            it, and for all metrics where that is unknown.
    """
    room = f"{name}.{part}".split(".")[1]
    if room in SHARED or f"{room}.py" in SHARED:
        return
    for full in (f"{name}.{part}", name) if part else (name,):
        place = PACKAGE.joinpath(*full.split(".")[1:])
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file() and full not in DOORS:
                yield Source(full, path)
                return
    if asked and name in DOORS:
        known = vars(sys.modules[name]).get(part) if name in sys.modules else None
        if known is None or isinstance(known, ModuleType):
            yield from map(_inside, (PACKAGE / "metrics").rglob("*.py"))
        else:
            yield from own(known)


def _of_module(name: str, part: str, importer: Path) -> Iterator[Source]:
    """The files that `from name import part` reads: packages around it, and itself."""
    full = f"{name}.{part}" if part not in ("", "*") else name
    parts = full.split(".")
    for i in range(len(parts)):
        here = ".".join(parts[: i + 1])
        file, found = _file(here, importer)
        if file:
            yield from _source(here, file)
            if _whose(_resolved(file), PACKAGE) in ("installed", "standard"):
                return
        elif not found:
            return


def _file(name: str, importer: Path) -> tuple[str | None, bool]:
    """The file of a module, and whether there is such a module: some have no file."""
    module = sys.modules.get(name)
    if module is not None:
        return getattr(module, "__file__", None), True
    spec = _spec(name, importer)
    return (spec.origin if spec and spec.has_location else None), spec is not None


def _spec(name: str, importer: Path) -> ModuleSpec | None:
    """Where a module that is not loaded lies; without loading the packages around it."""
    parent = name.rpartition(".")[0]
    if parent:
        known = sys.modules.get(parent)
        around = None if known else _spec(parent, importer)
        places = getattr(known, "__path__", around and around.submodule_search_locations)
        return PathFinder.find_spec(name, list(places)) if places else None
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):  # names that a loaded module claims
        found = None
    return found or PathFinder.find_spec(name, [str(importer.parent)])
