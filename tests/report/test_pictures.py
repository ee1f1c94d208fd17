"""From an evaluation to the files: pictures of texts, tables and series are in the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from igbench import evaluate
from igbench.core.dataset import Data
from igbench.methods.controls import Random
from igbench.methods.gradient import Saliency
from igbench.methods.integrated_gradients import IntegratedGradients
from igbench.records import store
from igbench.report import pictures, samples
from tests.helpers import words
from tests.helpers.synthetic import make_records
from tests.report.test_html import OURS, Reader, scripts

STRANGE = (
    "good <script>alert(1)</script> movie",
    r"not \input{x} & 100 % $bad$ #1 a_b",
    "זה סרט good 👩\u200d👧 \u202eevil",
    "good " * 299 + "bad",
)
METHODS = {"ig": IntegratedGradients(n_steps=2), "saliency": Saliency(), "random": Random()}


class Sum(nn.Module):
    """f = sum of x."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).sum(dim=1)


def saved(model: Any, data: Data, folder: Path) -> Path:
    return evaluate(model, data, methods=METHODS, metrics=["completeness"]).save(folder)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(words.bag(), words.data(*STRANGE), tmp_path_factory.mktemp("texts"))


def reader_of(page: Path) -> Reader:
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


def names(page: Path, folder: str, start: str) -> set[str]:
    return {p.name for p in (page.parent / folder).glob(f"{start}*")}


def test_texts_are_in_the_page_and_in_files(texts: Path) -> None:
    assert names(texts, "plots", "text_") == {
        f"text_{i}.{kind}" for i in (1, 2, 3) for kind in ("png", "svg")
    }
    assert names(texts, "tables", "text_") == {"text_1.tex", "text_2.tex", "text_3.tex"}
    reader = reader_of(texts)
    paragraphs = [a for tag, a in reader.tags if tag == "p" and a.get("dir") == "auto"]
    assert len(paragraphs) == len(STRANGE) * len(METHODS)
    whole = "".join(reader.words)
    for text in (STRANGE[0], STRANGE[1], STRANGE[2].replace("\u202e", "\\u202e"), STRANGE[3]):
        assert text in whole
    assert "Words coloured by their attribution" in whole


def test_a_script_in_a_text_does_not_run(texts: Path) -> None:
    reader = reader_of(texts)
    assert scripts(reader) == OURS
    assert not [n for _, a in reader.tags for n in a if n.startswith("on")]
    assert "<script>alert" not in (texts.parent / "run.json").read_text().split('"names"')[0]


def test_latex_commands_in_a_text_are_text(texts: Path) -> None:
    document = (texts.parent / "tables" / "text_2.tex").read_text(encoding="utf-8")
    assert "\\input" not in document
    assert r"\textbackslash{}input\{x\}" in document


def test_only_texts_have_coloured_words(texts: Path) -> None:
    assert not names(texts, "plots", "table_")
    assert "heatmaps.png" not in names(texts, "plots", "")


def rows() -> Data:
    x = torch.arange(20.0).reshape(4, 5) - 9
    columns = ("age", "<script>alert(2)</script>", "$x$", "", "job")
    return Data(
        name="rows", kind="table", shape=(5,), sample_ids=tuple("abcd"), labels=(None,) * 4,
        load=lambda i: x[i].clone(), features="column", display=None, black=(0.0,), reference=None,
        source="closed form", groups=torch.arange(5), feature_names=lambda i: columns,
        feature_values=lambda i: (39.0 + i, i, -1.5, 0.0, "clerk"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(Sum().eval(), rows(), tmp_path_factory.mktemp("table"))


def test_tables_have_their_figures_among_the_maps(table: Path) -> None:
    stems = {"table_importance", "table_beeswarm"}
    stems |= {f"table_{kind}_{i}" for kind in ("waterfall", "bars") for i in (1, 2)}
    assert names(table, "plots", "table_") == {f"{s}.{k}" for s in stems for k in ("png", "svg")}
    reader = reader_of(table)
    titles = [str(a["alt"]) for tag, a in reader.tags if tag == "img"]
    assert titles[0].startswith("Columns by mean |attribution|: Mean of the absolute attribution")
    assert [t.split(":")[0] for t in titles[2:4]] == ["From f(x′) to f(x) (1)",
                                                      "Attributions of one row (1)"]  # fmt: skip
    assert "Maps" in reader.words
    assert scripts(reader) == OURS


def test_series_have_their_figures_among_the_maps(tmp_path: Path) -> None:
    x = torch.sin(torch.arange(32.0) / 3)[None]
    data = replace(rows(), kind="series", shape=(1, 32), load=lambda i: x + i, groups=None,
                   feature_names=None, feature_values=None, features="element",
                   sample_ids=("a",), labels=(None,))  # fmt: skip
    page = saved(Sum().eval(), data, tmp_path)
    assert names(page, "plots", "series_") == {"series_1.png", "series_1.svg"}
    titles = [str(a["alt"]) for tag, a in reader_of(page).tags if tag == "img"]
    assert titles[0].startswith("Attributions of one series (1): The series over bands")


def test_images_have_none() -> None:
    assert pictures.pictures(make_records(samples=2)) == pictures.Pictures()


def test_a_page_holds_as_many_words_as_it_can() -> None:
    own = samples.Sample("s", "s", 1.0, ("a",) * 9_000, maps={"ig": torch.zeros(9_000).numpy()})
    assert [len(pictures._few([own] * n)) for n in (1, 2, 3, 9)] == [1, 2, 2, 2]
    assert len(pictures._few([replace(own, names=("a",) * 30_000)] * 2)) == 1
    assert len(pictures._few([replace(own, names=("a",))] * 20)) == samples.SHOWN


@pytest.mark.parametrize(
    ("output", "value"),
    [("logit", 2.0), ("probability", 0.5), ("log_probability", -0.6931472), ("odds", None)],
)
def test_the_output_of_a_sample_is_the_one_that_is_explained(output, value) -> None:
    run = make_records(samples=1).run
    run = replace(run, comparability={"output": output})
    found = samples.output(run, {"sample_id": "a", "score": 2.0, "probability": 0.5})
    assert found == (None if value is None else pytest.approx(value))
    assert samples.output(run, {"sample_id": "a"}) is None


def test_runs_are_read_back_with_their_pictures(texts: Path) -> None:
    read = store.read(texts.parent)
    assert samples.kind(read.run) == "text"
    assert [s.head for s in samples.samples(read)][:1] == ["text-0: 0, f = 5.5"]
