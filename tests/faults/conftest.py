"""What every test of a fault starts from."""

from __future__ import annotations

import pytest

from igbench import report
from igbench.__main__ import main
from igbench.evaluation import loop
from tests.helpers import faults
from tests.helpers.broken_runs import RUN
from tests.helpers.runs import only_run


@pytest.fixture(autouse=True)
def quick(monkeypatch, request):
    """Reports cost more than these runs: they are drawn where a test is about them."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(report, "write_report", faults.sketch)


@pytest.fixture
def drawn():
    """Asks for reports as they are."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing happens to."""
    where = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_report", faults.sketch)
        assert main([*RUN, f"results_dir={where}"]) == 0
    return only_run(where)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def disk():
    """A disk that can be filled; free again at the end."""
    disk = faults.Disk()
    yield disk
    disk.free()


@pytest.fixture
def at_shard(monkeypatch):
    """Makes something happen once, before the samples of a shard are loaded."""
    run = loop.run

    def install(number, happen):
        waiting = [happen]

        def watched(experiment, *rest, **more):
            if more.get("only") == [number] and waiting:
                waiting.pop()()
            return run(experiment, *rest, **more)

        monkeypatch.setattr(loop, "run", watched)

    return install
