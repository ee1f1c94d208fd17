"""Text, Markdown, JSON and JUnit of a comparison: complete, escaped, and of one mind."""

import json
import math
from dataclasses import replace
from typing import get_args
from xml.etree import ElementTree

import numpy as np
import pytest

from igbench.records import compare as gate
from igbench.schema import Change, Verdict
from tests.helpers.two_runs import BASE, N, make, noisy, with_run

NAME = "a<b>&\"'|`\x1b[31m\u202e]]>"
EVIL = f"{NAME}\udce9"
"""With a byte of a file name that is no text, which columns of text do not hold."""


def some(name: str = "rise", fail_on: gate.FailOn = "regression") -> gate.Comparison:
    """One cell of most verdicts, with a fall against an earlier run."""
    lost = noisy(0.0, 2)
    lost[3] = math.nan
    old = {
        (name, "up"): BASE, (name, "down"): BASE, (name, "flat"): BASE, ("ig", "up"): BASE,
        ("ig", "down"): BASE, ("edges", "up"): BASE, ("ig", "seconds"): np.full(N, 1.0),
    }  # fmt: skip
    new = {
        (name, "up"): noisy(-0.05), (name, "down"): noisy(-0.05), (name, "flat"): noisy(0.05),
        ("ig", "up"): BASE, ("ig", "down"): lost, ("lime", "up"): BASE,
        ("ig", "seconds"): np.full(N, 2.0),
    }  # fmt: skip
    best = with_run(make({("ig", "up"): BASE + 0.02}), id="before")
    base, now = with_run(make(old), id="base"), with_run(make(new), id="now")
    return gate.compare(
        base, now, history=[best], accept={f"{name}/flat": EVIL}, fail_on=fail_on, resamples=99
    )


# --- JSON -----------------------------------------------------------------------------------------


def test_json_holds_every_cell_and_number() -> None:
    found = some()

    def refuse(constant: str) -> None:
        raise AssertionError(f"not strict JSON: {constant}")

    content = json.loads(gate.format_json(found), parse_constant=refuse)
    assert content["schema"] == "igbench.compare/1"
    assert [*content] == [
        "schema", "base", "new", "outcome", "exit_code", "fail_on", "across", "history", "counts",
        "incomparable", "differences", "warnings", "detectable", "metrics", "cells",
    ]  # fmt: skip
    assert (content["base"], content["new"], content["history"]) == ("base", "now", ["before"])
    assert (content["outcome"], content["exit_code"]) == ("regression", 1)
    assert [*content["counts"]] == list(get_args(Verdict))
    assert sum(content["counts"].values()) == len(content["cells"]) == len(found.changes) == 8
    for cell, change in zip(content["cells"], found.changes, strict=True):
        assert [*cell] == [
            "model", "method", "metric", "verdict", "base", "new", "difference", "low", "high",
            "p_value", "n", "note", "lost", "recovered", "drift", "new_model", "accepted",
        ]  # fmt: skip
        for name in ("base", "new", "difference", "low", "high", "p_value"):
            value = getattr(change, name)
            assert cell[name] == (None if math.isnan(value) else value)
        assert cell["verdict"] == change.verdict
    by_name = {f"{c['method']}/{c['metric']}": c for c in content["cells"]}
    assert by_name["ig/down"]["lost"] == [
        {"sample_id": "s3", "base": "ok", "new": "failed", "reason": "boom"}
    ]
    assert by_name["ig/up"]["drift"]["run"] == "before"
    assert by_name["rise/flat"]["accepted"] == EVIL
    assert content["metrics"]["seconds"]["min_effect"] == "inf"


def test_json_of_runs_that_are_not_comparable_names_the_fields() -> None:
    base = make({("ig", "up"): BASE})
    new = with_run(base, identity={"device": "cuda"}, comparability={"seed": 1})
    content = json.loads(gate.format_json(gate.compare(base, new, across=["device"])))
    assert (content["exit_code"], content["cells"]) == (2, [])
    assert content["differences"] == [
        {"name": "seed", "base": "0", "new": "1", "kind": "question", "word": "seed",
         "text": "seed: 0 -> 1", "allowed": False},
        {"name": "device", "base": "'cpu'", "new": "'cuda'", "kind": "machine", "word": "device",
         "text": "device: 'cpu' -> 'cuda'", "allowed": True},
    ]  # fmt: skip


# --- JUnit ----------------------------------------------------------------------------------------


