"""Samples, models, methods and metrics that fail are rows with a reason, and take nothing along."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from igbench.__main__ import main
from igbench.data.photographs import PHOTOS
from tests.helpers.broken_runs import (
    ALL,
    METRICS,
    RUN,
    page,
    surviving,
)
from tests.helpers.runs import assert_same, only_run

pytestmark = pytest.mark.usefixtures("cache")
ROOT = Path(__file__).parents[2]


BAD = 3
"""Position of the sample that fails; its neighbour in the batch is 2."""


@pytest.mark.parametrize(
    ("group", "how", "position", "reason"),
    [
        ("data", "nans", BAD, "the sample holds NaN or infinite values"),
        ("data", "shape", BAD, "has shape (1, 8, 9), expected (1, 8, 8)"),
        ("data", "shape", 0, "has shape (1, 8, 9), expected (1, 8, 8)"),
        ("data", "corrupt", BAD, "cannot read image 'digit.png': truncated"),
        ("model", "nans", BAD, "the model returned NaN or infinite outputs"),
        ("model", "raise", BAD, "RuntimeError: cannot digest this"),
        ("model", "raise", 0, "RuntimeError: cannot digest this"),
    ],
)
def test_a_sample_that_fails(out, whole, capsys, group, how, position, reason):
    change = [
        f"{group}._target_=tests.helpers.faults.bad_{'digits' if group == 'data' else 'resnet'}",
        f"+{group}.how={how}",
        f"+{group}.position={position}",
    ]
    assert main([*RUN, *change, f"results_dir={out}"]) == 3
    lost = {(method, metric, ALL[position]) for method in ("ig", "random") for metric in METRICS}
    shown = capsys.readouterr().out
    assert "4 cells failed" in shown
    assert reason in shown
    mine = only_run(out)
    assert mine.run.state == "finished with failures"
    assert set(surviving(mine, whole, lost)) == {reason}


@pytest.mark.parametrize(
    ("how", "sample", "reason"),
    [
        ("raise", ALL[BAD], "RuntimeError: out of luck"),
        ("raise", "", "RuntimeError: out of luck"),
        ("exit", ALL[BAD], "SystemExit: 0"),
        ("nans", ALL[BAD], "the attribution holds NaN"),
        ("shape", "", "must match"),
        ("none", ALL[BAD], "the attribution is a NoneType; return a tensor"),
    ],
)
def test_a_method_that_fails(out, whole, how, reason, sample):
    words = [
        *RUN,
        f"+method.bad={{_target_:tests.helpers.faults.BadMethod,how:{how},sample:'{sample}'}}",
    ]
    assert main([*words, f"results_dir={out}"]) == 3
    lost = {("bad", metric, s) for metric in METRICS for s in ALL if sample in ("", s)}
    reasons = surviving(only_run(out), whole, lost, alone=False)
    assert all(reason in said for said in reasons)


@pytest.mark.parametrize(
    ("how", "sample", "reason"),
    [
        ("observe", ALL[BAD], "RuntimeError: cannot look"),
        ("measure", ALL[BAD], "RuntimeError: cannot count"),
        ("measure", "", "RuntimeError: cannot count"),
        ("exit", ALL[BAD], "SystemExit: 0"),
        ("shape", ALL[BAD], "the metric's value has shape ()"),
        ("curve", ALL[BAD], "the curve 'bad' has shape (1, 1)"),
        ("forget", "", "the metric measured nothing; it was given"),
    ],
)
def test_a_metric_that_fails(out, whole, how, reason, sample):
    bad = (
        f"_target_:tests.helpers.faults.BadMetric,how:{how},sample:'{sample}',"
        "step:8,features:pixel,occluder:baseline,scalar:score"
    )
    words = [*RUN, f"+metric.bad={{{bad}}}"]
    assert main([*words, f"results_dir={out}"]) == 3
    lost = {(method, "bad", s) for method in ("ig", "random") for s in ALL if sample in ("", s)}
    mine = only_run(out)
    assert all(reason in said for said in surviving(mine, whole, lost))
    # It is deletion, and where it works it says what deletion says.
    good = [s for s in ALL if sample not in ("", s)]
    scores = mine.scores.set_index(["metric", "method", "sample_id"])["value"]
    for method in ("ig", "random"):
        for s in good:
            assert scores["bad", method, s] == pytest.approx(
                scores["deletion", method, s], rel=1e-9
            )
    points = mine.curves
    assert set(points[points["curve"] == "bad:bad"]["sample_id"]) == set(good)


def test_a_report_of_failures_only(out, drawn):
    bad = "+method.bad={_target_:tests.helpers.faults.BadMethod,how:raise}"
    words = [w for w in RUN if not w.startswith("method")]
    assert main([*words, "method=[random]", bad, f"results_dir={out}"]) == 3
    assert "out of luck" in page(out)


def test_out_of_memory(out, tmp_path, caplog):
    model = ["model._target_=tests.helpers.faults.bad_resnet"]
    with caplog.at_level(logging.WARNING):
        assert main([*RUN, *model, "+model.most=4", f"results_dir={out}"]) == 0
    for rows in (8, 4):
        assert f"out of memory; from now on {rows} model rows in one call" in caplog.text
    few = tmp_path / "few"
    assert main([*RUN, *model, "batch_size=4", f"results_dir={few}"]) == 0
    mine, other = only_run(out), only_run(few)
    assert mine.run.state == "finished"
    assert mine.run.identity["batch_size"] > 4
    assert mine.run.totals["rows_in_a_call"] == other.run.totals["rows_in_a_call"] == 4
    surviving(mine, other, set())


def test_a_model_that_cannot_be_timed(out, tmp_path, monkeypatch, caplog):
    """It fails on the first sample alone, and so does the run."""
    model = ["model._target_=tests.helpers.faults.bad_resnet", "+model.how=raise"]
    assert main([*RUN, *model, "batch_size=1", f"results_dir={out}"]) == 3
    folder = tmp_path / "cache"
    shutil.copytree(os.environ["IGBENCH_CACHE"], folder)
    (folder / "rows.json").unlink(missing_ok=True)
    monkeypatch.setenv("IGBENCH_CACHE", str(folder))
    auto = tmp_path / "auto"
    with caplog.at_level(logging.WARNING):
        assert main([*RUN, *model, "batch_size=auto", f"results_dir={auto}"]) == 3
    assert "the model cannot be timed (RuntimeError: " in caplog.text
    assert not (folder / "rows.json").exists()
    assert_same(only_run(auto), only_run(out))


def test_out_of_memory_for_a_single_row(out, capsys):
    model = ["model._target_=tests.helpers.faults.bad_resnet", "+model.most=0"]
    assert main([*RUN, *model, f"results_dir={out}"]) == 3
    assert "allocate memory" in capsys.readouterr().out
    assert set(only_run(out).scores["status"]) == {"failed"}


@pytest.mark.parametrize("how", ["cut", "text", "empty", "lost"])
def test_an_image_that_is_none(tmp_path, out, capsys, at_shard, how):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, photo in enumerate(sorted(PHOTOS.glob("*.jpg"))[:4]):
        Image.open(photo).resize((24, 16)).save(photos / f"p{number}.png")
    words = [w for w in RUN if not w.startswith(("limit", "shard_size", "batch_size"))]
    words += [
        "data=photographs",
        f"data.path={photos}",
        "model._target_=tests.helpers.faults.photo_net",
        "limit=4",
        "shard_size=2",
        "batch_size=16",
    ]
    assert main([*words, f"results_dir={tmp_path / 'good'}"]) == 0
    good = only_run(tmp_path / "good")
    capsys.readouterr()
    bad = good.run.samples[2]["sample_id"]
    path = photos / f"{bad}.png"
    content = path.read_bytes()

    def spoil():
        if how == "lost":
            path.unlink()
        else:
            path.write_bytes({"cut": content[:150], "text": b"a text", "empty": b""}[how])

    if how == "lost":
        at_shard(1, spoil)
    else:
        spoil()
    assert main([*words, f"results_dir={out}"]) == 3
    lost = {(method, metric, bad) for method in ("ig", "random") for metric in METRICS}
    reasons = set(surviving(only_run(out), good, lost))
    assert len(reasons) == 1
    assert f"{bad}.png" in reasons.pop()
    assert "4 cells failed" in capsys.readouterr().out
