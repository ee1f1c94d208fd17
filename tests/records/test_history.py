"""The history of an experiment has the numbers of each run, and joins what is comparable alone."""

from __future__ import annotations

import csv
import io
import json
import logging
import multiprocessing
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from igbench.__main__ import COMMANDS, USAGE, main
from igbench.errors import InputError
from igbench.records import baselines, compare, history, query, stats, store, trend
from igbench.records import steps as step_verdicts
from igbench.report import history as report
from igbench.schema import COSTS, MethodSpec, MetricSpec, Row
from tests.helpers import synthetic

METRICS = {
    "srg": MetricSpec("Relevance gain", "higher", -1, 1, 1, "P"),
    "completeness": MetricSpec("Completeness", "lower", 0, 9, 1, "P"),
}
METHODS = {
    "ig": MethodSpec("Integrated Gradients", "P", "global", True),
    "random": MethodSpec("Random", "P", "global", True, role="control"),
}
SAMPLES = 12
CAPTUM = ("0.7.0", "0.7.0", "0.8.0", "0.8.0", "0.8.0", "0.9.0", "0.9.0", "0.9.0", "0.9.0")
STEP_AT = 5
"""The run from which on SRG of IG is lower by 0.1."""


def write(
    results: Path, place: int, *, captum: str = "0.9.0", asked: Mapping[str, object] | None = None,
    low: bool = True, samples: int = SAMPLES,
) -> Path:  # fmt: skip
    run = synthetic.make_run(
        run_id=f"202601{place + 1:02d}-030405-0a1b2c{place:02x}",
        created=f"2026-01-{place + 1:02d}T03:04:05+00:00",
        samples=samples,
        versions={"captum": captum},
        comparability={"metric_versions": {"srg": 1, "completeness": 1}, **(asked or {})},
    )
    run = replace(run, metrics={**METRICS, **COSTS}, methods=METHODS, state="finished")
    hardness = np.random.default_rng(0).normal(size=SAMPLES)
    noise = np.random.default_rng(place + 1).normal(size=(4, SAMPLES))
    rows = []
    for j, (method, metric) in enumerate([(m, k) for k in METRICS for m in METHODS]):
        level = 0.4 if method == "ig" else 0.0
        level -= 0.1 * (low and (method, metric) == ("ig", "srg"))
        for i in range(samples):
            value = level + 0.1 * hardness[i] + 0.002 * noise[j, i]
            row = Row(run.id, run.experiment, "net", method, metric, f"photo-{i:03d}", value)
            if (method, metric, i) == ("random", "completeness", 3):
                row = row._replace(value=np.nan, status="failed", reason="no memory")
            rows.append(row)
    return store.write(results / run.experiment / run.id, run, rows)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    results = tmp_path_factory.mktemp("made")
    for place, captum in enumerate(CAPTUM):
        write(results, place, captum=captum, low=place >= STEP_AT)
    return results


@pytest.fixture
def results(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "results"))


def test_means_intervals_and_counts_are_those_of_each_run(made):
    found = history.read("synthetic", made, last=0)
    assert len(found.releases) == len(CAPTUM)
    for place, one in enumerate(found.releases):
        records = store.read(one.listed.folder)
        wanted = stats.summarise(records.scores, records.run.metrics).set_index(
            ["method", "metric"]
        )
        own = found.points[found.points["release"] == place].set_index(["method", "metric"])
        assert set(own.index) == set(wanted.index)
        for column in ("n", "n_undefined", "n_failed", "mean", "low", "high"):
            assert own[column].to_dict() == wanted[column].to_dict(), column  # to the last bit
    assert own.loc[("random", "completeness"), "n_failed"] == 1


