"""Does the sample browser hold what the records hold, safely and within its budget?"""

from __future__ import annotations

import base64
import io
import json
import zlib
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from igbench.records.stats import summarise
from igbench.report import browser, heatmaps, html, raster, samples, tables, text_words
from igbench.report.raster import LADDER
from igbench.report.table import decimals
from igbench.schema import Records
from tests.helpers.synthetic import make_records, sample_ids

EVIL = "</script><script>alert(1)</script><!-- \u202e"


def summary_of(records: Records) -> pd.DataFrame:
    return summarise(
        records.scores, records.run.metrics, methods=records.run.methods, resamples=100
    )


@cache
def summary() -> pd.DataFrame:
    """The summary of six samples: lines and digits of all tests."""
    return summary_of(make_records(samples=6))


def with_maps(records: Records, count: int, side: int) -> Records:
    """Records with maps of noise of the first samples, and images of noise."""
    rng = np.random.default_rng(0)
    ids = sample_ids(count)
    maps: dict[str, Any] = {
        m: {s: rng.normal(size=(side, side)).astype(np.float32) for s in ids}
        for m in records.run.methods
    }
    pixels = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return replace(records, maps=maps | {"inputs": dict(zip(ids, pixels, strict=True))})


def made(records: Records) -> tuple[browser.Browser, dict[str, Any]]:
    found = browser.browser(records, summary())
    assert found is not None
    return found, json.loads(found.data)


def unpacked(own: dict[str, Any]) -> np.ndarray:
    plain = zlib.decompress(base64.b64decode(own["bytes"]))
    return np.frombuffer(plain, dtype=np.uint8).reshape(own["size"])


@pytest.fixture(scope="module")
def images() -> Records:
    return with_maps(make_records(samples=6), 2, 16)


@pytest.fixture(scope="module")
def page(images: Records) -> tuple[browser.Browser, dict[str, Any]]:
    return made(images)


def test_all_samples_are_listed_with_their_scores(images, page) -> None:
    data = page[1]
    assert [s["facts"][0] for s in data["samples"]] == [["sample", s] for s in sample_ids(6)]
    assert ["view" in s for s in data["samples"]] == [True] * 2 + [False] * 4
    line, column = data["owners"].index("ig"), data["metrics"].index("srg ↑")
    digits = decimals(summary().query("metric == 'srg'"))
    rows = images.scores.set_index(["method", "metric", "sample_id"])["value"]
    for sample in data["samples"]:
        value = rows["ig", "srg", sample["facts"][0][1]]
        assert sample["scores"][line][column] == f"{value:.{digits}f}"


def test_scores_without_a_value_say_why(page) -> None:
    data = page[1]
    failed = data["samples"][5]["scores"][data["owners"].index("occlusion")]
    assert {data["reasons"][c] for c in failed} == {"failed: RuntimeError: not enough memory"}
    local = data["samples"][0]["scores"][data["owners"].index("saliency")]
    reason = local[data["metrics"].index("completeness ↓")]
    assert data["reasons"][reason] == "undefined: needs a global attribution; this one is local"


def test_the_page_of_a_reader_without_scripts_has_the_first_sample(page) -> None:
    found, data = page
    assert found.first == data["samples"][0]["head"]
    cells = found.lines[data["owners"].index("saliency")][1]
    assert cells[0] == "n/a 1"
    assert found.reasons == [("1", "undefined: needs a global attribution; this one is local")]
    assert [c for c in cells if not c.startswith("n/a")] == [
        c
        for c in data["samples"][0]["scores"][data["owners"].index("saliency")]
        if isinstance(c, str)
    ]


def test_maps_are_the_levels_of_the_map(images, page) -> None:
    own = page[1]["samples"][1]["view"]["maps"]["ig"]
    values = images.maps["ig"]["photo-001"]
    top = heatmaps.limit(values)
    assert own["limit"] == f"{top:.3g}"
    shares = np.clip(values / top, -1, 1)
    assert np.abs((unpacked(own) - 127.0) / 127 - shares).max() <= 0.5 / 127 + 1e-7


