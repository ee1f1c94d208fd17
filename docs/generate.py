"""Generate the documentation: reference pages from the classes, tables from the specs.

`python docs/generate.py` fills the generated blocks of the committed pages and stages the whole
site in build/docs, in the layout of the repository, for `mkdocs build`.  A test fails when a
committed block is stale.
"""

from __future__ import annotations

import csv
import inspect
import math
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import yaml

from igbench.certify.certificates import CASES
from igbench.config import folders
from igbench.config.build import construct, locate
from igbench.integration import convergence
from igbench.records import stats, store
from igbench.report import captions, render
from igbench.report.table import TableOptions
from igbench.report.tables import scores_table
from igbench.schema import Family, MethodSpec, MetricSpec

ROOT = Path(__file__).resolve().parent.parent
STAGE = ROOT / "build" / "docs"
REFERENCE = Path("docs") / "reference"
RUN = ROOT / "experiments" / "imagenet_lite" / "reference"
BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)

FAMILIES: tuple[str, ...] = get_args(Family)
OTHERS = "metrics of Quantus"
KINDS = {
    ("method", "global"): "global: contributions that sum to f(x) - f(x')",
    ("method", "local"): "local: sensitivities, per unit of input",
    ("oracle", "global"): "oracles: independent implementations",
    ("control", "global"): "controls: maps that know nothing of the model",
    ("ceiling", "local"): "ceilings: searches for the best that removal metrics can reach",
}
FEW_METHODS = (
    *("ig", "kernel_shap", "occlusion", "grad_cam_signed"),
    *("edges", "random"),
)
FEW_METRICS = ("completeness", "sensitivity_n", "deletion", "insertion", "srg")
SITE = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "docs/**/*.md",
    "docs/**/*.ipynb",
    "results/README.md",
    "experiments/**/*.md",
    "experiments/**/*.png",
    "experiments/**/*.csv",
)


@dataclass(frozen=True)
class Entry:
    """One file of conf/metric or conf/method.

    Attributes:
        group: "metric" or "method".
        name: Name of the file.
        node: Its content, with `_target_`.
        comment: What the file says of itself.
    """

    group: str
    name: str
    node: Mapping[str, Any]
    comment: str

    @property
    def cls(self) -> type:
        """The class that is configured."""
        return locate(str(self.node["_target_"]), self.name)  # type: ignore[no-any-return]

    @property
    def object(self) -> Any:
        """The configured object; parameters that are left open are those for photographs."""
        made = construct(self.node, f"{self.group}.{self.name}")
        return made.for_shape((3, 224, 224)) if self.group == "metric" else made

    @property
    def spec(self) -> Any:
        """`MetricSpec` or `MethodSpec`."""
        return self.object.spec


@cache
def entries(group: str) -> tuple[Entry, ...]:
    """All files of conf/metric or conf/method, by name."""
    found = []
    for name in folders.packaged(group):
        text = folders.file(group, name).read_text(encoding="utf-8")
        said = [v[1:].strip() for v in text.splitlines() if v.startswith("#")]
        found.append(Entry(group, name, yaml.safe_load(text)[name], " ".join(said)))
    return tuple(found)


# -- blocks of committed pages ------------------------------------------------------------------


def metrics_by_family() -> str:
    """A row for each family: its metrics, with the better direction."""
    lines = ["| family | metrics (the better direction) |", "|---|---|"]
    for family in FAMILIES:
        own = [e for e in entries("metric") if e.spec.family == family]
        names = ", ".join(f"`{e.name}` {e.spec.arrow}".strip() for e in own)
        lines += [f"| {family or OTHERS} | {names} |"] * bool(own)
    return "\n".join(lines)


def methods_by_kind() -> str:
    """A row for each role and kind: its methods."""
    lines = ["| kind | methods |", "|---|---|"]
    for (role, kind), head in KINDS.items():
        own = [e for e in entries("method") if (e.spec.role, e.spec.kind) == (role, kind)]
        lines.append(f"| {head} | {', '.join(f'`{e.name}`' for e in own)} |")
    return "\n".join(lines)


