"""What is odd about two runs and never fails: other targets, slower, more memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from igbench.records.compare.pairing import Cell, Pair
from igbench.schema import COSTS, Records

SLOWER = 1.3
"""Ratio of median times or memory from which on a remark is made."""


def of_targets(base: Records, new: Records) -> list[str]:
    """Samples of which the runs explain another output, such as another predicted class."""
    old, now = ({str(s["sample_id"]): s.get("target") for s in r.run.samples} for r in (base, new))
    other = [s for s in old if s in now and old[s] != now[s]]
    if not other:
        return []
    return [
        f"{len(other)} of {len(old)} samples explain another output; the first: {other[0]!r}, "
        f"{old[other[0]]} -> {now[other[0]]}"
    ]


def of_costs(base: Records, new: Records, pairs: Mapping[Cell, Pair]) -> list[str]:
    """Times and memory that have grown on the same device, by the ratio of medians."""
    if base.run.identity.get("device") != new.run.identity.get("device"):
        return []
    found = []
    for cell, one in pairs.items():
        if one.judged or cell[2] not in COSTS or not one.n:
            continue
        old, now = float(np.median(one.base)), float(np.median(one.new))
        if old > 0 and now / old > SLOWER:
            found.append(
                f"{cell[1]}/{cell[2]}: median {old:.3g} -> {now:.3g}, {now / old:.1f} times as "
                "much; a remark, which never fails"
            )
    return found
