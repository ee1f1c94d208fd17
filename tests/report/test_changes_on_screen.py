"""Does the page of a comparison work in a browser: widths, light and dark, sorting, no request?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from igbench.records.compare import compare
from igbench.report import changes
from igbench.schema import Records
from tests.helpers.chromium import chromium, complaints, fetched, resize
from tests.helpers.synthetic import make_records, make_run, sample_ids

pytestmark = pytest.mark.slow

WIDTHS = (390, 900, 1400)
KINDS = ("image", "text", "table")
WORDS = ["a", "film", "of", "unbelievable" * 12, "length"]


def records(run_id: str, kind: str, shift: float) -> Records:
    """A run of one kind of data, whose maps and scores are moved by `shift`."""
    ids = sample_ids(12)[:2]
    run = make_run(run_id=run_id, samples=12)
    listed = [dict(s) for s in run.samples]
    rng = np.random.default_rng(3)
    shape: tuple[int, ...] = (6, 6)
    maps: dict[str, Any] = {}
    if kind == "image":
        maps["inputs"] = {s: rng.integers(0, 256, (6, 6, 3), dtype=np.uint8) for s in ids}
    else:
        shape = (len(WORDS),)
        more = {"values": [1.0, 2.0, 3.0, 4.0, "x" * 90]} if kind == "table" else {}
        for own in listed[:2]:
            own["features"] = {"names": WORDS} | more
    for method in ("ig", "saliency"):
        own = {s: rng.normal(size=shape) for s in ids}
        maps[method] = {s: a + shift * rng.normal(size=shape) for s, a in own.items()}
    around = run.environment | {"data_kind": kind}
    run = replace(run, samples=listed, environment=around)
    moved = {("ig", "srg"): -shift, ("ig", "deletion"): -shift}
    return replace(make_records(shift=moved, noise=0.01, samples=12, run=run), maps=maps)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, made = tmp_path_factory.mktemp("pages"), {}
    for kind in KINDS:
        base = records("20260102-030405-0a1b2c3d", kind, 0.0)
        new = records("20260202-030405-0a1b2c3d", kind, 0.3)
        found = compare(base, new, accept={"ig/srg": "as agreed"}, resamples=100)
        made[kind] = changes.write(base, new, found, folder / f"{kind}.html")
    return made


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_page_fits_and_fetches_nothing(
    driver: Any, pages: dict[str, Path], kind: str, width: int, dark: bool
) -> None:
    resize(driver, width, dark=dark)
    fetched(driver), complaints(driver)
    driver.get(pages[kind].as_uri())
    driver.execute_script("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    assert fetched(driver) == [pages[kind].as_uri()]
    assert complaints(driver) == []
    assert driver.execute_script("return document.documentElement.scrollWidth") == width
    outside = driver.execute_script(
        """return [...document.querySelectorAll("main *")].filter((e) =>
             !e.closest(".scroll, pre") && e.getBoundingClientRect().right > innerWidth + 1
           ).map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert outside == []
    assert driver.execute_script(
        "return [...document.images].every((e) => e.complete && e.naturalWidth > 0)"
    )


def test_the_panels_of_an_image_stand_side_by_side(driver: Any, pages: dict[str, Path]) -> None:
    for width, across in ((1400, 4), (900, 4), (390, 2)):
        resize(driver, width)
        driver.get(pages["image"].as_uri())
        tops = driver.execute_script(
            """return [...document.querySelectorAll(".pair .panels")[0].children]
                 .map((e) => e.getBoundingClientRect().top)"""
        )
        assert len(tops) == 4
        assert sum(top == tops[0] for top in tops) == across, width


def test_findings_sort_by_number(driver: Any, pages: dict[str, Path]) -> None:
    resize(driver, 1400)
    driver.get(pages["image"].as_uri())
    heads = driver.find_elements("css selector", "#table-findings thead button")
    assert [h.text for h in heads][:2] == ["cell", "verdict"]
    column = next(i for i, h in enumerate(heads) if h.text.startswith("difference"))
    heads[column].click()
    shown = driver.execute_script(
        "return [...document.querySelectorAll('#table-findings tbody tr')]"
        f".map((row) => row.cells[{column}].textContent)"
    )
    numbers = [float(text.split()[0]) for text in shown if text]
    assert len(numbers) > 1
    assert numbers == sorted(numbers)
    assert complaints(driver) == []