def test_images_that_are_small_are_exact(images, page) -> None:
    uri = page[1]["samples"][0]["view"]["image"]
    content = base64.b64decode(uri.removeprefix("data:image/webp;base64,"))
    shown = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert (shown == images.maps["inputs"]["photo-000"]).all()


def test_colours_are_those_of_the_figures() -> None:
    signed = browser.colours("image", signed=True)
    assert len(signed) == 256
    ends = [signed[i][0] for i in (0, 254, 255)]
    assert ends == ["#053061", "#67001f", "#8c8c8c"]
    assert browser.colours("image", signed=False)[127] == ["#ffffff"]
    words = browser.colours("text", signed=True)
    assert words[254] == [text_words.colour(1.0, True), "#ffffff"]


def test_a_map_that_is_missing_or_broken_is_named(images) -> None:
    maps = {m: dict(own) for m, own in images.maps.items()}
    maps["ig"]["photo-000"] = np.full((16, 16), np.nan, dtype=np.float32)
    maps["saliency"]["photo-000"] = np.zeros((16, 16), dtype=np.float32)
    del maps["random"]["photo-000"]
    own = made(replace(images, maps=maps))[1]["samples"][0]["view"]["maps"]
    assert own["ig"]["note"] == "NaN"
    assert (unpacked(own["ig"]) == raster.NOT_FINITE).all()
    assert own["saliency"]["note"] == "all zero"
    assert (unpacked(own["saliency"]) == 127).all()
    assert "random" not in own


def test_names_of_strangers_end_nothing(images) -> None:
    listed = [dict(s) for s in images.run.samples]
    listed[0] |= {"target_name": EVIL, "label": EVIL, "probability": 0.5}
    scores = images.scores.assign(reason=images.scores["reason"].where(
        images.scores["status"] == "ok", EVIL))  # fmt: skip
    bad = replace(images, run=replace(images.run, samples=listed), scores=scores)
    found, data = made(bad)
    assert not set("<>&") & set(found.data)
    plain = EVIL.replace("\u202e", "\\u202e")
    assert dict(data["samples"][0]["facts"])["label"] == plain
    assert f"undefined: {plain}" in data["reasons"]
    text = html.page(bad, summary(), tables.tables(bad, summary()), {}, None, browser=found)
    assert "alert(1)</script>" not in text


def test_runs_without_maps_still_show_scores() -> None:
    found, data = made(make_records(samples=3))
    assert (data["methods"], found.rule, len(data["samples"])) == ([], "", 3)
    assert found.remarks == []


def test_runs_without_scores_have_none(images) -> None:
    bare = replace(images, scores=images.scores.iloc[:0])
    assert browser.browser(bare, summary().iloc[:0]) is None


def test_what_does_not_fit_is_said(images, monkeypatch) -> None:
    monkeypatch.setattr(browser, "MOST_VALUES", 4 * 9 * 7)
    found, data = made(images)
    assert len(data["samples"]) == 4
    assert found.remarks == ["2 more samples are in scores.parquet alone."]


def test_samples_with_maps_are_listed_first_where_not_all_fit() -> None:
    known: dict[str, Any] = {str(i): {} for i in range(200_000)}
    kept, left_out = browser._chosen(known, {"150000"}, 50_000)
    assert kept == ["0", "150000"]
    assert left_out == 199_998


def test_coarser_maps_are_taken_where_the_budget_is_short(images, monkeypatch) -> None:
    whole = with_maps(make_records(samples=2), 2, 224)
    monkeypatch.setattr(raster, "BUDGET", 400_000)
    found, data = made(whole)
    own = data["samples"][1]["view"]["maps"]["ig"]
    assert (own["size"], own["levels"]) == ([112, 112], 127)
    assert found.remarks == [
        "Maps of 224 pixels are shown as means over blocks, at most 112 pixels wide, so that the "
        "page stays small; limits are those of the means."
    ]
    blocks = whole.maps["ig"]["photo-001"].reshape(112, 2, 112, 2).mean(axis=(1, 3))
    top = heatmaps.limit(blocks)
    shown = (unpacked(own) - 127.0) / 127 * top
    assert np.abs(shown - np.clip(blocks, -top, top)).max() <= top * 0.51 / 127


