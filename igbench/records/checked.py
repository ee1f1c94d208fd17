"""Check run.json against the record format, field by field.

A run may come from a stranger: every type, choice, name, length and depth is checked once, so that
all readers can rely on them.  What is wrong is a `ValueError` that says where it is, what it is and
what it should be; `igbench.records.store` makes one line with the name of the file of it.  The
tables and the maps are checked in `igbench.records.typed`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from functools import lru_cache
from typing import Any

from igbench.files import name_fault
from igbench.records import features
from igbench.records.specs import LONGEST_TEXT, fault, shown
from igbench.schema import MethodSpec, MetricSpec

MOST_BYTES = 2**28
"""Largest size of run.json and of summary.csv: a million samples take less."""
DEEPEST = 100
"""Levels of lists and mappings in run.json."""
LARGEST = 2**64
"""Size of whole numbers: seeds have up to 64 bits."""

Check = Callable[[str, Any], None]
"""Raises `ValueError` unless a value, found at a place, is what it should be."""


# -- JSON ------------------------------------------------------------------------------------


def parse(content: bytes) -> Any:
    """Read strict JSON: UTF-8, no key twice, finite numbers, not too deep.

    Raises:
        ValueError: It is something else.

    >>> parse(b'{"a": NaN}')
    Traceback (most recent call last):
    ValueError: NaN is no number of JSON
    """
    try:
        found = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_once,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except RecursionError as error:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels") from error
    _check_depth(found)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {shown(twice)} occurs twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _check_depth(value: Any) -> None:
    """Raise on values that are nested too deep, and on numbers with too many digits."""
    level, depth = [value], 0
    while level:
        if depth > DEEPEST:
            raise ValueError(f"it is nested deeper than {DEEPEST} levels")
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
            elif isinstance(one, int) and abs(one) > LARGEST:
                raise ValueError("a whole number has more than 64 bits")
        level, depth = inner, depth + 1


# -- values ----------------------------------------------------------------------------------


def _wrong(where: str, value: Any, what: str) -> ValueError:
    return ValueError(f"{where} is {shown(value)}, not {what}")


def anything(where: str, value: Any) -> None:
    """Any plain value."""


def text(where: str, value: Any) -> None:
    """A text of bounded length."""
    if not isinstance(value, str):
        raise _wrong(where, value, "a text")
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"{where} has {len(value):,} characters, of at most {LONGEST_TEXT:,}")


def name(where: str, value: Any) -> None:
    """A name that can be that of a file, see `igbench.files.name_fault`."""
    found = name_fault(value)
    if found:
        raise ValueError(f"{where} is {shown(value)}, which {found}")


def number(where: str, value: Any) -> None:
    """A number, finite or not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(where, value, "a number")