def test_only_shown_releases_have_intervals_and_all_have_means(made):
    found = history.read("synthetic", made, last=2, metrics=["srg"], methods=["ig"])
    assert found.shown == 7
    assert found.points["mean"].notna().all()
    assert found.points["low"].notna().tolist() == [False] * 7 + [True] * 2
    with pytest.raises(InputError, match=r"unknown metric 'sgr'.*Did you mean 'srg'"):
        history.read("synthetic", made, metrics=["sgr"])
    with pytest.raises(InputError, match="unknown method 'igs'"):
        history.read("synthetic", made, methods=["igs"])
    with pytest.raises(InputError, match="no run of 'other'"):
        history.read("other", made)


def test_labels_and_what_changed(made, tmp_path):
    root = tmp_path / "baselines"
    folders = store.runs(made / "synthetic")
    baselines.set_baseline(folders[2], "v1.0", root)
    found = history.read("synthetic", made, root, last=0)
    labels = [one.label for one in found.releases]
    assert labels == ["captum 0.7.0"] * 2 + ["v1.0"] + ["captum 0.8.0"] * 2 + ["captum 0.9.0"] * 4
    assert found.releases[2].listed.folder == folders[2]  # the run itself, not its baseline
    changed = [one.changed for one in found.releases]
    assert [bool(c) for c in changed] == [p in (2, 5) for p in range(9)]
    assert changed[2] == ("versions.captum: '0.7.0' -> '0.8.0'",)
    by_device = history.read("synthetic", made, root, label="identity.device")
    assert {one.label for one in by_device.releases} == {"cpu"}
    with pytest.raises(InputError, match=r"--label identity\.colour: the run .* has no such field"):
        history.read("synthetic", made, label="identity.colour")


def test_baselines_alone_are_a_history(made, tmp_path):
    root = tmp_path / "baselines"
    for name, folder in zip(("v1", "v2"), store.runs(made / "synthetic")[4:6], strict=True):
        baselines.set_baseline(folder, name, root)
    found = history.read("synthetic", tmp_path / "absent", root)
    assert [one.label for one in found.releases] == ["v1", "v2"]
    (step,) = step_verdicts.steps(found)
    assert step.verdicts()["net", "ig", "srg"].verdict == "regressed"
    other = history.read("synthetic", made)
    cells = found.points.set_index(["method", "metric"]).query("release == 1")
    run = other.points[other.points["release"] == 5].set_index(["method", "metric"])
    assert cells["low"].to_dict() == run["low"].to_dict()


def test_another_question_and_another_version_are_not_joined(results):
    write(results, 9, asked={"seed": 7})
    write(results, 10, asked={"metric_versions": {"srg": 2, "completeness": 1}})
    write(results, 11, samples=8, asked={"samples": "6a" * 32})
    found = history.read("synthetic", results, last=0)
    assert [one.question for one in found.releases] == [0] * 9 + [1, 0, 2]
    assert found.questions[0].startswith("samples: 8 against 12 samples")
    assert "seed: 0 -> 7" in found.questions[1]
    assert found.questions[2] == ""
    lines = found.points.groupby("metric")["line"].agg(list).map(lambda v: v[::2])
    assert lines["srg"] == [0] * 9 + [1, 2, 3]
    assert lines["completeness"] == [0] * 9 + [1, 0, 2]
    assert step_verdicts.steps(found) == []  # nothing answers the question of the newest
    assert found.before(10) == 8
    assert "metrics.srg: version 1 -> 2" in found.releases[10].changed


def test_verdicts_are_those_of_compare(made):
    found = history.read("synthetic", made, last=4)
    steps = step_verdicts.steps(found, every=True)
    assert [(s.before, s.release) for s in steps] == [(4, 5), (5, 6), (6, 7), (7, 8)]
    folders = store.runs(made / "synthetic")
    wanted = compare.compare(*map(store.read, folders[4:6]), across=("all",))
    assert steps[0].comparison.changes == wanted.changes
    assert steps[0].verdicts()["net", "ig", "srg"].verdict == "regressed"
    last = steps[-1].verdicts()["net", "ig", "srg"]
    assert last.verdict != "regressed"  # the run before is as low
    assert last.drift is not None
    assert last.drift.verdict == "regressed"  # but not the best ever, which is not shown
    assert last.drift.run in {f.name for f in folders[:STEP_AT]}
    assert [s.release for s in step_verdicts.steps(found)] == [8]


