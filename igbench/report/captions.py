"""Captions of tables of scores: what the numbers and marks are, and what the run has on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from igbench.report import names, styles
from igbench.report.table import TIE, TableOptions
from igbench.schema import Run

COUNTS = ("n", "n_undefined", "n_failed")
TEST = "5 %; paired Wilcoxon signed-rank test, Holm"
"""The test behind `TIE`, see `igbench.records.stats.summarise`."""
_TARGETS = {"prediction": "the predicted class", "label": "the labelled class"}


def scores(
    run: Run, summary: pd.DataFrame, metrics: Sequence[str], size: int, options: TableOptions
) -> str:
    """The caption of the table of scores of a run.

    Args:
        run: The run.
        summary: Lines of the methods and metrics that are shown.
        metrics: The metrics that have a column.
        size: Number of samples that goes without saying.
        options: What the table shows.
    """
    models = list(dict.fromkeys(map(str, summary["model"]))) if len(summary) else []
    head = f"Attribution methods on {_join([names.model(m) for m in models]) or 'no model'}"
    sentences = [
        f"{head}: {reading(size)}",
        marks(run, list(summary["method"])),
        *(_extra(options)),
        *provenance(run, metrics),
        counts(summary),
    ]
    return " ".join(filter(None, sentences))


def reading(size: int | str) -> str:
    """What a cell holds."""
    return (
        f"mean ± half the width of its 95 % bootstrap interval over n = {size} samples, unless a "
        "cell says otherwise. Arrows: better direction."
    )


def marks(run: Run, methods: Sequence[str], *, of: str = "") -> str:
    """What bold, underlined and daggered cells are, and who is not ranked.

    Args:
        run: Definitions.
        methods: The methods that are shown.
        of: Among what a method is best, "" for its column.
    """
    found = {styles.role(run, m) for m in methods}
    others = [f"{kind}s" for kind in styles.ROLES if kind != "method" and kind in found]
    unranked = f" {_join(others).capitalize()} are shown, not ranked." if others else ""
    among = f" of {of}" if of else ""
    return (
        f"Bold: best{among}; underlined: second best; {TIE}: not significantly different from the "
        f"best ({TEST}).{unranked}"
    )


def counts(summary: pd.DataFrame) -> str:
    """How many of the values that are summarised are undefined and failed."""
    if not len(summary):
        return "There are no values."
    ok, undefined, failed = (int(summary[k].sum()) for k in COUNTS)
    return (
        f"Of {ok + undefined + failed:,} values, {undefined:,} are undefined and {failed:,} failed."
    )


def provenance(run: Run, metrics: Sequence[str]) -> list[str]:
    """Sentences on model, data, target, output, occluders, seed and versions, as on record."""
    known = run.comparability
    target, output, seed = (_text(known.get(k)) for k in ("target", "output", "seed"))
    facts = [
        ("Model", _text(run.environment.get("model_source"))),
        ("Data", _text(run.environment.get("data_source")) or names.data(run)),
        ("Target", _TARGETS.get(target, target)),
        ("Output", output),
        ("Scalar", _by_value({m: run.metrics[m].scalar for m in metrics})),
        ("Occluder", _by_value(occluders(run, metrics))),
        ("Seed", seed),
        ("Versions", ", ".join(f"{k} {v}" for k, v in versions(run).items())),
    ]
    return [f"{head}: {text}." for head, text in facts if text]


def versions(run: Run) -> dict[str, str]:
    """Versions of igbench and torch on record."""
    given = run.identity.get("versions")
    found = given if isinstance(given, Mapping) else {}
    return {k: _text(found[k]) for k in ("igbench", "torch") if _text(found.get(k))}


def occluders(run: Run, metrics: Sequence[str]) -> dict[str, str]:
    """The occluder of each metric that has one on record."""
    given: Any = run.environment.get("parameters")
    parameters = given.get("metrics") if isinstance(given, Mapping) else None
    found = parameters if isinstance(parameters, Mapping) else {}
    own = {m: found.get(m) for m in metrics}
    return {
        m: _text(p["occluder"])
        for m, p in own.items()
        if isinstance(p, Mapping) and _text(p.get("occluder"))
    }


def _by_value(found: Mapping[str, str]) -> str:
    """Values with the metrics that have them; the value alone where all have it.

    >>> _by_value({"srg": "zero", "deletion": "zero", "insertion": "blur"})
    'zero (SRG, Deletion), blur (Insertion)'
    >>> _by_value({"srg": "zero"}), _by_value({})
    ('zero', '')
    """
    groups: dict[str, list[str]] = {}
    for name, value in found.items():
        groups.setdefault(value, []).append(styles.name_text(name))
    if len(groups) == 1:
        return next(iter(groups))
    return ", ".join(f"{value} ({', '.join(of)})" for value, of in groups.items())


def _extra(options: TableOptions) -> list[str]:
    texts = []
    if options.ranks:
        texts.append(
            "Rank: mean over the samples on which all ranked methods with values have one; 1 is "
            "best."
        )
    if options.shares:
        texts.append(
            "Share: of the way from the random control to the best order found, with its 95 % "
            "interval."
        )
    return texts


def _text(value: object) -> str:
    """A recorded text or whole number; "" for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value)


def _join(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
