"""Compose the overrides of a command line into one resolved configuration, with Hydra."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import resources
from typing import Any

from igbench.config import folders, words
from igbench.config.folders import FOLDER, GROUPS, choices
from igbench.config.values import check_values
from igbench.errors import InputError, one_line

log = logging.getLogger(__name__)


def compose(overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Compose a configuration from overrides, resolved into plain values.

    Args:
        overrides: Overrides of conf/run.yaml: "experiment=digits_resnet",
            "method=[ig,occlusion]", "method.ig.n_steps=100"; or "hydra.searchpath=[DIR]" for
            folders of the user's own files, see `igbench.config.folders.searching`.

    Raises:
        InputError: An override cannot be parsed, or names a key or file that does not exist.
    """
    given, searched = searched_folders(overrides)
    words.check(given)
    with folders.searching(searched):
        return _composed([settled(word) for word in given])


def _composed(overrides: Sequence[str]) -> dict[str, Any]:
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from igbench.config import search_path

    _check_choices(overrides)
    check_names(overrides)
    GlobalHydra.instance().clear()
    search_path.register()
    try:
        with hydra.initialize_config_dir(str(FOLDER), version_base="1.3"):
            try:
                config = hydra.compose("run", overrides=list(overrides))
                plain = dict(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
            except (HydraException, OmegaConfBaseException, LookupError) as error:
                raise InputError(explain(error, overrides)) from error
            except (YAMLError, UnicodeDecodeError, OSError, ValueError, RecursionError) as error:
                raise InputError(f"a configuration file cannot be read: {one_line(error)}.") from (
                    error
                )
    finally:
        GlobalHydra.instance().clear()
    plain = complete(plain)
    _check_chosen(overrides, plain)
    return plain


def check_sweep(overrides: Sequence[str], *, sweep: bool) -> list[str]:
    """The overrides of a command with options of Hydra, as Hydra needs them, after checks.

    Args:
        overrides: Words that are no options.
        sweep: Whether commas separate the values of several runs.

    Raises:
        InputError: One of them cannot be read, or names something that does not exist.
    """
    words.check(overrides, sweep=sweep)
    found = [settled(override) for override in overrides]
    _check_choices([o for o in found if "(" not in o])  # not functions of sweeps, as in glob(*)
    check_names(found)
    return found


def searched_folders(given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split words into those that remain, and the folders that the others name.

    >>> searched_folders(["--config-dir", "study/conf", "limit=3", "hydra.searchpath=[file://a]"])
    (['limit=3'], ['study/conf', 'a'])

    Raises:
        InputError: A word names no folder.
    """
    rest, found, waiting = [], [], iter(given)
    for word in waiting:
        name, equals, value = word.partition("=")
        if name in (folders.OPTION, "-cd"):
            value = value if equals else next(waiting, "")
            if not value or (not equals and value.startswith("-")):
                raise InputError(f"{name} needs a folder: {folders.OPTION} DIR.")
            found.append(value)
        elif name.lstrip("+") == folders.SEARCH_PATH:
            found += [_folder(item) for item in re.split(r"[\s,\[\]'\"]+", value) if item]
        else:
            rest.append(word)
    return rest, found


def _folder(source: str) -> str:
    """The folder that an entry of Hydra's search path names."""
    scheme, colon, place = source.partition("://")
    if not colon:
        return source
    if scheme == "pkg":
        try:
            return str(resources.files(place))
        except ModuleNotFoundError as error:
            raise InputError(f"{source!r} cannot be searched: {error}.") from error
    if scheme != "file":
        raise InputError(f"{source!r} is no folder; write file://DIR or pkg://PACKAGE.")
    return place


def explain(error: Exception, overrides: Sequence[str]) -> str:
    """An error of Hydra in one line, with the nearest known key; while Hydra is initialised."""
    import hydra
    from omegaconf import OmegaConf

    others = [o for o in overrides if o.partition("=")[0].lstrip("+") in GROUPS and "," not in o]
    config: Any = {}
    with suppress(Exception):  # what is wrong may be among these too
        config = OmegaConf.to_container(hydra.compose("run", overrides=others), resolve=False)
    return words.explain(error, overrides, config)


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """A resolved configuration with only what is chosen, after checks of what files may set.

    Raises:
        InputError: A key that nothing reads, or a value that cannot be used.
    """
    _check_global(config)
    words.check_keys(config)
    check_values(config)
    words.check_nodes(config)
    return selected(config)


def selected(config: dict[str, Any]) -> dict[str, Any]:
    """Remove the settings of methods and metrics that are not chosen."""
    for group in ("method", "metric"):
        nodes, known = config.get(group) or {}, choices(group)
        config[group] = {
            name: node for name, node in nodes.items() if "_target_" in node or name not in known
        }
    return config


def settle(name: str) -> str:
    """The name in conf/metric of a metric whose name is ambiguous in the literature.

    "sensitivity-n" is the faithfulness metric of Ancona et al. (2018); a warning says so once.
    """
    if name.lower() not in AMBIGUOUS:
        return name
    if name not in _said:
        _said.add(name)
        log.warning(
            "%r is read as sensitivity_n, the correlation of sums of contributions with the change "
            "of the output (Ancona et al. 2018). The largest change of the map when at most n "
            "features change is max_sensitivity_n.",
            name,
        )
    return "sensitivity_n"


AMBIGUOUS = ("sensitivity-n", "sensitivityn", "sensitivity n")
_said: set[str] = set()


RENAMED = {"engine": "executor", "samples_at_once": "shard_size"}
"""Former keys of the configuration, which are still understood."""


def renamed(override: str) -> str:
    """An override with the present name of its key; a former name is reported once.

    >>> renamed("shard_size=4")
    'shard_size=4'
    """
    key = override.lstrip("+~")
    former = re.split(r"[.=]", key, maxsplit=1)[0]
    if former not in RENAMED or key == former:
        return override
    if former not in _said:
        _said.add(former)
        log.warning("the key %s is called %s now", former, RENAMED[former])
    signs = override[: len(override) - len(key)]
    return f"{signs}{RENAMED[former]}{key.removeprefix(former)}"


_PARAMETER = re.compile(r"(method|metric)\.([^.=]+)\.[^.=]+=")
"""An override of a parameter, `metric.deletion.step=1`, with the group and the name."""


def settled(override: str) -> str:
    """An override as Hydra needs it.

    Its key has the present name, see `renamed`, names of metrics are settled, see `settle`, and
    text is quoted where Hydra could not read it, see `igbench.config.words.quoted`.  A parameter of
    a method or metric is overridden whether or not its file mentions it, since its default is in
    the class.

    >>> settled("metric.deletion.step=1")
    '++metric.deletion.step=1'
    """
    override = words.quoted(renamed(override))
    if _PARAMETER.match(override):
        return f"++{override}"
    group, equals, value = override.partition("=")
    if group.lstrip("+~") != "metric" or not equals:
        return override
    quoted = value.strip("'\"")
    parts = re.split(r"(\s*[,\[\]]\s*)", quoted)
    return f"{group}={''.join(settle(part) for part in parts)}"


def _parameters(overrides: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Group, name and text of each override of a parameter."""
    for override in overrides:
        found = _PARAMETER.match(override.lstrip("+"))
        if found:
            yield found[1], found[2], override.lstrip("+")


def check_names(overrides: Sequence[str]) -> None:
    """Raise on a parameter of a method or metric that does not exist.

    Hydra adds whatever key it is given.
    """
    defined = {o.lstrip("+").partition("=")[0].removesuffix("._target_") for o in overrides}
    for group, name, _ in _parameters(overrides):
        if f"{group}.{name}" not in defined:
            _check_choice(group, name)


def _check_chosen(overrides: Sequence[str], config: Mapping[str, Any]) -> None:
    """Raise on a parameter of a method or metric that does not take part."""
    for group, name, override in _parameters(overrides):
        if name not in config[group]:
            chosen = ",".join([*config[group], name])
            raise InputError(
                f"{override!r} sets a {group} that is not chosen; leave it out, or choose "
                f"'{group}=[{chosen}]'."
            )


def _check_global(config: Mapping[str, Any]) -> None:
    """Raise if an experiment or preset did not reach the keys that it sets."""
    for group in ("experiment", "preset"):
        if isinstance(config.get(group), Mapping):
            raise InputError(
                f"the file of the {group} must begin with the line '# @package _global_'; without "
                "it, its keys would set nothing."
            )


def _check_choices(overrides: Sequence[str]) -> None:
    """Raise on a choice that has no file, before Hydra does so at length."""
    for override in overrides:
        group, equals, value = override.lstrip("+~").partition("=")
        if not equals or group not in GROUPS:
            continue
        for name in re.split(r"[\s,\[\]]+", value.strip("'\"")):
            if name:
                _check_choice(group, name)


def _check_choice(group: str, name: str, seen: frozenset[tuple[str, str]] = frozenset()) -> None:
    """Raise on a choice without a file, or with one of the user's that is no configuration.

    Hydra reads the files of a defaults list by itself, so those are looked at too.
    """
    if (group, name) in seen or folders.FOLDER in folders.file(group, name).parents:
        return
    content = folders.node(group, name)
    listed = content.get("defaults") if group not in folders.LISTS else None
    for entry in listed if isinstance(listed, list) else []:
        for key, value in entry.items() if isinstance(entry, Mapping) else []:
            other = str(key).split()[-1].partition("@")[0].lstrip("/")
            for choice in value if isinstance(value, list) else [value]:
                if other in GROUPS and isinstance(choice, str):
                    _check_choice(other, choice, seen | {(group, name)})
