"""Folders and names that are derived from where a file lies, in a checkout and when installed.

A module that moves takes its `__file__` along: a hash that is taken over another folder, or a
revision of no repository, raises nothing and makes rows that are out of date look current.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from igbench.config import build, compose
from igbench.errors import InputError
from igbench.methods.captum import Captum
from igbench.metrics.axiomatic.completeness import Completeness
from igbench.metrics.faithfulness.sensitivity_n import SensitivityN
from igbench.models.digits_resnet import digits_resnet
from igbench.run import fingerprint, provenance, sources
from igbench.run.executors.ray import Ray

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "igbench"


def targets(node: object) -> Iterator[str]:
    """Every `_target_` in a configuration."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from targets(value)


# -- folders ---------------------------------------------------------------------------------


def test_a_checkout_is_hashed_as_a_whole_and_has_conf_beside_it():
    assert PACKAGE.resolve() == sources.PACKAGE
    assert compose.FOLDER == ROOT / "conf"
    files = {source.path for source in sources.shared()}
    assert all(file.is_file() for file in files)
    for name in sources.SHARED:
        place = PACKAGE / name
        assert any(place in (file, *file.parents) for file in files), f"{name} holds no code"


INSTALLED = """
import json, sys
from igbench.config import compose
from igbench.metrics import Completeness, SensitivityN
from igbench.run import fingerprint, provenance
print(json.dumps({
    "conf": str(compose.FOLDER),
    "metrics": compose.choices("metric"),
    "default": compose.compose()["name"],
    "shared": fingerprint.shared([]),
    "completeness": fingerprint.of_metric(Completeness()),
    "sensitivity_n": fingerprint.of_metric(SensitivityN()),
    "git": provenance.git_revision(),
}))
"""


def test_an_installed_wheel_has_the_configurations_and_the_hashes_of_the_checkout(tmp_path):
    """The folders that pyproject.toml puts into a wheel, behind a link as on many clusters."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    site = tmp_path / "venv" / "site-packages"
    for name in wheel["packages"]:
        shutil.copytree(ROOT / name, site / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, place in wheel["force-include"].items():
        shutil.copytree(ROOT / name, site / place)
    (tmp_path / "link").symlink_to(tmp_path / "venv")
    found = subprocess.run(
        [sys.executable, "-c", INSTALLED],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "link" / "site-packages")},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(found.stdout) == {
        "conf": str(tmp_path / "link" / "site-packages" / "igbench" / "conf"),
        "metrics": compose.choices("metric"),
        "default": compose.compose()["name"],
        "shared": fingerprint.shared([]),
        "completeness": fingerprint.of_metric(Completeness()),
        "sensitivity_n": fingerprint.of_metric(SensitivityN(subsets=100)),
        "git": "",
    }


def test_the_revision_is_that_of_the_repository_that_holds_the_package(tmp_path, monkeypatch):
    def git(*words: str) -> str:
        own = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *own, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    shutil.copytree(PACKAGE / "run", tmp_path / "igbench" / "run")
    shutil.copy(PACKAGE / "schema.py", tmp_path / "igbench" / "schema.py")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "igbench/run/provenance.py"))
    assert provenance.git_revision() == "", "no repository"
    git("init")
    (tmp_path / ".gitignore").write_text("igbench\n")
    git("add", ".gitignore")
    git("commit", "-m", "a repository around a folder that it ignores")
    assert provenance.git_revision() == "", "the package is not in the repository"
    (tmp_path / ".gitignore").unlink()
    git("add", "-A")
    git("commit", "-m", "all of it")
    assert provenance.git_revision() == git("rev-parse", "HEAD")
    (tmp_path / "igbench" / "schema.py").write_text("")
    assert provenance.git_revision() == git("rev-parse", "HEAD") + "+changes"


# -- names -----------------------------------------------------------------------------------


def files_with_targets() -> list[Path]:
    return sorted(p for p in (ROOT / "conf").rglob("*.yaml") if "_target_" in p.read_text())


@pytest.mark.parametrize("path", files_with_targets(), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_target_in_conf_is_a_public_name(path):
    found = list(targets(yaml.safe_load(path.read_text())))
    assert found
    for name in found:
        thing = build.locate(name, str(path))
        assert callable(thing)
        if path.parent.name in ("method", "metric"):
            assert name == f"igbench.{path.parent.name}s.{thing.__name__}"


def test_every_target_of_the_committed_runs_still_resolves():
    records = sorted((ROOT / "experiments").glob("*/reference/run.json"))
    assert records
    for path in records:
        for name in targets(json.loads(path.read_text())["config"]):
            assert callable(build.locate(name, str(path)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("igbench.metrics.sensitivity_n.SensitivityN", SensitivityN),
        ("igbench.metrics.completeness.Completeness", Completeness),
        ("igbench.metrics.SensitivityN", SensitivityN),
        ("igbench.methods.captum.Captum", Captum),
        ("igbench.methods.Captum", Captum),
        ("igbench.engine.ray.Ray", Ray),
        ("igbench.run.executors.Ray", Ray),
        ("igbench.models.digits_resnet.digits_resnet", digits_resnet),
    ],
)
def test_names_of_earlier_versions_resolve_to_the_public_class(name, expected):
    assert build.locate(name, "somewhere") is expected


@pytest.mark.parametrize(
    "name",
    [
        "igbench.metrics.sensitivity_n.SensitivityM",
        "igbench.metrics.Nothing",
        "igbench.engine.slurm.Slurm",
        "no_such_package.Thing",
        "Thing",
        "",
    ],
)
def test_a_target_that_exists_nowhere_is_one_clear_line(name):
    with pytest.raises(InputError) as caught:
        build.construct({"_target_": name}, "metric.mine")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"metric.mine._target_ {name!r} ")
