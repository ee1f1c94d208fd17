"""Is the report one safe page that holds everything and says what was found?"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from igbench.records.stats import summarise
from igbench.report import html, plots, provenance, write_report
from igbench.schema import Records
from tests.helpers.synthetic import make_records

EVIL = "<script>alert(1)</script>"


def rename(records: Records, old: str, new: str) -> Records:
    methods = {new if m == old else m: spec for m, spec in records.run.methods.items()}
    frames = [f.assign(method=f.method.replace(old, new)) for f in (records.scores, records.curves)]
    return replace(
        records, run=replace(records.run, methods=methods), scores=frames[0], curves=frames[1]
    )


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """Records whose names, reasons, samples and configuration all carry markup."""
    records = rename(make_records(), "occlusion", f"occ{EVIL}")
    records.scores["reason"] = records.scores["reason"].where(
        records.scores["status"] != "failed", f"broke {EVIL}"
    )
    samples = [dict(s) for s in records.run.samples]
    samples[0] |= {"target_name": EVIL, "probability": 0.5}
    samples[5] |= {"status": "failed", "reason": EVIL}
    run = replace(
        records.run, samples=samples, config={"seed": 0, "limit": 8, "note": EVIL}, experiment=EVIL
    )
    rng = np.random.default_rng(0)
    maps = {"inputs": {"photo-000": rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)}}
    for method in ("ig", "edges"):
        maps[method] = {"photo-000": rng.normal(size=(32, 32)).astype(np.float32)}
    return replace(records, run=run, maps=maps, folder=str(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def report(evil: Records) -> Path:
    stale = Path(evil.folder) / "plots" / "gone.svg"
    stale.parent.mkdir()
    stale.write_text("an earlier report")
    return write_report(evil)


@pytest.fixture(scope="module")
def text(report: Path) -> str:
    return report.read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Collects tags and checks that they close in order."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


OURS = [None, "application/json", None]
"""Types of the scripts of a page: what sorts, the data of the samples, and what shows these."""


def scripts(reader: Reader) -> list[str | None]:
    """Types of all scripts of a page in order."""
    return [a.get("type") for tag, a in reader.tags if tag == "script"]


@pytest.fixture(scope="module")
def reader(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    return reader


def test_all_files_are_written_and_old_ones_removed(report: Path) -> None:
    folder = report.parent
    tables = {p.name for p in (folder / "tables").iterdir()}
    names = ("scores", "scores_compact", "disagreement", "costs", "definitions", "methods")
    assert tables == {f"{n}.{s}" for n in names for s in ("md", "tex", "html", "csv")}
    plots = {p.name for p in (folder / "plots").iterdir()}
    assert plots == {"heatmaps.png", "disagreement.png"} | {
        f"{n}.{s}"
        for n in (
            "metrics", "cost_quality", "removal_curves", "sensitivity_n", "convergence",
            "metric_agreement", "critical_difference", "comparison_matrix", "rank_heatmap",
            "score_strips",
        )
        for s in ("png", "svg")
    }  # fmt: skip


def test_figures_for_a_paper_are_written_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "makers", lambda *_: {"metrics": Figure, "removal": Figure})
    monkeypatch.setattr(plots, "column_makers", lambda *_: {"metrics_column": Figure})
    records = replace(make_records(samples=1), folder=str(tmp_path))
    plain = {f"{name}.{suffix}" for name in ("metrics", "removal") for suffix in ("png", "svg")}
    for paper in (False, True, False):
        write_report(records, paper=paper)
        pdfs = {"metrics.pdf", "removal.pdf", "metrics_column.pdf"} if paper else set()
        assert {p.name for p in (tmp_path / "plots").iterdir()} == plain | pdfs, "and none stale"


def test_tags_close_in_order(reader: Reader) -> None:
    assert reader.open == []


def test_nothing_is_fetched(reader: Reader, text: str) -> None:
    for tag, attributes in reader.tags:
        for name in ("src", "href"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:", "#")), (tag, address)
    assert "link" not in {tag for tag, _ in reader.tags}
    assert not re.search(r"url\(|@import", text)


def test_markup_in_names_and_reasons_is_text(reader: Reader) -> None:
    assert scripts(reader) == OURS
    words = "".join(reader.words)
    assert f"occ{EVIL}" in words
    assert f"broke {EVIL}" in words
    assert f'"note": "{EVIL}"' in words


def test_pictures_are_inside(reader: Reader) -> None:
    sources = [str(a["src"]) for tag, a in reader.tags if tag == "img"]
    kinds = ["webp", *10 * ["svg+xml"], "webp"]  # the maps first, samples of disagreement last
    assert [s.split(";")[0] for s in sources] == [f"data:image/{kind}" for kind in kinds]
    assert all(a.get("alt") for tag, a in reader.tags if tag == "img")


def test_page_is_small(report: Path) -> None:
    assert report.stat().st_size < 3_000_000


def test_inline_scripts_are_short(text: str) -> None:
    found = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(found) == 2
    assert found[0].count("\n") < 50
    assert found[1].count("\n") < 200


def test_links_have_targets(reader: Reader) -> None:
    ids = {a["id"] for _, a in reader.tags if a.get("id")}
    assert len(ids) == sum(bool(a.get("id")) for _, a in reader.tags)
    links = {str(a["href"])[1:] for tag, a in reader.tags if tag == "a"}
    assert links <= ids
    assert links >= {
        "question", "answer", "scores", "maps", "plots", "costs", "problems", "definitions",
        "reproduce",
    }  # fmt: skip


def test_every_script_is_named_by_its_hash(text: str) -> None:
    policy = re.search(r'http-equiv="Content-Security-Policy"\s+content="([^"]*)"', text)
    assert policy is not None
    directives = dict(d.strip().split(" ", 1) for d in policy[1].split(";"))
    assert directives["default-src"] == directives["base-uri"] == "'none'"
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert directives["script-src"].split() == [f"'sha256-{h}'" for h in hashes]
    assert not re.search(r"<[^>]*\son\w+=", text)


def test_problems_count_every_row_that_is_not_ok(evil: Records) -> None:
    found = html.problems(evil.scores)
    bad = evil.scores[evil.scores.status != "ok"]
    assert sum(line["count"] for line in found) == len(bad)
    assert found[0]["status"] == "failed"
    assert found[0]["samples"] == ["photo-005"]
    assert found[0]["count"] == 11
    assert set(found[0]["metrics"]) == set(evil.run.metrics)


def test_command_repeats_the_run(evil: Records) -> None:
    run = replace(evil.run, experiment="imagenet_lite")
    assert provenance.command(run) == "python -m igbench experiment=imagenet_lite limit=8 seed=0"
    assert provenance.command(evil.run).startswith(f"python -m igbench 'experiment={EVIL}'")
    recorded = replace(run, config={"command": "igbench experiment=x"})
    assert provenance.command(recorded) == "igbench experiment=x"


def summary_of(records: Records) -> pd.DataFrame:
    return summarise(
        records.scores, records.run.metrics, methods=records.run.methods, resamples=100
    )


def test_report_of_empty_records_is_still_a_page(tmp_path: Path) -> None:
    whole = make_records(samples=1)
    bare = Records(
        replace(whole.run, samples=[], totals={}),
        whole.scores.iloc[:0],
        whole.curves.iloc[:0],
        folder=str(tmp_path),
    )
    text = write_report(bare).read_text(encoding="utf-8")
    assert "The records hold nothing to plot." in text
    assert "All values are defined and none failed." in text
    assert "this model" in text


def test_records_without_folder_are_refused() -> None:
    with pytest.raises(ValueError, match="no folder"):
        write_report(make_records(samples=1))
