"""The run that every test of faults breaks, and what has to be left of it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from igbench.__main__ import main
from igbench.evaluation import loop
from igbench.records import store
from igbench.schema import COSTS
from tests.helpers import faults
from tests.helpers.runs import assert_same, only_run

SHARDS = 4
# float64: a sample whose neighbour is gone is computed in a batch of another size, where float32
# may differ by more than the 1e-9 that is asked for.
RUN = [
    "experiment=digits_resnet",
    "limit=8",
    f"shard_size={8 // SHARDS}",
    "convergence=1",
    "keep_maps=1",
    "batch_size=16",
    "dtype=float64",
    "method=[ig,random]",
    "method.ig.n_steps=4",
    "metric=[completeness,deletion]",
    "metric.deletion.step=8",
    "metric.deletion.occluder=baseline",
    "metric.deletion.scalar=score",
]
METRICS = ("completeness", "deletion")
ALL = [faults.sample_at(i) for i in range(8)]
"""Identifiers of the samples."""


def line(capsys) -> str:
    """The one line that is said on the way out."""
    said = [s for s in capsys.readouterr().err.splitlines() if s.startswith("igbench: ")]
    assert len(said) == 1, said
    return said[0]


def goes_on(words: list[str], out: Path, whole: store.Records, found: int | None = None) -> None:
    """The same command finishes, with the rows of the run that nothing happened to."""
    assert main(words) == 0
    mine = only_run(out)
    assert_same(mine, whole)
    if found is not None:
        assert mine.run.environment["executor"]["found"] == found


def stopped(words: list[str], monkeypatch, shards: int = 2) -> None:
    """The command, stopped by Ctrl-C when some shards are done."""
    run = loop.run
    done: list[int] = []

    def stop(experiment, *rest, **more):
        if more.get("only"):
            if len(done) == shards:
                raise KeyboardInterrupt
            done.append(1)
        return run(experiment, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "run", stop)
        assert main(words) == 130


def surviving(
    found: store.Records,
    whole: store.Records,
    lost: set[tuple[str, str, str]],
    *,
    alone: bool = True,
):
    """Check that exactly the cells `lost` failed, and that all others are as they were.

    To the last bit, where their batch is the same; the others, neighbours of what was lost, to the
    1e-9 to which numbers may depend on the size of a batch.  So may all where another method takes
    part, not `alone`: removal curves of all methods share calls of the model.

    Returns the reasons of those that failed.
    """
    key = ["method", "metric", "sample_id"]
    mine, other = (r.scores[~r.scores["metric"].isin(COSTS)].set_index(key) for r in (found, whole))
    assert set(mine.index) >= set(other.index), "no row is lost"
    failed = mine[mine["status"] == "failed"]
    assert set(failed.index) == lost, "every failure is said, and no other"
    ids = [s["sample_id"] for s in whole.run.samples]
    gone = {s for s in ids if {c for c in other.index if c[2] == s} <= lost}
    near = {s for i, s in enumerate(ids) if not alone or {ids[i], ids[i ^ 1]} & gone}
    columns = ["value", "status", "reason", "std_error"]
    _compare(mine[columns], other[columns].drop(index=lost & set(other.index)), near)
    key = ["method", "curve", "sample_id", "x"]
    mine, other = (r.curves.set_index(key)[["y"]] for r in (found, whole))
    _compare(
        mine, other.drop(index=[p for p in other.index if p[:3] in lost or p[2] in gone]), near
    )
    return failed["reason"]


def _compare(mine: pd.DataFrame, other: pd.DataFrame, near: set[str]) -> None:
    mine = mine.loc[other.index]
    by = other.index.get_level_values("sample_id").isin(list(near))
    pd.testing.assert_frame_equal(mine[~by], other[~by], check_exact=True)
    pd.testing.assert_frame_equal(mine[by], other[by], rtol=1e-9, atol=1e-12)


def page(out: Path) -> str:
    """The report of the one run in a folder."""
    return (Path(only_run(out).folder) / "report.html").read_text(encoding="utf-8")
