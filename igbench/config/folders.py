"""Folders of configuration files: that of the package, and those of the user, which come first."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import yaml

from igbench.errors import InputError, one_line, suggestion

log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).parent.parent
FOLDER = (
    _PACKAGE / "conf" if (_PACKAGE / "conf" / "run.yaml").is_file() else (_PACKAGE.parent / "conf")
)
"""The folder of run.yaml: inside the package when installed, beside it in a checkout."""

GROUPS = ("experiment", "method", "metric", "model", "data", "baseline", "preset", "executor")
"""Names of the folders of choices."""

LISTS = ("method", "metric")
"""Groups whose files hold the name of the choice as their only key."""

HERE = "conf"
"""Folder that is searched without being named, in the current folder."""

OPTION = "--config-dir"
SEARCH_PATH = "hydra.searchpath"

_named: ContextVar[tuple[Path, ...]] = ContextVar("folders of the user", default=())
_said: set[tuple[Path, ...]] = set()


@contextmanager
def searching(folders: Sequence[str | Path]) -> Iterator[None]:
    """Search folders of the user before that of the package, while the context lasts.

    Modules beside such a folder can be imported: `_target_: mine.model` in `study/conf/model` is
    found in `study/mine.py`.

    Args:
        folders: Folders with sub-folders such as `model` and `data`; the first wins.

    Raises:
        InputError: A folder does not exist, or has none of these sub-folders.
    """
    found = tuple(_checked(Path(folder).expanduser().absolute()) for folder in folders)
    token, path = _named.set(tuple(dict.fromkeys((*found, *_named.get())))), list(sys.path)
    for parent in reversed([str(folder.parent) for folder in found]):
        if parent not in sys.path:
            sys.path.insert(1, parent)
    _report_replaced()
    try:
        yield
    finally:
        _named.reset(token)
        sys.path[:] = path


def options() -> list[str]:
    """Words of a command line that name the same folders."""
    return [f"{OPTION}={folder}" for folder in _named.get()]


def own() -> list[Path]:
    """The folders of the user: those that are named, then `conf` in the current folder."""
    found = dict.fromkeys(_named.get())
    with suppress(FileNotFoundError):  # the current folder is gone
        here = Path.cwd() / HERE
        if _has_groups(here) and not (here / "run.yaml").exists():
            found.setdefault(here)
    return [folder for folder in found if folder.resolve() != FOLDER.resolve()]


def choices(group: str) -> list[str]:
    """Names of the files in a group, of the package and of the user."""
    return sorted({name for folder in [*own(), FOLDER] for name in _names(folder, group)})


def packaged(group: str) -> list[str]:
    """Names of the files in a group that are those of the package."""
    replaced = {name for folder in own() for name in _names(folder, group)}
    return [name for name in _names(FOLDER, group) if name not in replaced]


def file(group: str, name: str) -> Path:
    """The file of a choice; that of the user where there are two.

    Raises:
        InputError: There is none.
    """
    for folder in [*own(), FOLDER]:
        path = folder / group / f"{name}.yaml"
        if path.is_file():
            return path
    known = choices(group)
    raise InputError(
        f"unknown {group} {name!r}; known: {', '.join(known)}."
        f"{_elsewhere(group, name) or suggestion(name, known)}"
    )


def node(group: str, name: str) -> dict[str, Any]:
    """What the file of a choice says, for methods and metrics without their name around it.

    Raises:
        InputError: There is no such file, it is not YAML, or it lacks the name.
    """
    path = file(group, name)
    content = read(path)
    if content is None:
        content = {}
    if not isinstance(content, Mapping):
        raise InputError(f"{str(path)!r} must hold keys and values, as 'name: value'.")
    if group not in LISTS:
        return dict(content)
    if list(content) != [name] or not isinstance(content[name], Mapping):
        raise InputError(
            f"{str(path)!r} must hold the one key {name!r}, the name of the file, and below it "
            "_target_ and its arguments."
        )
    return dict(content[name])


MOST_BYTES = 1_000_000
"""Size of a configuration file at most."""
MOST_VALUES = 100_000
"""Keys and values of a configuration file at most, where aliases count as often as they are used.
"""


class _Strict(yaml.SafeLoader):
    """The safe loader of PyYAML, which would take the last of two equal keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Keys and values, each key once."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1 and key != "<<":
                raise yaml.YAMLError(f"the key {key!r} is there twice")
        return super().construct_mapping(node, deep)


def read(path: Path) -> Any:
    """What a YAML file holds; plain values alone, whatever else is in it.

    Args:
        path: A file.

    Raises:
        InputError: It is no regular file, too large, not UTF-8, no YAML, has a key twice, a tag
            that makes objects, or aliases that grow without bound.
    """
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no regular file")
        if path.stat().st_size > MOST_BYTES:
            raise OSError(f"it has more than {MOST_BYTES:,} bytes")
        content = _Strict(path.read_text(encoding="utf-8")).get_single_data()
        _check_size(content)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{str(path)!r} cannot be read: {one_line(error)}.") from error
    return content


def _check_size(content: Any) -> None:
    """Raise on more values than a configuration has, counting what aliases repeat."""
    waiting, count = [content], 0
    while waiting:
        value = waiting.pop()
        count += 1
        if count > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES:,} values, or an alias of itself")
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _checked(folder: Path) -> Path:
    """A folder that holds at least one group."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r}; set {OPTION} to one that exists.")
    if not _has_groups(folder):
        inner = folder / HERE
        hint = f" Did you mean {str(inner)!r}?" if _has_groups(inner) else ""
        raise InputError(
            f"{str(folder)!r} has none of the folders {', '.join(GROUPS)}, which hold one file for "
            f"each choice.{hint}"
        )
    return folder


def _has_groups(folder: Path) -> bool:
    return any((folder / group).is_dir() for group in GROUPS)


def _names(folder: Path, group: str) -> list[str]:
    return sorted(p.stem for p in (folder / group).glob("*.yaml") if not p.name.startswith("."))


def _elsewhere(group: str, name: str) -> str:
    """Advice for a file that ends in .yml, or is in a folder of this name that is not searched."""
    there = Path(name, HERE)
    if (there / group / f"{name}.yaml").is_file():
        return f" Did you mean {OPTION} {there}?"
    for folder in own():
        path = folder / group / f"{name}.yml"
        if path.is_file():
            return f" Rename {str(path)!r} to {name}.yaml."
    return ""


def _report_replaced() -> None:
    """Say once which files of the package the user's stand in for."""
    folders = tuple(own())
    mine = [
        (group, name) for group in GROUPS for folder in folders for name in _names(folder, group)
    ]
    packages = {group: set(_names(FOLDER, group)) for group in {group for group, _ in mine}}
    replaced = dict.fromkeys(f"{g}={name}" for g, name in mine if name in packages[g])
    if replaced and folders not in _said:
        _said.add(folders)
        log.warning(
            "your own files are used for %s, in place of those of igbench (%s)",
            ", ".join(replaced),
            ", ".join(map(str, folders)),
        )
