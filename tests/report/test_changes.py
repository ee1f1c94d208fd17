"""Does the page of a comparison say what the comparison and the maps say, safely?"""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from igbench.errors import InputError
from igbench.records.compare import Comparison, compare, headline
from igbench.report import change_plots, change_tables, changes, heatmaps, map_changes
from igbench.schema import Records
from tests.helpers.synthetic import make_records, make_run, sample_ids

EVIL = "<script>alert(1)</script> \u202e\"'&"
ONE, TWO, THREE = sample_ids(3)
SIZE = 24


def with_kind(records: Records, kind: str, features: list[dict[str, Any]] | None = None) -> Records:
    run = records.run
    listed = [dict(s) for s in run.samples]
    for sample, own in zip(listed, features or [], strict=False):
        sample["features"] = own
    around = run.environment | {"data_kind": kind}
    return replace(records, run=replace(run, samples=listed, environment=around))


def image_maps(shift: float = 0.0) -> dict[str, Any]:
    """Maps of three images of noise, those of ig changed by `shift` and those of random equal."""
    rng = np.random.default_rng(0)
    ids = (ONE, TWO, THREE)
    pixels = {s: rng.integers(0, 256, (4, 4, 3), dtype=np.uint8) for s in ids}
    own = {s: rng.normal(size=(4, 4)) for s in ids}
    moved = {
        s: a + shift * (i + 1) * rng.normal(size=(4, 4)) for i, (s, a) in enumerate(own.items())
    }
    return {"inputs": pixels, "ig": moved, "random": own}


@pytest.fixture(scope="module")
def base() -> Records:
    return replace(make_records(samples=SIZE), maps=image_maps())


@pytest.fixture(scope="module")
def new() -> Records:
    run = make_run(run_id="20260202-030405-0a1b2c3d", versions={"captum": "1.0.0"}, samples=SIZE)
    run = replace(run, environment=run.environment | {"threads": 4})
    shift = {("ig", "srg"): -0.2, ("ig", "insertion"): 0.1, ("ig", "difference_from_ig"): 0.5}
    found = make_records(shift=shift, noise=0.01, samples=SIZE, run=run)
    return replace(found, maps=image_maps(0.3))


@pytest.fixture(scope="module")
def found(base: Records, new: Records) -> Comparison:
    return compare(
        base, new, across=["captum"], accept={"ig/srg": "a fault of the base run"}, resamples=100
    )


@pytest.fixture(scope="module")
def quiet(found: Comparison) -> Comparison:
    """The comparison without cells, which needs no plots."""
    return replace(found, changes=[], accepted={})


@pytest.fixture(scope="module")
def page(base: Records, new: Records, found: Comparison) -> str:
    return changes.page(base, new, found)


def text_of(page: str) -> str:
    """What a reader sees of a page, in one line."""
    body = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def pictures(page: str, kind: str) -> list[bytes]:
    found = re.findall(rf'src="data:image/{kind};base64,([^"]+)"', page)
    return [base64.b64decode(one) for one in found]


def test_the_verdict_stands_first(page: str, found: Comparison) -> None:
    shown = text_of(page)
    said = headline(found).replace(" -> ", " → ")
    assert said in shown
    assert "1 accepted" in said
    assert f"Exit code {found.exit_code}." in shown
    assert re.search(r"versions.captum '?0.9.0'? → '?1.0.0", shown)
    assert "2 → 4" in shown  # threads, which are no part of the identity


def test_findings_are_those_of_the_comparison(found: Comparison) -> None:
    table = change_tables.findings(found)
    assert table is not None
    by_name = dict(zip(table.rows, table.cells, strict=True))
    change = next(c for c in found.changes if (c.method, c.metric) == ("ig", "srg"))
    cells = dict(zip(table.columns[1:], by_name["ig/srg"], strict=True))
    assert cells["verdict"].text == "ACCEPTED"
    assert cells["difference [95 %]"].value == pytest.approx(change.difference, rel=5e-3)
    assert cells["note"].text == "accepted: a fault of the base run"
    grave = [row[0].value for row in table.cells]
    assert grave == sorted(grave)
    accepted = change_tables.accepted(found)
    assert accepted is not None
    assert (accepted.rows, accepted.cells[0][1].text) == (
        ("synthetic_net/ig/srg",), "a fault of the base run",
    )  # fmt: skip