def test_change_points_from_eight_releases_on(made, results):
    found = history.read("synthetic", made)
    assert [(c.cell, c.release) for c in found.change_points] == [(("net", "ig", "srg"), STEP_AT)]
    (one,) = found.change_points
    means = found.points.query("method == 'ig' and metric == 'srg'")["mean"]
    assert one.before == pytest.approx(means[:STEP_AT].mean(), abs=1e-12)
    assert one.after == pytest.approx(means[STEP_AT:].mean(), abs=1e-12)
    for folder in store.runs(results / "synthetic")[:2]:
        shutil.rmtree(folder)
    short = history.read("synthetic", results)
    assert (short.change_points, short.too_short) == ((), 7)


def test_white_noise_has_few_change_points_and_a_step_has_one():
    rng = np.random.default_rng(3)
    noise = [len(trend.change_points(x, 0.0)) > 0 for x in rng.normal(size=(400, 8))]
    # 6 % of series, from 1500 others; 400 give a standard deviation of 1.2 %
    assert sum(noise) / 400 < 0.1
    steps = rng.normal(size=(200, 20)) + 4 * (np.arange(20) >= 12)
    hits = sum(any(abs(p - 12) <= 1 for p in trend.change_points(x, 0.0)) for x in steps)
    assert hits > 190
    flat = np.array([0.5] * 7 + [0.7])
    assert trend.change_points(flat, 0.01) == [7]  # repeats to the last bit: the last one shows
    assert trend.change_points(flat, 0.3) == []
    assert trend.change_points(flat, np.inf) == []
    assert trend.change_points(flat[1:], 0.01) == []


def damaged(results: Path) -> list[str]:
    """Damage four runs in four ways; returns their names."""
    folders = store.runs(results / "synthetic")[:4]
    table = folders[0] / "scores.parquet"
    table.write_bytes(table.read_bytes()[:-100])
    (folders[1] / "run.json").write_text('{"id": ')
    (folders[2] / "scores.parquet").rename(results / "elsewhere.parquet")
    (folders[2] / "scores.parquet").symlink_to(results / "elsewhere.parquet")
    flipped = bytearray((folders[3] / "scores.parquet").read_bytes())
    flipped[len(flipped) // 2] ^= 8
    (folders[3] / "scores.parquet").write_bytes(flipped)
    return [folder.name for folder in folders]


def test_damaged_runs_are_named_and_skipped(results, caplog):
    names = damaged(results)
    with caplog.at_level(logging.WARNING):
        found = history.read("synthetic", results)
    assert len(found.releases) == 5
    messages = [r.getMessage() for r in caplog.records]
    assert len(messages) == 4
    for name, message in zip(names, sorted(messages), strict=True):
        assert name in message
        assert "is skipped" in message
    for folder in store.runs(results / "synthetic"):
        (folder / "run.json").write_text("[]")
    with pytest.raises(InputError, match=r"no run of 'synthetic' in .* can be read"):
        history.read("synthetic", results)


def test_paths_are_no_patterns_and_new_columns_do_no_harm(made, tmp_path):
    (source,) = store.runs(made / "synthetic")[:1]
    place = Path(shutil.copytree(source, tmp_path / "a[b]*?" / "run"))
    shutil.copytree(source, tmp_path / "ab" / "run")
    found = query.cells([place / "scores.parquet"])
    assert found["file"].tolist() == [0] * 4
    table = pd.read_parquet(place / "scores.parquet").assign(colour="red")
    table.drop(columns="seconds").to_parquet(tmp_path / "newer.parquet")
    both = query.cells([tmp_path / "newer.parquet", place / "scores.parquet"], ["srg"], ["ig"])
    assert both["file"].tolist() == [0, 1]
    assert both["values"].iloc[0].tolist() == both["values"].iloc[1].tolist()
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="the scores cannot be read"):
        query.cells([tmp_path / "broken.parquet"])


