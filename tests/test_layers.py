"""Imports obey the order of the house, and light commands stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "igbench"

LAYERS = [
    {"rows", "types", "keyed", "checks", "sources", "memory", "fast"},
    {"attr", "baselines", "features", "impute", "perturb"},
    {"methods", "metrics", "models", "data", "throughput", "captum"},
    {"crew", "experiment", "isolate", "loading", "loop"},
    {"plan", "engine", "precision", "record", "shards", "parts", "lock", "reuse", "sourcecode"},
    {
        "build",
        "configs",
        "catalogue",
        "doctor",
        "progress",
        "api",
        "certify",
        "runner",
        "outlook",
        "slurm",
    },
    {"cli", "__main__", "__init__"},
]
RECORDS = {"store", "stats", "compare", "report"}
"""May import only rows, checks and each other: no torch."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Full names of everything a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own(names: set[str]) -> set[str]:
    return {n.split(".")[1] for n in names if n.startswith("igbench.")}


def level(name: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    me, used = part(path), own(imported(path)) - {"__version__"}
    if me in RECORDS:
        assert used <= RECORDS | {"rows", "checks", "__version__"}, "the records half stands alone"
        return
    for name in used - {me}:
        if name in RECORDS:
            assert level(me) >= level("record"), f"{me} may not read records"
        else:
            assert level(name) <= level(me), f"{me} imports {name}, which is above it"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_libraries_stay_where_they_belong(path):
    me = part(path)
    tops = {name.split(".")[0] for name in imported(path)}
    allowed = {
        "hydra": {"configs", "cli"},
        "omegaconf": {"configs", "cli"},
        "captum": {"methods", "captum"},
        "quantus": {"metrics"},
        "matplotlib": {"report"},
        "seaborn": {"report"},
        "typer": {"cli"},
        "ray": {"engine"},
        "timm": {"models", "data"},
        "torchvision": {"models", "data"},
    }
    for library, places in allowed.items():
        if library in tops:
            assert me in places, f"{library} is imported in {me}"
    if "quantus" in tops:
        assert path.name == "quantus_bridge.py"
    if me in RECORDS and path.name != "checks.py":
        assert "torch" not in tops


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(' '.join(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(found.stdout.splitlines()[-1].split())


HEAVY = {"quantus", "captum", "timm", "matplotlib", "shap", "torchvision"}


def test_importing_the_package_is_light():
    assert not loaded_by("import igbench") & (HEAVY | {"torch", "pandas", "hydra"})


def test_help_is_light():
    code = "from igbench.__main__ import main\nmain(['--help'])"
    assert not loaded_by(code) & (HEAVY | {"torch", "pandas", "hydra"})


def test_reading_records_needs_no_torch():
    loaded = loaded_by("import igbench.store, igbench.compare, igbench.report")
    assert not loaded & (HEAVY | {"torch", "hydra"})
