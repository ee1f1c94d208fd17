"""Which of many methods are shown, in which colours, and do labels keep clear of each other?"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from igbench.report import label_layout, multiples, plots, styles, write_report
from igbench.schema import MethodSpec
from tests.helpers.synthetic import make_records, make_run

DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)  # fmt: skip
"""Machado et al. 2009, severity 1, on linear RGB."""


def many(count: int) -> tuple[Any, pd.DataFrame]:
    """A run of so many methods with four controls, the later the better, and their summary."""
    spec, control = (
        MethodSpec("", "", "global", True),
        MethodSpec("", "", "global", True, "control"),
    )
    names = ["ig_64", "ig_256", *(f"way{i}" for i in range(count - 6))]
    specs = dict.fromkeys(names, spec) | {f"noise{i}": control for i in range(4)}
    specs = {m: replace(s, role="control") if m.startswith("noise") else replace(s, role="method")
             for m, s in specs.items()}  # fmt: skip
    lines = pd.DataFrame({"method": list(specs), "metric": "srg", "model": "m",
                          "mean": np.linspace(0, 1, count)})  # fmt: skip
    return replace(make_run(samples=2), methods=specs), lines


def test_up_to_twelve_methods_are_all_shown() -> None:
    run, lines = many(12)
    assert multiples.highlighted(run, lines, list(run.methods)) == list(run.methods)
    assert multiples.said(run, lines, list(run.methods), 12) == ""


def test_of_many_methods_ig_controls_and_the_best_are_shown() -> None:
    run, lines = many(47)
    shown = multiples.highlighted(run, lines, list(run.methods))
    assert shown == ["ig_256", *(f"way{i}" for i in range(32, 41)), "noise0", "noise1"]
    assert multiples.said(run, lines, shown, 47) == (
        "In colour 12 of 47 methods: the best by SRG ↑, Integrated Gradients, controls and "
        "ceilings; the other 35 are grey."
    )


def test_the_worst_are_hidden_where_lower_is_better() -> None:
    run, lines = many(20)
    lines = lines.assign(metric="deletion")
    shown = multiples.highlighted(run, lines, list(run.methods))
    assert shown[:3] == ["ig_64", "way0", "way1"]
    assert "way13" not in shown


def test_values_of_ticks_are_written_once_for_a_row_and_a_column() -> None:
    run, _ = many(12)
    names = list(run.methods)[:3]
    line = pd.DataFrame({"mean": [0.1, 0.8], "low": 0.0, "high": 1.0}, index=[0.0, 2.0])
    row = multiples.Row("Deletion ↓", "n", "output", {m: [line] for m in names}, {names[0]: "0.45"})
    with styles.style():
        made = multiples.figure(run, [row, row], names)
    (page,) = made.axes
    texts = [text.get_text() for text in page.texts]
    assert [texts.count(t) for t in ("0.3", "0.6")] == [2, 2]
    assert [texts.count(t) for t in ("0", "1", "2", "n")] == [3, 3, 3, 3]
    assert texts.count("Deletion ↓\noutput") == 2
    assert [t for t in texts if t.startswith("IG")] == ["IG 64\n0.45", "IG 256\nn/a"]
    assert len(page.lines) == 6


def test_powers_are_characters_and_no_formula() -> None:
    figure = styles.canvas(3, 2)
    axes = figure.subplots()
    axes.set(xscale="log", xlim=(1e-7, 1e3), yscale="log", ylim=(2.1e-3, 7e-3))
    styles.log_powers(axes.xaxis)
    styles.log_powers(axes.yaxis)
    figure.draw_without_rendering()
    texts = [label.get_text() for axis in (axes.xaxis, axes.yaxis)
             for label in axis.get_ticklabels(which="both") if label.get_text()]  # fmt: skip
    assert {"10⁻⁴", "10²", "3×10⁻³"} <= set(texts)
    assert not [text for text in texts if "$" in text]


def test_labels_of_36_points_keep_clear_of_each_other() -> None:
    rng = np.random.default_rng(0)
    with styles.style():
        figure = styles.canvas(styles.FULL_WIDTH, 5)
        axes = figure.subplots()
        axes.set(xlim=(0, 1), ylim=(0, 1))
        spots = [
            label_layout.Spot(x, y, y - 0.01, y + 0.01, "#0173b2", f"Some method {i}")
            for i, (x, y) in enumerate(rng.uniform(0.1, 0.9, (36, 2)))
        ]
        notes = label_layout.place_labels(axes, spots, [(0.0, 1.0, 0.5)])
        boxes = [note.get_window_extent() for note in notes]
        frame = axes.get_window_extent()
    assert len(boxes) == 36
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        assert frame.x0 - 1 <= box.x0
        assert box.x1 <= frame.x1 + 1


def test_many_metrics_get_several_pages() -> None:
    run, lines = many(47)
    spec = run.metrics["srg"]
    run = replace(run, metrics={f"metric{i}": spec for i in range(9)})
    pages = plots.bar_pages(run, lines)
    assert [len(page) for page in pages] == [4, 4, 1]
    assert list(chain(*pages)) == list(run.metrics)


def linear(colour: str) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def test_colours_of_the_palette_differ_without_red_and_green() -> None:
    """CIEDE2000 of all pairs under deuteranopia; 2.3 is a just noticeable difference."""
    colour = pytest.importorskip("skimage.color")
    seen = [np.clip(DEUTERANOPIA @ linear(c), 0, 1) for c in styles.METHOD_COLOURS]
    rgb = [np.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055) for v in seen]
    lab = colour.rgb2lab(np.array(rgb)[None])[0]
    apart = [colour.deltaE_ciede2000(a, b) for a, b in combinations(lab, 2)]
    assert len(apart) == 28
    assert min(apart) > 8.9


@pytest.mark.slow
def test_an_article_takes_all_figures_unscaled(tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    write_report(replace(make_records(samples=4), folder=str(tmp_path)), paper=True)
    figures = sorted((tmp_path / "plots").glob("*.pdf"))
    assert len(figures) == 14
    body = []
    for path in figures:
        star = "" if path.stem.endswith("_column") else "*"
        body.append(
            rf"\begin{{figure{star}}}\includegraphics[width=\linewidth]{{plots/{path.name}}}"
            rf"\caption{{\detokenize{{{path.stem}}}}}\end{{figure{star}}}\clearpage"
        )
    (tmp_path / "a.tex").write_text(
        "\\documentclass[twocolumn]{article}\\usepackage{graphicx}\n"
        "\\usepackage[textwidth=7.1in,textheight=9.6in,columnsep=0.3in]{geometry}\n"
        "\\begin{document}\n" + "\n".join(body) + "\n\\end{document}\n"
    )
    made = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout[-2000:]
    if shutil.which("pdffonts"):
        listed = subprocess.run(
            ["pdffonts", "a.pdf"], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout
        fonts = [line for line in listed.splitlines() if "DejaVu" in line]
        assert fonts
        assert all("TrueType" in line for line in fonts)
        assert "Type 3" not in "\n".join(fonts)
