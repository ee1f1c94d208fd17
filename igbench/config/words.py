"""Check the words of a command line before Hydra reads them: one line says how to write them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import yaml

from igbench.config import folders
from igbench.errors import InputError, suggestion
from igbench.files import check_name

_SINGLE = tuple(group for group in folders.GROUPS if group not in folders.LISTS)
_REMOVABLE = ("experiment", "preset")
"""Groups that a run can do without."""

_NEARLY = re.compile(r"([+~]*[\w.@/-]+)\s*(?:=\s*=?|:)\s*(.+?)\s*")
"""A word with spaces, two signs or a colon where it should have one sign."""


@cache
def keys() -> tuple[str, ...]:
    """The keys of a configuration that are not within another."""
    text = (folders.FOLDER / "run.yaml").read_text(encoding="utf-8")
    own = [key for key in yaml.safe_load(text) if key not in ("defaults", "hydra")]
    return (*own, *(group for group in folders.GROUPS if group != "experiment"))


def check(words: Sequence[str], *, sweep: bool = False) -> None:
    """Raise on words that are no overrides, or that would do something else than they say.

    Args:
        words: Of a command line, without options.
        sweep: Whether commas separate the values of several runs.

    Raises:
        InputError: Names the word and how to write it.

    >>> check(["limit=3", "method=[ig,saliency]", "~method.ig"])
    >>> check(["limit = 3"])
    Traceback (most recent call last):
    igbench.errors.InputError: 'limit = 3' is no key=value; write limit=3.
    """
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        if word.startswith("~"):
            _check_removal(word, key)
            continue
        _check_form(word)
        if word.startswith("+") and not word.startswith("++"):
            _check_addition(word, key)
        if not sweep:
            _check_one_value(word)


_UNREADABLE = re.compile(r"[^\w\s.\-/\\%$@?|+*:,()\[\]{}]", re.ASCII)
"""A character that values without quotes cannot have in the grammar of Hydra."""

_FUNCTION = re.compile(
    r"\s*(choice|range|interval|glob|sort|shuffle|tag|int|float|str|bool|json_str|extend_list)\("
)


def quoted(word: str) -> str:
    r"""A word whose value Hydra can read: plain text that it could not is put in quotes.

    >>> quoted("data.path=~/Fotos (2)"), quoted("limit=3"), quoted("method=[ig]")
    ("data.path='~/Fotos (2)'", 'limit=3', 'method=[ig]')
    >>> print(quoted("data.path=it's"))
    data.path='it\'s'
    """
    key, equals, value = word.partition("=")
    structured = re.fullmatch(r"""\s*([\[{].*|(['"]).*\2\s*)""", value) or _FUNCTION.match(value)
    odd = _UNREADABLE.search(value) or "(" in value or ")" in value
    if not equals or structured or "," in value or not odd:
        return word
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + (r"\'" if m[2] else ""), value)
    return f"{key}='{escaped}'"


def _check_form(word: str) -> None:
    key, equals, value = word.partition("=")
    if not equals or not key.strip("+") or key != key.strip() or value.startswith("="):
        nearly = _NEARLY.fullmatch(word)
        if nearly:
            better = f"{nearly[1]}={nearly[2]}"
        else:
            better = f"{key.strip() or 'KEY'}={value or 'VALUE'}"
        raise InputError(f"{word!r} is no key=value; write {better}.")
    if not value.strip():
        raise InputError(
            f"{word!r} has no value; write {word}VALUE"
            + ("." if key in folders.GROUPS else f", or {word}null for none.")
        )


def _check_one_value(word: str) -> None:
    key, _, value = word.partition("=")
    name = key.lstrip("+")
    plain = re.sub("sensitivity n", "sensitivity_n", value.strip("'\""), flags=re.IGNORECASE)
    if name in folders.LISTS and re.search(r"[^\s,\[]\s+[^\s,\]]", plain):
        names = ",".join(re.split(r"[\s,]+", plain.strip("[] ")))
        raise InputError(f"{word!r} needs commas: '{key}=[{names}]'.")
    if "," in value and re.fullmatch(r"[\w./,@:+ -]+", value):
        listed = f"write '{key}=[{value}]', or " if name in folders.LISTS or "." in name else ""
        raise InputError(
            f"{word!r} has several values; {listed}put -m before it for a run of each."
        )


def _check_removal(word: str, key: str) -> None:
    if key in folders.LISTS:
        raise InputError(
            f"{word!r} cannot be left out as a whole; '~{key}.NAME' leaves one out, and "
            f"'{key}=[NAME,NAME]' chooses others."
        )
    if "." not in key and key not in _REMOVABLE and key in keys():
        instead = f"choose another one: {key}=NAME" if key in folders.GROUPS else f"set {key}=VALUE"
        raise InputError(f"{word!r} cannot be left out, since every run needs it; {instead}.")


def _check_addition(word: str, key: str) -> None:
    if key in _SINGLE or (key in keys() and key not in folders.LISTS):
        raise InputError(f"{key!r} exists, so {word!r} needs no sign; write {word.lstrip('+')}.")


def check_keys(config: Mapping[str, Any]) -> None:
    """Raise on a key at the top of a configuration that nothing reads.

    Keys that others refer to begin with an underscore.

    Raises:
        InputError: Names it, and the nearest that exists.
    """
    for key in map(str, config):
        if key not in keys() and key != "hydra" and not key.startswith("_"):
            raise InputError(
                f"unknown key {key!r}, which nothing would read.{suggestion(key, keys())} A key "
                "that only others refer to begins with an underscore."
            )


def check_nodes(config: Mapping[str, Any]) -> None:
    """Raise on a method or metric that is no set of parameters, and on a name that is no folder.

    Raises:
        InputError: Names it.
    """
    for group in folders.LISTS:
        for name, node in (config.get(group) or {}).items():
            if not isinstance(node, Mapping):
                raise InputError(
                    f"{group}.{name}={node} is no set of parameters; write "
                    f"{group}.{name}.KEY=VALUE."
                )
    check_folder(str(config.get("name")))


def check_folder(name: str) -> None:
    """Raise unless a name can be that of a folder in results_dir, see `igbench.files.check_name`.

    >>> check_folder("a-b_c.1")
    """
    check_name("name", name)


def explain(error: Exception, words: Sequence[str], config: Mapping[str, Any]) -> str:
    """An error of Hydra or OmegaConf in one line, with the word it is about.

    Args:
        error: The error.
        words: The overrides.
        config: The configuration without those that are not choices.
    """
    text = str(error).strip().splitlines()
    first = text[0].removeprefix("In 'run': ") if text else type(error).__name__
    unread = getattr(error, "override", None)
    if unread:
        return f"cannot read {unread!r}: {first}; quote lists, as in 'method=[ig,occlusion]'."
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        if f"'{key}'" in first and key not in folders.GROUPS:
            return _about(word, key, config)
    about = [word for word in words if "${" in word]
    return f"{first}{f' (in {about[0]!r})' if about else ''}."


def _about(word: str, key: str, config: Mapping[str, Any]) -> str:
    """What is wrong with an override of a key that cannot be set, added or removed."""
    known = _keys(config) or list(keys())
    if key in known and word.startswith("+"):
        return f"{key!r} exists, so {word!r} needs no sign; write {word.lstrip('+~')}."
    parent, _, last = key.rpartition(".")
    beside = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == parent]
    if parent in folders.LISTS and word.startswith("~"):
        return f"{word!r} leaves out a {parent} that is not chosen; chosen: {', '.join(beside)}."
    if parent and beside:
        return f"unknown key {key!r} in {word!r}; known: {', '.join(beside)}." + suggestion(
            last, beside
        )
    # A known key behind a wrong group is nearer than keys that only look alike.
    near = suggestion(last, known) if last in known else suggestion(key, known)
    return f"unknown key {key!r} in {word!r}.{near or suggestion(last, known)}"


def _keys(node: Mapping[Any, Any], prefix: str = "") -> list[str]:
    found = []
    for name, value in node.items():
        found.append(f"{prefix}{name}")
        if isinstance(value, Mapping):
            found += _keys(value, f"{prefix}{name}.")
    return found