def test_plots_are_of_the_samples_that_were_compared(
    base: Records, new: Records, found: Comparison, page: str
) -> None:
    drawn = [c for c in found.changes if c.verdict in changes.PLOTTED]
    assert {(c.method, c.metric, c.verdict) for c in drawn} >= {
        ("ig", "srg", "regressed"), ("ig", "insertion", "improved"),
        ("ig", "difference_from_ig", "changed"),
    }  # fmt: skip
    for change in drawn:
        table = change_plots.pairs(base, new, change)
        assert len(table) == change.n
        gap = (table["new"] - table["base"]).mean()
        assert gap == pytest.approx(change.difference, abs=1e-12)
    assert len(pictures(page, r"svg\+xml")) == len(drawn)


def test_points_say_what_got_better(base: Records, new: Records, found: Comparison) -> None:
    change = next(c for c in found.changes if (c.method, c.metric) == ("ig", "srg"))
    looks = change_plots._looks(np.array([-1.0, 0.0, 2.0]), found.metrics["srg"])
    assert list(looks) == [change_plots.WORSE, change_plots.NEITHER, change_plots.BETTER]
    down = change_plots._looks(np.array([-1.0, 2.0]), found.metrics["deletion"])
    assert list(down) == [change_plots.BETTER, change_plots.WORSE]
    table = change_plots.pairs(base, new, change)
    table.iloc[0, 0] = np.inf
    axes = change_plots.paired_plot(table, change, found.metrics["srg"]).axes
    assert axes[1].get_title(loc="right") == f"{SIZE - 1} of {SIZE} samples: others are infinite"
    assert sum(len(np.asarray(c.get_offsets())) for c in axes[0].collections) == SIZE - 1


def test_maps_are_drawn_on_one_scale(base: Records, new: Records, page: str) -> None:
    shown = [np.asarray(Image.open(io.BytesIO(p)).convert("RGB")) for p in pictures(page, "webp")]
    assert len(shown) == 3 * 4  # three samples: input, base, new, difference
    order = [s for s in (THREE, TWO, ONE)]
    heads = [m for m in re.findall(r"<h3>(photo-\d+)", page) if m in order]
    far = {s: np.linalg.norm(new.maps["ig"][s] - base.maps["ig"][s])
           / np.linalg.norm(base.maps["ig"][s]) for s in order}  # fmt: skip
    assert heads == sorted(order, key=lambda s: -far[s])
    first = heads[0]
    old, now = base.maps["ig"][first], new.maps["ig"][first]
    top = max(heatmaps.limit(old), heatmaps.limit(now))
    grey = heatmaps.pale_grey(new.maps["inputs"][first])
    assert (shown[0] == new.maps["inputs"][first]).all()
    for picture, values in zip(shown[1:4], (old, now, now - old), strict=True):
        rgb = heatmaps.colourise(values, grey, True, top).rgb
        assert np.abs(picture / 255 - rgb).max() <= 0.5 / 255 + 1e-9
    assert f"limit of |a| {top:.3g}" in text_of(page)
    assert f"Relative L2 distance {far[first]:.3g}" in text_of(page)


def test_equal_maps_are_said_in_one_line(page: str) -> None:
    shown = text_of(page)
    assert f"Both runs have maps of 3 of {SIZE} samples." in shown
    assert "Bit-equal in both runs, with the number of maps: Random (3)." in shown
    assert "IG: 3 of 3 maps moved" in shown


def test_what_differs_is_that_of_the_environments(
    base: Records, new: Records, found: Comparison
) -> None:
    around = base.run.environment | {"baseline": {"name": "kept"}, "model_source": "<elsewhere>"}
    old = replace(base.run, environment=around)
    table = change_tables.differences(old, new.run, found)
    assert table is not None
    told = {row: cells[0].text for row, cells in zip(table.rows, table.cells, strict=True)}
    assert told["model_source"] == "'<elsewhere>' → '(absent)'"
    assert {"versions.captum", "threads"} <= told.keys()
    assert "baseline" not in told  # how a baseline was made says nothing of what it is
    assert change_tables.differences(base.run, base.run, replace(found, found=())) is None


