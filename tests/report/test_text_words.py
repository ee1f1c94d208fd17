"""Words coloured by attribution: escaped everywhere, legible everywhere, nothing lost."""

from __future__ import annotations

import math
import re

import matplotlib as mpl
import pytest

from igbench.report import text_html, text_words
from tests.report.test_html import Reader

SCRIPT = '<script>alert("1")</script>'


def test_colours_are_symmetric_about_zero():
    found = text_words.pieces(["a", "b", "c", "d"], [2.0, -1.0, 0.0, 1.0])
    shares = [p.share for p in found if p.value is not None]
    assert shares == [1.0, -0.5, 0.0, 0.5]
    assert [p.line for p in found if p.value is not None] == ["solid", "dotted", "", "solid"]
    fills = [p.fill for p in found if p.value is not None]
    red, blue = mpl.colors.to_rgb(fills[3]), mpl.colors.to_rgb(fills[1])
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert fills[0] == text_words.colour(1.0, signed=True) == "#67001f"
    assert fills[2] == ""


def test_magnitudes_are_violet_and_have_no_sign():
    found = text_words.pieces(["a", "b"], [2.0, 1.0], signed=False)
    assert [p.line for p in found] == ["", "", ""]
    assert found[0].fill == mpl.colors.to_hex(mpl.colormaps["Purples"](1.0))


@pytest.mark.parametrize("signed", [True, False])
def test_letters_can_be_told_from_every_colour(signed):
    for i in range(-50, 51):
        fill = text_words.colour(i / 50, signed)
        assert (
            text_words._contrast(fill, text_words.ink(fill)) > 4.58
        )  # sqrt(21), which black or white always reach; WCAG asks for 4.5


def test_a_limit_of_ones_own_cuts_values_off():
    shares = [p.share for p in text_words.pieces(["a", "b"], [3.0, 1.0], limit=2) if p.fill]
    assert shares == [1.0, 0.5]


def test_what_is_not_finite_or_all_zero_has_no_colour():
    for values in ([math.nan, math.inf], [0.0, 0.0]):
        found = [p for p in text_words.pieces(["a", "b"], values) if p.value is not None]
        assert [p.fill for p in found] == ["", ""]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"values": [1.0]}, "1 values for 2 words"),
        ({"gaps": ["", " "]}, "2 gaps for 2 words"),
        ({"limit": 0.0}, "limit is 0.0; it must be positive"),
        ({"limit": math.nan}, "limit is nan"),
        ({"values": {"ig": [1.0, 2.0]}, "signed": {"lime": True}}, "signed says nothing of 'ig'"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        text_html(["a", "b"], **{"values": [1.0, 2.0], **arguments})


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_markup_is_text_wherever_it_stands():
    words = [SCRIPT, '" onmouseover="x', "&amp;", "a"]
    page = text_html(words, {SCRIPT: [1.0, 2.0, 3.0, 0.0]}, gaps=["<b>", " ", " ", "</p>", "<i>"])
    reader = read(page)
    assert {tag for tag, _ in reader.tags} == {"div", "p", "span"}
    assert {name for _, a in reader.tags for name in a} <= {"style", "class", "title", "dir"}
    assert "".join(reader.words) == f'{SCRIPT}<b>{SCRIPT} " onmouseover="x &amp;</p>a<i>'


def test_the_text_reads_as_it_was_written():
    page = text_html(["not", "good", "!"], [1.0, 2.0, 0.1], gaps=["  ", "\n", "", " [cut]"])
    assert "".join(read(page).words) == "  not\ngood! [cut]"
    assert "white-space: pre-wrap" in page


def test_values_show_over_their_words():
    titles = [a["title"] for tag, a in read(text_html(["a", "b"], [0.12345, -7.0])).tags
              if tag == "span"]  # fmt: skip
    assert titles == ["+0.123", "−7"]


def test_scripts_from_right_to_left_keep_their_order():
    words = ["זה", "סרט", "טוב"]
    reader = read(text_html(words, [1.0, 2.0, 3.0]))
    assert [a["dir"] for tag, a in reader.tags if tag == "p"] == ["auto"]
    assert "".join(reader.words) == " ".join(words)


def test_marks_that_turn_the_writing_are_shown_and_joiners_are_kept():
    page = text_html(["\u202eevil", "👩\u200d👧"], [1.0, 2.0])
    assert "\\u202eevil" in page
    assert "👩\u200d👧" in page


def test_an_empty_word_can_be_seen():
    assert "".join(read(text_html(["", " "], [1.0, 2.0])).words) == "␣ ␣"
    assert "".join(read(text_html([], [])).words) == ""


def test_methods_stand_one_under_another():
    values = {"IG": [1.0], "Saliency": [2.0]}
    page = text_html(["a"], values, signed={"IG": True, "Saliency": False})
    assert "".join(read(page).words) == "IGaSaliencya"
    assert page.count("solid") == 1


NASTY = r"100 % of $5 & a_b #1 {x} ~ ^ \input{/etc/passwd} ^^41"


def test_latex_is_escaped():
    found = {"ig": text_words.pieces(NASTY.split(" "), [float(i) for i in range(12)])}
    text = text_words.to_latex(f"a_b: {NASTY}", found)
    body = text.split(r"\begin{document}")[1]
    assert r"\textbackslash{}input\{/etc/passwd\}" in body
    assert "\\input" not in body
    plain = re.sub(r"\\[&%$#_{}]|\\textbackslash\{\}|\\textasci\w+\{\}", "", body)
    assert not set(plain) & set("&%$#_~^")
    assert plain.count("{") == plain.count("}")
    assert text.endswith("\\end{document}\n")


def test_latex_tells_signs_without_colours():
    signed = text_words.pieces(["up", "down", "none"], [1.0, -1.0, 0.0])
    found = {"ig": signed, "s": text_words.pieces(["up", "", "x"], [1.0, 1.0, 0.0], signed=False)}
    text = text_words.to_latex("t", found)
    assert r"\raises{67001F}{FFFFFF}{up}" in text
    assert r"\lowers{053061}{FFFFFF}{down}" in text
    assert "\nnone\\par" in text
    assert r"\word{3F007D}{FFFFFF}{up}" in text
    assert r"\word{3F007D}{FFFFFF}{?}" in text


def test_a_bracket_at_the_start_of_a_text_is_no_argument():
    text = text_words.to_latex("t", {"ig": text_words.pieces(["[3cm]", "a"], [0.0, 1.0])})
    assert "\\textbf{IG}\\newline\n[3cm]\n" in text
