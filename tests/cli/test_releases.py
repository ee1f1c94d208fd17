"""`igbench releases`: runs with several versions, and verdicts on neighbours."""

from __future__ import annotations

import io
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from igbench.__main__ import COMMANDS, USAGE, main
from igbench.cli import releases
from igbench.cli.environments import Options
from igbench.errors import InputError
from igbench.records import history, store
from tests.helpers import synthetic

METHODS, METRICS = ("ig", "saliency"), ("srg", "insertion", "seconds")


class Fake:
    """Runs commands: environments have what they are told, and runs are made up.

    Args:
        results: Folder of results.
        shifts: Version of captum to what is added to scores, see `synthetic.make_rows`.
        numpy: Version of captum to that of numpy in its environment.
        failing: Version of captum whose run fails.
    """

    def __init__(self, results: Path, shifts=None, numpy=None, failing="", recorded=None):
        self.results, self.shifts, self.numpy = results, shifts or {}, numpy or {}
        self.failing, self.recorded = failing, recorded or {}
        self.captum: dict[str, str] = {}
        self.runs: list[list[str]] = []

    def __call__(self, command, variables):
        home = command[-1] if "venv" in command else str(Path(command[0]).parents[1])
        if "venv" in command:
            (Path(home) / "bin").mkdir(parents=True)
            (Path(home) / "bin" / "python").touch()
        elif "install" in command:
            (pin,) = [w for w in command if w.startswith("captum==")]
            (Path(home) / "captum").write_text(pin.removeprefix("captum=="))
        else:
            captum = (Path(home) / "captum").read_text()
            versions = {"captum": captum, "numpy": self.numpy.get(captum, "2.4.6")}
            if "-c" in command:
                text = json.dumps(["igbench", versions, {}])
                return subprocess.CompletedProcess(command, 0, text, "")
            return self.run(command, versions)
        return subprocess.CompletedProcess(command, 0, "", "")

    def run(self, command, versions):
        self.runs.append(command[3:])
        captum = versions["captum"]
        if captum == self.failing:
            return subprocess.CompletedProcess(command, 2, "", "x\nigbench: no such method.\n")
        versions = {**versions, "captum": self.recorded.get(captum, captum)}
        stamp = f"20260102-03040{len(self.runs)}-0a1b2c3d"
        run = synthetic.make_run(run_id=stamp, versions=versions)
        rows = synthetic.make_rows(shift=self.shifts.get(captum), run=run)
        rows = [row for row in rows if row.method in METHODS and row.metric in METRICS]
        folder = store.write(self.results / "synthetic" / run.id, run, rows)
        text = f"igbench digits\n\nFinished in 3 s. Report: {folder}/report.html\n"
        return subprocess.CompletedProcess(command, 3, text, "")


SETS = ("captum==0.7.0", "captum==0.8.0", "captum==0.9.0")
WORSE = {"0.9.0": {("ig", "srg"): -0.2}, "0.8.0": {("ig", "insertion"): 0.2}}


def call(fake: Fake, *words: str, sets=SETS, **options) -> tuple[int, list[str]]:
    """Exit status and lines of the command."""
    out = io.StringIO()
    where = Options(fake.results.parent / "environments", installer="pip")
    console = Console(file=out, width=200, soft_wrap=True)
    words = ("experiment=digits_resnet", f"results_dir={fake.results}", *words)
    status = releases.releases(console, words, sets, where, run=fake, **options)
    return status, out.getvalue().splitlines()


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


def test_equal_runs(results):
    fake = Fake(results)
    status, lines = call(fake)
    assert status == 0
    assert "0 of 6 cells changed between neighbours; 6 did not." in lines
    assert [line for line in lines if " -> captum" in line] == [
        f"captum==0.{i}.0 -> captum==0.{i + 1}.0: no regression: 6 identical of 6 cells "
        f"(20260102-03040{i - 6}-0a1b2c3d -> 20260102-03040{i - 5}-0a1b2c3d)"
        for i in (7, 8)
    ]
    assert fake.runs[0] == ["experiment=digits_resnet", f"results_dir={results}"]


