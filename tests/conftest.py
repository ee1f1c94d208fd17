"""What tests of several files need."""

from __future__ import annotations

import os
import signal

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Shells start background jobs so; tests of Ctrl-C send themselves the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache folder for runs of the command line, unless there is one."""
    with pytest.MonkeyPatch.context() as patch:
        if "IGBENCH_CACHE" not in os.environ:
            patch.setenv("IGBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def config():
    """A configuration with every method and metric in conf/."""
    from tests.helpers import contract

    return contract.composed()
