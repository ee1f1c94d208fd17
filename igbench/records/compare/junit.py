"""A comparison as JUnit XML, which CI services show as test results: one test for each cell."""

from __future__ import annotations

from xml.etree import ElementTree

from igbench.errors import printable
from igbench.records.compare.acceptance import QUIET, drifted
from igbench.records.compare.comparison import Comparison, fails
from igbench.records.compare.text import finding_lines, headline, remarks
from igbench.schema import Change

ERRORS = ("failed", "missing", "incomparable")
"""Verdicts that are errors of a test; others that fail are failures."""


def format_junit(comparison: Comparison) -> str:
    """Format a comparison as JUnit XML.

    A cell is a test case, named by its metric in the class "model.method".  It fails where it makes
    the exit status other than 0: samples that failed, missing and incomparable cells are errors.
    Accepted cells are skipped, with the reason.
    """
    c = comparison
    tests = [_test(c, change) for change in c.changes]
    if c.incomparable:
        tests.append(_not_comparable(c))
    suite = ElementTree.Element("testsuite", name=printable(f"igbench compare {c.base} {c.new}"))
    counts = {
        "tests": len(tests),
        "failures": sum(t.find("failure") is not None for t in tests),
        "errors": sum(t.find("error") is not None for t in tests),
        "skipped": sum(t.find("skipped") is not None for t in tests),
    }
    for key, count in counts.items():
        suite.set(key, str(count))
    suite.set("time", "0")
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (("base", c.base), ("new", c.new), ("outcome", c.outcome)):
        ElementTree.SubElement(properties, "property", name=name, value=printable(value))
    suite.extend(tests)
    said = ElementTree.SubElement(suite, "system-out")
    said.text = "\n".join(map(printable, [headline(c), *remarks(c)]))
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites, " ")
    body = ElementTree.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _test(c: Comparison, change: Change) -> ElementTree.Element:
    case = ElementTree.Element(
        "testcase",
        classname=printable(f"{change.model}.{change.method}"),
        name=printable(change.metric),
        time="0",
    )
    lines = list(map(printable, finding_lines(c, change)))
    text = "\n".join(lines)
    if change.name in c.accepted:
        reason = printable(f"accepted: {c.accepted[change.name]}")
        ElementTree.SubElement(case, "skipped", message=reason)
    elif fails(change, c.fail_on):
        kind = "error" if change.verdict in ERRORS else "failure"
        message = lines[-1] if change.verdict in QUIET and drifted(change) else lines[0]
        ElementTree.SubElement(case, kind, message=message, type=change.verdict).text = text
    ElementTree.SubElement(case, "system-out").text = text
    return case


def _not_comparable(c: Comparison) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname="igbench", name="comparable", time="0")
    text = "\n".join(map(printable, c.incomparable))
    error = ElementTree.SubElement(case, "error", message=printable(c.incomparable[0]))
    error.set("type", "not comparable")
    error.text = text
    return case
