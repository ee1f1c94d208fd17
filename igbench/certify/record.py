"""What does a run say of its own metrics?  Certificates and ladders as plain values."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from igbench.certify.cases import NO_CLOSED_FORM
from igbench.certify.certificates import certify
from igbench.certify.ordering import RUNGS, ladders
from igbench.config import compose

log = logging.getLogger(__name__)


def on_record(metrics: Iterable[str]) -> dict[str, Any]:
    """Certify the metrics of a run.

    What is certified is the metric as the file of its name in conf/metric has it.

    Args:
        metrics: Names; those that have no file there get neither certificate nor ladder, and are
            listed.

    Returns:
        "cases": one entry for each case; "ladders": for each metric that has an order; "without":
        names and why they have no case.
    """
    names, known = list(metrics), compose.choices("metric")
    own = [name for name in names if name in known]
    found, climbed = (certify(own), ladders(own)) if own else ([], [])
    for wrong in [c.metric for c in found if not c.ok] + [c.metric for c in climbed if not c.ok]:
        log.warning("%s does not give a known answer here: igbench certify %s", wrong, wrong)
    return {
        "cases": [asdict(c) | {"ok": c.ok} for c in found],
        "ladders": [
            {
                "metric": one.metric,
                **dict(zip(RUNGS, one.scores, strict=True)),
                "higher": one.higher,
                "ok": one.ok,
            }
            for one in climbed
            if not one.note
        ],
        "without": {
            name: NO_CLOSED_FORM.get(name, "it is not one of the metrics in conf/metric")
            for name in names
            if name in NO_CLOSED_FORM or name not in known
        },
    }
