"""The documentation: every code block works, every link leads somewhere, no table is stale."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import igbench
from igbench.__main__ import COMMANDS
from igbench.cli import init
from igbench.cli.commands import app
from igbench.config import build, compose, folders

ROOT = Path(__file__).parent.parent.parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "results" / "README.md",
    *sorted((ROOT / "experiments").glob("*/README.md")),
]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")

NOT_RUN = {
    "pip": "installs packages",
    "pytest": "tests/plugin/test_page.py runs it",
    "make": "sets up an environment; CI runs it",
    "sbatch": "needs a cluster",
}
"""Commands of shell blocks that are not checked, and why."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, language: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [code for found, code in BLOCK.findall(text) if found == language]


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["generate"]


def with_blocks(language: str) -> list[Path]:
    return [path for path in PAGES if blocks(path, language)]


@pytest.mark.parametrize("path", with_blocks("python"), ids=name_of)
def test_python_blocks_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "documentation"}
    monkeypatch.setitem(sys.modules, "documentation", type(sys)("documentation"))
    for number, code in enumerate(blocks(path, "python")):
        where = f"{name_of(path)}, Python block {number + 1}"
        if ">>>" in code:
            test = doctest.DocTestParser().get_doctest(code, names, where, str(path), 0)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
            report: list[str] = []
            runner.run(test, out=report.append, clear_globs=False)
            assert runner.summarize(verbose=False).failed == 0, "".join(report)
            names = test.globs
        else:
            exec(compile(ast.parse(code, where), where, "exec"), names)


def commands(path: Path) -> list[str]:
    """Commands of the shell blocks, without comments, one string each."""
    code = "\n".join(blocks(path, "sh")).replace("\\\n", " ")
    return [line.strip() for line in code.splitlines() if line.split("#")[0].strip()]


ALL_COMMANDS = [(name_of(path), line) for path in PAGES for line in commands(path)]


@pytest.mark.parametrize(("page", "line"), ALL_COMMANDS)
def test_shell_commands_are_understood(page, line, tmp_path, monkeypatch):
    if "=sensors/conf" in line:
        from tests.docs.test_own_modality import write_files

        monkeypatch.chdir(tmp_path)
        write_files(tmp_path)
    if "=study/conf" in line:
        monkeypatch.chdir(tmp_path)
        init.write("study", tmp_path)
    words = shlex.split(line, comments=True)
    if words[0] in NOT_RUN:
        return
    if words[:3] == ["python", "-m", "igbench"]:
        words = words[3:]
    else:
        assert words[0] == "igbench", f"{line!r}: say in NOT_RUN why it is not checked"
        words = words[1:]
    if words and words[0] in COMMANDS:
        command, words = words[0], words[1:]
        known = {c.name or c.callback.__name__ for c in app.registered_commands}
        known |= {group.name for group in app.registered_groups}
        assert command in known
        if command == "certify":
            assert set(words) <= set(compose.choices("metric"))
        if command not in ("plan", "slurm"):
            return
    words = words[: words.index(">")] if ">" in words else words
    plain = [w for w in words if not w.startswith(("slurm.", "-"))]
    words = [*plain, *(w for w in words if w.startswith(folders.OPTION))]
    config = compose.compose([re.sub(r"=([^\[{,]+),.+$", r"=\1", w) for w in words])
    assert config["method"]
    assert config["metric"]


@pytest.mark.parametrize("path", with_blocks("yaml"), ids=name_of)
def test_yaml_blocks_build_what_they_say(path):
    for code in blocks(path, "yaml"):
        if path.name == "ci.md":  # files of services; tests/plugin/test_page.py runs their commands
            continue
        if "_target_" in yaml.safe_load(code):  # a file of a model or data; see test_own_modality
            continue
        for name, node in yaml.safe_load(code).items():
            assert build.construct(node, name).spec.title


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path):
    text = BLOCK.sub("", path.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file) if file else path
        assert target.exists(), f"{name_of(path)}: {link}"
        if anchor:
            heads = re.findall(r"(?m)^#+ (.*)$", target.read_text(encoding="utf-8"))
            assert anchor in {slug(head) for head in heads}, f"{name_of(path)}: {link}"


def slug(head: str) -> str:
    """The anchor of a heading, as GitHub and mkdocs make it."""
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", head.lower()).strip())


def test_generated_blocks_are_up_to_date(generate):
    for path in generate.pages():
        text = path.read_text(encoding="utf-8")
        assert generate.filled(text) == text, (
            f"{name_of(path)} is stale; run python docs/generate.py"
        )


def test_the_readme_is_short_and_names_every_metric_and_method():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    for group in ("metric", "method"):
        assert [n for n in compose.choices(group) if f"`{n}`" not in text] == []


def test_every_metric_and_method_has_a_page_that_defines_it(generate):
    found = generate.reference()
    for group in ("metric", "method"):
        for entry in generate.entries(group):
            text = found[f"{group}s/{entry.name}.md"]
            assert generate._cell(entry.spec.title) in text
            assert generate._cell(entry.spec.reference) in text
            described = generate.descriptions(entry.cls)
            for parameter in re.findall(r"(?m)^\| `(\w+)` \|", text):
                assert described.get(parameter), f"{entry.name}: {parameter} is not described"


def test_a_page_has_the_definition_of_its_metric(generate):
    text = generate.reference()["metrics/sensitivity_n.md"]
    for line in (
        "| family | faithfulness |",
        "| direction | higher is better |",
        "| range | [-1, 1] |",
        "| model rows | 281 for all maps together; 0 for each map; for one 224 x 224 sample |",
        "| x1^2 x2 + 2 x3 at 1, IG, n = 1, 2: 9 / sqrt 84 | 0.981981 |",
    ):
        assert line in text, line
    assert "| `subsets` |" in text


def test_costs_name_metrics_and_methods_that_exist(generate):
    known = {e.name for group in ("metric", "method") for e in generate.entries(group)}
    assert set(generate._costs()) <= known


def test_known_answers_explain_every_case_that_tests_name():
    text = (ROOT / "docs" / "known_answers.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"(?m)^\| (C\d+) \|", text))
    named = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        named |= set(re.findall(r"\bC\d{1,2}\b", path.read_text(encoding="utf-8")))
    assert {c for c in named if c != "C90"} <= explained
    assert explained == {f"C{i}" for i in range(1, 27)}


def test_citation():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cff["cff-version"] == "1.2.0"
    assert cff["message"]
    assert cff["title"] == "igbench"
    assert cff["authors"] == [{"name": "igbench maintainers"}]
    assert cff["type"] in ("software", "dataset")
    assert cff["license"] == "Apache-2.0"
    assert cff["version"] == igbench.__version__
    allowed = [
        "cff-version",
        "message",
        "type",
        "title",
        "abstract",
        "authors",
        "version",
        "license",
        "keywords",
    ]
    assert set(cff) <= set(allowed)


@pytest.mark.slow
def test_the_site_is_built_without_warnings(tmp_path):
    pytest.importorskip("mkdocs", reason="pip install 'igbench[docs]'")
    subprocess.run([sys.executable, "docs/generate.py"], cwd=ROOT, check=True)
    words = ["build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    made = subprocess.run(
        [sys.executable, "-m", "mkdocs", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "site" / "docs" / "reference" / "metrics" / "srg" / "index.html").is_file()
