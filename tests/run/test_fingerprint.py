"""Code that rows depend on changes their keys, and other code and mere text do not."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest
from torch import nn

from igbench.methods.controls import Random
from igbench.metrics.axiomatic.completeness import Completeness
from igbench.metrics.axiomatic.convergence import ConvergenceError
from igbench.metrics.faithfulness.areas import Deletion, SymmetricRelevanceGain
from igbench.metrics.faithfulness.road import Road
from igbench.metrics.faithfulness.sensitivity_n import SensitivityN
from igbench.run import fingerprint, sources

PACKAGE = sources.PACKAGE
SOME = {
    "completeness": Completeness(),
    "convergence_error": ConvergenceError(),
    "deletion": Deletion(4, occluder="baseline", scalar="score"),
    "road": Road(),
    "sensitivity_n": SensitivityN((4,), subsets=100),
    "srg": SymmetricRelevanceGain(4, occluder="baseline", scalar="score"),
}


class Mine:
    """A part that lives in a file outside the package."""


def test_all_rows_depend_on_code_of_the_user():
    assert fingerprint.shared([]) == fingerprint.shared([Random()]), "part of the package"
    assert fingerprint.shared([]) != fingerprint.shared([Mine()])
    assert fingerprint.shared([Mine()]) == fingerprint.shared([Mine(), Mine()])


def test_installed_code_and_what_has_no_file_do_not_count():
    assert fingerprint.shared([]) == fingerprint.shared([1, len])
    assert sources.code(nn.Identity(), 1, len) == (frozenset(), frozenset({"torch"}))


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the package."""
    package = tmp_path_factory.mktemp("copy") / "igbench"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "photos"))
    return package.resolve()


@pytest.fixture
def copied(copy, monkeypatch):
    """The copy is hashed instead of the package."""
    resolved = sources._resolved

    def moved(file):
        path = resolved(file)
        return copy / path.relative_to(PACKAGE) if PACKAGE in path.parents else path

    monkeypatch.setattr(sources, "_resolved", moved)
    monkeypatch.setattr(sources, "PACKAGE", copy)
    return copy


def hashes() -> dict[str, str]:
    """What decides rows: of the code that all share, and of single metrics."""
    return {"shared": fingerprint.shared([])} | {
        name: fingerprint.of_metric(metric) for name, metric in SOME.items()
    }


def changed(file: Path, before: str, after: str) -> set[str]:
    """Whose hash changes when a text in a file is another one."""
    kept, old = file.read_text(encoding="utf-8"), hashes()
    assert before in kept
    file.write_text(kept.replace(before, after, 1), encoding="utf-8")
    new = hashes()
    file.write_text(kept, encoding="utf-8")
    return {name for name in old if new[name] != old[name]}


START = "from __future__ import annotations\n"
CODE = f"{START}\nNEW = 1\n"


def test_a_copy_elsewhere_has_the_same_hashes(copied):
    there = hashes()
    assert there["shared"] != fingerprint._digest([])
    assert len(set(there.values())) == len(there) - 1, "deletion and srg are in one file"
    assert there["deletion"] == there["srg"]


@pytest.mark.parametrize(
    ("file", "whose"),
    [
        ("core/perturb.py", {"shared"}),
        ("core/score.py", {"shared"}),
        ("integration/paths.py", {"shared"}),
        ("methods/smooth_ig.py", {"shared"}),
        ("baselines/pool.py", {"shared"}),
        ("schema.py", {"shared"}),
        ("evaluation/loop.py", {"shared"}),
        ("config/build.py", {"shared"}),
        ("data/digits.py", {"shared"}),
        ("models/weights.py", {"shared"}),
        ("metrics/base.py", set(SOME)),
        ("metrics/axiomatic/completeness.py", {"completeness"}),
        ("metrics/faithfulness/removal.py", {"deletion", "srg"}),
        ("metrics/faithfulness/curves.py", {"deletion", "srg"}),
        ("metrics/faithfulness/means.py", set()),
        ("metrics/ranking.py", {"deletion", "road", "srg"}),
        ("metrics/faithfulness/sensitivity_n.py", {"sensitivity_n"}),
        ("metrics/faithfulness/imputation.py", {"road"}),
        ("report/plots.py", set()),
        ("records/store.py", set()),
        ("cli/main.py", set()),
        ("run/runner.py", set()),
        ("certify/cases.py", set()),
        ("captum/steps.py", set()),
    ],
)
def test_changed_code_changes_what_depends_on_it(copied, file, whose):
    assert changed(copied / file, START, CODE) == whose


