"""Check the values of a configuration: types of all keys, before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from igbench.config.folders import LISTS
from igbench.core.arguments import MOST, SEEDS, describe, fits
from igbench.errors import InputError

KEYS: dict[str, Any] = {
    "name": str | int,
    "output": str,
    "target": str | int,
    "limit": int | None,
    "seed": int,
    "device": str,
    "dtype": str,
    "precision": str,
    "compile": bool | str,
    "batch_size": int | Literal["auto"],
    "shard_size": int,
    "keep_maps": int,
    "convergence": int,
    "results_dir": str,
    "overwrite": bool,
    "loading": Mapping[str, Any],
    "model": Mapping[str, Any],
    "data": Mapping[str, Any],
    "baseline": Mapping[str, Any],
    "executor": Mapping[str, Any] | None,
    "method": Mapping[str, Any],
    "metric": Mapping[str, Any],
    "experiment": str | None,
    "preset": str | None,
}
"""Keys at the top of a configuration, and what their values are."""

PARTS = ("model", "data", "baseline", "executor")
"""Keys that describe one object each."""


def check_values(config: Mapping[str, Any]) -> None:
    """Raise on a key whose value is of another type than it needs, or is empty text.

    Args:
        config: Resolved; what its keys are is checked elsewhere.

    Raises:
        InputError: Names the key, and what its value must be.

    >>> check_values({"limit": "many"})
    Traceback (most recent call last):
    igbench.errors.InputError: limit=many must be a whole number, or null.
    """
    for key, value in config.items():
        if key in KEYS:
            if not fits(value, KEYS[key]) and not _is_seed(key, value):
                raise InputError(f"{key}={value} must be {describe(KEYS[key])}.")
            if value == "":
                raise InputError(f"{key} is empty; set {key}=VALUE.")
        _check_plain(str(key), value)
    _check_loading(config.get("loading") or {})
    for key in PARTS:
        _check_part(key, config.get(key))
    for group in LISTS:
        for name, node in (config.get(group) or {}).items():
            _check_part(f"{group}.{name}", node)


def _is_seed(key: str, value: Any) -> bool:
    """Whether this is a seed beyond other whole numbers; a date and time makes one."""
    return key == "seed" and type(value) is int and 0 <= value <= SEEDS


def _check_plain(where: str, value: Any) -> None:
    """Raise on what a record cannot keep: keys that are no names, and values that are not plain."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str) or not key.isprintable():
                raise InputError(f"{where} has the key {key!r}, which cannot be a name.")
            _check_plain(f"{where}.{key}", inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_plain(where, inner)
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise InputError(f"{where} is a {type(value).__name__}; a value is a number, text or list.")


def _check_part(where: str, node: Any) -> None:
    """Raise if the target of a part is no name."""
    target = node.get("_target_") if isinstance(node, Mapping) else None
    if target is not None and (not isinstance(target, str) or not target.isprintable()):
        raise InputError(f"{where}._target_ is {target!r}; it must be a dotted name.")


def _check_loading(node: Mapping[str, Any]) -> None:
    """Raise on numbers that no machine has; all else is checked by `Loading`."""
    for key, value in node.items():
        if isinstance(value, int | float) and value > MOST:
            raise InputError(f"loading.{key}={value} must be at most {MOST:,}.")
