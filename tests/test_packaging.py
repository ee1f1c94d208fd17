"""What the package says about itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]


def test_the_oldest_versions_are_the_lower_bounds():
    """`.ci/oldest.txt` pins each dependency to the first version that is allowed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = dict(re.match(r"([\w-]+)>=([\w.]+)", d).groups() for d in project["dependencies"])
    lines = (ROOT / ".ci" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pins == bounds


NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
"""Start a program as a user without rights."""


@pytest.fixture
def open_folder():
    """A folder that everybody can read; those of pytest are the user's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in [p for p in folder.rglob("*") if p.is_dir()]:
        path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def installed(open_folder):
    """Run igbench, installed where nobody can write, as a user without rights; its folder."""
    start = [*(NOBODY if os.getuid() == 0 else ()), sys.executable]
    if shutil.which(start[0]) is None or subprocess.run([*start, "-c", ""], check=False).returncode:
        pytest.skip("this Python cannot be started by a user without rights")
    place = open_folder / "site"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "igbench", place / "igbench", ignore=ignored)
    shutil.copytree(ROOT / "conf", place / "igbench" / "conf")
    for path in [place, *place.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    out = open_folder / "out"
    out.mkdir()
    out.chmod(0o777)

    def run(*words: str, home: str | None = None, cwd: Path = out) -> str:
        """Standard output and error of a command that must succeed."""
        environment = {"PATH": "/usr/bin", "PYTHONPATH": str(place)}
        done = subprocess.run(
            [*start, *words],
            cwd=cwd,
            env=environment | ({"HOME": home} if home else {}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    yield run, out
    assert not list(place.rglob("__pycache__"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="permissions of Linux")
@pytest.mark.parametrize("home", ["/nonexistent", None])
def test_an_installation_that_cannot_be_written_by_a_user_without_a_home(installed, home):
    run, out = installed
    words = ["experiment=digits_resnet", "limit=2", "convergence=0", "batch_size=16"]
    words += ["method=[random]", "metric=[deletion]", f"results_dir={out}"]
    said = run("-m", "igbench", *words, home=home)
    assert "digits_resnet is not cached, it will be trained again" in said
    assert list(out.glob("digits_resnet/*/report.html"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="permissions of Linux")
def test_the_script_makes_and_runs_a_study_in_a_folder_of_the_users(installed):
    run, out = installed
    script = out.parent / "igbench"  # what pip makes of the entry point
    script.write_text(
        "import sys\nfrom igbench.__main__ import main\nsys.exit(main())\n", encoding="utf-8"
    )
    script.chmod(0o644)
    run(str(script), "init", "study")
    words = ["experiment=study", "limit=2", "convergence=0", "batch_size=16"]
    words += ["method=[ig]", "metric=[relevance_mass]"]
    run(str(script), *words, cwd=out / "study")
    (scores,) = (out / "study").glob("results/study/*/scores.parquet")
    rows = pd.read_parquet(scores)
    assert rows[rows.metric == "relevance_mass"].value.min() > 0.9
