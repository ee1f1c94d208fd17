"""Nothing that is read can run code, and nothing that is written can either.

What single files do is tested where they are: weights in tests/models/test_weights.py (pickles with
code, broken files, tensors that do not fit), names and reasons in tests/report/test_html.py.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from igbench.__main__ import main
from igbench.records import compare, store
from igbench.report import write_report
from igbench.schema import Records
from tests.helpers.synthetic import make_points, make_records, make_rows, make_run

PACKAGE = Path(__file__).parent.parent / "igbench"
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>'

FORBIDDEN = {
    "eval", "exec", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads",
    "pickle.Unpickler", "dill.load", "joblib.load", "cloudpickle.loads", "marshal.loads",
    "shelve.open", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "hydra.utils.instantiate",
    "hydra.utils.call", "torch.jit.load", "torch.hub.load", "pd.read_pickle", "pandas.read_pickle",
    "torch.save", "pickle.dump", "pickle.dumps",
}  # fmt: skip
"""Calls that run, or write, what a file says as code."""


def doubtful(source: str) -> list[str]:
    """Calls in a source text that may run code from data."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {k.arg: ast.unparse(k.value) for k in node.keywords}
        if (
            name in FORBIDDEN
            or (name == "torch.load" and given.get("weights_only") != "True")
            or given.get("allow_pickle", "False") != "False"
            or given.get("shell", "False") != "False"
        ):
            found.append(f"{node.lineno}: {ast.unparse(node)[:60]}")
    return found


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)", "torch.load(path, weights_only=False)", "pickle.loads(data)",
        "np.load(path, allow_pickle=True)", "subprocess.run(text, shell=True)", "yaml.load(text)",
        "x = [eval(t) for t in texts]", "hydra.utils.instantiate(node)",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_should(source):
    assert len(doubtful(source)) == 1


def test_no_call_runs_what_a_file_says():
    found = {str(p): doubtful(p.read_text(encoding="utf-8")) for p in PACKAGE.rglob("*.py")}
    assert {path: calls for path, calls in found.items() if calls} == {}
    assert len(found) > 100


def test_names_become_objects_in_one_place():
    """config/build.py alone resolves `_target_`; other names that are imported are constants."""
    places = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = isinstance(node, ast.Call) and ast.unparse(node.func)
            if called and called.endswith("import_module"):
                if isinstance(node.args[0], ast.Constant) or path == PACKAGE / "__init__.py":
                    continue  # the public names of the package itself
                places.append(str(path.relative_to(PACKAGE)))
    # Of packages that callers name by constants, and of classes of scikit-learn alone.
    assert set(places) == {"config/build.py", "models/hf_folder.py", "models/sklearn_model.py"}


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("kind", ["code", "shape"])
def test_bad_weights_are_one_line_from_the_command_line(tmp_path, capsys, kind):
    trace, path = tmp_path / "trace", tmp_path / "w.pth"
    state = {"fc.weight": Bomb(trace)} if kind == "code" else {"conv1.weight": torch.ones(2, 2)}
    torch.save(state, path)
    words = ["experiment=imagenet_resnet", "model=resnet18", f"model.weights={path}", "limit=1"]
    assert main([*words, f"results_dir={tmp_path / 'out'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert ("is a pickle with code, which is not run" in line) == (kind == "code")
    assert ("does not fit the architecture: 'conv1.weight' has shape (2, 2)" in line) == (
        kind == "shape"
    )
    assert not trace.exists()


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A folder of results with a run, its report, and the shards of one that was stopped."""
    where = tmp_path_factory.mktemp("results")
    before = os.environ.get("IGBENCH_CACHE")
    os.environ.setdefault("IGBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    words = ["experiment=digits_resnet", "limit=2", "convergence=1", "keep_maps=2", "batch_size=4"]
    words += ["method=[random]", "metric=[deletion]", f"results_dir={where}", "shard_size=1"]
    assert main(words) == 0
    from igbench.config import compose
    from igbench.run import checkpoint, runner

    job = runner.job(compose.compose([*words, "seed=1"]))
    checkpoint.execute(job.experiment, job.shards[0], job.shard_dir)
    if before is None:
        del os.environ["IGBENCH_CACHE"]
    return where


KINDS = {".json", ".parquet", ".csv", ".safetensors", ".md", ".tex", ".html", ".png", ".svg",
         ".pdf", ".webp"}  # fmt: skip


def test_results_are_plain_data(results):
    files = [p for p in results.rglob("*") if p.is_file()]
    assert {".json", ".parquet", ".safetensors", ".html"} <= {p.suffix for p in files}
    assert any(".partial" in str(p) for p in files), "shards of a run that goes on"
    for path in files:
        content = path.read_bytes()
        assert path.suffix in KINDS
        assert not content.startswith((b"\x80", b"PK"))  # pickles, and what torch.save makes
        if path.suffix == ".json":
            json.loads(content)
        if path.suffix == ".parquet":
            schema = pq.read_schema(path)
            assert not [f for f in schema if str(f.type).startswith(("binary", "extension"))]


class Tags(HTMLParser):
    """Tags, and names of attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}


def test_markup_in_samples_and_classes_stays_text(tmp_path):
    records = make_records(samples=8)
    first = str(records.run.samples[0]["sample_id"])
    samples = [dict(s) for s in records.run.samples]
    samples[0] |= {"sample_id": EVIL, "target_name": EVIL, "reason": EVIL, "probability": 0.5}
    maps = {name: {EVIL: np.ones((8, 8), np.float32)} for name in ("ig", "edges")}
    maps["inputs"] = {EVIL: np.zeros((8, 8, 3), np.uint8)}
    evil = Records(
        replace(records.run, samples=samples),
        records.scores.assign(sample_id=records.scores["sample_id"].replace(first, EVIL)),
        records.curves.assign(sample_id=records.curves["sample_id"].replace(first, EVIL)),
        str(tmp_path),
        maps,
    )
    page = write_report(evil)
    own = {page: 3}  # ours: of the page, the data of the samples, and of their browser
    for path in [page, *tmp_path.rglob("*.html"), *tmp_path.rglob("*.svg")]:
        found = Tags(path.read_text(encoding="utf-8"))
        assert found.tags.count("script") == own.get(path, 0), path
        assert "onerror" not in found.attributes, path


def test_a_record_constructs_nothing(tmp_path, monkeypatch, capsys):
    """A run.json may name any `_target_`: reading, drawing and comparing leave it a text."""
    trace = tmp_path / "trace"
    node = {"_target_": "os.mkdir", "path": str(trace)}
    folders = []
    for seed in (0, 1):
        run = replace(
            make_run(samples=8), config={"model": node, "method": {"ig": node}, "seed": 0}
        )
        run = replace(run, environment={**run.environment, "precision": node, "executor": node})
        folders.append(tmp_path / "out" / "synthetic" / f"run{seed}")
        rows, points = make_rows(seed, samples=8, run=run), make_points(samples=8, run=run)
        store.write(folders[-1], run, rows, points, {})
    real, asked = importlib.import_module, []
    monkeypatch.setattr(
        importlib,
        "import_module",
        lambda name, package=None: asked.append(name) or real(name, package),
    )
    read = [store.read(folder) for folder in folders]
    assert read[0].run.config["model"] == node
    compare.format_text(compare.compare(*read))
    assert main(["report", str(folders[0])]) == 0
    assert main(["compare", *map(str, folders)]) in (0, 1)
    assert not trace.exists()
    assert "os" not in asked
