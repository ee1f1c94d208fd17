"""What differs between two runs, and what of it may differ in a comparison.

`FIELDS` is the one table of it; docs/howto/compare_in_ci.md shows it.  A difference that can move
the numbers is refused unless the option `--across` names it; arguments of methods are what a
comparison judges, so they are listed, but for those that ask another question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from igbench.errors import InputError, printable, suggestion
from igbench.records.shorten import shorten
from igbench.schema import COSTS, Records, Run

METRIC_VERSIONS = "metric_versions"
"""The comparability field that is compared metric by metric."""
ALL, LIBRARIES = "all", "libraries"
"""Words for everything but the question, and for the versions of all packages."""

Kind = Literal["question", "model", "library", "machine", "argument", "listed"]


@dataclass(frozen=True)
class Field:
    """Entries of a run that say who asked what, of which model, with what.

    Attributes:
        entries: Pattern of their names.
        word: What `--across` calls them; "*" for the name itself, "" where they never forbid.
        kind: "question" (to be named by itself), "model", "library" and "machine" (also allowed by
            `--across all`), "argument" (judged) or "listed" (cannot move the numbers).
        meaning: What they are.
    """

    entries: str
    word: str
    kind: Kind
    meaning: str


FIELDS = (
    Field("samples", "samples", "question", "identifiers of the samples, in order"),
    Field("target", "target", "question", "rule for the class that is explained"),
    Field("output", "scalar", "question", "the output that is explained: logit, probability"),
    Field("seed", "seed", "question", "seed of all random numbers"),
    Field("data.*", "data", "question", "arguments of the data, but for paths"),
    Field("metrics.*", "metrics", "question", "definition and arguments of a metric; its cells"),
    Field("baseline", "baseline", "question", "baseline of the run; cells that can depend on it"),
    Field("methods.*.baseline", "baseline", "question", "baseline of a method; its cells"),
    Field("methods.*.baselines", "baseline", "question", "baselines of a method; its cells"),
    Field("methods.*.scalar", "scalar", "question", "output that a method explains; its cells"),
    Field("methods.*.output", "scalar", "question", "output that a method explains; its cells"),
    Field("weights", "model", "model", "hash of the weights"),
    Field("versions.pandas", "", "listed", "reads and writes tables"),
    Field("versions.hydra-core", "", "listed", "reads the configuration"),
    Field("versions.*", "*", "library", "version of a package: captum, torch, igbench, ..."),
    Field("git", "igbench", "library", "revision of igbench in a checkout"),
    Field("device", "device", "machine", "device, with its hardware"),
    Field("dtype", "precision", "machine", "precision of the model"),
    Field("precision", "precision", "machine", "precision of perturbed inputs without gradient"),
    Field("compile", "precision", "machine", "compiler of forwards"),
    Field("methods.*", "", "argument", "arguments of a method: n_steps, rule, ..."),
    Field("batch_size", "", "listed", "rows a call"),
    Field("shard_size", "", "listed", "samples a shard"),
    Field("python", "", "listed", "version of Python"),
    Field("platform", "", "listed", "operating system"),
    Field("threads", "", "listed", "threads of the CPU"),
    Field("*", "*", "question", "any other entry"),
)  # fmt: skip
"""Every entry, by the first pattern that its name matches."""

_QUESTIONS = ("baseline", "baselines", "scalar", "output")
"""Arguments of a method that ask another question."""
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_LONGEST = 100
"""Characters of a value in a message."""


@dataclass(frozen=True)
class Difference:
    """An entry that two runs have with other values.

    Attributes:
        name: Its name, such as "versions.captum".
        base: Its value in the base run, as text.
        new: Its value in the new run.
        kind: What it is, see `Field`.
        word: The word of `--across` that allows it; "" where nothing forbids it.
        text: The same in words.
    """

    name: str
    base: str
    new: str
    kind: Kind
    word: str
    text: str

    def allowed(self, across: Collection[str]) -> bool:
        """Whether it may differ."""
        if not self.word or self.word in across:
            return True
        group = LIBRARIES in across and self.kind == "library"
        return group or (ALL in across and self.kind not in ("question", "argument"))


def words(across: Iterable[str], base: Run, new: Run) -> frozenset[str]:
    """The words of `--across`, which may be given with commas between.

    Raises:
        InputError: One is none.
    """
    given = [word.strip() for text in across for word in text.split(",")]
    known = [ALL, LIBRARIES, *(f.word for f in FIELDS if f.word not in ("", "*"))]
    for run in (base, new):
        known += list(_mapping(run.identity, "versions"))
        others = {**run.comparability, **run.identity}.keys() - {METRIC_VERSIONS, "methods"}
        known += sorted(k for k in others if k != "versions" and _field(k) is FIELDS[-1])
    known = list(dict.fromkeys(known))
    for word in given:
        if word not in known:
            raise InputError(
                f"--across {word}: nothing of this name can differ; known: {', '.join(known)}."
                f"{suggestion(word, known)}"
            )
    return frozenset(given)


def allows(across: Collection[str], word: str) -> bool:
    """Whether a word of a question, or "model", is among those given."""
    return word in across or (word == "model" and ALL in across)


def differences(base: Records, new: Records) -> list[Difference]:
    """All entries that differ, but for the definitions of metrics."""
    found = []
    for name, old, now in _differing(_entries(base.run, new.run), _entries(new.run, base.run)):
        field = _field(name)
        word = field.word
        if word == "*":
            word = name.removeprefix("versions.").partition(".")[0]
        describe = _IN_WORDS.get(name)
        said = describe(base, new) if describe else ""
        text = f"{name}: {said or f'{_value(old)} -> {_value(now)}'}"
        found.append(Difference(name, _value(old), _value(now), field.kind, word, text))
    return found


def _field(name: str) -> Field:
    return next(f for f in FIELDS if fnmatchcase(name, f.entries))


def _entries(run: Run, other: Run) -> dict[str, Any]:
    """Everything of a run that is compared, by name; settings only where the other has them too."""
    found = {k: v for k, v in run.comparability.items() if k != METRIC_VERSIONS}
    found |= {k: v for k, v in run.identity.items() if k != "methods"}
    found["methods"] = _methods(run, other)
    for name in ("git", "python", "platform", "threads"):
        if run.environment.get(name) and other.environment.get(name):
            found[name] = run.environment[name]
    own, others = (r.config.get("data") for r in (run, other))
    if isinstance(own, Mapping) and isinstance(others, Mapping):
        paths = {k for d in (own, others) for k, v in d.items() if _is_path(v)}
        found["data"] = {k: v for k, v in own.items() if k not in paths}
    return dict(shorten(found))  # long texts are cut, as they are in a baseline


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and ("/" in value or "\\" in value)


def _methods(run: Run, other: Run) -> Any:
    """Arguments of the methods: as parameters if both runs have them, otherwise as written."""
    own = _mapping(_mapping(run.environment, "parameters"), "methods")
    if own and _mapping(_mapping(other.environment, "parameters"), "methods"):
        return {
            m: {k: v for k, v in p.items() if k != "data"} if isinstance(p, Mapping) else p
            for m, p in own.items()
        }
    return run.identity.get("methods")


def _mapping(values: Any, name: str) -> Mapping[str, Any]:
    found = values.get(name) if isinstance(values, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _differing(old: Any, now: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """Dotted names and both values of what differs in two nested dictionaries."""
    if isinstance(old, Mapping) and isinstance(now, Mapping):
        found = []
        for key in dict.fromkeys([*old, *now]):
            inner = f"{name}.{key}" if name else str(key)
            found += _differing(old.get(key, _ABSENT), now.get(key, _ABSENT), inner)
        return found
    return [] if old == now or _plain(old) == _plain(now) else [(name, old, now)]


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


_ABSENT = _Absent()


def _plain(value: Any) -> str:
    """The representation of a value without addresses in memory."""
    return _ADDRESS.sub("", repr(value))


def _value(value: Any) -> str:
    text = printable(_plain(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


# -- fields whose values are hashes ------------------------------------------------------------


def sample_ids(run: Run) -> list[str]:
    """Identifiers of the samples of a run, in order."""
    return [str(s["sample_id"]) for s in run.samples]


def _samples_in_words(base: Records, new: Records) -> str:
    """How the samples of two runs differ; empty where their identifiers agree."""
    old, now = sample_ids(base.run), sample_ids(new.run)
    if old == now:
        return ""
    lost, gained = ([i for i in a if i not in set(b)] for a, b in ((old, now), (now, old)))
    if not lost and not gained:
        return "the same samples in another order"
    parts = [f"{len(old)} against {len(now)} samples"] if len(old) != len(now) else []
    for ids, where in ((lost, "base"), (gained, "new")):
        if ids:
            verb = "is" if len(ids) == 1 else "are"
            parts.append(f"{len(ids)} {verb} in the {where} run only, the first: {ids[0]!r}")
    return "; ".join(parts)


def _weights_in_words(base: Records, new: Records) -> str:
    """Hashes of the weights, shortened, with the sources of the models."""
    hashes = [str(r.run.comparability.get("weights", "unknown")) for r in (base, new)]
    sources = [str(r.run.environment.get("model_source", "")) for r in (base, new)]
    named = [
        f"{short[:12]}{f' ({source})' if source else ''}"
        for short, source in zip(hashes, sources, strict=True)
    ]
    return f"the models have other weights, by hash {named[0]} -> {named[1]}"


_IN_WORDS: dict[str, Callable[[Records, Records], str]] = {
    "samples": _samples_in_words,
    "weights": _weights_in_words,
}


# -- questions of single cells -----------------------------------------------------------------


@dataclass(frozen=True)
class Questions:
    """What makes single cells answer another question in the new run.

    Attributes:
        metrics: Metric to what changed in its definition.
        methods: Method to its arguments that ask another question.
        baseline: What changed in the baseline of the run; "" for nothing.
        free: Cells that cannot depend on the baseline of the run, as tests of their names.
    """

    metrics: Mapping[str, str]
    methods: Mapping[str, str]
    baseline: str
    free_methods: Collection[str] = ()
    free_metrics: Collection[str] = ()

    def asked(self, method: str, metric: str) -> str:
        """Why a cell answers another question; "" where it does not."""
        found = [self.metrics.get(metric, ""), self.methods.get(method, "")]
        if method not in self.free_methods or metric not in (*self.free_metrics, *COSTS):
            found.append(self.baseline)
        return "; ".join(filter(None, found))


def questions(
    base: Records, new: Records, found: Iterable[Difference], across: Collection[str]
) -> Questions:
    """What of two runs asks another question of single cells, and is not allowed to differ."""
    asked = [d for d in found if d.kind == "question" and not d.allowed(across)]
    methods: dict[str, str] = {}
    for one in asked:
        if one.name.startswith("methods."):
            method = one.name.removeprefix("methods.").rpartition(".")[0]
            methods[method] = "; ".join(filter(None, [methods.get(method, ""), one.text]))
    return Questions(
        metrics={} if "metrics" in across else changed_metrics(base.run, new.run),
        methods=methods,
        baseline=next((d.text for d in asked if d.name == "baseline"), ""),
        free_methods=_free_methods(base.run, new.run),
        free_metrics=_free_metrics(base.run, new.run),
    )


def of_cells(difference: Difference) -> bool:
    """Whether a question concerns single cells and not the whole run."""
    return difference.name == "baseline" or difference.name.startswith("methods.")


def _free_methods(base: Run, new: Run) -> set[str]:
    """Methods that cannot depend on the baseline of the run: sensitivities, or with one of theirs.

    Ceilings search with the occluder of a metric, which may be the baseline.
    """
    local = {
        m for m, spec in new.methods.items()
        if spec.kind == "local" and spec.role != "ceiling" and base.methods.get(m) == spec
    }  # fmt: skip
    own = [_mapping(_mapping(r.environment, "parameters"), "methods") for r in (base, new)]
    given = [
        {m for m, p in methods.items() if isinstance(p, Mapping) and _has_baseline(p)}
        for methods in own
    ]
    return local | (given[0] & given[1])


def _has_baseline(parameters: Mapping[str, Any]) -> bool:
    return bool(parameters.get("baseline") or parameters.get("baselines"))


def _free_metrics(base: Run, new: Run) -> set[str]:
    """Metrics whose value cannot depend on the baseline but through the map."""
    parts = [_mapping(_mapping(r.environment, "parameters"), "metrics") for r in (base, new)]
    return {
        k
        for k, spec in new.metrics.items()
        if "global" not in spec.needs and all(_spares_baseline(p.get(k)) for p in parts)
    }


def _spares_baseline(parameters: Any) -> bool:
    """Whether the recorded arguments of a metric name the baseline nowhere."""
    known = isinstance(parameters, Mapping) and parameters.get("occluder", "") is not None
    return known and "baseline" not in repr(parameters)


def changed_metrics(base: Run, new: Run) -> dict[str, str]:
    """Metric to what changed in its definition, for metrics of both runs."""
    old, now = (
        {k: spec.version for k, spec in r.metrics.items()}
        | dict(_mapping(r.comparability, METRIC_VERSIONS))
        for r in (base, new)
    )
    changed = [k for k in old if k in now and old[k] != now[k]]
    return {k: _version_change(str(old[k]), str(now[k]), k, base, new) for k in changed}


def _version_change(old: str, now: str, metric: str, base: Run, new: Run) -> str:
    """What differs between two versions "number-hash", where the hash is over all settings."""
    if old.partition("-")[0] != now.partition("-")[0]:
        return f"version {old.partition('-')[0]} -> {now.partition('-')[0]}"
    before, after = (
        shorten(_mapping(_mapping(_mapping(r.environment, "parameters"), "metrics"), metric))
        for r in (base, new)
    )
    changes = [f"{name}: {_value(a)} -> {_value(b)}" for name, a, b in _differing(before, after)]
    return f"other settings ({', '.join(changes) or f'{old} -> {now}'})"


def no_common_metric(base: Records, new: Records, changed: Mapping[str, str]) -> str:
    """Why no metric of two runs can be compared; "" where one can."""
    old, now = (set(r.scores["metric"]) - set(COSTS) for r in (base, new))
    if not (old or now) or (old & now) - set(changed):
        return ""
    if not old & now:
        return f"metrics: {sorted(old)} -> {sorted(now)}, none in common"
    shared = [f"{k} {changed[k]}" for k in sorted(old & now)]
    return f"metrics: every metric in common changed: {', '.join(shared)}"
