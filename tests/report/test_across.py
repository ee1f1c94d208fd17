"""Runs of several models side by side, and the mark of weights that were not learned."""

from __future__ import annotations

from dataclasses import replace

import pytest

from igbench import report
from igbench.__main__ import main
from igbench.errors import InputError
from igbench.records import stats, store
from igbench.report import across, plots, render
from igbench.report.tables import tables
from igbench.schema import Records, Row
from tests.helpers import synthetic


def of_model(name: str, weights: str, source: str = "", run_id: str = "") -> Records:
    """A synthetic run of one model."""
    found = synthetic.make_records()
    environment = {**found.run.environment, "model_source": source}
    run = replace(
        found.run,
        id=run_id or found.run.id,
        environment=environment,
        comparability={**found.run.comparability, "weights": weights},
    )
    return replace(found, run=run, scores=found.scores.assign(model=name))


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
    assert table.columns == ("method", "resnet50", "vit_b_16 (random weights)")
    assert table.rows[-1] == "edges (control)"
    assert len(table.rows) == len(synthetic.METHODS)
    for (run, summary), column in zip(pair, zip(*table.cells, strict=True), strict=True):
        means = summary[summary.metric == "srg"].set_index("method")["mean"]
        for name, cell in zip(table.rows, column, strict=True):
            method = name.partition(" (")[0]
            assert cell.value == means[method]
            assert method in run.methods
    assert "srg ↑" in table.caption
    assert "n = 24 samples" in table.caption
    assert "" not in table.footnotes, "only the weights differ"


def test_all_metrics_with_a_direction_by_default(pair):
    names = [t.name for t in across.tables(pair)]
    directed = [m for m, spec in synthetic.METRICS.items() if spec.direction != "none"]
    assert names == [f"models_{m}" for m in directed]
    with pytest.raises(InputError, match="unknown metric 'sgr'.*'srg'"):
        across.tables(pair, ["sgr"])


def test_what_differs_besides_the_weights_is_said(pair):
    run, summary = pair[0]
    other = replace(run, comparability={**run.comparability, "samples": "00", "weights": "cc" * 32})
    (table,) = across.tables([pair[0], (other, summary)], ["srg"])
    assert table.footnotes[""] == "The runs differ in: samples."
    assert table.columns[1:] == ("resnet50 (weights aaaaaaaa)", "resnet50 (weights cccccccc)")


def test_a_method_that_one_model_lacks(pair):
    run, summary = pair[1]
    less = summary[summary.method != "grad_cam"]
    (table,) = across.tables([pair[0], (run, less)], ["srg"])
    assert table.cells[table.rows.index("grad_cam")][1].text == "–"


def test_the_command_takes_the_newest_run_of_each_model(tmp_path, capsys):
    for k, (name, weights) in enumerate((("a", "aa"), ("b", "bb"), ("a", "aa"))):
        made = of_model(name, weights, run_id=f"20260102-03040{k}-0a1b2c3d")
        rows = [Row(*line) for line in made.scores.itertuples(index=False, name=None)]
        store.write(tmp_path / "several" / made.run.id, made.run, rows)
    found = store.by_model("several", tmp_path)
    assert [f.name[:15] for f in found] == ["20260102-030401", "20260102-030402"]
    assert store.by_model(found[0], tmp_path) == [found[0]]
    assert store.by_model(found[0].name, tmp_path) == [found[0]]
    assert store.by_model(tmp_path / "several", tmp_path) == found
    words = ["table", "several", "--results-dir", str(tmp_path), "--metric", "srg"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "| method" in text
    assert text.count(" b ") == text.count(" a ") + text.count("| a") * 0 or "b" in text
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
    rows = [Row(*line) for line in records.scores.itertuples(index=False, name=None)]
    folder = store.write(tmp_path / "run", records.run, rows)
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
