"""`igbench report` of several runs, and of a choice of metrics, methods and formats."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import pytest

from igbench.__main__ import main
from igbench.errors import InputError
from igbench.records import store
from igbench.report import across, several
from igbench.report.table import TableOptions
from igbench.schema import Records, Row
from tests.helpers import synthetic

KEPT = ("srg", "deletion", "difference_from_ig")


def made(model: str, experiment: str, run_id: str, weights: str = "aa", seed: int = 0) -> Records:
    found = synthetic.make_records(seed, samples=8)
    run = replace(
        found.run,
        id=run_id,
        experiment=experiment,
        metrics={m: found.run.metrics[m] for m in KEPT},
        comparability={**found.run.comparability, "weights": weights * 32},
    )
    scores = found.scores[found.scores["metric"].isin(KEPT)]
    return Records(run, scores.assign(model=model, experiment=experiment, run=run_id), None)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models on one data set, and one of them on another."""
    where = tmp_path_factory.mktemp("results")
    for seed, (model, experiment, weights) in enumerate(
        (("net", "photos", "aa"), ("vit", "photos", "bb"), ("net", "digits", "aa"))
    ):
        records = made(model, experiment, f"20260102-03040{seed}-0a1b2c3d", weights, seed)
        rows = [Row(*line) for line in records.scores.itertuples(index=False, name=None)]
        store.write(where / experiment / records.run.id, records.run, rows)
    return where


def report(results: Path, *words: str) -> int:
    return main(["report", *words, "--results-dir", str(results)])


def refused(capsys: pytest.CaptureFixture[str], results: Path, *words: str) -> str:
    assert report(results, *words) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    return text


@pytest.fixture(scope="module")
def both(results: Path) -> Path:
    assert report(results, "photos", "digits") == 0
    return results / "reports" / "photos+digits"


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_a_table_and_a_figure_for_each_metric(both: Path) -> None:
    found = files(both)
    tables = {f"tables/models_{m}.{s}" for m in ("srg", "deletion") for s in ("md", "tex")}
    figures = {f"plots/models_{m}.{s}" for m in ("srg", "deletion") for s in ("png", "svg")}
    assert {"report.html", "scores.csv"} | tables | figures <= found
    assert not {name for name in found if "difference" in name}, "it has no direction"
    page = (both / "report.html").read_text()
    assert page.count("<figure>") == 2
    assert 'src="http' not in page
    assert "3 runs side by side" in page


def test_columns_are_models_and_data_sets(both: Path) -> None:
    head = next(
        line
        for line in (both / "tables" / "models_srg.md").read_text().splitlines()
        if line.startswith("| method")
    )
    columns = [word.strip() for word in head.split("|")[1:-1]]
    assert columns == ["method", "Net (photos)", "ViT", "Net (digits)"]


