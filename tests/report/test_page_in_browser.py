"""Does the page work in a browser: three widths, light and dark, sorting, no request, no error?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from igbench.records.stats import summarise
from igbench.report import html, styles, tables
from tests.helpers.chromium import chromium, complaints, fetched, resize
from tests.helpers.synthetic import make_records, make_run

pytestmark = pytest.mark.slow

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="504pt" height="200pt"/>'
METRICS = styles.metric_names(make_run())
WIDTHS = (360, 800, 1400)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records = make_records()
    summary = summarise(
        records.scores, records.run.metrics, methods=records.run.methods, resamples=100
    )
    plots = {"metrics": SVG, "cost_quality": SVG.replace(b"504", b"300")}
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(
        html.page(records, summary, tables.tables(records, summary), plots, None), encoding="utf-8"
    )
    return path


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def shown(driver: Any, page: Path) -> Any:
    resize(driver, 1400)
    driver.get(page.as_uri())
    driver.execute_script("localStorage.clear(); delete document.documentElement.dataset.theme")
    fetched(driver), complaints(driver)
    return driver


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_page_fits_and_fetches_nothing(
    shown: Any, page: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    resize(shown, width, dark=dark)
    shown.get(page.as_uri())
    assert fetched(shown) == [page.as_uri()]
    assert complaints(shown) == []
    root = "document.documentElement"
    assert shown.execute_script(f"return {root}.scrollWidth") == width
    outside = shown.execute_script(
        """return [...document.querySelectorAll("main *")].filter((e) =>
             !e.closest(".scroll, pre") && e.getBoundingClientRect().right > innerWidth + 1
           ).map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert outside == []
    paper, ink = (
        shown.execute_script(f"return getComputedStyle(document.body).{name}")
        for name in ("backgroundColor", "color")
    )
    assert _light(paper) < 0.2 < 0.8 < _light(ink) if dark else _light(ink) < 0.2 < _light(paper)
    sheet = shown.execute_script(
        "return getComputedStyle(document.querySelector('.sheet')).backgroundColor"
    )
    assert _light(sheet) == 1.0  # figures are drawn on white
    assert shown.save_screenshot(str(tmp_path / f"{width}.png"))


def _light(colour: str) -> float:
    """Mean of the three channels of "rgb(r, g, b)", from 0 to 1."""
    return sum(int(part) for part in colour[4:-1].split(",")) / 3 / 255


def test_parts_do_not_overlap(shown: Any) -> None:
    for width in WIDTHS:
        resize(shown, width)
        boxes = shown.execute_script(
            """return [...document.querySelectorAll("main > section > *, .answers > div, figure")]
                 .filter((e) => !e.hidden).map((e) => e.getBoundingClientRect())
                 .map((r) => [r.left, r.top, r.right, r.bottom])"""
        )
        nested = {(i, j) for i, a in enumerate(boxes) for j, b in enumerate(boxes)
                  if i != j and _within(a, b)}  # fmt: skip
        crossing = [
            (a, b) for i, a in enumerate(boxes) for j, b in enumerate(boxes)
            if i < j and _cross(a, b) and not {(i, j), (j, i)} & nested
        ]  # fmt: skip
        assert crossing == [], width


def _within(a: list[float], b: list[float]) -> bool:
    return a[0] >= b[0] - 1 and a[1] >= b[1] - 1 and a[2] <= b[2] + 1 and a[3] <= b[3] + 1


def _cross(a: list[float], b: list[float]) -> bool:
    return min(a[2], b[2]) - max(a[0], b[0]) > 1 and min(a[3], b[3]) - max(a[1], b[1]) > 1


def _column(driver: Any, table: str, i: int) -> list[float | None]:
    texts = driver.execute_script(
        f"return [...document.querySelectorAll('#table-{table} tbody tr')]"
        f".map((row) => row.cells[{i}].dataset.value ?? null)"
    )
    return [None if t is None else float(t) for t in texts]


def _heads(driver: Any) -> list[Any]:
    return driver.find_elements("css selector", "#table-scores thead button")


