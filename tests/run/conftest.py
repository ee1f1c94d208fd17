"""What tests of runs start from."""

from __future__ import annotations

import pytest

from tests.helpers import faults


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Reports cost more than these runs; tests of runs are not about them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("igbench.report.write_report", faults.sketch)
        yield