def whole(where: str, value: Any) -> None:
    """A whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(where, value, "a whole number")


def flag(where: str, value: Any) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise _wrong(where, value, "true or false")


def moment(where: str, value: Any) -> None:
    """A time in ISO 8601."""
    text(where, value)
    try:
        datetime.fromisoformat(value)
    except ValueError as error:
        raise _wrong(where, value, "a time as in ISO 8601") from error


def one_of(*choices: str) -> Check:
    """One of some texts."""

    def check(where: str, value: Any) -> None:
        if not isinstance(value, str) or value not in choices:
            raise _wrong(where, value, f"one of {', '.join(choices)}")

    return check


def either(what: str, *checks: Check) -> Check:
    """What one of some checks takes."""

    def check(where: str, value: Any) -> None:
        for one in checks:
            try:
                return one(where, value)
            except ValueError:
                continue
        raise _wrong(where, value, what)

    return check


def or_none(inner: Check) -> Check:
    """Null, or what a check takes."""

    def check(where: str, value: Any) -> None:
        if value is not None:
            inner(where, value)

    return check


def list_of(inner: Check) -> Check:
    """A list of what a check takes."""

    def check(where: str, value: Any) -> None:
        if not isinstance(value, list | tuple):
            raise _wrong(where, value, "a list")
        for i, one in enumerate(value):
            inner(f"{where}[{i}]", one)

    return check


@lru_cache(4096)
def _key(name: Any) -> str:
    """A name in a place, for messages; the same few are in all runs."""
    return shown(name)[1:-1]


def map_of(inner: Check, key: Check = text) -> Check:
    """A mapping of names to what a check takes."""

    def check(where: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise _wrong(where, value, "a mapping")
        for k, one in value.items():
            key(f"a name in {where}", k)
            inner(f"{where}.{_key(k)}", one)

    return check


def mapping(
    required: Mapping[str, Check], known: Mapping[str, Check] | None = None, *, more: Check | None
) -> Check:
    """A mapping with fields that have a check of their own.

    Args:
        required: Fields that must be there.
        known: Fields that may.
        more: For all others; None refuses them.
    """
    checks = {**required, **(known or {})}

    def check(where: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise _wrong(where or "it", value, "a mapping")
        start = f"{where}." if where else ""
        for k in required:
            if k not in value:
                raise ValueError(f"{start}{k} is missing")
        for k, one in value.items():
            own = checks.get(k, more)
            if own is None:
                raise ValueError(f"{start}{_key(k)} is no field of this format")
            if own is not anything:  # most fields of definitions: the specs check them at once
                own(f"{start}{_key(k)}", one)

    return check


def _spec(kind: type) -> Check:
    """The fields of a definition."""
    whole_ = {f.name: f for f in fields(kind)}
    needed = {n: anything for n, f in whole_.items() if f.default is MISSING}
    names = mapping(needed, dict.fromkeys(whole_, anything), more=None)

    def check(where: str, value: Any) -> None:
        names(where, value)
        found = fault(kind, value)
        if found:
            raise ValueError(f"{where}.{found}")

    return check


# -- run.json --------------------------------------------------------------------------------

STATUS = one_of("ok", "undefined", "failed")
"""Of a sample or a row."""

_COUNT = mapping({}, more=number)
_PLAIN = mapping({}, more=anything)

_FEATURES = mapping(
    {},
    {
        "names": list_of(text),
        "values": list_of(either("a number or a text", number, text)),
        "gaps": list_of(text),
        "series": list_of(list_of(number)),
        "groups": list_of(list_of(whole)),
    },
    more=None,
)


def _features(where: str, value: Any) -> None:
    _FEATURES(where, value)
    features.check(where, value)


_SAMPLE = mapping(
    {"sample_id": text},
    {
        "label": or_none(whole),
        "status": STATUS,
        "reason": text,
        "prediction": or_none(whole),
        "target": or_none(whole),
        "target_name": or_none(text),
        "score": or_none(number),
        "probability": or_none(number),
        "rows_in_a_call": whole,
        "features": _features,
    },
    more=either("a text, a number, true, false or null", text, number, flag, or_none(text)),
)

_CASE = mapping(
    {"metric": text, "case": text, "note": text, "ok": flag}
    | dict.fromkeys(("expected", "obtained", "tolerance"), number),
    more=anything,
)

_TEST = mapping(
    {"metric": text, "higher": flag, "ok": flag}
    | dict.fromkeys(("random", "input", "truth"), number),
    more=anything,
)

_CERTIFICATES = mapping(
    {},
    {
        "cases": list_of(_CASE),
        "ordering": list_of(_TEST),
        "ladders": list_of(_TEST),
        "without": map_of(text),
    },
    more=None,
)

_REUSE = mapping(
    {}, {"foundation": text, "metrics": map_of(text), "curves": map_of(list_of(text))}, more=None
)

_GIVEN = mapping({}, {"methods": map_of(_PLAIN), "metrics": map_of(_PLAIN)}, more=anything)

_BASELINE = mapping({"name": name, "run_json": text, "left_out": list_of(text)}, more=anything)
"""What a baseline says of itself, see `igbench.records.baselines`."""

_RUN = mapping(
    {
        "id": name,
        "experiment": name,
        "created": moment,
        "state": one_of("finished", "finished with failures"),
        "config": _PLAIN,
        "metrics": map_of(_spec(MetricSpec), name),
        "methods": map_of(_spec(MethodSpec), name),
        "comparability": mapping(
            {},
            {
                "samples": text,
                "weights": text,
                "seed": whole,
                "metric_versions": map_of(either("a text or a whole number", text, whole)),
            },
            more=anything,
        ),
        "identity": _PLAIN,
        "environment": mapping(
            {},
            {
                "identity": text,
                "reuse": or_none(_REUSE),
                "baseline": or_none(_BASELINE),
                "certificates": or_none(_CERTIFICATES),
                "precision": or_none(_PLAIN),
                "parameters": or_none(_GIVEN),
                "model_source": text,
                "data_source": text,
                "data_kind": one_of("image", "table", "text", "series"),
            },
            more=anything,
        ),
        "samples": list_of(_SAMPLE),
        "totals": mapping(
            {},
            {
                "seconds": either("a number, or numbers by stage", number, _COUNT),
                "peak_memory": number,
                "rows_in_a_call": whole,
                "stages": map_of(_COUNT),
                "status": map_of(whole),
            },
            more=anything,
        ),
        "schema_version": whole,
    },
    more=None,
)


_HEADING = mapping(
    {
        "id": name,
        "experiment": name,
        "created": moment,
        "state": one_of("finished", "finished with failures"),
        "config": mapping({}, more=anything),
        "methods": mapping({}, more=anything),
        "comparability": mapping(
            {}, {"metric_versions": mapping({}, more=anything)}, more=anything
        ),
        "identity": mapping({}, {"versions": map_of(text)}, more=anything),
        "environment": mapping({}, {"baseline": or_none(_BASELINE)}, more=anything),
        "samples": list_of(anything),
    },
    more=anything,
)


def heading(content: Any) -> None:
    """Check those fields of run.json that tell runs apart, see `igbench.records.store.peek`.

    Raises:
        ValueError: One is missing, or not what it should be.
    """
    _HEADING("", content)


def run(content: Any) -> None:
    """Check the content of run.json, with tagged numbers decoded.

    Raises:
        ValueError: A field is missing, unknown, or not what it should be.
    """
    _RUN("", content)
    seen: set[str] = set()
    for i, sample in enumerate(content["samples"]):
        if sample["sample_id"] in seen:
            raise ValueError(
                f"samples[{i}].sample_id is {shown(sample['sample_id'])}, for the second time"
            )
        seen.add(sample["sample_id"])
    if (content["environment"].get("reuse") or {}).get("foundation"):
        _REUSED("", {**content["environment"]["reuse"], **content["totals"]})


_REUSED = mapping(
    {"metrics": anything, "curves": anything, "stages": anything, "seconds": number}, more=anything
)
"""What a run must have whose rows others may take."""
