"""What tests of several files need."""

from __future__ import annotations

import os

import pytest


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
