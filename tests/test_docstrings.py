"""Docstrings: statements as first lines, every parameter described, an example for every metric."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import igbench
from igbench import metrics

ROOT = Path(igbench.__file__).parent
CLASSES = [
    found
    for name, found in vars(metrics).items()
    if inspect.isclass(found) and found is not metrics.BaseMetric
]
FUNCTIONS = [
    found
    for name, found in vars(metrics).items()
    if inspect.isfunction(found) and found is not metrics.as_function
]


def documented(node: ast.AST, name: str = "") -> Iterator[tuple[str, str | None]]:
    """Names and docstrings of the public functions and classes in a module or class."""
    for child in getattr(node, "body", []):
        if not isinstance(child, ast.ClassDef | ast.FunctionDef) or child.name.startswith("_"):
            continue
        if any(isinstance(d, ast.Attribute) and d.attr == "setter" for d in child.decorator_list):
            continue  # the property has the docstring
        own = f"{name}.{child.name}"
        yield own, ast.get_docstring(child)
        if isinstance(child, ast.ClassDef):
            yield from documented(child, own)


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_first_lines_are_statements(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = dict(documented(tree))
    if path.is_relative_to(ROOT / "metrics"):
        texts["module"] = ast.get_docstring(tree)
    first = {name: (text or "").split("\n")[0] for name, text in texts.items()}
    assert {n: line for n, line in first.items() if not line.endswith(".")} == {}
    assert {n: line for n, line in first.items() if "?" in line} == {}


def test_there_are_metrics():
    assert len(CLASSES) > 35
    assert len(FUNCTIONS) > 35


@pytest.mark.parametrize("metric", CLASSES, ids=lambda c: c.__name__)
class TestMetricClasses:
    def test_example(self, metric):
        text = inspect.getdoc(metric)
        assert "\nExample:\n" in text
        assert ">>> " in text

    def test_every_parameter_is_described(self, metric):
        described = re.findall(r"^    (\w+): ", inspect.getdoc(metric), flags=re.MULTILINE)
        assert {f.name for f in fields(metric)} <= set(described)

    def test_source_range_and_cost(self, metric):
        text = inspect.getdoc(metric)
        if metric is metrics.Quantus:  # wraps any metric: they are parameters
            return
        assert re.search(r"^Source: \S", text, flags=re.MULTILINE)
        assert re.search(r"^(Higher|Lower) is better|better|without a direction", text)
        assert "Cost:" in text
        assert "ndefined" in text or "always defined" in text


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_functions_show_an_example_of_themselves(function):
    text = function.__doc__
    assert f"{function.__name__}(" in text[text.index("Example:") :]