def test_the_means_over_the_versions_are_drawn(results, tmp_path):
    figure = tmp_path / "releases.svg"
    _, lines = call(Fake(results, WORSE), plot=figure)
    assert lines[-1] == f"figure: {figure}"
    assert figure.read_text().startswith("<svg")
    trend = history.of_folders(sorted((results / "synthetic").iterdir()))
    assert [one.label for one in trend.releases] == [text.replace("==", " ") for text in SETS]
    assert trend.shown == 0
    with pytest.raises(InputError, match="suffix must be one of png, pdf, svg"):
        call(Fake(results), plot=tmp_path / "releases.gif")


def test_a_regression(results):
    status, lines = call(Fake(results, WORSE))
    assert status == 1
    (worse,) = [line.split() for line in lines if line.startswith("ig/srg")]
    means = [float(word) for word in worse[1:4]]
    assert worse[4] == "(regressed)"
    assert means[0] == means[1] == pytest.approx(means[2] + 0.2, abs=2e-4)
    (better,) = [line for line in lines if line.startswith("ig/insertion")]
    assert "(improved)" in better
    assert "(regressed)" in better
    heads = next(line for line in lines if line.startswith("Cell"))
    assert heads.split() == ["Cell", *SETS]
    assert "captum==0.8.0 -> captum==0.9.0: regression: 2 regressed" in "\n".join(lines)
    assert call(Fake(results.with_name("again"), WORSE), fail_on="never")[0] == 0


def test_what_differs_besides_is_said(results):
    status, lines = call(Fake(results, numpy={"0.9.0": "1.26.4"}))
    runs = store.runs(results / "synthetic")
    assert status == 0
    assert lines[-2:] == [
        "  differs besides: numpy 2.4.6 -> 1.26.4",
        f"  in detail: igbench compare {runs[1]} {runs[2]} --across captum,numpy",
    ]
    said = "captum==0.9.0: installed all the same: numpy 1.26.4 (igbench requires numpy>=2.0)"
    assert said in lines


def test_environments_are_there_the_second_time(results):
    call(Fake(results))
    again = Fake(results.with_name("again"))
    _, lines = call(again)
    assert [line.split(" (")[0] for line in lines[:1]] == [
        "captum==0.7.0: environment there already"
    ]
    assert len(again.runs) == 3


def test_others_have_the_rows_in_a_call_of_the_first(results, monkeypatch):
    made = synthetic.make_run

    def with_rows(**named):
        run = made(**named)
        return replace(run, identity={**run.identity, "batch_size": 48})

    monkeypatch.setattr(synthetic, "make_run", with_rows)
    fake = Fake(results)
    call(fake)
    assert ["batch_size=48" in words for words in fake.runs] == [False, True, True]
    fake = Fake(results.with_name("own"))
    call(fake, "batch_size=8")
    assert [words.count("batch_size=8") for words in fake.runs] == [1, 1, 1]
    assert not [words for words in fake.runs if "batch_size=48" in words]


def test_a_run_that_fails(results):
    with pytest.raises(InputError, match=r"the run with captum==0\.8\.0 failed: no such method\."):
        call(Fake(results, failing="0.8.0"))


def test_a_run_with_other_versions_than_asked(results):
    with pytest.raises(InputError, match=r"captum==0\.8\.0 had captum 0\.9\.0: .*comes first"):
        call(Fake(results, recorded={"0.8.0": "0.9.0"}))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "releases need two sets of versions or more"),
        (["--with", "captum==0.9.0"], "releases need two sets of versions or more"),
        (["--with", "captum==0.9.0", "--with", "captum==0.9.0"], "is there twice"),
        (["--with", "captum==0.9.0", "--with", "captum"], "must name one version"),
        (["--with", "a==1", "--with", "a==2", "experiment=digit"], "unknown experiment 'digit'"),
        (["--with", "a==1", "--with", "a==2", "--python", "1.5"], "no Python '1.5' here"),
        (["--with", "a==1", "--with", "a==2", "--fail-on", "all"], "unknown fail_on 'all'"),
    ],
)
def test_wrong_words_are_one_line(words, text, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("IGBENCH_CACHE", str(tmp_path / "cache"))
    assert main(["releases", *words, f"results_dir={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert text in said


def test_the_command_is_listed():
    assert "releases" in COMMANDS
    assert "igbench releases" in USAGE
