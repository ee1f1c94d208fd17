"""The repository of docs/howto/ci.md: a model, a test of its explanations, and pytest to run it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import igbench

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "ci.md"
TEST = "test_explanations.py"


def page_test():
    """The test file that the page shows."""
    (code,) = re.findall(r"```python\n(# test_explanations\.py\n.*?)```", PAGE.read_text(), re.S)
    return code


class Direct:
    """The fixture of the plugin, in this process: whatever a check imports stays imported."""

    def __init__(self, **options):
        self.options = options

    def check(self, model, data, **options):
        return igbench.check(model, data, **options, **self.options)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder with the baseline of the page.

    It is made in this process, and compared once: pytester forgets modules that are new in a run.
    """
    root, names = tmp_path_factory.mktemp("made"), {}
    exec(page_test(), names)
    names["test_explanations"](Direct(baselines_dir=root, update=True))
    names["Classifier"].forward = lambda self, x: self.layers(x / 2)
    names["test_explanations"](Direct(baselines_dir=root, results_dir=root / ".runs"))
    return root


@pytest.fixture
def repository(made, pytester, monkeypatch):
    """A repository; `repository.pytest(*words)` runs its tests in this process."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    pytester.makefile(".toml", pyproject='[tool.pytest.ini_options]\nfilterwarnings = ["error"]\n')
    (pytester.path / TEST).write_text(page_test(), encoding="utf-8")
    return Repository(pytester)


class Repository:
    """Files of a repository, and its tests."""

    def __init__(self, pytester):
        self.pytester, self.path = pytester, pytester.path
        self.baseline = self.path / "baselines" / "v1"

    def pytest(self, *words, subprocess=False):
        """Run its tests with the plugin."""
        run = (
            self.pytester.runpytest_subprocess if subprocess else self.pytester.runpytest_inprocess
        )
        return run("-p", "igbench.pytest_plugin", "-p", "no:cacheprovider", *words)

    def append(self, code):
        """Add to its test file."""
        path = self.path / TEST
        path.write_text(path.read_text(encoding="utf-8") + code, encoding="utf-8")

    def change(self, old, new):
        """Edit its test file, so that Python sees it even within the same second."""
        path = self.path / TEST
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        for cached in self.path.rglob("*.pyc"):
            cached.unlink()


@pytest.fixture
def kept(repository, made):
    """A repository with a baseline that is right."""
    shutil.copytree(made / "v1", repository.baseline)
    return repository
