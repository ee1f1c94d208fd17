"""Files of texts: one a line, tables and JSON lines; texts from Python."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from igbench import evaluate
from igbench.core.model import Model
from igbench.data.text_files import texts
from igbench.errors import InputError
from tests.helpers import words


def model() -> Model:
    return replace(words.bag(), class_names=("bad", "good"))


def found(path: Path, content: str | bytes, limit: int | None = None) -> dict[str, tuple]:
    """Texts and labels by the name of the sample."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    data = texts(model(), limit=limit, path=str(path))
    names = [" ".join(data.feature_names(i)) for i in range(len(data))]
    return dict(zip(data.sample_ids, zip(names, data.labels, strict=True), strict=True))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_one_text_a_line(tmp_path, end):
    content = end.join(["good movie", "", "  not bad, café", "👩‍🚀 \ttab"]) + end
    assert found(tmp_path / "a.txt", content) == {
        "line-00001": ("good movie", None),
        "line-00003": ("not bad, café", None),
        "line-00004": ("👩‍🚀 tab", None),
    }
    source = texts(model(), limit=None, path=str(tmp_path / "a.txt")).source
    assert source == "3 texts of a.txt, 1 empty lines left out"


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path):
    assert found(tmp_path / "a.txt", b"\xef\xbb\xbfgood") == {"line-00001": ("good", None)}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'label,text,x\ngood,"good, movie",1\n0,"say ""bad""",2\n,good,3\n'),
        ("a.tsv", 'label\ttext\tx\ngood\tgood, movie\t1\n0\tsay "bad"\t2\n\tgood\t3\n'),
    ],
)
def test_tables_have_columns_text_and_label(tmp_path, name, content):
    assert found(tmp_path / name, content) == {
        "line-00002": ("good, movie", 1),
        "line-00003": ('say "bad"', 0),
        "line-00004": ("good", None),
    }


def test_json_lines(tmp_path):
    lines = [{"text": "good", "label": 1}, {"text": "bad", "label": "bad"}, {"text": "not"}]
    content = "\n".join(json.dumps(line) for line in lines)
    assert found(tmp_path / "a.jsonl", content) == {
        "line-00001": ("good", 1),
        "line-00002": ("bad", 0),
        "line-00003": ("not", None),
    }


def test_the_first_texts_are_the_same_for_every_limit(tmp_path):
    content = "\n".join(["good", "bad", "not", "movie"])
    assert (
        list(found(tmp_path / "a.txt", content, 2)) == list(found(tmp_path / "a.txt", content))[:2]
    )


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.txt", b"caf\xe9", "cannot be read as a text in UTF-8"),
        ("a.txt", b"a\0b", "NUL"),
        ("a.txt", "\n \n", "has no texts"),
        ("a.csv", "label,tekst\n1,good\n", "must name one column text.*Did you mean 'tekst'"),
        ("a.csv", "text,text\n1,good\n", "must name one column text"),
        ("a.csv", "text,label\ngood, movie,1\n", "line 2 of .* has 3 cells, the first line 2"),
        ("a.csv", 'text\n"good\n', "line 2 of .* is no line of a table"),
        ("a.csv", "text,label\ngood,goood\n", "line 2 .*the label 'goood'.*Did you mean 'good'"),
        ("a.csv", "text,label\ngood,2\n", "the label '2', which is no class"),
        ("a.csv", "text,label\ngood,-1\n", "the label '-1', which is no class"),
        ("a.jsonl", '{"text": "good"}\n{"text"\n', "line 2 of .* cannot be read as JSON"),
        ("a.jsonl", '["good"]\n', "line 1 of .* has no text"),
        ("a.jsonl", '{"text": "good", "label": true}', "the label True; write the name"),
    ],
)
def test_files_that_cannot_be_used_name_the_line(tmp_path, name, content, why):
    with pytest.raises(InputError, match=why) as error:
        found(tmp_path / name, content)
    assert "\n" not in str(error.value)


def test_missing_files_and_other_models_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"set data\.path=FILE"):
        texts(model(), limit=None)
    with pytest.raises(InputError, match="there is no file"):
        texts(model(), limit=None, path=str(tmp_path / "none.txt"))
    (tmp_path / "a.txt").write_text("good")
    with pytest.raises(InputError, match="takes no texts"):
        texts(replace(model(), text=None), limit=None, path=str(tmp_path / "a.txt"))
    with pytest.raises(InputError, match=r"cannot be read as a text.*a folder"):
        texts(model(), limit=None, path=str(tmp_path))


def test_the_file_counts_for_every_sample(tmp_path):
    (tmp_path / "a.txt").write_text("good\nbad")
    data = texts(model(), limit=None, path=str(tmp_path / "a.txt"))
    assert data.files is not None
    assert data.files(1) == (tmp_path / "a.txt",)


class Short(words.SpaceEncoder):
    """Takes three tokens."""

    def encode(self, text):
        whole = super().encode(text)
        over = max(0, len(whole.ids) - 3)
        return replace(whole, ids=whole.ids[:3], special=whole.special[:3],
                       spans=whole.spans[:3], truncated=over)  # fmt: skip


def test_texts_that_are_cut_off_are_counted(tmp_path, caplog):
    (tmp_path / "a.txt").write_text("good movie bad bad\nbad")
    with caplog.at_level(logging.WARNING):
        data = texts(replace(model(), text=Short()), limit=None, path=str(tmp_path / "a.txt"))
    assert data.source.endswith("; 1 of 2 texts cut off, since the model takes 3 tokens")
    assert "1 of 2 texts are cut off" in caplog.text


GIVEN = ["good movie", "bad"]


@pytest.mark.parametrize(
    "given", [GIVEN, tuple(GIVEN), pd.Series(GIVEN)], ids=["list", "tuple", "series"]
)
def test_texts_are_evaluated_from_python(given):
    own = evaluate(model(), given, methods=["ig"], metrics=["completeness"])
    assert [m.tolist() for m in own.results.maps["ig"].values()] == [[4, 1], [-5]]
    assert own.run.samples[0]["sample_id"] == "sample-00000"


def test_labels_files_and_limits_are_taken_from_python(tmp_path):
    (tmp_path / "a.txt").write_text("good movie\nbad")
    by_label = evaluate(
        model(), (GIVEN, [0, 0]), methods=["ig"], metrics=["completeness"], target="label", limit=1
    )
    assert [s["label"] for s in by_label.run.samples] == [0]
    own = evaluate(model(), tmp_path / "a.txt", methods=["ig"], metrics=["completeness"])
    assert {s["sample_id"] for s in own.run.samples} == {"line-00001", "line-00002"}


def test_texts_need_a_model_of_texts():
    with pytest.raises(InputError, match=r"the data are texts.*hf_text\.wrapped"):
        evaluate(torch.nn.Linear(2, 1).eval(), GIVEN, methods=["ig"], metrics=["completeness"])
    with pytest.raises(InputError, match="takes no texts"):
        evaluate(replace(model(), text=None), GIVEN, methods=["ig"], metrics=["completeness"])
