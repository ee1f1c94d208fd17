"""Texts as figures: all words are there, in lines that fit, in the order of their script."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from igbench.report import styles, text_figure, text_words
from igbench.report.text_figure import layout, measure


def pieces(text: str, **more):
    words = text.split(" ")
    return text_words.pieces(words, np.linspace(-1, 1, len(words)).tolist(), **more)


def lines(text: str, width: float, **more) -> list[str]:
    """The words of each line, from left to right."""
    placed = layout(pieces(text, **more), width)
    found = [[] for _ in range(1 + max(p.line for p in placed))]
    for one in placed:
        found[one.line].append(one)
    return [" ".join(p.piece.text for p in sorted(line, key=lambda p: p.x)) for line in found]


def test_lines_break_at_spaces():
    text = "one two three four five six"
    assert lines(text, measure("one two three") + 2) == ["one two three", "four five six"]


@pytest.mark.parametrize("text", ["word " * 299 + "word", "x" * 500, "זה סרט " * 40 + "טוב"])
def test_nothing_is_lost_and_nothing_sticks_out_or_overlaps(text):
    placed = layout(pieces(text), 300)
    assert "".join(sorted("".join(p.piece.text for p in placed))) == "".join(
        sorted(text.replace(" ", ""))
    )
    for line in range(1 + max(p.line for p in placed)):
        own = sorted((p for p in placed if p.line == line), key=lambda p: p.x)
        assert own[0].x > -0.01
        assert own[-1].x + own[-1].width < 300.01
        assert all(a.x + a.width < b.x + 0.01 for a, b in pairwise(own))


def test_texts_from_right_to_left_are_flush_right():
    placed = layout(pieces("זה סרט movie good טוב"), 300)
    assert max(p.x + p.width for p in placed) == pytest.approx(300)
    assert lines("זה סרט movie good טוב", 300) == ["טוב movie good סרט זה"]


def test_words_from_right_to_left_in_another_text():
    assert lines("a זה סרט b", 300) == ["a סרט זה b"]


def test_texts_between_words_stay_without_colour():
    placed = layout(pieces("not good", gaps=["[CLS]", "", " cut off"]), 300)
    texts = [(p.piece.text, p.piece.value is None) for p in placed]
    assert texts == [("[CLS]", True), ("not", False), ("good", False), ("cut", True), ("off", True)]
    assert placed[1].x == pytest.approx(measure("[CLS]"))


def test_figures_are_drawn_of_anything(tmp_path):
    text = "<script> $x_1$ & \\alpha 👩\u200d👧 日本語 \u202eevil  מרחב ␣"
    names = {"ig": True, "a_very_long_name_of_a_method_of_mine_$": True, "saliency": False}
    made = text_figure.figure(
        "$t$", {m: pieces(text, signed=s) for m, s in names.items()}, names, note="careful"
    )
    shown = [t.get_text() for t in made.axes[0].texts]
    assert "$x_1$" in shown
    assert "\\u202eevil" in shown
    assert {"$t$", "careful", "0"} <= set(shown)
    png, *_ = styles.save(made, tmp_path / "text")
    assert png.stat().st_size > 5_000
    bare = text_figure.figure("t", {"ig": text_words.pieces([], [])}, {"ig": True})
    styles.save(bare, tmp_path / "bare", ("png", "pdf"))


def test_colours_of_words_without_a_space_between_them_do_not_overlap():
    words = layout(text_words.pieces(["Well", ",", "so"], [1.0, -1.0, 1.0], gaps=["", "", " ", ""]),
                   300)  # fmt: skip
    assert text_figure._pads(words) == [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]


def test_a_method_without_a_map_says_so():
    empty = text_words.pieces(["a"], [float("nan")])
    made = text_figure.figure("t", {"ig": empty}, {"ig": True})
    assert "IG (no map)" in {t.get_text() for t in made.axes[0].texts}
    assert r"\textbf{IG (no map)}" in text_words.to_latex("t", {"ig": empty})
