"""Environments with asked versions: what is installed, kept and refused; no command really runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from igbench.cli import environments, requirements
from igbench.cli.environments import Options, build
from igbench.errors import InputError
from igbench.run import lock, packages

OLD = requirements.parse("captum==0.8.0")
NO_VERSION = "ERROR: Ignored\nERROR: No matching distribution found for captum==0.8.0\n"
NO_PACKAGE = (
    "ERROR: Could not find a version that satisfies the requirement captum (from versions: none)\n"
    "ERROR: No matching distribution found for captum==0.8.0\n"
)
NO_NETWORK = "WARNING: Retrying: NewConnectionError('Name or service not known')\n" + NO_PACKAGE
CONFLICT = (
    "  × No solution found when resolving dependencies:\n  ╰─▶ Because captum==0.8.0 …\n      no.\n"
)


class Fake:
    """Runs commands of installers: writes an interpreter, and fails as it is told.

    Args:
        failing: What an installation prints that fails, one text for each that is tried; "" for one
            that goes.
        installed: Versions that are found in the environment.
        broken: What the import of igbench prints where it fails.
    """

    def __init__(self, *failing, installed=None, broken="", file="/elsewhere/igbench/__init__.py"):
        self.failing, self.broken, self.file = list(failing), broken, file
        self.installed = {"captum": "0.8.0", "numpy": "2.4.6", **(installed or {})}
        self.commands = []

    def __call__(self, command, variables):
        self.commands.append([*command])
        assert "PYTHONPATH" not in variables or "-c" in command
        out, err = "", ""
        if "venv" in command:
            (Path(command[-1]) / "bin").mkdir(parents=True)
            (Path(command[-1]) / "bin" / "python").touch()
        elif "install" in command:
            err = self.failing.pop(0) if self.failing else ""
        else:
            err = self.broken
            out = json.dumps([self.file, self.installed, {"captum": ["numpy<2.0"]}])
        return subprocess.CompletedProcess(command, bool(err), f"a line before\n{out}", err)

    @property
    def installs(self):
        return [c for c in self.commands if "install" in c]


@pytest.fixture
def options(tmp_path):
    return Options(tmp_path / "environments", installer="pip")


def refused(options, fake):
    with pytest.raises(InputError) as stop:
        build(OLD, options, (), fake)
    (folder,) = options.home.iterdir()
    assert list(folder.iterdir()) == []
    return str(stop.value)


def test_it_is_built_once_and_then_taken(options):
    fake = Fake()
    first = build(OLD, options, (), fake)
    assert fake.commands[0][:3] == [sys.executable, "-m", "venv"]
    assert [c[:4] for c in fake.installs] == [[str(first.python), "-m", "pip", "install"]]
    wanted = fake.installs[0]
    assert wanted[-1] == "captum==0.8.0"
    assert not [w for w in wanted if w.startswith("captum>")]
    assert [w for w in wanted if w.startswith("numpy>=")]
    assert not first.reused
    again = build(OLD, options, (), fake)
    assert again.reused
    assert (again.installed, again.unmet, again.python) == (
        first.installed, first.unmet, first.python,
    )  # fmt: skip
    assert len(fake.commands) == 3
    other = build(OLD, options, ["numpy==2.4.6"], fake)
    assert other.folder != first.folder


def test_one_that_was_not_finished_is_built_again(options):
    refused(options, Fake(NO_VERSION))
    (folder,) = options.home.iterdir()
    (folder / "left").touch()
    assert not build(OLD, options, (), Fake()).reused
    assert not (folder / "left").exists()


def test_nobody_else_builds_it_meanwhile(options):
    folder = build(OLD, options, (), Fake()).folder
    with lock.held(folder), pytest.raises(lock.LockedError, match=r"captum==0\.8\.0 is locked by"):
        build(OLD, options, (), Fake())


def test_versions_that_do_not_go_together_are_installed_without_their_requirements(options):
    fake = Fake(CONFLICT)
    made = build(OLD, options, ["numpy==2.4.6"], fake)
    _, others, alone = fake.installs
    assert "captum==0.8.0" not in others
    assert alone[-2:] == ["--no-deps", "captum==0.8.0"]
    assert (made.folder / "constraints.txt").read_text() == "numpy==2.4.6\n"
    assert "numpy 2.4.6 (captum requires numpy<2.0)" in made.unmet


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (NO_VERSION, "there is no such version in the index"),
        (NO_PACKAGE, "there is no such package in the index"),
        (NO_NETWORK, "the package index cannot be reached"),
    ],
)
def test_what_no_other_choice_mends_is_tried_once(options, said, words):
    fake = Fake(said)
    text = refused(options, fake)
    assert text.startswith(f"captum==0.8.0 cannot be installed: {words}")
    assert text.endswith("(ERROR: No matching distribution found for captum==0.8.0).")
    assert len(fake.installs) == 1


def test_the_last_words_of_the_installer_are_told(options):
    text = refused(options, Fake(CONFLICT, CONFLICT))
    why = "No solution found when resolving dependencies: Because captum==0.8.0 … no."
    assert text == f"captum==0.8.0 cannot be installed: {why}"


def test_an_igbench_that_does_not_import(options):
    said = "Traceback (most recent call last):\n  File x\nImportError: no \x1b[31mname\n"
    text = refused(options, Fake(broken=said))
    assert text == r"igbench does not import with captum==0.8.0: ImportError: no \x1b[31mname."


def test_another_package_that_comes_first_on_the_path(options):
    text = refused(options, Fake(installed={"captum": "0.9.0"}))
    assert "Python finds captum 0.9.0; unset PYTHONPATH" in text


def test_an_igbench_that_is_asked_for_is_that_of_the_environment(options):
    asked = requirements.parse("igbench==0.1.0")
    with pytest.raises(InputError, match="Python finds igbench of /elsewhere"):
        build(asked, options, (), Fake(installed={"igbench": "0.1.0"}))
    (folder,) = options.home.iterdir()
    inside = str(folder / "venv" / "lib" / "igbench" / "__init__.py")
    made = build(asked, options, (), Fake(installed={"igbench": "0.1.0"}, file=inside))
    assert made.path == ()


def test_the_path_has_this_igbench_first_and_the_users_code(options, monkeypatch, tmp_path):
    (tmp_path / "other" / "igbench").mkdir(parents=True)
    (tmp_path / "other" / "igbench" / "__init__.py").touch()
    given = os.pathsep.join([str(tmp_path / "other"), str(tmp_path / "mine")])
    monkeypatch.setenv("PYTHONPATH", given)
    monkeypatch.setenv("VIRTUAL_ENV", "/somewhere")
    found = build(OLD, options, (), Fake()).variables()
    assert found["PYTHONPATH"].split(os.pathsep) == [
        str(requirements.PACKAGE.parent), str(tmp_path / "mine"),
    ]  # fmt: skip
    assert "VIRTUAL_ENV" not in found
    assert found[packages.RECORDED] == "captum"


def test_packages_that_are_named_are_recorded(monkeypatch):
    monkeypatch.setenv(packages.RECORDED, "packaging captum nothing-of-this-name")
    found = packages.versions()
    assert list(found) == [*packages.PACKAGES, "packaging", "nothing-of-this-name"]
    assert found["nothing-of-this-name"] == "not installed"
    assert found["packaging"][0].isdigit()


def test_an_installed_igbench_is_copied_without_what_is_beside_it(monkeypatch, tmp_path):
    package = tmp_path / "site" / "igbench"
    (package / "conf").mkdir(parents=True)
    (package / "__init__.py").write_text("x = 1")
    (package.parent / "torch").mkdir()
    monkeypatch.setattr(environments, "PACKAGE", package)
    monkeypatch.setattr(requirements, "PACKAGE", package)
    folder = environments.source(tmp_path / "home")
    assert [p.name for p in folder.iterdir()] == ["igbench"]
    assert environments.source(tmp_path / "home") == folder
    (package / "__init__.py").write_text("x = 2")
    assert environments.source(tmp_path / "home") != folder
    assert [p.suffix for p in (tmp_path / "home").iterdir()] == ["", ""]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("captum>=0.8", "must name one version, as captum==1.2.3"),
        ("captum", "must name one version"),
        ("captum==0.8.*", "must name one version"),
        ("captum==0.8,!=0.8.1", "must name one version"),
        ("captum @ file:///tmp/captum", "must name one version"),
        ("captum@file:///tmp/captum", "must name one version"),
        ("captum[x]==0.8", "must name one version"),
        ("captum==0.8;python_version>'3'", "must name one version"),
        ("--index-url=http://x", "is no requirement"),
        ("captum==0.8 Captum==0.9", "names captum twice"),
        (" ", "names no package"),
    ],
)
def test_versions_are_exact_or_refused(text, words):
    with pytest.raises(InputError, match=words):
        requirements.parse(text)


def test_the_interpreter_is_a_path_or_a_version(tmp_path, monkeypatch):
    assert environments.interpreter(sys.executable) == sys.executable
    with pytest.raises(InputError, match=r"no Python '1\.5' here"):
        environments.interpreter("1.5")
    (tmp_path / "python1.5").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environments.interpreter("1.5") == str(tmp_path / "python1.5")


def test_an_unknown_installer(options, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"unknown installer 'pipp'; known: uv, pip\. Did you"):
        build(OLD, Options(tmp_path, installer="pipp"), (), Fake())
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="uv is not installed here"):
        build(OLD, Options(tmp_path, installer="uv"), (), Fake())


def test_uv_takes_the_same_options(tmp_path, monkeypatch):
    (tmp_path / "uv").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    fake = Fake()
    where = Options(tmp_path / "home", indexes=("https://index",), links=("wheels",))
    build(OLD, where, (), fake)
    assert fake.commands[0][:2] == [str(tmp_path / "uv"), "venv"]
    (command,) = fake.installs
    assert command[command.index("--index") + 1] == "https://index"
    assert command[command.index("--find-links") + 1] == "wheels"


def test_what_igbench_requires_is_read_from_the_checkout():
    found = {one.name: one for one in requirements.own()}
    assert "torch" in found
    assert "pytest" not in found
    assert requirements.unmet("x", [Requirement("a; extra == 'b'")], {}) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_tiny_package_is_really_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(requirements, "own", lambda: (Requirement("iniconfig"),))
    monkeypatch.setattr(
        environments, "_PROBE",
        "import iniconfig, json, igbench, importlib.metadata as m\n"
        "print(json.dumps([igbench.__file__, {d.name: d.version for d in m.distributions()}, {}]))",
    )  # fmt: skip
    options = Options(tmp_path / "home")
    for version in ("2.0.0", "1.1.1"):
        try:
            made = build(requirements.parse(f"iniconfig=={version}"), options)
        except InputError as error:
            if "cannot be reached" in str(error):
                pytest.skip(str(error))
            raise
        assert made.installed["iniconfig"] == version
        assert build(made.asked, options).reused
    with pytest.raises(InputError, match=r"iniconfig==0\.99 cannot be installed: there is no such"):
        build(requirements.parse("iniconfig==0.99"), options)
    assert {p.name for p in tmp_path.iterdir()} == {"home"}