def metrics_table() -> str:
    """Metrics by family: name with the better direction, question and paper."""
    lines = ["| metric | question | source |", "|---|---|---|"]
    for family in FAMILIES:
        own = [e for e in entries("metric") if e.spec.family == family]
        if own:
            lines.append(f"| **{family or OTHERS}** | | |")
        lines += [_metric_line(e.name, e.spec) for e in own]
    return "\n".join(lines)


def _metric_line(name: str, spec: MetricSpec) -> str:
    question = spec.explains if spec.family else spec.title
    return f"| {_cell(f'`{name}` {spec.arrow}'.strip())} | {_cell(question)} | {_paper(spec)} |"


def methods_table() -> str:
    """Methods by role and kind: name, title and paper."""
    lines = ["| method | what it is | source |", "|---|---|---|"]
    for (role, kind), head in KINDS.items():
        own = [e for e in entries("method") if (e.spec.role, e.spec.kind) == (role, kind)]
        if own:
            lines.append(f"| **{head}** | | |")
        lines += [f"| `{e.name}` | {_cell(e.comment)} | {_paper(e.spec)} |" for e in own]
    return "\n".join(lines)


def scores(methods: tuple[str, ...] | None = None, metrics: tuple[str, ...] | None = None) -> str:
    """The scores of the reference run, of all methods and metrics or of some."""
    records = store.read(RUN)
    summary = stats.summarise(records.scores, records.run.metrics, methods=records.run.methods)
    options = TableOptions(metrics=metrics or (), methods=methods or ())
    table = scores_table(records.run, summary, options)
    shown = [key["method"] for key in table.keys]
    caption = (
        f"EfficientNet-Lite0 on 16 photographs: {captions.reading(16)} "
        f"{captions.marks(records.run, shown)}"
    )
    return render.to_markdown(replace(table, caption=caption)).strip()


def cases_table() -> str:
    """Every case with a known answer: metric, model and map, and the answer."""
    lines = ["| metric | model, map and why the answer is what it is | answer |", "|---|---|---:|"]
    lines += [
        f"| `{c.metric}` | {_cell(c.title)}{' (in expectation)' if c.drawn else ''} | "
        f"{c.expected:.6g} |"
        for c in CASES
    ]
    return "\n".join(lines)


def curves_table() -> str:
    """Every curve of the records: what x and y are, as the metrics say."""
    known = {"convergence_gap": convergence.AXES}
    for entry in entries("metric"):
        known |= getattr(entry.cls, "curve_axes", {})
    lines = ["| curve | x | y |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| `{c}` | {x} | {y} |" for c, (x, y) in sorted(known.items()))])


BLOCKS = {
    "curves": curves_table,
    "metrics": metrics_by_family,
    "methods": methods_by_kind,
    "all-metrics": metrics_table,
    "all-methods": methods_table,
    "scores": lambda: scores(FEW_METHODS, FEW_METRICS),
    "all-scores": scores,
}


def filled(text: str) -> str:
    """The text of a page with its generated blocks up to date."""
    return BLOCK.sub(lambda m: f"{m[1]}{BLOCKS[m[2]]()}\n{m[3]}", text)


