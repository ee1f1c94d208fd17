"""The same records give the same bytes, whatever the process has set, and leave that as it was."""

from __future__ import annotations

import locale
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from PIL import Image

from igbench.records import compare, stats, store, view
from igbench.records.settings import OPTIONS, own_settings
from igbench.report import styles, write_report
from igbench.schema import Records
from tests.helpers.synthetic import make_records

HOSTILE: dict[str, Any] = {
    "text.usetex": True,
    "axes.formatter.use_locale": True,
    "path.sketch": (3, 10, 2),
    "savefig.bbox": "tight",
    "savefig.transparent": True,
    "figure.dpi": 37,
    "svg.fonttype": "path",
    "pdf.fonttype": 3,
    "pdf.use14corefonts": True,
    "pdf.compression": 0,
    "svg.hashsalt": None,
    "font.weight": "bold",
    "font.family": "serif",
    "lines.marker": "x",
    "errorbar.capsize": 9,
    "axes.grid": True,
    "axes.prop_cycle": mpl.cycler(color=["red"]),
    "image.origin": "lower",
    "image.cmap": "hot",
    "legend.fancybox": False,
    "figure.constrained_layout.w_pad": 0.3,
    "axes.xmargin": 0.4,
    "hatch.linewidth": 5,
}
PANDAS: dict[str, Any] = {
    "display.precision": 1,
    "display.float_format": "<{:.1f}>".format,
    "display.max_colwidth": 5,
    "display.max_rows": 2,
    "styler.format.precision": 1,
    "styler.format.decimal": ",",
    "styler.latex.environment": "longtable",
    "styler.latex.hrules": False,
    "styler.sparse.index": False,
    "styler.render.max_rows": 1,
    "compute.use_bottleneck": False,
}


