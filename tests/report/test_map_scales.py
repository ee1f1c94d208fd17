"""Do grids of maps follow the rule of colours that they state?"""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from igbench.errors import InputError
from igbench.report import heatmaps
from igbench.schema import MethodSpec, Point, Records, Row
from tests.helpers.synthetic import make_run

SIGNED = MethodSpec("", "", "global", True)
METHODS = {"ig": SIGNED, "occlusion": SIGNED, "saliency": replace(SIGNED, signed=False)}
TOPS = {"photo-000": (1.0, -3.0, 9.0), "photo-001": (5.0, 2.0, 4.0)}


def records() -> Records:
    run = replace(make_run(samples=2), methods=METHODS)
    maps: dict[str, Any] = {
        m: {s: np.full((2, 2), tops[i]) for s, tops in TOPS.items()} for i, m in enumerate(METHODS)
    }
    maps["inputs"] = dict.fromkeys(TOPS, np.full((2, 2, 3), 255, dtype=np.uint8))
    frames = pd.DataFrame(columns=list(Row._fields)), pd.DataFrame(columns=list(Point._fields))
    return Records(run, *frames, maps=maps)


@pytest.mark.parametrize(
    ("scale", "first", "second"),
    [
        ("per_map", (1, 3, 9), (5, 2, 4)),
        ("per_row", (3, 3, 9), (5, 5, 4)),
        ("shared", (5, 5, 9), (5, 5, 9)),
    ],
)
def test_limits_of_a_figure(scale: Any, first: Any, second: Any) -> None:
    found = heatmaps.limits(records(), list(TOPS), scale)
    assert [tuple(found[s].values()) for s in TOPS] == [first, second]


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ("per_map", "Each map is scaled by itself: limit = 99.5th percentile of |a|."),
        ("per_row", "The signed maps of a row share one limit"),
        ("shared", "All signed maps share one limit"),
    ],
)
def test_the_figure_states_its_rule(scale: Any, words: str) -> None:
    made = heatmaps.grid(records(), scale=scale)
    assert made is not None
    said = made.texts[0].get_text().replace("\n", " ")
    assert said.startswith(words)
    assert said.endswith("Colours of signed maps are symmetric around 0.")
    ends = [t.get_text() for a in made.axes for t in a.get_xticklabels()]
    top = "5" if scale == "shared" else "limit"
    assert f"−{top}: lowers the score" in ends
    notes = [t.get_text() for a in made.axes for t in a.texts]
    assert notes.count("constant") == 6


def test_an_unknown_scale_is_an_error() -> None:
    with pytest.raises(InputError, match="scale"):
        heatmaps.grid(records(), scale="per_figure")  # type: ignore[arg-type]


def test_maps_without_information_say_so() -> None:
    assert heatmaps.remark(np.array([[np.inf, 1.0]])) == "50.0% not finite"
    assert heatmaps.remark(np.full((2, 2), np.inf)) == "not finite"
    assert heatmaps.remark(np.full((2, 2), -0.5)) == "constant"
    assert heatmaps.remark(np.array([[0.0, -0.5]])) == ""
    zero = heatmaps.colourise(np.zeros((2, 2)), np.ones((2, 2, 1)), True, 3.0)
    assert zero.note == "all zero", "whatever the others of the row are"


def test_pictures_of_a_page_are_as_wide_as_a_screen(tmp_path: Path) -> None:
    Image.new("RGB", (3600, 100)).save(tmp_path / "wide.png")
    with Image.open(io.BytesIO(heatmaps.webp(tmp_path / "wide.png"))) as packed:
        assert packed.size == (heatmaps.WEB, 50)


def test_maps_are_pictures_of_300_dpi_within_a_pdf() -> None:
    made, written = heatmaps.grid(records()), io.BytesIO()
    assert made is not None
    made.savefig(written, format="pdf", dpi=300)
    widths = [int(w) for w in re.findall(rb"/Width (\d+)", written.getvalue())]
    left, right, *_ = made.axes[0].images[0].get_extent()
    pixels = 300 * (right - left)
    assert sum(abs(w - pixels) <= 1 for w in widths) == 2 * (1 + len(METHODS))
