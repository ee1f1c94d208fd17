"""Does the sample browser show what it is asked for, in a real browser?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from igbench.report import browser, html, tables
from igbench.schema import Records
from tests.helpers.chromium import chromium, complaints, fetched
from tests.helpers.synthetic import make_records, sample_ids
from tests.report.test_browser import EVIL, summary_of

pytestmark = pytest.mark.slow
METHODS = ("ig", "saliency", "random")
SIGNED = [own[0] for own in browser.colours("image", signed=True)]
VIOLET = [own[0] for own in browser.colours("image", signed=False)]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as made:
        yield made


class Shown:
    """A page in the browser."""

    def __init__(self, driver: Any, records: Records, folder: Path) -> None:
        summary = summary_of(records)
        found = browser.browser(records, summary)
        made = tables.tables(records, summary)
        path = folder / "report.html"
        path.write_text(html.page(records, summary, made, {}, None, browser=found), "utf-8")
        self.driver, self.address = driver, path.as_uri()
        driver.get(self.address)

    def until(self, state: str) -> None:
        """Wait until the page shows "sample|first|second"."""
        from selenium.webdriver.support.ui import WebDriverWait

        own = self.part("")
        WebDriverWait(self.driver, 30).until(lambda _: own.get_attribute("data-shown") == state)

    def part(self, name: str) -> Any:
        return self.driver.find_element("id", f"browser-{name}" if name else "browser")

    def choose(self, name: str, value: str) -> None:
        from selenium.webdriver.support.ui import Select

        Select(self.part(name)).select_by_value(value)

    def ask(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")

    def pixels(self, canvas: int) -> list[str]:
        """The colours of a canvas, row by row."""
        flat = self.ask(
            f"(() => {{ const c = document.querySelectorAll('#browser canvas')[{canvas}];"
            "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; })()"
        )
        dots = [flat[i : i + 3] for i in range(0, len(flat), 4)]
        return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in dots]

    def scores(self, method: str) -> list[str]:
        """The cells of the line of a method, without numbers of footnotes."""
        rows = self.part("scores").find_elements("css selector", "tbody tr")
        cells = rows[METHODS.index(method)].find_elements("tag name", "td")
        return [cell.text.split()[0] for cell in cells]


def of_kind(kind: str, samples: list[dict[str, Any]], maps: dict[str, Any]) -> Records:
    """Records of three samples, two of which have maps, and three methods with two metrics."""
    whole = make_records(samples=3)
    names = METHODS
    run = whole.run
    listed = [dict(s) | more for s, more in zip(run.samples, [*samples, {}], strict=True)]
    run = replace(
        run,
        environment=run.environment | {"data_kind": kind},
        methods={m: run.methods[m] for m in names},
        metrics={m: run.metrics[m] for m in ("completeness", "srg")},
        samples=listed,
    )
    rows = whole.scores.query("method in @names and metric in ('completeness', 'srg')").copy()
    rows.loc[rows["status"] == "ok", "value"] = [
        0.25 * (i + 1) for i in range(int((rows["status"] == "ok").sum()))
    ]
    return replace(whole, run=run, scores=rows, curves=whole.curves.iloc[:0], maps=maps)


def value(records: Records, method: str, metric: str, sample: str) -> float:
    rows: pd.DataFrame = records.scores
    keys = (rows["method"] == method) & (rows["metric"] == metric) & (rows["sample_id"] == sample)
    return float(rows.loc[keys, "value"].iloc[0])


def test_images(driver: Any, tmp_path: Path) -> None:
    one, two, _ = sample_ids(3)
    red = np.zeros((2, 2, 3), dtype=np.uint8)
    maps = {
        "inputs": {one: red, two: red + 200},
        "ig": {one: np.array([[1.0, -1.0], [0.0, 0.5]]), two: np.zeros((2, 2))},
        "saliency": {one: np.array([[1.0, 1.0], [0.0, 0.5]]), two: np.array([[1, 1], [1, np.nan]])},
        "random": {one: np.array([[-1.0, -1.0], [1.0, 1.0]])},
    }
    records = of_kind("image", [{"target_name": EVIL, "probability": 0.25}, {}], maps)
    shown = Shown(driver, records, tmp_path)
    shown.until("0|ig|saliency")
    assert shown.pixels(0) == [SIGNED[i] for i in (254, 0, 127, 191)]
    assert shown.pixels(1) == [VIOLET[i] for i in (254, 254, 127, 191)]
    assert EVIL.replace("\u202e", "\\u202e") in shown.part("facts").text
    assert "0.25" in shown.part("facts").text
    before = shown.scores("ig")
    assert [float(v) for v in before] == [
        value(records, "ig", m, one) for m in ("completeness", "srg")
    ]
    assert shown.scores("saliency")[0] == "n/a"
    assert "needs a global attribution" in shown.part("reasons").text

    from selenium.webdriver.common.keys import Keys

    opacity = "[...document.querySelectorAll('#browser canvas')].map((c) => c.style.opacity)"
    assert shown.ask(opacity) == ["0.7", "0.7"]
    shown.part("opacity").send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert shown.ask(opacity) == ["0.6", "0.6"]
    assert shown.part("percent").text == "60 %"

    shown.choose("second", "random")
    shown.until("0|ig|random")
    assert shown.pixels(1) == [SIGNED[i] for i in (0, 0, 254, 254)]
    assert shown.ask(opacity) == ["0.6", "0.6"]

    shown.part("").send_keys(Keys.ARROW_RIGHT)
    shown.until("1|ig|random")
    assert shown.pixels(0) == [SIGNED[127]] * 4
    assert "all zero" in shown.part("panels").text
    assert "no map of this method" in shown.part("panels").text
    assert [float(v) for v in shown.scores("ig")] == [
        value(records, "ig", m, two) for m in ("completeness", "srg")
    ]
    assert shown.scores("ig") != before
    shown.choose("first", "saliency")
    shown.choose("second", "")
    shown.until("1|saliency")
    assert shown.pixels(0) == [VIOLET[i] for i in (254, 254, 254, 255)]

    shown.part("next").click()
    shown.until("2|saliency")
    assert "kept no map of this sample" in shown.part("panels").text
    shown.part("thumbnails").find_elements("tag name", "button")[0].click()
    shown.until("0|saliency")
    assert complaints(driver) == []
    assert set(fetched(driver)) == {shown.address}


def test_texts(driver: Any, tmp_path: Path) -> None:
    one, two, _ = sample_ids(3)
    listed = [{"features": {"names": ["<b>good", "film"]}}, {"features": {"names": ["bad"]}}]
    maps = {
        "ig": {one: np.array([2.0, -1.0]), two: np.array([-3.0])},
        "saliency": {one: np.array([0.0, 4.0]), two: np.array([1.0])},
    }
    shown = Shown(driver, of_kind("text", listed, maps), tmp_path)
    shown.until("0|ig|saliency")
    looks = (
        "[...document.querySelectorAll('#browser .words span[title]')].map((s) => "
        "[s.textContent, s.title, s.className, s.style.backgroundColor])"
    )
    assert shown.ask(looks) == [
        ["<b>good", "+2", "raises", "rgb(103, 0, 31)"],
        ["film", "−1", "lowers", shown_rgb(browser.colours("text", signed=True)[63][0])],
        ["<b>good", "0", "", ""],
        ["film", "+4", "", shown_rgb(browser.colours("text", signed=False)[254][0])],
    ]
    shown.choose("sample", "1")
    shown.until("1|ig|saliency")
    assert [w[:3] for w in shown.ask(looks)] == [["bad", "−3", "lowers"], ["bad", "+1", ""]]
    assert not shown.part("opacity").is_displayed()
    assert complaints(driver) == []


def shown_rgb(fill: str) -> str:
    return f"rgb({', '.join(str(int(fill[i : i + 2], 16)) for i in (1, 3, 5))})"


def test_tables(driver: Any, tmp_path: Path) -> None:
    one, two, _ = sample_ids(3)
    features = {"names": ["age", "job"], "values": [39.0, "clerk"]}
    maps = {
        "ig": {one: np.array([-1.0, 4.0]), two: np.array([2.0, 0.0])},
        "saliency": {one: np.array([1.0, 2.0]), two: np.array([1.0, 1.0])},
    }
    shown = Shown(driver, of_kind("table", [{"features": features}] * 2, maps), tmp_path)
    shown.until("0|ig|saliency")
    text = shown.part("panels").text
    assert text.index("job = clerk") < text.index("age = 39")
    bars = (
        "[...document.querySelectorAll('#browser .amount')].map((b) => {"
        "const own = b.getBoundingClientRect(), all = b.parentElement.getBoundingClientRect();"
        "return [b.className, (own.left - all.left) / all.width, own.width / all.width]; })"
    )
    first = shown.ask(bars)
    assert first[0] == ["amount raises", near(1 / 2), near(1 / 2)]
    assert first[1] == ["amount lowers", near(95 / 254), near(32 / 254)]
    assert first[2] == ["amount", near(0), near(1)]
    shown.part("next").click()
    shown.until("1|ig|saliency")
    assert shown.ask(bars)[0] == ["amount raises", near(1 / 2), near(1 / 2)]
    assert "age = 39" in shown.part("panels").text


def near(share: float) -> Any:
    """A share of some hundred pixels, which browsers place on a grid of 1/64 of one."""
    return pytest.approx(share, abs=1e-3)


def test_series(driver: Any, tmp_path: Path) -> None:
    one, two, _ = sample_ids(3)
    listed = [{"features": {"series": [[0.0, 1.0, 2.0]]}}] * 2
    maps = {"ig": {one: np.array([[1.0, -1.0, 0.0]]), two: np.array([[0.0, 0.0, 2.0]])}}
    shown = Shown(driver, of_kind("series", listed, maps), tmp_path)
    fills = [own[0] for own in browser.colours("series", signed=True)]
    shown.until("0|ig")
    # The top row of the canvas, in the middle of each band, where the line does not run.
    assert shown.pixels(0)[150:900:300] == [fills[i] for i in (254, 0, 127)]
    shown.part("next").click()
    shown.until("1|ig")
    assert shown.pixels(0)[150:900:300] == [fills[i] for i in (127, 127, 254)]


def test_without_scripts_the_first_sample_has_its_scores(driver: Any, tmp_path: Path) -> None:
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        shown = Shown(driver, of_kind("image", [{}, {}], {}), tmp_path)
        assert not shown.part("").is_displayed()
        text = driver.find_element("css selector", "noscript").text
        assert "Without scripts the page shows the scores of the first sample" in text
        assert "n/a 1" in text
        assert "needs a global attribution" in text
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