@pytest.mark.parametrize("file", ["core/score.py", "metrics/faithfulness/removal.py"])
@pytest.mark.parametrize(
    "text",
    ["\n\n# a comment\n", "\n'''A text that nothing is done with.'''\n"],
    ids=["comment", "text"],
)
def test_comments_and_texts_change_nothing(copied, file, text):
    assert changed(copied / file, START, START + text) == set()


def test_docstrings_change_nothing(copied):
    file = copied / "core" / "score.py"
    text = file.read_text(encoding="utf-8")
    docs = [d for n in ast.walk(ast.parse(text)) if (d := _docstring(n))]
    assert len(docs) > 5
    for doc in (docs[0], docs[-1]):
        line = doc.splitlines()[0]
        assert changed(file, line, line + " Indeed.") == set()


def _docstring(node: ast.AST) -> str | None:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return ast.get_docstring(node) if isinstance(node, kinds) else None


def test_a_literal_within_code_counts(copied):
    assert changed(copied / "core" / "rng.py", "repeat", "again") == {"shared"}


def test_a_new_file_in_a_shared_folder_counts(copied):
    before = hashes()
    (copied / "core" / "new.py").write_text("NEW = 1\n")
    after = hashes()
    (copied / "core" / "new.py").unlink()
    assert {name for name in before if after[name] != before[name]} == {"shared"}


def test_a_metric_counts_the_metrics_that_it_imports_in_whatever_way(copied):
    """`import a.b`, `from a.b import c`, `from a import b`, at the top or within a function."""
    folder = copied / "metrics" / "faithfulness"
    (folder / "extra.py").write_text("X = 1\n")
    target = folder / "removal.py"
    kept = target.read_text(encoding="utf-8")
    for line in (
        "import igbench.metrics.faithfulness.extra",
        "from igbench.metrics.faithfulness.extra import X",
        "from igbench.metrics.faithfulness import extra",
        "def late():\n    from igbench.metrics.faithfulness import extra\n    return extra",
    ):
        target.write_text(f"{kept}\n{line}\n", encoding="utf-8")
        assert {"deletion", "srg"} <= changed(folder / "extra.py", "X = 1", "X = 2"), line
    target.write_text(kept, encoding="utf-8")
    assert changed(folder / "extra.py", "X = 1", "X = 2") == set(), "nothing imports it any more"
    (folder / "extra.py").unlink()


def metric_files() -> list[Path]:
    return sorted(p for p in (PACKAGE / "metrics").rglob("*.py") if p.name != "__init__.py")


@pytest.mark.parametrize("path", metric_files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_what_a_metric_imports_is_part_of_some_hash(path):
    """A name that a package hands on from another file would not be followed."""
    followed = {source.path for source in sources.imported(sources._inside(path))}
    shared = tuple(name.removesuffix(".py") for name in sources.SHARED)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("igbench"):
            continue
        for alias in node.names:
            room, _, inner = f"{node.module}.{alias.name}".partition(".")[2].partition(".")
            if room in shared:
                continue
            assert room == "metrics", f"{path.name}: {node.module} is in no hash"
            places = [inner, inner.rpartition(".")[0]]
            files = [(PACKAGE / "metrics").joinpath(*p.split(".")) for p in places if p]
            assert followed & {f.with_suffix(".py") for f in files}, f"{node.module}.{alias.name}"