def _write_some(results: str, first: int) -> None:
    for place in range(first, first + 4):
        write(Path(results), place)


def test_two_processes_that_write_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_write_some, args=(str(tmp_path), n)) for n in (0, 4)]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
        assert one.exitcode == 0
    found = history.read("synthetic", tmp_path)
    assert len(found.releases) == 8
    assert (found.points.groupby("release").size() == 4).all()
    assert all(path.name[0] != "." for path in (tmp_path / "synthetic").iterdir())


# -- the command -------------------------------------------------------------------------------


def command(capsys, results, *words) -> str:
    given = ["--results-dir", str(results), "--baselines-dir", str(results / "none")]
    assert main(["history", "synthetic", *words, *given]) == 0
    return capsys.readouterr().out


def test_text_says_what_is_shown_and_what_changed(made, capsys):
    out = command(capsys, made, "--last", "4", "--verdicts")
    assert out.startswith("synthetic: 9 releases, 2026-01-01 to 2026-01-09; the newest 4 are shown")
    assert "versions.captum: '0.8.0' -> '0.9.0'" in out
    assert "(regressed, change point)" in out
    assert "(1 failed)" in out
    assert "(worse than the best)" in out
    assert "change point of ig/srg (net) at release 6 (captum 0.9.0): mean 0.4" in out
    assert "Release 9 against 8 and the best:\nregression: " in out
    short = command(capsys, made, "--last", "2", "--metric", "srg", "--methods", "random")
    assert "completeness" not in short.split("\nno change points")[0]
    markdown = command(capsys, made, "--format", "markdown")
    assert markdown.startswith("### synthetic: 9 releases")
    assert "\n| release | label |" in markdown


def test_csv_and_json_have_every_point(made, capsys):
    rows = list(csv.DictReader(io.StringIO(command(capsys, made, "--format", "csv"))))
    assert len(rows) == 9 * 4
    last = [r for r in rows if (r["release"], r["method"], r["metric"]) == ("9", "ig", "srg")]
    assert [r["best_verdict"] for r in last] == ["regressed"]
    found = json.loads(command(capsys, made, "--format", "json"))
    assert [one["label"] for one in found["releases"]][:2] == ["captum 0.7.0"] * 2
    assert len(found["points"]) == 36
    assert found["points"][0]["low"] is not None
    assert found["change_points"][0]["release"] == STEP_AT + 1
    assert {v["verdict"] for v in found["verdicts"]} <= {"equivalent", "undecided"}


def test_why_there_are_no_change_points(results, capsys):
    for folder in store.runs(results / "synthetic")[3:]:
        shutil.rmtree(folder)
    out = command(capsys, results)
    assert "are looked for from 8 comparable releases on, of which there are 3" in out


def test_the_plot_joins_one_question(results, capsys, tmp_path):
    write(results, 9, asked={"seed": 7})
    write(results, 10)
    found = history.read("synthetic", results, last=0)
    figure = report.figure(found)
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels) == ["SRG ↑", "Completeness gap ↓"]
    drawn = [line for line in panels["SRG ↑"].lines if len(line.get_xdata()) not in (2,)]
    ig, other = (line for line in drawn if line.get_color() == drawn[0].get_color())
    assert list(ig.get_xdata()) == [*range(1, 10), 11]
    assert list(other.get_xdata()) == [10]
    assert other.get_markerfacecolor() == "white"
    named = [note.get_text() for note in panels["SRG ↑"].texts]
    assert sorted(named) == ["IG", "IG", "Random"]  # above the change point, and at the ends
    (note,) = (text.get_text() for text in figure.texts)
    assert "not joined: another question (seed: 0 -> 7)" in note
    command(capsys, results, "--plot", str(tmp_path / "trend.svg"), "--last", "3")
    assert (tmp_path / "trend.svg").exists()
    assert main(["history", "synthetic", "--results-dir", str(results), "--plot", "a.gif"]) == 2
    assert "must be one of png, pdf, svg" in capsys.readouterr().err