def test_numbers_are_those_of_the_runs(both: Path, results: Path) -> None:
    with (both / "scores.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 3 * 2 * len(synthetic.METHODS), "runs, metrics, methods"
    for folder in (p for e in ("photos", "digits") for p in store.runs(results / e)):
        own = store.read_summary(folder).set_index(["method", "metric"])
        for line in (line for line in lines if line["run"] == folder.name):
            wanted = own.loc[(line["method"], line["metric"])]
            for key in ("mean", "low", "high"):
                assert float(line[key] or "nan") == pytest.approx(wanted[key], nan_ok=True)
            for key in ("n", "n_undefined", "n_failed"):
                assert int(line[key]) == wanted[key]


def test_a_choice_changes_no_number_and_no_mark(results: Path, tmp_path: Path) -> None:
    words = ["--metrics", "srg", "--methods=ig,grad_cam", "--format=markdown", f"--out={tmp_path}"]
    assert report(results, "digits", *words) == 0
    assert files(tmp_path) - {"plots/models_srg.pdf"} == {
        "tables/models_srg.md", "plots/models_srg.png", "plots/models_srg.svg",
    }  # fmt: skip
    text = (tmp_path / "tables" / "models_srg.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith(("| IG", "| Grad", "| Occ"))]
    assert len(rows) == 2
    whole = store.read_summary(store.latest(results, "digits"))
    best = whole[(whole["metric"] == "srg") & whole["best"]]["method"].item()
    assert ("**" in text) == (best in ("ig", "grad_cam")), "the best of all, not of the chosen"


def test_one_run_without_options_is_drawn_in_its_folder(results: Path, capsys) -> None:
    assert report(results, "digits") == 0
    folder = store.latest(results, "digits")
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert (folder / "tables" / "scores.md").is_file()


def test_unknown_names_are_refused_with_the_nearest(results: Path, capsys, tmp_path: Path) -> None:
    out = f"--out={tmp_path / 'out'}"
    for words, near in (
        (["--metrics=sgr"], "unknown metric 'sgr'; known: srg, deletion, difference_from_ig. "
         "Did you mean 'srg'?"),
        (["--methods=occlusin"], "Did you mean 'occlusion'?"),
        (["--format=latx"], "unknown format 'latx'; known: html, latex, markdown, csv. "
         "Did you mean 'latex'?"),
        (["--format=,"], "no format is given"),
    ):  # fmt: skip
        assert near in refused(capsys, results, "photos", *words, out)
    assert "no run of 'photo'" in refused(capsys, results, "photo", "digits", out)
    assert not (tmp_path / "out").exists(), "nothing is written"


def test_a_run_is_no_place_for_it(results: Path, capsys) -> None:
    folder = store.latest(results, "digits")
    before = files(folder)
    assert "is a run; give another" in refused(capsys, results, "photos", f"--out={folder}")
    assert files(folder) == before


def test_links_are_refused(results: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "tables").symlink_to(results)
    refused(capsys, results, "photos", f"--out={tmp_path}")
    assert not (results / "models_srg.md").exists()


def test_markup_and_formulas_are_escaped(tmp_path: Path) -> None:
    from igbench.records import stats

    evil = "<script>alert(1)</script>"
    records = made(evil, "=1+1", "20260102-030405-0a1b2c3d")
    summary = stats.summarise(records.scores, records.run.metrics, resamples=50)
    several.write([(records.run, summary)], tmp_path, several.Choice())
    assert "<script" not in (tmp_path / "report.html").read_text()
    assert evil not in (tmp_path / "tables" / "models_srg.md").read_text()
    assert "'=1+1" in (tmp_path / "scores.csv").read_text()


def test_heads_tell_equal_models_apart() -> None:
    from igbench.records import stats

    runs = []
    for weights, run_id in (("aa", "one"), ("aa", "two"), ("cc", "three")):
        records = made("net", "photos", run_id, weights)
        summary = stats.summarise(records.scores, records.run.metrics, resamples=20)
        runs.append((records.run, summary))
    heads = [head for head, *_ in across.columns(runs)]
    assert heads == [
        "Net (weights aaaaaaaa, one)", "Net (weights aaaaaaaa, two)", "Net (weights cccccccc)",
    ]  # fmt: skip
    before = dict(mpl.rcParams)
    axes = several.figure(runs, "srg").axes[0]
    assert dict(mpl.rcParams) == before
    handles, labels = axes.get_legend_handles_labels()
    assert labels == heads
    assert len(handles) == 3


def test_a_format_must_be_named() -> None:
    with pytest.raises(InputError, match="no format"):
        several.formats(" , ")


def test_one_run_gets_ranks_and_shares_on_request(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    asked = []

    def note(_: object, options: TableOptions, *, paper: bool) -> Path:
        asked.append((options.ranks, options.shares, paper))
        return tmp_path / "page"

    monkeypatch.setattr("igbench.report.write_report", note)
    one = str(store.runs(results / "digits")[0])
    assert main(["report", one, "--ranks"]) == 0
    assert main(["report", one]) == 0
    assert main(["report", one, "--paper"]) == 0
    assert asked == [(True, False, False), (False, False, False), (False, False, True)]
    assert main(["report", one, "--paper", "--metrics", "srg"]) == 2
    assert main(["report", one, "--shares", "--metrics", "srg"]) == 2
    assert "leave out --format, --metrics" in capsys.readouterr().err
