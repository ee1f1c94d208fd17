"""What tests of several files need."""

from __future__ import annotations

import gc
import os
import signal

import pytest

from igbench.core import memory
from tests.helpers import pictures

if "PYTEST_XDIST_WORKER" in os.environ:
    # As many processes as cores run already; threads that wait for a core spin meanwhile.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Shells start background jobs so; tests of Ctrl-C send themselves the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
memory.keep_freed()  # as the command does: half of the time of small networks goes there else


def pytest_collection_finish():
    """Let no collection of garbage look at the tests and modules again, which all stay."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache folder for runs of the command line, unless there is one.

    All processes share it, so that each small model is trained once.
    """
    with pytest.MonkeyPatch.context() as patch:
        if "IGBENCH_CACHE" not in os.environ:
            base = tmp_path_factory.getbasetemp()
            shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
            patch.setenv("IGBENCH_CACHE", str(shared / "cache"))
        yield


UNSEEN = ("test_certificates.py", "test_nothing_vanishes.py")
"""Tests of reports that make all figures, and open no file of one."""


@pytest.fixture(scope="module", autouse=True)
def placeholders(request):
    """Pictures of a pixel in place of figures, which take half of a small run's time.

    Tests of figures and reports, and of what strangers write into them, get the real ones.
    """
    with pytest.MonkeyPatch.context() as patch:
        seen = {"report", "docs", "test_security.py"} & set(request.path.parts)
        if request.path.name in UNSEEN or not seen:
            patch.setattr("igbench.report.styles.save", pictures.placeholder)
            patch.setattr("igbench.report.styles.pixels", pictures.pixel)
        if not seen:
            patch.setattr("igbench.report.plots.column_makers", lambda records, summary: {})
        yield


@pytest.fixture(scope="module")
def config():
    """A configuration with every method and metric in conf/."""
    from tests.helpers import contract

    return contract.composed()