@contextmanager
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process with a dark theme, few digits, other commas, and warnings that raise."""
    options = [part for pair in PANDAS.items() for part in pair]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    numbers = locale.setlocale(locale.LC_NUMERIC)
    with (
        mpl.rc_context(),
        pd.option_context(*options),
        np.printoptions(precision=1, suppress=True, sign="+"),
        np.errstate(all="raise"),
        warnings.catch_warnings(),
    ):
        mpl.style.use("dark_background")
        sns.set_theme(style="darkgrid", palette="husl", font_scale=2)
        mpl.rcParams.update(HOSTILE)
        for name in ("de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8"):
            try:
                locale.setlocale(locale.LC_NUMERIC, name)
                break
            except locale.Error:
                continue
        warnings.simplefilter("error")
        try:
            yield
        finally:
            locale.setlocale(locale.LC_NUMERIC, numbers)


def records_with_maps() -> Records:
    made = make_records(samples=8)
    ids = [s["sample_id"] for s in made.run.samples][:2]
    rng = np.random.default_rng(0)
    maps: dict[str, Any] = {
        m: {i: rng.normal(size=(8, 8)).astype(np.float32) for i in ids} for m in made.run.methods
    }
    maps["inputs"] = {i: rng.integers(0, 256, (8, 8, 3), dtype=np.uint8) for i in ids}
    return replace(made, maps=maps)


def report_of(records: Records, folder: Path) -> dict[str, bytes]:
    write_report(replace(records, folder=str(folder)), paper=True)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.mark.slow
def test_the_files_of_a_report_are_the_same_bytes(tmp_path, monkeypatch):
    records = records_with_maps()
    for name in ("plain", "hostile"):
        (tmp_path / name).mkdir()
    expected = report_of(records, tmp_path / "plain")
    assert {Path(name).suffix for name in expected} == {
        ".png", ".svg", ".pdf", ".tex", ".md", ".html", ".csv",
    }  # fmt: skip
    with hostile(monkeypatch):
        before = mpl.rcParams.copy(), pd.get_option("display.precision"), np.get_printoptions()
        found = report_of(records, tmp_path / "hostile")
        changed = {k for k, v in before[0].items() if mpl.rcParams[k] != v}
        assert changed <= {"backend"}  # which is found out when it is looked at
        assert pd.get_option("display.precision") == before[1] == 1
        assert np.get_printoptions() == before[2]
        assert np.geterr()["divide"] == "raise"
    assert found.keys() == expected.keys()
    assert [n for n in expected if found[n] != expected[n]] == []


def test_the_numbers_are_the_same(monkeypatch):
    records = make_records(samples=8)
    other = make_records(1, samples=8)

    def everything() -> list[str]:
        lines = stats.summarise(records.scores, records.run.metrics, resamples=100)
        pairs = stats.pairwise(records.scores, records.run.metrics, "srg", resamples=100)
        changes = compare.compare(records, other, resamples=100).changes
        return [lines.to_csv(), pairs.to_csv(), repr(changes), view.text(lines), view.html(lines)]

    expected = everything()
    with hostile(monkeypatch):
        assert everything() == expected


def test_the_files_of_a_run_are_the_same(tmp_path, monkeypatch):
    records = make_records(samples=4)
    rows = [tuple(r) for r in records.scores.itertuples(index=False)]
    from igbench.schema import Point, Row

    points = [Point(*p) for p in records.curves.itertuples(index=False, name=None)]
    written = [Row(*r) for r in rows]
    store.write(tmp_path / "a" / records.run.id, records.run, written, points, {})
    with hostile(monkeypatch):
        store.write(tmp_path / "b" / records.run.id, records.run, written, points, {})
        again = store.read(tmp_path / "b" / records.run.id)
    for path in sorted((tmp_path / "a").rglob("*")):
        if path.is_file():
            other = tmp_path / "b" / path.relative_to(tmp_path / "a")
            assert path.read_bytes() == other.read_bytes()
    plain = store.read(tmp_path / "a" / records.run.id)
    pd.testing.assert_frame_equal(again.scores, plain.scores)


def test_settings_come_back_after_an_exception(monkeypatch):
    with hostile(monkeypatch):
        known = {name: pd.get_option(name) for name in PANDAS}
        rc = dict(mpl.rcParams)

        @styles.style()
        def stop() -> None:
            assert mpl.rcParams["figure.dpi"] != 37
            assert pd.get_option("display.precision") == 6
            raise RuntimeError("stop")

        with pytest.raises(RuntimeError, match="stop"):
            stop()
        assert {name: pd.get_option(name) for name in PANDAS} == known
        assert dict(mpl.rcParams) == rc
        assert warnings.filters[0][0] == "error"


def test_the_options_exist_in_this_version_of_pandas():
    missing = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of options that are on their way out
        for name in OPTIONS:
            try:
                pd.get_option(name)
            except KeyError:
                missing.append(name)
    assert len(missing) <= 2, missing
    with own_settings():
        assert pd.get_option("display.precision") == 6


def test_a_report_warns_of_nothing(tmp_path):
    """Not of a name that is too long, either: layouts would collapse."""
    records = make_records(samples=2)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        write_report(replace(records, folder=str(tmp_path)))
    assert [str(w.message) for w in seen] == []


def small_figure() -> Any:
    with styles.style():
        figure = styles.canvas(styles.COLUMN, 1)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], label="IG")
        styles.panel_title(axes, "Deletion ↓ of <b>")
        axes.legend()
    return figure


def test_a_style_sheet_of_the_user_reaches_no_figure(tmp_path, monkeypatch):
    plain = [p.read_bytes() for p in styles.save(small_figure(), tmp_path / "plain")]
    with hostile(monkeypatch):
        (tmp_path / "own.mplstyle").write_text("font.size: 31\npdf.fonttype: 3\nlines.dashed: 9, 9")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mpl.style.use(tmp_path / "own.mplstyle")
        before = dict(mpl.rcParams)
        wild = [p.read_bytes() for p in styles.save(small_figure(), tmp_path / "wild")]
        assert dict(mpl.rcParams) == before
    assert wild == plain


def test_files_are_fit_for_print(tmp_path):
    png, pdf, svg = styles.save(small_figure(), tmp_path / "f")
    with Image.open(png) as opened:
        assert opened.size == (1020, 300)
        assert opened.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    content = pdf.read_bytes()
    assert b"/CIDFontType2" in content
    assert b"/Type3" not in content
    assert b"/CreationDate" not in content
    assert b"/MediaBox [ 0 0 244.8 72 ]" in content  # 3.4 x 1 inches
    text = svg.read_text(encoding="utf-8")
    assert ">Deletion ↓ of &lt;b&gt;</text>" in text
    assert "'DejaVu Sans', Verdana, sans-serif" in text
    assert "<dc:date>" not in text


def test_a_png_has_the_colours_of_the_figure(tmp_path):
    photograph = np.random.default_rng(0).random((300, 300, 3))
    made = styles.canvas(1, 1)
    made.figimage(photograph)
    (written,) = styles.save(made, tmp_path / "whole", ("png",))
    with Image.open(written) as opened:
        assert (opened.mode, opened.size) == ("RGB", (300, 300))
        assert opened.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        assert opened.info["Software"] == "igbench"
        kept = np.asarray(opened, float) / 255
    assert np.abs(kept - photograph).max() < 1 / 255
