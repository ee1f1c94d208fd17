"""Does the page answer five questions, with the numbers of its tables and links to them?"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pandas as pd
import pytest
from PIL import Image

from igbench.records.stats import summarise
from igbench.report import answers, caveats, html, provenance, question, render, styles, tables
from igbench.report.table import line_name
from igbench.schema import Family, Records
from tests.helpers.synthetic import make_records
from tests.report.test_html import Reader

GUIDE = Path(__file__).parents[2] / "docs" / "howto" / "read_a_report.md"


@pytest.fixture(scope="module")
def records() -> Records:
    return make_records()


@pytest.fixture(scope="module")
def summary(records: Records) -> pd.DataFrame:
    return summarise(
        records.scores, records.run.metrics, methods=records.run.methods, resamples=100
    )


@pytest.fixture(scope="module")
def text(records: Records, summary: pd.DataFrame) -> str:
    return html.page(records, summary, tables.tables(records, summary), {}, None)


@pytest.fixture(scope="module")
def ids(text: str) -> list[str]:
    reader = Reader()
    reader.feed(text)
    return [str(a["id"]) for _, a in reader.tags if a.get("id")]


def said(records: Records, summary: pd.DataFrame) -> dict[str, str]:
    found = answers.answers(records.run, summary, tables.tables(records, summary))
    return {a.name: " | ".join(line.text for line in a.lines) for a in found}


def test_five_questions_are_answered(records: Records, summary: pd.DataFrame) -> None:
    found = said(records, summary)
    line = summary[(summary.method == "occlusion") & (summary.metric == "srg")].iloc[0]
    assert (
        f"Occlusion, with the best mean of 6 methods: SRG ↑ {line['mean']:.3f} ± "
        in (found["most-faithful"])
    )
    assert found["difference"] == (
        "In part: Occlusion differs significantly from 3 of 5 other methods, but not from "
        "Grad-CAM and IG (5 % level)."
    )
    assert "One map by Occlusion: 197 forwards, 0 backwards" in found["cost"]
    assert "The whole run: 374 seconds." in found["cost"]  # 41 + 122.5 + 210.25
    assert "294 of 2,376 values are undefined, 11 failed." in found["trust"]
    assert found["repeat"] == "python -m igbench experiment=synthetic seed=0"


def test_a_clear_difference_and_none_at_all() -> None:
    clear = make_records(shift={("ig", "srg"): 0.3})
    few = make_records(samples=5)
    for records, expected in (
        (clear, "Yes: IG differs significantly from 5 other methods (5 % level)."),
        (few, "No: Occlusion differs significantly from none of 5 other methods (5 % level)."),
    ):
        own = records.scores[records.scores.metric == "srg"]
        summary = summarise(own, records.run.metrics, methods=records.run.methods, resamples=100)
        assert said(records, summary)["difference"] == expected


def test_numbers_are_those_of_the_tables(records: Records, summary: pd.DataFrame) -> None:
    scores = tables.tables(records, summary)[0]
    column = styles.metric_names(records.run).index("srg")
    found = said(records, summary)
    shown = {
        m: scores.cells[scores.rows.index(line_name(records.run, "synthetic_net", m, 1))][column]
        for m in ("occlusion", "random")
    }
    assert shown["occlusion"].text in found["most-faithful"]
    assert f"{shown['random'].text} for a random map" in found["trust"]


def test_each_model_has_its_answer(records: Records, summary: pd.DataFrame) -> None:
    both = pd.concat([summary, summary.assign(model="other_net")], ignore_index=True)
    found = answers.answers(records.run, both, [])
    texts = [line.text.split(":")[0] for line in found[0].lines]
    assert texts == ["synthetic_net", "other_net"]


def test_links_lead_to_rows(records: Records, summary: pd.DataFrame, ids: list[str]) -> None:
    found = answers.answers(records.run, summary, tables.tables(records, summary))
    links = [line.link for a in found for line in a.lines]
    assert links[0] == "scores-occlusion"
    assert set(links) <= set(ids)
    assert len(ids) == len(set(ids))


def test_guide_names_anchors_that_exist(ids: list[str]) -> None:
    section = GUIDE.read_text(encoding="utf-8").split("## Five questions")[1].split("\n## ")[0]
    anchors = re.findall(r"`#([\w-]+)`", section)
    assert [a for a in anchors if a in answers.NAMES] == list(answers.NAMES)
    assert set(anchors) - {"certificates"} <= set(ids)  # these records have no certificates


def test_question_is_in_words(records: Records) -> None:
    run = replace(
        records.run,
        comparability={"target": "prediction"},
        config={"output": "log_probability"},
        environment={"model_source": "trained here", "data_source": "a set", "data_kind": "table"},
    )
    found = {f.term: f for f in question.question(run, ["net"])}
    assert found["Model"].text == "net (trained here)"
    assert found["Data"].text == "24 rows of a table of a set"
    assert found["Target"].text == "the class that the model predicts for the sample"
    assert found["Explained output"].text == "the logarithm of the probability of the target"
    assert found["Methods"].items[1] == ("1 oracle, an independent implementation", "IG (Captum)")
    assert [name for name, _ in found["Metrics"].items][:2] == [
        "Completeness gap ↓",
        "Infidelity ↓",
    ]
    assert "Baseline x′" not in found


def test_limits_count_what_is_missing(records: Records, summary: pd.DataFrame) -> None:
    limited = replace(
        records.run,
        config={"limit": 8},
        environment={"model_source": "random weights"},
    )
    found = caveats.of_run(limited, summary)
    assert found[:3] == [
        "294 of 2,376 values are undefined, 11 failed.",
        "Means rest on 22 to 24 values a cell.",  # one failed and one undefined at least
        "The run was limited to 8 samples.",
    ]
    assert "random weights" in found[-1]


def test_every_family_of_metrics_has_a_limit() -> None:
    assert set(caveats.FAMILIES) == set(get_args(Family)) - {""}


@pytest.mark.parametrize("name", sorted(html.TITLES | html.SAMPLES))
def test_every_figure_has_a_caveat(name: str) -> None:
    assert caveats.FIGURES[name]


def test_findings_may_be_sentences_with_links(
    records: Records, summary: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = SimpleNamespace(text="a <b> sentence", anchor="scores-ig", model="")
    tested = SimpleNamespace(**vars(plain), test=SimpleNamespace(name='the "signed" test'))
    monkeypatch.setattr(html, "findings", lambda *_: [plain, tested, "plain & simple"])
    text = html.page(records, summary, tables.tables(records, summary), {}, None)
    assert "a &lt;b&gt; sentence" in text
    assert "<p>plain &amp; simple</p>" in text
    assert text.count('href="#scores-ig"') == 2
    assert 'title="the &#34;signed&#34; test"' in text


def test_provenance_says_what_was_not_committed(records: Records) -> None:
    run = replace(records.run, environment={"git": "0123abc+changes"})
    facts = dict(provenance.facts(run))
    assert facts["Code"] == "0123abc, with changes that were not committed"
    assert facts["Hash of the weights"] == "a7" * 32
    assert "Python" not in facts
    assert provenance.requirements(run).splitlines()[1] == "torch==2.14.1"


def test_a_record_of_other_types_is_left_out(records: Records, summary: pd.DataFrame) -> None:
    run = replace(records.run, totals={"seconds": "long"}, identity={"versions": "many"})
    assert provenance.requirements(run) == ""
    found = answers.answers(run, summary, tables.tables(records, summary))
    assert [line.link for line in found[2].lines] == ["costs-occlusion"]


def test_long_values_are_cut_and_say_so(records: Records) -> None:
    run = replace(records.run, config={"words": "w" * 100_000, "deep": [{"many": [1] * 1000}]})
    text = provenance.details(run)["config"]
    assert len(text) < 10_000
    assert "w… (100,000 characters; all in run.json)" in text
    assert "… (1,000 entries; all in run.json)" in text


def test_tables_without_a_place_are_shown(records: Records, summary: pd.DataFrame) -> None:
    made = tables.tables(records, summary)
    other = replace(made[0], name="another")
    text = html.page(records, summary, [*made, other], {}, None)
    assert 'id="table-another"' in text
    assert render.to_html(other) in text


def test_large_figures_are_pixels(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "a.png")
    svg = tmp_path / "a.svg"
    svg.write_bytes(b"<svg" + b" " * (html.MOST_SVG - 4))
    assert html.embedded(svg) == svg.read_bytes()
    svg.write_bytes(b"<svg" + b" " * html.MOST_SVG)
    assert html.embedded(svg)[:4] == b"RIFF"
