"""A small run from the command line, and what two equal runs have in common."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from igbench.records import store

SMALL = [
    "experiment=digits_resnet",
    "limit=8",
    "shard_size=2",
    "convergence=3",
    "keep_maps=3",
    "batch_size=16",
    "method=[ig,random]",
    "metric=[completeness,sensitivity_n]",
]


def only_run(results: Path) -> store.Records:
    """The one run in a folder; nothing else is left in it."""
    (home,) = results.iterdir()
    (folder,) = home.iterdir()
    return store.read(folder)


def assert_same(a: store.Records, b: store.Records) -> None:
    """Equal to the last bit, but for times and memory."""
    for one, other in ((a.scores, b.scores), (a.curves, b.curves)):
        kept = [c for c in one.columns if c not in ("run", "seconds")]
        frames = [f[kept] for f in (one, other)]
        if "metric" in kept:
            frames = [f[~f["metric"].isin(["seconds", "peak_memory"])] for f in frames]
        assert len(frames[0])
        pd.testing.assert_frame_equal(*frames, check_exact=True)
    assert a.run.samples == b.run.samples
    assert a.run.comparability == b.run.comparability
    assert a.maps.keys() == b.maps.keys()
    assert all((a.maps[n][s] == v).all() for n, m in b.maps.items() for s, v in m.items())
