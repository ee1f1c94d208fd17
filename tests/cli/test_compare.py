"""The command `igbench compare`: which runs, which file, which exit status."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from igbench.__main__ import main
from igbench.records import baselines, store
from tests.helpers import synthetic


def write(folder: Path, number: int, shift: float = 0.0, **versions: str) -> Path:
    run = synthetic.make_run(
        run_id=f"2026010{number}-000000-{number:08x}", samples=8, versions=versions
    )
    rows = synthetic.make_rows(shift={("ig", "deletion"): shift}, samples=8, run=run)
    kept = [r for r in rows if r.method in ("ig", "random") and r.metric in ("deletion", "srg")]
    return store.write(store.place(folder, run), run, kept)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results"


def compare(*words: object) -> int:
    return main(["compare", *map(str, words)])


def test_two_runs_and_a_file_of_each_format(results: Path, capsys) -> None:
    base, new = write(results, 1), write(results, 2, 0.05, captum="0.10.0")
    assert compare(base, new) == 2
    assert "(--across captum allows it)" in capsys.readouterr().out
    assert compare(base, new, "--across", "captum") == 1
    text = capsys.readouterr().out
    assert "REGRESSION ig/deletion: " in text
    assert "differs: versions.captum: '0.9.0' -> '0.10.0'" in text
    words = [base, new, "--across=captum"]
    assert compare(*words, "--fail-on", "never", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "regression"
    assert compare(*words, "--format", "junit", "--out", "compare.xml") == 1
    assert "REGRESSION ig/deletion" in capsys.readouterr().out  # a file takes nothing from the log
    assert ElementTree.parse("compare.xml").getroot().tag == "testsuites"
    assert compare(*words, "--markdown") == 1
    assert capsys.readouterr().out.startswith("### regression: 1 regressed")


def test_one_name_is_compared_with_the_run_before_and_the_best(results: Path, capsys) -> None:
    first = write(results, 1)
    assert compare("synthetic") == 2
    assert "has no baseline in baselines and no run before it" in capsys.readouterr().err
    write(results, 2, 0.004)
    assert compare("synthetic") == 0
    write(results, 3, 0.008)
    assert compare("synthetic") == 1
    text = capsys.readouterr().out
    assert "DRIFT ig/deletion: " in text
    assert f"against {first.name}, the best run before" in text


def test_one_name_is_compared_with_its_baseline(results: Path, capsys) -> None:
    first = write(results, 1)
    write(results, 2, 0.05)
    new = write(results, 3, 0.05)
    baselines.set_baseline(first, "synthetic")
    for words in ([new], ["synthetic"], ["synthetic", new]):
        assert compare(*words) == 1
        text = capsys.readouterr().out
        assert f"({first.name} -> {new.name})" in text
        assert "REGRESSION ig/deletion" in text


def test_what_is_accepted_is_kept_beside_the_baseline(results: Path, capsys) -> None:
    first, new = write(results, 1), write(results, 2, 0.05)
    baselines.set_baseline(first, "synthetic")
    assert compare(new, "--accept", "ig/deletion", "--reason", "a mended baseline") == 0
    text = capsys.readouterr().out
    assert "ACCEPTED ig/deletion" in text
    assert "accepted: baselines/synthetic.accepted.yaml" in text.replace("\\", "/")
    assert compare(new) == 0
    assert "accepted: a mended baseline (" in capsys.readouterr().out
    assert compare(new, "--accepted", "other.yaml") == 1
    write(results, 3, 0.1)
    assert compare("synthetic") == 1
    assert baselines.names() == ["synthetic"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--accept", "ig/deletion"], "--accept PATTERN and --reason TEXT go together"),
        (["--reason", "why"], "--accept PATTERN and --reason TEXT go together"),
        (["--accept", "ig/x", "--reason", "why"], "'ig/x' matches no cell"),
        (["--accept", "ig/srg", "--reason", "why"], "none of the 1 cells"),
        (["--format", "xml"], "unknown --format 'xml'; known: text, markdown, json, junit"),
        (["--fail-on", "all"], "unknown --fail-on 'all'"),
        (["--out", "none/there.txt"], "cannot write none"),
        (["third"], "igbench compare takes a new run, or a base run and a new run"),
    ],
)
def test_options_that_are_wrong(results: Path, capsys, words: list[str], message: str) -> None:
    base, new = write(results, 1), write(results, 2, 0.05)
    assert compare(base, new, *words) == 2
    assert message in capsys.readouterr().err
    assert not list(Path().rglob("*.accepted.yaml"))


def test_nothing_is_accepted_of_runs_that_are_not_comparable(results: Path, capsys) -> None:
    base, new = write(results, 1), write(results, 2, 0.05, captum="0.10.0")
    assert compare(base, new, "--accept", "ig/deletion", "--reason", "why") == 2
    assert "nothing can be accepted of runs that are not comparable" in capsys.readouterr().err


def test_a_damaged_earlier_run_is_left_out_with_a_warning(results: Path, caplog) -> None:
    damaged = write(results, 1)
    write(results, 2)
    write(results, 3)
    (damaged / "scores.parquet").write_bytes(b"PAR1")
    assert compare("synthetic") == 0
    assert "an earlier run is left out" in caplog.text


@pytest.mark.slow
def test_comparing_needs_no_torch(results: Path) -> None:
    base, new = write(results, 1), write(results, 2)
    code = (
        "import sys; from igbench.__main__ import main; "
        f"assert main(['compare', {str(base)!r}, {str(new)!r}]) == 0; "
        "assert not {'torch', 'hydra', 'matplotlib', 'captum'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_values_are_those_of_the_files(results: Path, capsys) -> None:
    base, new = write(results, 1), write(results, 2, 0.05)
    compare(base, new, "--format", "json")
    cells = json.loads(capsys.readouterr().out)["cells"]
    (cell,) = (c for c in cells if (c["method"], c["metric"]) == ("ig", "deletion"))
    old, now = (
        store.scores(f).query("method == 'ig' and metric == 'deletion'")["value"].to_numpy()
        for f in (base, new)
    )
    assert cell["difference"] == pytest.approx(float(np.mean(now - old)))
