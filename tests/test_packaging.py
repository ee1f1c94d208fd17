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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="permissions of Linux")
@pytest.mark.parametrize("home", ["/nonexistent", None])
def test_an_installation_that_cannot_be_written_by_a_user_without_a_home(open_folder, home):
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
    words = ["experiment=digits_resnet", "limit=2", "convergence=0", "batch_size=16"]
    words += ["method=[random]", "metric=[deletion]", f"results_dir={out}"]
    environment = {"PATH": "/usr/bin", "PYTHONPATH": str(place)} | ({"HOME": home} if home else {})
    done = subprocess.run(
        [*start, "-m", "igbench", *words],
        cwd=out,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "digits_resnet is not cached, it will be trained again" in done.stderr
    assert list(out.glob("digits_resnet/*/report.html"))
    assert not list(place.rglob("__pycache__"))