def parsed(found: gate.Comparison) -> ElementTree.Element:
    """The suite, checked against what the JUnit schema of Jenkins and Ant asks for."""
    root = ElementTree.fromstring(gate.format_junit(found).encode())
    assert (root.tag, len(root)) == ("testsuites", 1)
    (suite,) = root
    order = [child.tag for child in suite]
    tests = suite.findall("testcase")
    assert order == ["properties", *["testcase"] * len(tests), "system-out"]
    assert {"name", "tests", "failures", "errors", "skipped", "time"} == set(suite.attrib)
    assert int(suite.attrib["tests"]) == len(tests)
    for tag, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert int(suite.attrib[name]) == len(suite.findall(f"testcase/{tag}"))
    for case in tests:
        assert set(case.attrib) == {"classname", "name", "time"}
        results = [c for c in case if c.tag in ("failure", "error", "skipped")]
        assert len(results) <= 1
        for one in results:
            assert one.attrib["message"]
            assert (one.tag == "skipped") or one.attrib["type"]
    assert len({(c.attrib["classname"], c.attrib["name"]) for c in tests}) == len(tests)
    return suite


def test_junit_has_one_test_for_each_cell() -> None:
    suite = parsed(some())
    results = {
        f"{case.attrib['classname']}/{case.attrib['name']}": case[0].tag
        for case in suite.findall("testcase")
    }
    assert results == {
        "net.rise/up": "failure", "net.rise/down": "system-out", "net.rise/flat": "skipped",
        "net.ig/up": "failure", "net.ig/down": "error", "net.edges/up": "error",
        "net.ig/seconds": "system-out", "net.lime/up": "system-out",
    }  # fmt: skip
    message = suite.findall("testcase/failure")[0].attrib["message"]
    assert message.startswith("REGRESSION rise/up: 0.4324 -> 0.38")
    (drift,) = (f for f in suite.findall("testcase/failure") if "DRIFT" in str(f.text))
    assert drift.attrib["message"].startswith("DRIFT ig/up: ")
    assert "the best run before" in str(drift.text)


@pytest.mark.parametrize("fail_on", get_args(gate.FailOn))
def test_junit_fails_exactly_where_the_exit_status_does(fail_on: gate.FailOn) -> None:
    for found in (some(fail_on=fail_on), gate.compare(*[make({("ig", "up"): BASE})] * 2)):
        suite = parsed(found)
        bad = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
        assert (bad > 0) == (found.exit_code != 0)
    if fail_on == "any-change":
        assert "FAILED" in gate.format_text(found) or bad == 0


def test_junit_of_runs_that_are_not_comparable_is_an_error() -> None:
    base = make({("ig", "up"): BASE})
    suite = parsed(gate.compare(base, with_run(base, comparability={"seed": 1})))
    (error,) = suite.findall("testcase/error")
    assert error.attrib["message"] == "seed: 0 -> 1 (--across seed allows it)"


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", gate.FORMATS)
def test_names_are_escaped(format_: str) -> None:
    named = some(NAME)
    evil = replace(named, base=EVIL, differences=[EVIL], warnings=[EVIL])
    text = gate.FORMATS[format_](evil)
    text.encode()
    assert "\x1b" not in text
    assert "\u202e" not in text
    if format_ == "junit":
        assert len(parsed(evil).findall("testcase")) == 8
    elif format_ == "json":
        assert json.loads(text)["cells"][0]["method"] == NAME
    elif format_ == "markdown":
        assert "<b>" not in text


def test_fail_on_decides_the_exit_status_and_not_the_verdict() -> None:
    codes = {f: some(fail_on=f).exit_code for f in get_args(gate.FailOn)}
    assert codes == {"regression": 1, "any-change": 1, "never": 0}
    assert some(fail_on="never").outcome == "regression"
    base = make({("ig", "up"): BASE})
    for new, code in ((BASE * (1 + 1e-10), 0), (BASE + 1e-6, 1), (noisy(0.05), 1)):
        found = gate.compare(base, make({("ig", "up"): new}), fail_on="any-change", resamples=99)
        assert found.exit_code == code
        assert found.outcome == ("change" if code else "no regression")
        assert ("ig/up: " in gate.format_text(found)) is bool(code)
    lost = gate.compare(base, make({("rise", "up"): BASE}), fail_on="never")
    assert (lost.exit_code, lost.outcome) == (0, "incomplete")
    other = with_run(base, comparability={"seed": 1})
    assert gate.compare(base, other, fail_on="never").exit_code == 2


def test_the_line_of_a_regression() -> None:
    found = some()
    change: Change = found.changes[0]
    line = gate.format_text(found).splitlines()[1]
    p = f"{change.p_value:.2g}".replace("e-0", "e-")
    assert line == (
        f"REGRESSION rise/up: {change.base:.4g} -> {change.new:.4g} ({change.difference:+.3g} "
        f"[{change.low:.3g}, {change.high:.3g}], worse; p={p} Holm; n=32; min effect 0.005)"
    )
