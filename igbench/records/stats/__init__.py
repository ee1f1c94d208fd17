"""Statistics of scores: means with intervals, paired tests and detectable differences.

The unit is the sample, paired across methods and across runs.  Undefined and failed values are left
out and counted.
"""

from __future__ import annotations

from igbench.records.stats.agreement import AGREEMENT_COLUMNS, agreement
from igbench.records.stats.cells import Cells, cells, sample_sd, usable, wide
from igbench.records.stats.clusters import CLUSTER_COLUMNS, clustered
from igbench.records.stats.intervals import (
    CONFIDENCE,
    LARGE,
    RESAMPLES,
    SEED,
    clustered_interval,
    expanded,
    interval,
    intervals,
)
from igbench.records.stats.omnibus import FRIEDMAN_COLUMNS, friedman, friedman_test
from igbench.records.stats.pairs import (
    PAIR_COLUMNS,
    equivalence_band,
    pairwise,
    verdict_counts,
)
from igbench.records.stats.power import (
    LEVEL,
    POWER,
    POWER_COLUMNS,
    detectable,
    pair_power,
    samples_needed,
)
from igbench.records.stats.shares import FLOOR, Share, ends, share_of_way
from igbench.records.stats.signed_rank import (
    EXACT,
    PairedDifference,
    SignedRanks,
    holm,
    paired_difference,
    rank_biserial,
    signed_rank_p,
    signed_ranks,
    subtract,
)
from igbench.records.stats.summary import SUMMARY_COLUMNS, summarise
from igbench.records.stats.tables import counts_table, remarks, table

__all__ = [
    "AGREEMENT_COLUMNS", "CLUSTER_COLUMNS", "CONFIDENCE", "EXACT", "FLOOR", "FRIEDMAN_COLUMNS",
    "LARGE", "LEVEL", "PAIR_COLUMNS", "POWER", "POWER_COLUMNS", "RESAMPLES", "SEED",
    "SUMMARY_COLUMNS", "Cells", "PairedDifference", "Share", "SignedRanks", "agreement", "cells",
    "clustered", "clustered_interval", "counts_table", "detectable", "ends", "equivalence_band",
    "expanded", "friedman", "friedman_test", "holm", "interval", "intervals", "pair_power",
    "paired_difference", "pairwise", "rank_biserial", "remarks", "sample_sd", "samples_needed",
    "share_of_way", "signed_rank_p", "signed_ranks", "subtract", "summarise", "table", "usable",
    "verdict_counts", "wide",
]  # fmt: skip
