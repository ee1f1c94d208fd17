"""docs/howto/ci.md: its messages are those that pytest shows, and its workflows run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from igbench.config import compose
from igbench.records import baselines, store
from tests.plugin.conftest import PAGE, page_test

FENCE = re.compile(r"^```yaml\n# (\S+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
MESSAGE = re.compile(r"<!-- message: (\w+) -->\n```text\n(.*?)```", re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e-?\d+)?(?!\w)")
NETWORK = ("pip install",)
CHANGES = {
    "halved": [("return self.layers(x)", "return self.layers(x / 2)")],
    "steps": [
        ("import torch\n", "import igbench.methods\nimport torch\n"),
        ("def test_explanations", "IG = igbench.methods.IntegratedGradients(n_steps=3)\n\n\n"
         "def test_explanations"),
        ('["ig"]', '{"ig": IG}'),
    ],
}  # fmt: skip
"""What is done to the test file before each message."""


def page():
    return PAGE.read_text(encoding="utf-8")


def files():
    """The YAML files of the page by name."""
    return {name: yaml.safe_load(code) for name, code in FENCE.findall(page())}


def jobs():
    """Name and steps of each job of a workflow of GitHub."""
    return [
        (name, steps["steps"])
        for name, content in files().items()
        if name.startswith(".github/")
        for steps in content["jobs"].values()
    ]


def steps_here(steps):
    """The commands of the steps that need no network, without the variables of the service."""
    found = [step["run"] for step in steps if "run" in step]
    return [run for run in found if not run.startswith(NETWORK)]


def test_every_change_has_its_message():
    assert [name for name, _ in MESSAGE.findall(page())] == list(CHANGES)


@pytest.mark.parametrize("name", CHANGES)
def test_the_messages_are_those_that_pytest_shows(name, kept):
    for old, new in CHANGES[name]:
        kept.change(old, new)
    result = kept.pytest("--igbench-results", "failed")
    result.assert_outcomes(failed=1)
    lines = [line[1:].rstrip() for line in result.outlines if re.match(r"E( |$)", line)]
    found = textwrap.dedent("\n".join(lines)).strip() + "\n"
    found = re.sub(r"failed/v1/\S+", "failed/v1/RUN", found)
    shown = dict(MESSAGE.findall(page()))[name]
    assert NUMBER.sub("#", shown) == NUMBER.sub("#", found), f"write this:\n{found}"
    # The last digits of a float32 depend on the processor; 2 % is what people see.
    numbers = [[float(n) for n in NUMBER.findall(text)] for text in (found, shown)]
    assert numbers[0] == pytest.approx(numbers[1], rel=0.02, abs=1e-6)


def test_the_files_are_those_of_their_services():
    found = files()
    assert list(found) == [
        ".github/workflows/explanations.yml", ".github/workflows/upgrades.yml", ".gitlab-ci.yml",
        ".pre-commit-config.yaml",
    ]  # fmt: skip
    for name, steps in jobs():
        content = found[name]
        assert content[True], "`on:`, which YAML reads as true"
        assert content["permissions"] == {"contents": "read"}
        assert all(("run" in step) != ("uses" in step) for step in steps)
    hooks = [h for r in found[".pre-commit-config.yaml"]["repos"] for h in r["hooks"]]
    assert all(h["language"] == "system" and h["pass_filenames"] is False for h in hooks)


def test_runs_of_the_workflows_can_be_composed():
    lines = [line for _, steps in jobs() for run in steps_here(steps) for line in run.splitlines()]
    words = [shlex.split(line) for line in lines if line.strip().startswith("igbench ")]
    assert {w[1] for w in words} == {"experiment=digits_resnet", "compare"}
    for run in [w for w in words if w[1] != "compare"]:
        assert compose.compose(run[1:])["name"] == "digits_resnet"


@pytest.fixture
def checkout(made, tmp_path):
    """A repository whose commands are those of this Python, and the environment to run them in."""
    shutil.copytree(made / "v1", tmp_path / "baselines" / "v1")
    (tmp_path / "test_explanations.py").write_text(page_test(), encoding="utf-8")
    commands = tmp_path / ".commands"
    commands.mkdir()
    start = f'#!/bin/sh\nexec "{sys.executable}" -m'
    small = '"limit=4" "method=[ig]" "metric=[completeness,deletion]" "convergence=0"'
    for name, line in {
        "pytest": f'{start} pytest -p igbench.pytest_plugin "$@"\n',
        "igbench": f'case "$1" in experiment=*) set -- "$@" {small};; esac\n',
    }.items():
        text = line if line.startswith("#!") else f'#!/bin/sh\n{line}exec "{sys.executable}" -m '
        text += "" if line.startswith("#!") else 'igbench "$@"\n'
        (commands / name).write_text(text, encoding="utf-8")
        (commands / name).chmod(stat.S_IRWXU)
    environment = os.environ | {
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }
    return tmp_path, environment


def shell(run, folder, environment):
    """Run a step as GitHub does."""
    done = subprocess.run(
        ["bash", "-e", "-c", run], cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow  # starts Python for each command
def test_the_workflow_for_pull_requests_runs(checkout, cache):
    folder, environment = checkout
    (_, steps), _ = jobs()
    test, run, compare = steps_here(steps)
    for step in (test, run):
        status, said = shell(step, folder, environment)
        assert status == 0, said
    assert (folder / "pytest.xml").is_file()
    made_once = baselines.set_baseline(store.latest(folder / "new", "digits_resnet"), "v1",
                                       folder / "baselines", replace=True)  # fmt: skip
    assert made_once.is_dir()
    status, said = shell(run + " overwrite=true", folder, environment)
    assert status == 0, said
    status, said = shell(compare, folder, environment)
    assert status == 0, said
    assert "<testsuite" in (folder / "igbench.xml").read_text(encoding="utf-8")
    assert "no regression" in (folder / "summary.md").read_text(encoding="utf-8")
    status, _ = shell(compare.replace("compare v1", "compare v2"), folder, environment)
    assert status == 2, "a failed comparison fails the step"


@pytest.mark.slow
def test_the_other_services_run(checkout):
    folder, environment = checkout
    found = files()
    (_, nightly) = jobs()[1]
    (hook,) = found[".pre-commit-config.yaml"]["repos"][0]["hooks"]
    script = [s for s in found[".gitlab-ci.yml"]["explanations"]["script"]]
    commands = [*steps_here(nightly), hook["entry"], *(s for s in script if s[:3] != "pip")]
    assert len(commands) == 3
    for command in commands:
        status, said = shell(command, folder, environment)
        assert status == 0, said
        assert "no regression" in said
    edited = page_test().replace("self.layers(x)", "self.layers(x / 2)")
    (folder / "test_explanations.py").write_text(edited, encoding="utf-8")
    status, said = shell(hook["entry"], folder, environment)
    assert status == 1, said
    assert "REGRESSION ig/srg" in said