def test_distances_of_all_maps_are_counted() -> None:
    same, a = np.zeros((2, 2)), np.array([[1.0, 2.0], [3.0, 4.0]])
    pairs = {"x": (a, 2 * a), "y": (same, same), "z": (np.ones((2, 2)), a)}  # z has equal ranks
    found = []
    for i in range(2):
        records = make_records(samples=1)
        found.append(replace(records, maps={"ig": {s: both[i] for s, both in pairs.items()}}))
    table = change_tables.distances(map_changes.changes(found[0], found[1]))
    assert table is not None
    texts = [cell.text for cell in table.cells[0]]
    # distances 1, 0 and sqrt(14) / 2
    assert (table.rows, texts) == (("IG",), ["3", "1", "1", "1.87", "0", "0"])
    assert table.cells[0][4].note == "1 without"


def test_small_differences_are_drawn_stronger_and_say_so(base: Records, quiet: Comparison) -> None:
    maps = image_maps()
    maps["ig"] = {s: a * 1.002 for s, a in maps["ig"].items()}
    maps["saliency"] = {ONE: np.ones((2, 2))}
    near = replace(base, run=replace(base.run, id=quiet.new), maps=maps)
    shown = text_of(changes.page(base, near, quiet))
    assert shown.count("drawn 100 times as strong") == 3  # 1.002 / 0.002 = 501
    assert "Saliency no map in the base run 1 photo-000" in shown


