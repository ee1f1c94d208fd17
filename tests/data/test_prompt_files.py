"""Prompts from tables: those that ship with igbench, and files of users."""

from __future__ import annotations

import csv

import pytest

from igbench.data.prompt_files import COLUMNS, FILE, prompts
from igbench.errors import InputError
from tests.helpers.prompts import counts

HEAD = "\t".join(COLUMNS) + "\n"


def table(tmp_path, text):
    (tmp_path / "own.tsv").write_text(text, encoding="utf-8")
    return str(tmp_path / "own.tsv")


def test_twenty_prompts_ship_with_igbench():
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len({row["id"] for row in rows}) == len(rows) == 20
    assert all(row["continuation"] != row["foil"] for row in rows)
    assert all(value == value.strip() != "" for row in rows for value in row.values())


def test_prompts_are_read_from_a_file(tmp_path):
    file = table(tmp_path, HEAD + "a\tthe cats\tare\tis\nb\tthe cat\tis\t\n")
    found = prompts(counts(), limit=None, file=file)
    assert found.sample_ids == ("a", "b")
    assert found.feature_names(0) == ("the", "cats")
    assert found.feature_gaps(0) == ("", " ", " are [not is]")
    assert found.load(0)[-1, 3:].tolist() == [6, 5]
    assert found.load(1)[-1, 3:].tolist() == [5, 0]
    alone = prompts(counts(), limit=1, file=file, contrast=False)
    assert len(alone) == 1
    assert alone.load(0)[-1, 3:].tolist() == [6, 0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("id,prompt\na,b\n", "expected the columns id, prompt, continuation, foil"),
        (HEAD + "a\tthe cats\n", "line 2 of .* has not four values"),
        (HEAD + "a\tthe cats\t\tis\n", "line 2 of .* has not four values"),
        (HEAD + "a\tthe\tis\tare\tis\n", "line 2 of .* has not four values"),
        (HEAD + "a\tthe\tis\tare\na\tthe\tis\tare\n", "two with the same"),
    ],
)
def test_other_files_are_refused(tmp_path, text, why):
    with pytest.raises(InputError, match=why):
        prompts(counts(), limit=None, file=table(tmp_path, text))


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        prompts(counts(), limit=None, file=str(tmp_path / "none.tsv"))
