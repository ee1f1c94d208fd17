"""The fixture `igbench` in other people's test suites."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import igbench
from igbench.records import store
from tests.plugin.conftest import TEST

ROOT = Path(igbench.__file__).parents[1]
NODE = f"{TEST}::test_explanations"
UPDATE = f"pytest {NODE} --igbench-update"
HALVED = ("return self.layers(x)", "return self.layers(x / 2)")


def text(result):
    return "\n".join(result.outlines)


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_a_missing_baseline_fails_and_names_the_command(repository):
    result = repository.pytest()
    result.assert_outcomes(failed=1)
    shown = text(result)
    assert f"AssertionError: no baseline 'v1' in {repository.baseline.parent} (there are " in shown
    assert f"      {UPDATE}" in shown
    assert f"failed   no baseline v1 [{NODE}]" in shown
    assert not repository.baseline.parent.exists()


def test_the_first_baseline_is_written_on_demand(repository, made):
    result = repository.pytest("--igbench-update")
    result.assert_outcomes(passed=1)
    assert f"written  baseline v1: 32 samples, methods ig in baselines/v1 [{NODE}]" in text(result)
    assert files(repository.baseline).keys() == files(made / "v1").keys()


def test_the_command_repeats_the_folder(repository):
    shown = text(repository.pytest("--igbench-baseline", "kept here"))
    assert f"      pytest {NODE} --igbench-baseline 'kept here' --igbench-update" in shown


def test_the_same_model_passes_and_is_listed(kept):
    before = files(kept.baseline)
    result = kept.pytest("--junitxml=junit.xml")
    result.assert_outcomes(passed=1)
    assert re.search(
        rf"passed   no regression: .* of 4 cells \(baseline v1 -> now\) \[{NODE}\]", text(result)
    )
    assert files(kept.baseline) == before
    (found,) = ET.parse(kept.path / "junit.xml").iter("property")
    entry = json.loads(found.get("value"))
    assert (found.get("name"), entry["baseline"], entry["state"]) == ("igbench", "v1", "passed")


def test_changed_code_fails_with_a_message_that_says_it_all(kept):
    before = files(kept.baseline)
    kept.change(*HALVED)
    result = kept.pytest("--igbench-results", "failed runs")
    result.assert_outcomes(failed=1)
    shown = text(result)
    assert "AssertionError: explanations are worse than in baseline 'v1'" in shown
    assert "regression: 1 regressed, 1 equivalent, 2 identical of 4 cells (baseline v1" in shown
    assert re.search(r"REGRESSION ig/srg: [\d.]+ -> [\d.]+ \(-[\d.]+ \[-[\d.]+, -[\d.]+\]", shown)
    assert "method ig: Integrated Gradients" in shown
    assert "metric srg (higher is better): How much does the order" in shown
    assert "model: the same weights; its outputs differ on 32 of 32 samples" in shown
    assert "look at the preprocessing" in shown
    assert f"      {UPDATE}" in shown
    assert f"pytest {NODE} --igbench-accept ig/srg=WHY" in shown
    assert "pytest_plugin.py" not in shown  # the traceback is the line of the test alone
    (run,) = (kept.path / "failed runs" / "v1").iterdir()
    assert f"igbench compare baselines/v1 'failed runs/v1/{run.name}' --across all" in shown
    assert store.read(run).run.experiment == "v1"
    assert files(kept.baseline) == before


def test_a_change_is_accepted_with_a_reason_that_is_kept(kept):
    kept.change(*HALVED)
    cell = "ig/srg=a new input range"
    result = kept.pytest("--igbench-accept", cell, "--igbench-accept", "ig/sgr=because")
    result.assert_outcomes(passed=1)
    assert "1 accepted" in text(result)
    assert result.ret == pytest.ExitCode.TESTS_FAILED  # for the other one
    assert "ERROR    --igbench-accept 'ig/sgr' matches no cell that has changed" in text(result)
    file = kept.path / "baselines" / "v1.accepted.yaml"
    assert "reason: a new input range" in file.read_text(encoding="utf-8")
    kept.pytest().assert_outcomes(passed=1)
    kept.change("x / 2", "x / 4")  # worse than what was accepted
    result = kept.pytest()
    result.assert_outcomes(failed=1)
    assert "does not cover 1 cells, the first Classifier/ig/srg" in text(result)


@pytest.mark.parametrize("word", ["ig/srg", "ig/srg=", "=because"])
def test_a_reason_is_needed(repository, word):
    result = repository.pytest("--igbench-accept", word)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "needs a cell and a reason" in "\n".join(result.errlines)


def test_the_command_line_decides_what_fails(kept):
    kept.change(*HALVED)
    result = kept.pytest("--igbench-fail-on", "never")
    result.assert_outcomes(passed=1)
    assert "ignored  regression: 1 " in text(result)
    kept.change('baseline="v1"', 'baseline="v1", fail_on="never"')
    kept.pytest("--igbench-fail-on", "regression").assert_outcomes(failed=1)


def test_an_update_replaces_the_baseline_and_says_what_it_was(kept):
    before = files(kept.baseline)
    kept.change(*HALVED)
    result = kept.pytest("--igbench-update")
    result.assert_outcomes(passed=1)
    assert re.search(
        r"replaced baseline v1: .*; against the one before: regression: 1 ", text(result)
    )
    assert files(kept.baseline) != before
    kept.pytest().assert_outcomes(passed=1)


def test_what_cannot_be_used_is_refused_in_one_line(kept):
    kept.change('methods=["ig"]', 'methods=["igg"]')
    shown = text(kept.pytest())
    assert "InputError: unknown method 'igg'" in shown
    assert re.search(r"refused  baseline v1: unknown method 'igg'", shown)
    assert "pytest_plugin.py" not in shown
    kept.change('methods=["igg"]', 'methods=["ig"], metods=[]')
    assert "unexpected keyword argument 'metods'" in text(kept.pytest())


def test_a_method_without_a_baseline_fails(kept):
    kept.change('methods=["ig"]', 'methods=["ig", "saliency"]')
    result = kept.pytest()
    result.assert_outcomes(failed=1)
    assert "NEW saliency/srg" in text(result)
    kept.change('methods=["ig", "saliency"]', 'methods=["saliency"]')
    kept.pytest().assert_outcomes(failed=1)


def test_two_checks_do_not_share_what_they_write(repository):
    entry = {"state": "written", "baseline": "v1", "verdict": "", "accepted": []}
    body = f"    request.node.user_properties.append(('igbench', {json.dumps(json.dumps(entry))}))"
    for n in (1, 2):
        repository.append(f"\n\ndef test_{n}(request):\n{body}\n")
    result = repository.pytest("-k", "1 or 2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "ERROR    baseline 'v1' was written 2 times" in text(result)


@pytest.mark.slow  # each worker imports torch
def test_checks_in_workers_are_listed_too(kept):
    kept.change(*HALVED)
    result = kept.pytest("-p", "xdist", "-n", "1", subprocess=True)
    result.assert_outcomes(failed=1)
    assert re.search(rf"failed   regression: .* \[{NODE}\]", text(result))
    result = kept.pytest("-p", "xdist", "-n", "1", "--igbench-accept", "x/y=z", subprocess=True)
    assert "ERROR    --igbench-accept 'x/y' matches no cell" in text(result)


def test_a_suite_that_does_not_use_it_imports_nothing_and_hears_nothing(tmp_path):
    """As installed: pytest finds the plugin, and knows all files of the package."""
    info = tmp_path / "site" / "igbench-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: igbench\nVersion: 0.1.0\n")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (name, module), *_ = project["entry-points"]["pytest11"].items()
    (info / "entry_points.txt").write_text(f"[pytest11]\n{name} = {module}\n")
    (info / "RECORD").write_text("igbench/__init__.py,,\nigbench/pytest_plugin.py,,\n")
    (tmp_path / "site" / "igbench").symlink_to(Path(igbench.__file__).parent)
    (tmp_path / "test_nothing.py").write_text(
        "import sys\ndef test_nothing():\n    print('loaded', *sys.modules)\n"
    )
    words = ["-q", "-s", "-W", "error", "-p", "no:cacheprovider", "test_nothing.py"]
    code = f"import igbench, pytest; raise SystemExit(pytest.main({words}))"  # imported before
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("loaded")]
    loaded = set(line.split()[1:])
    assert not loaded & {"torch", "pandas", "numpy", "scipy"}
    own = {name for name in loaded if name.split(".")[0] == "igbench"}
    assert own == {"igbench", "igbench.pytest_plugin"}


def test_reports_without_checks_make_no_section(repository):
    repository.change("    igbench.check(", "    dict(")
    assert "= igbench =" not in text(repository.pytest())