def test_fewer_maps_are_drawn_where_asked_for_or_where_the_page_is_full(
    base: Records, new: Records, quiet: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(pictures(changes.page(base, new, quiet, top=1), "webp")) == 4
    none = changes.page(base, new, quiet, top=0)
    assert (pictures(none, "webp"), "Maps by method" in text_of(none)) == ([], True)
    monkeypatch.setattr(changes, "MAPS_BUDGET", 10)
    full = changes.page(base, new, quiet)
    assert len(pictures(full, "webp")) == 4
    assert "The page is full: it shows the first 1 of 3 maps of the choice." in text_of(full)


def test_large_maps_are_reduced_until_they_fit(
    base: Records, quiet: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    both = []
    for name in (base.run.id, quiet.new):
        run = replace(base.run, id=name)
        both.append(replace(base, run=run, maps={"ig": {ONE: rng.normal(size=(160, 160))}}))
    monkeypatch.setattr(changes, "MAPS_BUDGET", 30_000)
    shown = changes.page(both[0], both[1], quiet)
    sizes = [Image.open(io.BytesIO(p)).size for p in pictures(shown, "webp")]
    assert set(sizes) in ({(112, 112)}, {(64, 64)})
    assert "Maps of 160 pixels are shown as means over blocks" in text_of(shown)


def test_runs_without_maps_or_that_cannot_be_compared_say_so(
    base: Records, new: Records, quiet: Comparison
) -> None:
    bare = text_of(changes.page(replace(base, maps={}), new, quiet))
    assert "The base run has no maps, so none are compared" in bare
    assert headline(quiet).replace(" -> ", " → ") in bare
    other = replace(new.run, comparability=new.run.comparability | {"seed": 7})
    alien = replace(new, run=other)
    shown = text_of(changes.page(base, alien, compare(base, alien, across=["captum"])))
    assert "Not comparable: seed: 0 → 7" in shown
    assert "IG: 3 of 3 maps moved" in shown


def test_what_else_changed_of_a_sample_is_said(base: Records, quiet: Comparison) -> None:
    maps = image_maps(0.3)
    maps["inputs"][ONE] = maps["inputs"][ONE] ^ 1
    listed = [dict(s) for s in base.run.samples]
    listed[0] |= {"target": 7}
    now = replace(base, run=replace(base.run, id=quiet.new, samples=listed), maps=maps)
    shown = text_of(changes.page(base, now, quiet))
    assert "target: 0 → 7; the input itself differs, that of the new run is shown." in shown


def test_words_and_bars(base: Records, quiet: Comparison) -> None:
    old = {"ig": {ONE: np.array([2.0, -1.0, 0.5])}}
    now = {"ig": {ONE: np.array([-2.0, -1.0, 4.0])}}
    for kind, features in (
        ("text", {"names": ["not", EVIL, "good"]}),
        ("table", {"names": ["age", EVIL, "job"], "values": [39.0, EVIL, "clerk"]}),
        ("series", {"series": [[1.0, 2.0, 3.0]]}),
    ):
        pair = [
            with_kind(replace(base, run=replace(base.run, id=name), maps=maps), kind, [features])
            for name, maps in ((quiet.base, old), (quiet.new, now))
        ]
        page = changes.page(pair[0], pair[1], quiet)
        assert "<script>alert" not in page
        assert "\u202e" not in page
        shown = text_of(page)
        assert "Relative L2 distance 2.32" in shown  # sqrt(16 + 12.25) / sqrt(5.25)
        if kind == "text":
            assert page.count('title="+4"') == 1
            assert page.count('title="−4"') == 1  # the difference
        if kind == "table":
            assert re.search(r"job = clerk \+4 .*age = 39 −2", shown)
            lengths = re.findall(r"left: ([\d.]+)%; width: ([\d.]+)%", page)
            assert lengths[:2] == [("50.0", "6.2"), ("50.0", "25.0")]  # 0.5 and 2 of 4, of 50 %
        if kind == "series":
            assert "told in numbers alone" in shown


def test_names_of_strangers_are_text(
    base: Records, new: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad(records: Records) -> Records:
        run = records.run
        listed = [dict(s) for s in run.samples]
        listed[0] |= {"target_name": EVIL, "label": EVIL}
        names = {"method": {"ig": EVIL}, "metric": {"srg": EVIL}}
        run = replace(
            run,
            experiment=EVIL,
            samples=listed,
            methods={EVIL if m == "ig" else m: s for m, s in run.methods.items()},
            metrics={EVIL if m == "srg" else m: s for m, s in run.metrics.items()},
            environment=run.environment | {"model_source": EVIL + run.id},
            comparability=run.comparability | {"metric_versions": {}},
        )
        maps = {EVIL if m == "ig" else m: own for m, own in records.maps.items()}
        return replace(records, run=run, scores=records.scores.replace(names), maps=maps)

    old, now = bad(base), bad(new)
    found = compare(old, now, across=["all"], accept={"*/occlusion/*": EVIL}, resamples=100)
    assert any(c.metric == EVIL and c.verdict in changes.PLOTTED for c in found.changes)
    monkeypatch.setattr(changes, "PLOTS", 1)
    page = changes.page(old, now, found)
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert page.count("<script>") == 1


def test_the_page_is_a_file(base: Records, new: Records, quiet: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert changes.write(base, new, quiet, path) == path
    assert path.read_text(encoding="utf-8") == changes.page(base, new, quiet)
    assert path.stat().st_size < 10 * 2**20
    for wrong in (tmp_path / "run.json", tmp_path / "none" / "a.html", tmp_path):
        with pytest.raises(InputError):
            changes.write(base, new, quiet, wrong)
    with pytest.raises(InputError, match="the comparison is of"):
        changes.write(new, base, quiet, path)
    with pytest.raises(InputError, match="top=-1"):
        changes.write(base, new, quiet, path, top=-1)


@pytest.mark.slow
def test_twelve_photographs_of_twelve_methods_fit_on_a_page(
    base: Records, quiet: Comparison, tmp_path: Path
) -> None:
    """The worst case: maps and images of pure noise, which nothing compresses."""
    rng = np.random.default_rng(0)
    ids, methods = sample_ids(SIZE)[:12], [f"m{i}" for i in range(12)]
    pixels = rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)
    both = []
    for name in (quiet.base, quiet.new):
        maps: dict[str, Any] = {
            m: {s: rng.normal(size=(224, 224)).astype(np.float32) for s in ids} for m in methods
        }
        specs = dict.fromkeys(methods, base.run.methods["ig"])
        run = replace(base.run, id=name, methods=specs)
        both.append(replace(base, run=run, maps=maps | {"inputs": dict.fromkeys(ids, pixels)}))
    path = changes.write(both[0], both[1], quiet, tmp_path / "page.html")
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 10 * 2**20
    assert len(pictures(text, "webp")) == 12 * 12 * 4
    assert "Maps of 224 pixels are shown as means over blocks, at most 112" in text_of(text)
