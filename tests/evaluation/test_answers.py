"""Answers are kept in one JSON object, whole or not at all."""

from __future__ import annotations

import pytest

from igbench.evaluation import answers


def test_what_is_remembered_is_recalled(tmp_path):
    memory = tmp_path / "cache" / "a.json"
    answers.remember(memory, {"a": [1, None], "b": {"c": 0.1}}, "a", "")
    assert answers.recall(memory) == {"a": [1, None], "b": {"c": 0.1}}
    assert [path.name for path in memory.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize("content", ["", "[1]", "{", "3", "\x00", "[" * 100_000])
def test_a_damaged_file_holds_nothing(tmp_path, content):
    memory = tmp_path / "a.json"
    memory.write_text(content)
    assert answers.recall(memory) == {}


def test_what_cannot_be_written_is_said(tmp_path, caplog):
    (tmp_path / "a.json").mkdir()
    answers.remember(tmp_path / "a.json", {}, "the answer", "set it yourself")
    assert "cannot remember the answer in" in caplog.text
    assert caplog.text.strip().endswith("; set it yourself")
