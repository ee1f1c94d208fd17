"""What exists?  One line for each file in conf/: experiments, methods, metrics and the rest."""

from __future__ import annotations

import yaml

from igbench.config import compose
from igbench.errors import check_choice

PLURALS = {
    "experiments": "experiment",
    "methods": "method",
    "metrics": "metric",
    "models": "model",
    "data": "data",
    "baselines": "baseline",
    "presets": "preset",
    "engines": "engine",
}


def text(group: str = "") -> str:
    """Names and descriptions, of one group or of all.

    Raises:
        InputError: Unknown group.
    """
    if not group:
        return "\n\n".join(f"{plural}:\n{text(plural)}" for plural in PLURALS)
    if group not in PLURALS.values():
        check_choice("group", group, tuple(PLURALS))
    folder = PLURALS.get(group, group)
    names = compose.choices(folder)
    width = max(map(len, names), default=0)
    return "\n".join(f"  {name:<{width}}  {describe(folder, name)}" for name in names)


def describe(folder: str, name: str) -> str:
    """One line: what the file says of itself, and for metrics and methods their definition."""
    path = compose.FOLDER / folder / f"{name}.yaml"
    comments = [
        line.removeprefix("#").strip()
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("#") and "@package" not in line and "python -m" not in line
    ]
    said = " ".join(comments)
    if folder not in ("metric", "method"):
        return said
    from igbench.config.build import construct

    node = yaml.safe_load(path.read_text(encoding="utf-8"))[name]
    spec = construct(node, f"{folder}.{name}").spec
    if folder == "metric":
        return f"{spec.arrow or '-'} {spec.title}. {spec.reference}."
    return (
        f"{spec.kind}, {'signed' if spec.signed else 'magnitude'}: {spec.title}. {spec.reference}."
    )