def test_names_at_the_ends_do_not_cover_each_other():
    found = report.spread([0.1, 0.11, 0.12, 0.5, 0.55], 0.1)
    assert np.diff(found) == pytest.approx([0.1, 0.1, 0.265, 0.1], abs=1e-12)
    assert found[1] == pytest.approx(0.11)


def test_the_command_is_known():
    assert "history" in COMMANDS
    assert "igbench history EXPERIMENT" in USAGE


# -- runs of other versions --------------------------------------------------------------------

OLDER = Path(__file__).parent / "data" / "older"
"""Results of a run as the writer of 22 November 2026 left them: without hashes, with former names.
Three samples of digits, two methods, two metrics."""


def test_a_run_of_an_older_writer_stays_readable(tmp_path, capsys):
    (folder,) = store.runs(OLDER)
    records = store.read(folder)
    assert records.run.schema_version == 1
    assert {"batch_size", "shard_size"} <= records.run.identity.keys()  # under their new names
    assert "executor" in records.run.environment
    assert records.scores["metric"].nunique() == 6
    ig = records.scores.query("method == 'ig' and metric == 'completeness'")["value"]
    assert ig.mean() == pytest.approx(0.007327, abs=5e-7)
    assert compare.compare(records, records, resamples=50).exit_code == 0
    summary = store.read_summary(folder)
    assert summary["share"].isna().all()  # there were none

    found = history.read(str(OLDER), tmp_path)
    assert [one.listed.record["id"] for one in found.releases] == [folder.name]
    own = found.points.query("method == 'ig' and metric == 'completeness'")
    assert own["mean"].tolist() == pytest.approx([ig.mean()], rel=1e-15)
    assert main(["runs", str(OLDER), "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["model"], row["data"], row["samples"]) == ("digits_resnet", "digits", 3)
    assert main(["verify", str(folder)]) == 3  # it has no hashes, and says so

    kept = baselines.set_baseline(folder, "older", tmp_path / "baselines")
    assert main(["verify", str(kept)]) == 0  # the baseline has


def test_a_run_of_a_newer_writer_is_refused_and_skipped(tmp_path, caplog):
    (folder,) = store.runs(OLDER)
    newer = Path(shutil.copytree(folder, tmp_path / "digits_resnet" / "newer"))
    record = json.loads((newer / "run.json").read_text(encoding="utf-8"))
    (newer / "run.json").write_text(json.dumps(record | {"schema_version": 2}))
    with pytest.raises(InputError, match=r"schema version 2, this igbench reads 1; upgrade igb"):
        store.read(newer)
    shutil.copytree(folder, tmp_path / "digits_resnet" / folder.name)
    found = history.read("digits_resnet", tmp_path)
    assert len(found.releases) == 1
    assert "schema version 2" in caplog.text


def test_of_many_earlier_runs_the_newest_and_the_best_are_read(made, monkeypatch):
    *earlier, new = store.runs(made / "synthetic")
    assert step_verdicts.may_be_best(earlier, new) == earlier  # few: all
    monkeypatch.setattr(step_verdicts, "SHOWN", 2)
    chosen = step_verdicts.may_be_best(earlier, new)
    means = {
        folder: store.scores(folder).groupby(["method", "metric"])["value"].mean()
        for folder in earlier
    }
    best = {max(earlier, key=lambda f: means[f][m, "srg"]) for m in METHODS}
    best |= {min(earlier, key=lambda f: means[f][m, "completeness"]) for m in METHODS}
    assert chosen == sorted(best | set(earlier[-2:]))
    assert len(chosen) < len(earlier)