def test_a_click_sorts_there_and_back(shown: Any) -> None:
    place = METRICS.index("sensitivity_n") + 1
    before = _column(shown, "scores", place)
    known = sorted(v for v in before if v is not None)
    missing = [None] * (len(before) - len(known))
    assert missing, "one method has no value, which must stay last"
    for order, expected in (
        ("ascending", known + missing), ("descending", known[::-1] + missing), (None, before),
    ):  # fmt: skip
        _heads(shown)[place].click()
        head = shown.find_elements("css selector", "#table-scores thead th")[place]
        assert head.get_attribute("aria-sort") == order
        assert _column(shown, "scores", place) == expected
    assert complaints(shown) == []


@pytest.mark.parametrize("key", ["ENTER", "SPACE"])
def test_a_key_sorts(shown: Any, key: str) -> None:
    from selenium.webdriver.common.keys import Keys

    place = METRICS.index("srg") + 1
    shown.execute_script(
        "document.querySelectorAll('#table-scores thead button')[arguments[0]].focus()", place - 1
    )
    shown.switch_to.active_element.send_keys(Keys.TAB)
    shown.switch_to.active_element.send_keys(getattr(Keys, key))
    values = _column(shown, "scores", place)
    assert values == sorted(values, key=lambda v: (v is None, v))
    sorted_by = shown.find_elements("css selector", "#table-scores th[aria-sort]")
    assert [h.text[:3].lower() for h in sorted_by] == ["srg"]


def test_names_sort_by_text(shown: Any) -> None:
    _heads(shown)[0].click()
    names = [e.text for e in shown.find_elements("css selector", "#table-scores tbody th")]
    assert names == sorted(names, key=str.lower)


def test_head_and_names_stay_in_view(shown: Any) -> None:
    resize(shown, 360, 500)
    place = shown.execute_script(
        """const box = document.querySelector("#table-scores").closest(".scroll");
           box.scrollTo(200, box.querySelector("caption").offsetHeight + 50);
           const corner = box.getBoundingClientRect();
           const [head, name] = ["thead th:nth-child(3)", "tbody tr:nth-child(8) th"].map((s) =>
             box.querySelector(s).getBoundingClientRect());
           return [head.top - corner.top, name.left - corner.left, box.scrollLeft]"""
    )
    assert place == [0, 0, 200]


def test_the_switch_is_remembered(shown: Any, page: Path) -> None:
    def paper() -> float:
        return _light(
            shown.execute_script("return getComputedStyle(document.body).backgroundColor")
        )

    button = shown.find_element("id", "theme")
    assert (button.text, paper() > 0.8) == ("Dark", True)
    button.click()
    assert (button.text, paper() < 0.2) == ("Light", True)
    shown.get(page.as_uri())
    assert (shown.find_element("id", "theme").text, paper() < 0.2) == ("Light", True)
    resize(shown, 800, dark=True)
    shown.find_element("id", "theme").click()
    assert paper() > 0.8  # against the system
    assert complaints(shown) == []


def test_page_works_where_storage_is_forbidden(shown: Any, page: Path) -> None:
    forbid = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('no'); }})"
    script = shown.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": forbid})
    try:
        shown.get(page.as_uri())
        shown.find_element("id", "theme").click()
        assert shown.find_element("id", "theme").text == "Light"
        assert complaints(shown) == []
    finally:
        shown.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_scripts_of_others_do_not_run(shown: Any, page: Path, tmp_path: Path) -> None:
    """The policy stops what escaping should have stopped before."""
    evil = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">"
    copy = tmp_path / "evil.html"
    text = page.read_text(encoding="utf-8").replace("<main>", f"<main>{evil}")
    copy.write_text(text, encoding="utf-8")
    shown.get(copy.as_uri())
    assert shown.title == "synthetic – igbench"
    assert sum("Content Security Policy" in line for line in complaints(shown)) == 3


def test_page_prints_with_light_colours(shown: Any) -> None:
    resize(shown, 1400, dark=True)
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": [
        {"name": "prefers-color-scheme", "value": "dark"},
    ]})  # fmt: skip
    try:
        style = "return getComputedStyle(document.querySelector('{}')).{}"
        assert _light(shown.execute_script(style.format("body", "backgroundColor"))) == 1.0
        assert shown.execute_script(style.format(".top", "display")) == "none"
        assert shown.execute_script(style.format(".scroll", "overflow")) == "visible"
    finally:
        shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
