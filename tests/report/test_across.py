"""Runs of several models side by side, and the mark of weights that were not learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from igbench import report
from igbench.__main__ import main
from igbench.errors import InputError
from igbench.records import stats, store
from igbench.report import across, heatmaps, plots, render
from igbench.report.tables import tables
from igbench.schema import Records, Row
from tests.helpers import synthetic

METHODS = ("ig", "occlusion", "grad_cam", "edges")
METRICS = ("srg", "insertion", "difference_from_ig")


def of_model(name: str, weights: str, source: str = "", run_id: str = "") -> Records:
    """A small synthetic run of one model."""
    found = synthetic.make_records(samples=8)
    scores, curves = (
        frame[frame["method"].isin(METHODS)].assign(model=name)
        for frame in (found.scores, found.curves)
    )
    run = replace(
        found.run,
        id=run_id or found.run.id,
        methods={m: found.run.methods[m] for m in METHODS},
        metrics={m: found.run.metrics[m] for m in (*METRICS, "forward_rows", "backward_rows")},
        environment={**found.run.environment, "model_source": source},
        comparability={**found.run.comparability, "weights": weights},
    )
    scores = scores[scores["metric"].isin(run.metrics)]
    return Records(run, scores, curves[curves["curve"] == "insertion"])


def with_summary(records: Records):
    run = records.run
    return run, stats.summarise(records.scores, run.metrics, methods=run.methods, resamples=50)


@pytest.fixture(scope="module")
def pair():
    return [
        with_summary(of_model("resnet50", "aa" * 32)),
        with_summary(
            of_model("vit_b_16", "bb" * 32, "torchvision vit_b_16, random weights (seed 0)")
        ),
    ]


def test_methods_by_models(pair):
    (table,) = across.tables(pair, ["srg"])
    assert table.columns == ("method", "ResNet-50", "ViT-B/16 (random weights)")
    assert table.rows == ("IG", "Occlusion", "Grad-CAM", "Edges (control)")
    for (run, summary), column in zip(pair, zip(*table.cells, strict=True), strict=True):
        means = summary[summary.metric == "srg"].set_index("method")["mean"]
        for key, cell in zip(table.keys, column, strict=True):
            assert cell.value == means[key["method"]]
            assert key["method"] in run.methods
    assert "SRG ↑" in table.caption
    assert "n = 8 samples" in table.caption
    assert "" not in table.footnotes, "only the weights differ"


def test_all_metrics_with_a_direction_by_default(pair):
    names = [t.name for t in across.tables(pair)]
    assert names == ["models_srg", "models_insertion"]
    with pytest.raises(InputError, match=r"unknown metric 'sgr'.*'srg'"):
        across.tables(pair, ["sgr"])


def test_what_differs_besides_the_weights_is_said(pair):
    run, summary = pair[0]
    other = replace(run, comparability={**run.comparability, "samples": "00", "weights": "cc" * 32})
    (table,) = across.tables([pair[0], (other, summary)], ["srg"])
    assert table.footnotes[""] == "The runs differ in: samples."
    assert table.columns[1:] == ("ResNet-50 (weights aaaaaaaa)", "ResNet-50 (weights cccccccc)")


def test_a_method_that_one_model_lacks(pair):
    run, summary = pair[1]
    less = summary[summary.method != "grad_cam"]
    (table,) = across.tables([pair[0], (run, less)], ["srg"])
    assert table.cells[table.rows.index("Grad-CAM")][1].text == "–"


def test_the_command_takes_the_newest_run_of_each_model(tmp_path, capsys):
    for k, (name, weights) in enumerate((("a", "aa"), ("b", "bb"), ("a", "aa"))):
        made = of_model(name, weights, run_id=f"20260102-03040{k}-0a1b2c3d")
        few = made.scores[made.scores["metric"] == "srg"]
        rows = [Row(*line) for line in few.itertuples(index=False, name=None)]
        store.write(tmp_path / "several" / made.run.id, made.run, rows)
    found = store.by_model("several", tmp_path)
    assert [f.name[:15] for f in found] == ["20260102-030401", "20260102-030402"]
    assert store.by_model(found[0], tmp_path) == [found[0]]
    assert store.by_model(found[0].name, tmp_path) == [found[0]]
    assert store.by_model(tmp_path / "several", tmp_path) == found
    words = ["table", "several", "--results-dir", str(tmp_path), "--metric", "srg"]
    assert main(words) == 0
    text = capsys.readouterr().out
    (head,) = [line for line in text.splitlines() if line.startswith("| method")]
    assert [word.strip() for word in head.split("|")[1:-1]] == ["method", "B", "A"]
    assert main(["table", "nothing", "--results-dir", str(tmp_path)]) == 2
    assert "no run of 'nothing'" in capsys.readouterr().err


SOURCE = "torchvision resnet50, random weights (seed 0)"


def test_random_weights_are_marked_in_every_table_and_figure(tmp_path):
    records = of_model("resnet50 (random weights)", "aa" * 32, SOURCE)
    summary = with_summary(records)[1]
    for table in tables(records, summary):
        assert "random weights" in table.caption, table.name
        for text in (render.to_markdown(table), render.to_latex(table), render.to_html(table)):
            assert "random weights" in text, table.name
    for name, figure in plots.figures(records, summary).items():
        assert "random weights" in figure.get_suptitle(), name
    one = synthetic.sample_ids(1)[0]
    maps = {"inputs": {one: np.zeros((4, 4, 3), np.uint8)}, "ig": {one: np.eye(4)}}
    grid = heatmaps.grid(replace(records, maps=maps))
    assert grid is not None
    assert "random weights" in grid.get_suptitle()
    rows = [Row(*line) for line in records.scores.itertuples(index=False, name=None)]
    folder = store.write(tmp_path / "run", records.run, rows, maps=maps)
    lines = (folder / store.SUMMARY_FILE).read_text().splitlines()
    assert all("random weights" in line for line in lines[1:])
    page = report.write_report(store.read(folder)).read_text()
    section = page[page.index('class="narrative"') :]
    assert "The model has random weights" in section[: section.index("</section>")]
    captions = [part.partition("</figcaption>")[0] for part in page.split("<figcaption>")[1:]]
    assert captions
    assert all("random weights" in caption for caption in captions)


def test_trained_weights_are_not():
    records = of_model("resnet50", "aa" * 32, "torchvision resnet50, weights IMAGENET1K_V1")
    summary = with_summary(records)[1]
    for table in tables(records, summary):
        assert "random weights" not in render.to_markdown(table)
    for figure in plots.figures(records, summary).values():
        assert figure.get_suptitle() == ""
