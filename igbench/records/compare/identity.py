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
from igbench.schema import Records, Run

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
    Field("folded", "", "listed", "batch norms folded into convolutions"),
    Field("methods*", "", "argument", "arguments of a method: n_steps, rule, ..."),
    Field("batch_size", "", "listed", "rows a call"),
    Field("shard_size", "", "listed", "samples a shard"),
    Field("python", "", "listed", "version of Python"),
    Field("platform", "", "listed", "operating system"),
    Field("threads", "", "listed", "threads of the CPU"),
    Field("*", "*", "question", "any other entry"),
)  # fmt: skip
"""Every entry, by the first pattern that its name matches."""

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_CUT = "characters, SHA-256 "
"""What a text has that `shorten` has cut."""
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
        known += list(mapping_of(run.identity, "versions"))
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
    for name, old, now in differing(_entries(base.run, new.run), _entries(new.run, base.run)):
        field = _field(name)
        word = field.word
        if word == "*":
            word = name.removeprefix("versions.").partition(".")[0]
        describe = _IN_WORDS.get(name)
        said = describe(base, new) if describe else ""
        text = f"{name}: {said or f'{value_text(old)} -> {value_text(now)}'}"
        found.append(Difference(name, value_text(old), value_text(now), field.kind, word, text))
    return found


def _field(name: str) -> Field:
    return next(f for f in FIELDS if fnmatchcase(name, f.entries))


def _entries(run: Run, other: Run) -> dict[str, Any]:
    """Everything of a run that is compared, by name; settings only where the other has them too."""
    found = {k: v for k, v in run.comparability.items() if k != METRIC_VERSIONS}
    found |= {k: v for k, v in run.identity.items() if k != "methods"}
    found["versions"] = run.identity.get("versions", {})
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


def _methods(run: Run, other: Run) -> dict[str, Any]:
    """Arguments of the methods: as parameters if both runs have them, otherwise as written.

    As written too where the parameters agree, since they may not show everything.  The data of the
    run are no argument.
    """
    own, others = (
        mapping_of(mapping_of(r.environment, "parameters"), "methods") for r in (run, other)
    )
    written = mapping_of(run.identity, "methods")
    if not own or not others:
        return {name: _as_written(run, other, name) for name in written}
    found = {}
    for name in dict.fromkeys([*own, *written]):
        given = mapping_of(own, name)
        found[name] = {k: v for k, v in given.items() if k != "data"}
        if given == mapping_of(others, name) and name in written:
            found[name]["as written"] = _as_written(run, other, name)
    return found


def _as_written(run: Run, other: Run, name: str) -> Any:
    """A method as a run has written it, without addresses in memory.

    None where it has some and is cut in either run, so that nothing can be said.
    """
    own, others = (mapping_of(r.identity, "methods").get(name) for r in (run, other))
    if not isinstance(own, str):
        return own
    texts = (own, others if isinstance(others, str) else "")
    if any(map(_ADDRESS.search, texts)) and any(_CUT in text for text in texts):
        return None
    return _ADDRESS.sub("", own)


def mapping_of(values: Any, name: str) -> Mapping[str, Any]:
    """The mapping of a name in a mapping; an empty one where there is none."""
    found = values.get(name) if isinstance(values, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def differing(old: Any, now: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """Dotted names and both values of what differs in two nested dictionaries."""
    if isinstance(old, Mapping) and isinstance(now, Mapping):
        found = []
        for key in dict.fromkeys([*old, *now]):
            inner = f"{name}.{key}" if name else str(key)
            found += differing(old.get(key, _ABSENT), now.get(key, _ABSENT), inner)
        return found
    return [] if old == now or _plain(old) == _plain(now) else [(name, old, now)]


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


_ABSENT = _Absent()


def _plain(value: Any) -> str:
    """The representation of a value without addresses in memory."""
    return _ADDRESS.sub("", repr(value))


def value_text(value: Any) -> str:
    """A value as a text of one line, cut where it is long."""
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
    before, after = set(old), set(now)
    lost, gained = [i for i in old if i not in after], [i for i in now if i not in before]
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
