"""Accepted changes: what an entry covers, what it does not, and files that are wrong."""

import math
from pathlib import Path

import numpy as np
import pytest

from igbench.errors import InputError
from igbench.records import compare as gate
from igbench.records.compare import acceptance
from igbench.schema import Records
from tests.helpers.two_runs import BASE, make, with_run

CELLS = {("ig", "up"): BASE, ("rise", "down"): BASE}


def run(name: str, up: np.ndarray = BASE, down: np.ndarray = BASE) -> Records:
    return with_run(make({("ig", "up"): up, ("rise", "down"): down}), id=name)


def accept(
    base: Records, new: Records, pattern: str = "ig/up", reason: str = "mended"
) -> list[gate.Acceptance]:
    found = gate.compare(base, new, resamples=99)
    return acceptance.entries_of(
        found.changes, {pattern: reason}, date="2026-11-26", base=found.base, new=found.new
    )


def later(base: Records, new: Records, entries: list[gate.Acceptance]) -> gate.Comparison:
    return gate.compare(base, new, acceptances=entries, resamples=99)


def test_an_entry_is_written_read_and_shown_ever_after(tmp_path: Path) -> None:
    base, new = run("a"), run("b", BASE - 0.05)
    path = tmp_path / "deep" / "accepted.yaml"
    entries = accept(base, new)
    acceptance.write(path, entries)
    assert acceptance.read(path) == entries
    assert path.read_text().startswith("# Changes between two runs that are accepted")
    assert "pattern: ig/up" in path.read_text()
    found = later(base, run("c", BASE - 0.05), acceptance.read(path))
    assert found.exit_code == 0
    assert found.accepted == {"net/ig/up": "mended (2026-11-26)"}
    for write in gate.FORMATS.values():
        assert "mended (2026-11-26)" in write(found)
    acceptance.write(path, [*entries, *accept(base, new, reason="mended twice")])
    assert [e.reason for e in acceptance.read(path)] == ["mended twice"]
    assert acceptance.read(tmp_path / "none.yaml") == []


def test_an_entry_covers_no_further_fall() -> None:
    base = run("a")
    entries = accept(base, run("b", BASE - 0.05))
    assert later(base, run("c", BASE - 0.054), entries).exit_code == 0  # within the minimum effect
    assert later(base, run("c", BASE - 0.04), entries).exit_code == 0
    found = later(base, run("c", BASE - 0.057), entries)
    assert (found.exit_code, found.accepted) == (1, {})
    assert (
        "does not cover 1 cells, the first net/ig/up: more than was accepted" in (found.warnings[0])
    )


def test_an_entry_covers_no_other_cell_and_no_other_verdict() -> None:
    base = run("a")
    entries = accept(base, run("b", BASE - 0.05), "*")
    assert later(base, run("c", BASE - 0.05, BASE + 0.05), entries).exit_code == 1
    improved = later(base, run("c", BASE + 0.05), entries)
    assert (improved.changes[0].verdict, improved.accepted) == ("improved", {})
    failing = BASE.copy()
    failing[0] = math.nan
    assert later(base, run("c", failing), entries).exit_code == 3
    lost = accept(base, run("b", failing))
    assert later(base, run("c", failing), lost).exit_code == 0
    failing[1] = math.nan
    assert later(base, run("c", failing), lost).exit_code == 3


def test_an_entry_against_another_base_covers_no_verdict_but_drift() -> None:
    first, second = run("a"), run("b", BASE - 0.05)
    entries = accept(first, second)
    other = run("a2", BASE + 0.001)
    found = later(other, second, entries)
    assert found.exit_code == 1
    assert "another base run" in found.warnings[0]
    third = run("c", BASE - 0.051)
    drifting = gate.compare(second, third, history=[first], resamples=99)
    assert drifting.exit_code == 1
    covered = gate.compare(second, third, history=[first], acceptances=entries, resamples=99)
    assert (covered.exit_code, [*covered.accepted]) == (0, ["net/ig/up"])
    newer = with_run(first, id="bb")  # a run after the acceptance was as good as the first again
    again = gate.compare(second, third, history=[newer], acceptances=entries, resamples=99)
    assert again.exit_code == 1


def test_an_entry_that_matches_no_change_any_more_is_said() -> None:
    base = run("a")
    entries = accept(base, run("b", BASE - 0.05))
    found = later(base, run("c"), entries)
    assert found.exit_code == 0
    assert found.warnings == [
        "the acceptance of 'ig/up' (2026-11-26, mended) matches no change any more; remove it"
    ]
    assert "warning: the acceptance of 'ig/up'" in gate.format_text(found)


def test_there_must_be_something_to_accept() -> None:
    base, new = run("a"), run("b", BASE - 0.05)
    with pytest.raises(InputError, match="'ig/upp' matches no cell; give method/metric"):
        accept(base, new, "ig/upp")
    with pytest.raises(InputError, match="none of the 1 cells that it matches has changed"):
        accept(base, new, "rise/down")
    with pytest.raises(InputError, match="needs a reason"):
        accept(base, new, reason=" ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1", "is no list of acceptances"),
        ("- 1", "entry 1: it must have pattern, reason"),
        ("[", "cannot be read"),
        (
            "- {pattern: a, reason: b, date: 2026-11-26, base: c, new: d, cells: {}}",
            "date must be a text",
        ),
        (
            "- {pattern: a, reason: b, date: '1', base: c, new: d, cells: {x: 1}}",
            "cells.x must have verdict",
        ),
        (
            "- {pattern: a, reason: b, date: '1', base: c, new: d, "
            "cells: {x: {verdict: a, mean: b, lost: 0}}}",
            "cells.x must have numbers",
        ),
    ],
)
def test_files_that_are_wrong_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "accepted.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        acceptance.read(path)


def test_an_empty_file_has_no_entries(tmp_path: Path) -> None:
    path = tmp_path / "accepted.yaml"
    path.write_text("# nothing\n")
    assert acceptance.read(path) == []