def test_the_first_samples_alone_are_shown_where_nothing_else_helps(images, monkeypatch) -> None:
    monkeypatch.setattr(raster, "BUDGET", 1)
    found, data = made(with_maps(make_records(samples=3), 3, 16))
    assert ["view" in s for s in data["samples"]] == [True, False, False]
    assert found.remarks == [
        "Colours are in 7 steps on each side of 0.",
        "Maps of the first 1 of 3 samples that have some: the page is full.",
    ]


@pytest.mark.slow
def test_82_photographs_with_12_methods_fit_on_a_page() -> None:
    """The worst case: maps and images of pure noise, which nothing compresses."""
    rng = np.random.default_rng(0)
    ids, methods = [str(i) for i in range(82)], [f"m{i}" for i in range(12)]
    pixels = rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)
    maps: dict[str, Any] = {m: {s: rng.normal(size=(224, 224)) for s in ids} for m in methods}
    records = make_records(samples=1)
    spec = records.run.methods["ig"]
    run = replace(
        records.run,
        methods=dict.fromkeys(methods, spec),
        samples=[{"sample_id": s} for s in ids],
    )
    whole = replace(records, run=run, maps=maps | {"inputs": dict.fromkeys(ids, pixels)})
    views, remarks = browser._images(whole)
    assert len(views) == 82
    assert len(json.dumps(views)) < raster.BUDGET
    assert raster.BUDGET + 2 * 2**20 == 10 * 2**20, "the rest of the page has 2 MiB"
    assert remarks[0].startswith("Maps of 224 pixels are shown as means over blocks, at most 112")
    assert remarks[1:] == ["Colours are in 7 steps on each side of 0."]


def text_sample() -> samples.Sample:
    maps = {"ig": np.array([2.0, -1.0, 0.01]), "saliency": np.array([1.0, np.nan, 0.5])}
    return samples.Sample("t", "t", 1.0, ("a", " ", "c"), gaps=("", "-", " ", "."), maps=maps)


def test_words_have_the_colours_of_their_shares() -> None:
    view = browser._words(make_records(samples=1).run, text_sample())
    assert view["words"] == [["a", True], ["-", False], ["␣", True], [" ", False], ["c", True],
                             [".", False]]  # fmt: skip
    assert view["maps"]["ig"]["codes"] == [254, 63, 127]
    assert view["maps"]["ig"]["values"] == ["+2", "−1", "+0.01"]
    assert view["maps"]["saliency"]["codes"] == [254, 255, 191]


def test_bars_and_bands_have_the_values_of_their_maps() -> None:
    run = make_records(samples=1).run
    row = samples.Sample("r", "r", 1.0, ("age", "job"), values=(39.0, "clerk"),
                         maps={"ig": np.array([-1.0, 4.0])})  # fmt: skip
    view = browser._bars(run, row)
    assert view["labels"] == ["job = clerk", "age = 39"]
    own = view["maps"]["ig"]
    assert (own["codes"], own["values"], own["limit"]) == ([254, 95], ["+4", "−1"], "4")
    wave = samples.Sample("s", "s", 1.0, series=np.array([[0.0, 1.0, np.nan, 3.0]]),
                          maps={"ig": np.array([[1.0, -2.0, 0.0, np.nan]])})  # fmt: skip
    band = browser._bands(run, wave)
    assert band["channels"] == [{"label": "3 to 0", "points": [0.0, 1.0, None, 3.0]}]
    assert unpacked(band["maps"]["ig"]).tolist() == [[191, 0, 127, 255]]


def test_the_ladder_goes_down() -> None:
    sizes = [q.side**2 * np.log2(2 * q.levels + 1) for q in LADDER]
    assert sizes == sorted(sizes, reverse=True)
