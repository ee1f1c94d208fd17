"""Imports obey the order of the house, and light commands stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "igbench"

ORDER = (
    ("errors", "schema", "files"),
    ("core",),
    ("integration", "propagation", "shapley", "surrogates", "baselines", "data"),
    ("methods", "models", "captum", "concepts"),
    ("metrics",),
    ("evaluation",),
    ("config",),
    ("certify", "arguments"),
    ("run",),
    ("api", "cli"),
    ("gate",),
    ("pytest_plugin",),
    ("__main__", "__init__"),
)
"""Rooms from the bottom up: each may import what is below it, and itself."""

RECORDS = ("records", "report")
"""Rooms that see the lowest level and each other alone."""

READERS = ("run", "api", "cli", "gate", "pytest_plugin")
"""Rooms that read them."""

NOT_SEEN = {
    "evaluation": {"methods", "models", "captum", "metrics", "data"},
    "models": {"methods", "captum"},
    "methods": {"models", "captum"},
    "captum": {"methods", "models"},
    "concepts": {"methods", "models", "captum", "data", "integration", "baselines"},
}
"""What a room does not import although it is below: methods and metrics arrive as objects."""


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
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


def rooms_used(path: Path) -> set[str]:
    own = {n.split(".")[1] for n in imported(path) if n.startswith("igbench.")}
    return own - {"__version__", room(path)}


def level(name: str) -> int:
    found = [i for i, rooms in enumerate(ORDER) if name in rooms]
    assert found, f"{name} has no place in the order of rooms"
    return found[0]


def test_every_room_has_a_place():
    for path in files():
        assert room(path) in RECORDS or level(room(path)) >= 0


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    me, used = room(path), rooms_used(path)
    if me in RECORDS:
        assert used <= {*RECORDS, *ORDER[0]}, "records stand alone"
        return
    for name in used:
        if name in RECORDS:
            assert me in READERS, f"{me} may not read records"
        else:
            assert level(name) <= level(me), f"{me} imports {name}, which is above it"
            assert name not in NOT_SEEN.get(me, ()), f"{me} imports {name}"


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_libraries_stay_where_they_belong(path):
    me = room(path)
    tops = {name.split(".")[0] for name in imported(path)}
    allowed = {
        "hydra": {"config", "cli"},
        "omegaconf": {"config", "cli"},
        "captum": {"methods", "captum"},
        "duckdb": {"records"},
        "ruptures": {"records"},
        "quantus": {"metrics"},
        "matplotlib": {"report"},
        "seaborn": {"report"},
        "typer": {"cli"},
        "ray": {"run"},
        "timm": {"models", "data"},
        "torchvision": {"models", "data"},
    }
    for library, places in allowed.items():
        if library in tops:
            assert me in places, f"{library} is imported in {me}"
    if "quantus" in tops:
        assert path.name == "quantus.py"
    if me in RECORDS:
        assert "torch" not in tops


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(' '.join(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(found.stdout.splitlines()[-1].split())


HEAVY = {
    "quantus", "captum", "timm", "matplotlib", "shap", "torchvision", "duckdb", "ruptures",
}  # fmt: skip


def test_importing_the_package_is_light():
    assert not loaded_by("import igbench") & (HEAVY | {"torch", "pandas", "hydra"})


def test_help_is_light():
    code = "from igbench.__main__ import main\nmain(['--help'])"
    assert not loaded_by(code) & (HEAVY | {"torch", "pandas", "hydra"})


def test_reading_records_needs_no_torch():
    loaded = loaded_by("import igbench.records.history, igbench.records.compare, igbench.report")
    assert not loaded & (HEAVY | {"torch", "hydra"})
