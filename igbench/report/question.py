"""Say in words what a run asked: model, data, target, what is explained, methods, metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from igbench.report import styles
from igbench.report.samples import method_label
from igbench.schema import MetricSpec, Run

KINDS = {"image": "image", "text": "text", "table": "row of a table", "series": "series"}
TARGETS = {
    "prediction": "the class that the model predicts for the sample",
    "label": "the class of the label of the sample",
}
OUTPUTS = {
    "logit": "the logit of the target",
    "probability": "the probability of the target",
    "log_probability": "the logarithm of the probability of the target",
}
ROLES = {
    "method": ("method", "methods"),
    "oracle": ("oracle, an independent implementation", "oracles, independent implementations"),
    "control": ("control, which does not know the model", "controls, which do not know the model"),
    "ceiling": ("ceiling, the best order that a search found",
                "ceilings, the best orders that a search found"),
}  # fmt: skip
"""What a role is, for one and for several."""


@dataclass(frozen=True)
class Fact:
    """One line of the question.

    Attributes:
        term: What it is about.
        text: Plain text.
        items: Pairs of a name and a text, as a list below the text.
    """

    term: str
    text: str
    items: Sequence[tuple[str, str]] = ()


def question(run: Run, models: Sequence[str]) -> list[Fact]:
    """The question of a run, from its record alone.

    Args:
        run: The run.
        models: Names of the models in its scores.
    """
    facts = [
        Fact("Model", _with_source(", ".join(models), run.environment.get("model_source"))),
        Fact("Data", _data(run)),
        Fact("Target", _said(_setting(run, "target"), TARGETS)),
        Fact("Explained output", _said(_setting(run, "output"), OUTPUTS)),
        Fact("Baseline x′", str(run.identity.get("baseline") or "")),
        Fact("Methods", "", _methods(run)),
        Fact("Metrics", "", _metrics(run)),
    ]
    return [fact for fact in facts if fact.text or fact.items]


def _with_source(name: str, source: Any) -> str:
    return f"{name} ({source})" if name and source else name or str(source or "")


def _data(run: Run) -> str:
    kind = KINDS.get(str(run.environment.get("data_kind", "image")), "sample")
    source = run.environment.get("data_source")
    used = sum(s.get("status", "ok") == "ok" for s in run.samples)
    noun = kind if len(run.samples) == 1 or kind == "series" else _plural(kind)
    text = f"{len(run.samples):,} {noun}" + (f" of {source}" if source else "")
    return text if used == len(run.samples) else f"{text}; {used:,} of them could be used"


def _plural(kind: str) -> str:
    """The noun in the plural.

    >>> _plural("image"), _plural("row of a table")
    ('images', 'rows of a table')
    """
    first, _, rest = kind.partition(" ")
    return f"{first}s {rest}".strip()


def _setting(run: Run, name: str) -> str:
    return str(run.comparability.get(name) or run.config.get(name) or "")


def _said(value: str, words: dict[str, str]) -> str:
    return words.get(value, value)


def _methods(run: Run) -> list[tuple[str, str]]:
    found = []
    for role, nouns in ROLES.items():
        names = [m for m in styles.method_names(run) if styles.role(run, m) == role]
        if names:
            found.append(
                (f"{len(names)} {nouns[len(names) > 1]}", ", ".join(map(method_label, names)))
            )
    return found


def _metrics(run: Run) -> list[tuple[str, str]]:
    return [
        (f"{method_label(name)} {run.metrics[name].arrow}".strip(), _asks(run.metrics[name]))
        for name in styles.metric_names(run)
    ]


def _asks(spec: MetricSpec) -> str:
    """What a metric asks, of which family it is, and which output it follows.

    >>> _asks(MetricSpec("T", "lower", 0, 1, 1, "r", family="axiomatic", explains="Sum to f?"))
    'Sum to f? (axiomatic)'
    """
    remarks: list[str] = [spec.family] if spec.family else []
    remarks += [f"follows the {spec.scalar.replace('_', '-')}"] if spec.scalar != "score" else []
    return (spec.explains or spec.title) + (f" ({', '.join(remarks)})" if remarks else "")
