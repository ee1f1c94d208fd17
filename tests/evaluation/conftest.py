"""What every test of an evaluation leaves behind: nothing."""

from __future__ import annotations

import multiprocessing
import threading
import time

import pytest

from tests.helpers.loading import SOON


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No process survives a test, and no thread that would keep this one alive."""
    yield
    end = time.monotonic() + SOON
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.01)
    assert not multiprocessing.active_children()
    own = [t for t in threading.enumerate() if t.name == "igbench loading"]
    assert all(t.daemon for t in own)