def pages() -> list[Path]:
    """Committed pages that may hold generated blocks."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


# -- reference pages ----------------------------------------------------------------------------


def reference() -> dict[str, str]:
    """Path below docs/reference to text, for every generated page."""
    found = {"README.md": _index(), "known_answers.md": _known_answers()}
    for group in ("metric", "method"):
        for entry in entries(group):
            found[f"{group}s/{entry.name}.md"] = page(entry)
    return found


def _index() -> str:
    lines = ["# Reference", "", "One page for each metric and method.", ""]
    for group in ("metric", "method"):
        lines += [f"## {group.capitalize()}s", ""]
        lines += [
            f"- [`{e.name}`]({group}s/{e.name}.md): {_cell(e.spec.title)}" for e in entries(group)
        ]
        lines.append("")
    return "\n".join([*lines, "## Tests", "", "- [Known answers](known_answers.md)", ""])


def _known_answers() -> str:
    return (
        "# Known answers\n\nEvery model, map and answer that `igbench certify` checks; "
        "[how to read them](../known_answers.md).\n\n" + cases_table() + "\n"
    )


def page(entry: Entry) -> str:
    """The reference page of a metric or method."""
    spec = entry.spec
    facts = _metric_facts(spec) if entry.group == "metric" else _method_facts(spec)
    facts += [("model rows", cost) for cost in [_cost(entry)] if cost]
    question = f"*{spec.explains}*\n\n" if getattr(spec, "explains", "") else ""
    text = [
        f"# {entry.name}",
        "",
        f"{question}{entry.comment}",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {_cell(value)} |" for name, value in facts),
        "",
        "## Definition",
        "",
        _prose(entry.cls),
        "",
        *_parameters(entry),
        *_use(entry),
        *_answers(entry),
    ]
    return "\n".join(text).rstrip() + "\n"


def _metric_facts(spec: MetricSpec) -> list[tuple[str, str]]:
    low = "(-∞" if math.isinf(spec.low) else f"[{spec.low:g}"
    high = "∞)" if math.isinf(spec.high) else f"{spec.high:g}]"
    better = {"higher": "higher is better", "lower": "lower is better", "none": "neither"}
    return [
        ("title", spec.title),
        ("family", spec.family or OTHERS),
        ("direction", better[spec.direction]),
        ("range", f"{low}, {high}"),
        ("model output", spec.scalar),
        ("unit (one feature)", spec.unit or "none"),
        ("kind of map", spec.needs),
        ("undefined", spec.undefined),
        ("smallest difference worth a verdict", f"{spec.min_effect:g}"),
        ("draws", "the same for all samples" if spec.shared_draws else "keyed by the sample"),
        ("version", str(spec.version)),
        ("reference", spec.reference),
    ]


def _method_facts(spec: MethodSpec) -> list[tuple[str, str]]:
    kinds = {"global": "global: contributions to f(x) - f(x')", "local": "local: sensitivities"}
    return [
        ("title", spec.title),
        ("kind", kinds[spec.kind]),
        ("values", "signed" if spec.signed else "magnitudes"),
        ("role", spec.role),
        ("reference", spec.reference),
    ]


@cache
def _costs() -> dict[str, tuple[int, ...]]:
    with (ROOT / "docs" / "costs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return {name: tuple(map(int, numbers)) for name, *numbers in rows}


def _cost(entry: Entry) -> str:
    """Model rows of one sample, for all maps together and for each map."""
    if entry.name not in _costs():
        return ""
    forward, backward, own, own_backward = _costs()[entry.name]
    if entry.group == "method":
        return f"{own} forward, {own_backward} of them with a gradient, for one 224 x 224 sample"
    shared = f"{forward} for all maps together" + (f" ({backward} gradients)" if backward else "")
    each = f"{own} for each map"
    if own_backward:
        each += f", in {own_backward} calls of a method that takes one gradient"
    return f"{shared}; {each}; for one 224 x 224 sample"


def _parameters(entry: Entry) -> list[str]:
    """A table of the parameters, with the defaults of the class and what conf/ says otherwise."""
    cls = entry.cls
    own = [f for f in fields(cls) if f.init] if is_dataclass(cls) else []
    if not own:
        return []
    told = descriptions(cls)
    lines = ["## Parameters", "", "| parameter | default | meaning |", "|---|---|---|"]
    for field in own:
        default = "required" if field.default is MISSING else _value(field.default)
        if field.default is MISSING and field.default_factory is not MISSING:
            default = "empty"
        default = _by_shape(cls, field.name) or default
        given = entry.node.get(field.name, MISSING)
        if given is not MISSING and not re.search(f"{re.escape(_value(given))}(;|$)", default):
            default += f"; `conf/`: {_value(given)}"
        lines.append(f"| `{field.name}` | {_cell(default)} | {_cell(told.get(field.name, ''))} |")
    return [*lines, ""]


def _by_shape(cls: type, name: str) -> str:
    """Defaults that depend on the shape of a sample."""
    image = getattr(cls, "image_defaults", {}).get(name)
    other = getattr(cls, "other_defaults", {}).get(name)
    if image is None and other is None:
        return ""
    shown = image((3, 224, 224)) if callable(image) else image
    rest = other((10,)) if callable(other) else other
    return f"images (224 x 224): {_value(shown)}; others: {_value(rest)}"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, float):
        return f"`{value:.4g}`"
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(v) for v in value) or "empty"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} = {_value(v)}" for k, v in value.items()) or "empty"
    return f"`{getattr(value, '__name__', value)}`"


def _use(entry: Entry) -> list[str]:
    if entry.group == "method":
        return ["## Use", "", "```sh", f"igbench method=[{entry.name}]", "```", ""]
    import igbench.metrics as public

    lines = ["## Use", "", "```sh", f"igbench metric=[{entry.name}]", "```", ""]
    if hasattr(public, entry.name):
        call = f"igbench.metrics.{entry.name}(model, x, phi, target=y)"
        lines += ["```python", call, "```", ""]
    return lines


def _answers(entry: Entry) -> list[str]:
    cases = [c for c in CASES if entry.group == "metric" and c.metric == entry.name]
    if not cases:
        return []
    lines = ["## Known answers", "", "| model, map and why | answer |", "|---|---:|"]
    return [*lines, *(f"| {_cell(c.title)} | {c.expected:.6g} |" for c in cases)]


# -- docstrings ---------------------------------------------------------------------------------

SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Example|Examples):\s*$")


def sections(doc: str) -> dict[str, list[str]]:
    """A Google docstring, cut at its sections; "" is what comes before the first."""
    found: dict[str, list[str]] = {"": []}
    current = ""
    for line in doc.splitlines():
        head = SECTION.match(line)
        if head:
            current = head[1]
            found[current] = []
        else:
            found[current].append(line)
    return found


def _prose(cls: type) -> str:
    """The docstring without its sections, doctests as code, then what is raised."""
    doc = sections(inspect.getdoc(cls) or "")
    text = "\n".join(_fenced(doc[""])).strip()
    if "Raises" in doc:
        raised = " ".join(line.strip() for line in doc["Raises"] if line.strip())
        text += f"\n\nRaises {raised}"
    return re.sub(r"(?m)(?<=\S)\n(- |\d\. )", r"\n\n\1", _literal(text), count=0)


def _literal(text: str) -> str:
    """Signs that Markdown would take for markup, outside code."""
    parts = re.split(r"(```.*?```|`[^`]*`)", text, flags=re.DOTALL)
    return "".join(
        p if i % 2 else re.sub(r"(?<!^)(?<!\n)([*_<])", r"\\\1", p) for i, p in enumerate(parts)
    )


def _fenced(lines: list[str]) -> Iterator[str]:
    """Lines with doctests fenced."""
    inside = False
    for line in lines:
        if line.startswith(">>>") and not inside:
            inside = True
            yield from ("", "```python")
        elif inside and not line.strip():
            inside = False
            yield "```"
        yield line
    if inside:
        yield "```"


def descriptions(cls: type) -> dict[str, str]:
    """What a class and its bases say of their parameters."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        name = ""
        for line in sections(inspect.cleandoc(base.__doc__ or "")).get("Args", ()):
            head = re.match(r"^ {4}(\w+)(?: \([^)]*\))?: (.*)$", line)
            if head:
                name = head[1]
                found[name] = head[2]
            elif name and line.strip():
                found[name] += f" {line.strip()}"
    return found


def _paper(spec: MetricSpec | MethodSpec) -> str:
    return _cell(re.sub(r",? ?(section|eq\.|definition|proposition) .*$", "", spec.reference))


def _cell(text: str) -> str:
    """Text that does not end a cell of a Markdown table."""
    return text.replace("|", r"\|").replace("\n", " ").strip()


# -- the site -----------------------------------------------------------------------------------


def stage(folder: Path = STAGE) -> None:
    """Copy the committed pages and write the generated ones, in the layout of the repository."""
    shutil.rmtree(folder, ignore_errors=True)
    for pattern in SITE:
        for path in sorted(ROOT.glob(pattern)):
            target = folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    for name, text in reference().items():
        target = folder / REFERENCE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def main() -> None:
    """Fill the committed blocks and stage the site."""
    for path in pages():
        before = path.read_text(encoding="utf-8")
        after = filled(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
    stage()


if __name__ == "__main__":
    main()
