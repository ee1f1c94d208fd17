"""A Chromium without windows and network, for tests of pages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip


@contextmanager
def chromium(folder: Path) -> Iterator[Any]:
    """A driver of a browser that logs what it fetches and prints; skips where it is not installed.

    Args:
        folder: An empty folder for the profile.
    """
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    paths = [shutil.which("chromium"), shutil.which("chromedriver")]
    if not all(paths):
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(paths[1]))
    try:
        driver.get("about:blank")
        fetched(driver)  # of the page that every browser starts with
        yield driver
    finally:
        driver.quit()


def resize(driver: Any, width: int, height: int = 900, *, dark: bool = False) -> None:
    """Set the size of the page and the colour scheme that the system asks for."""
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False,
    })  # fmt: skip
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def fetched(driver: Any) -> list[str]:
    """Addresses that were asked for since the last call, without data inside the page."""
    events = [json.loads(e["message"])["message"] for e in driver.get_log("performance")]
    sent = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return [p["request"]["url"] for p in sent if not p["request"]["url"].startswith("data:")]


def complaints(driver: Any) -> list[str]:
    """Errors and warnings on the console since the last call."""
    return [e["message"] for e in driver.get_log("browser") if e["level"] != "INFO"]
