"""Certificates and ordering tests as plain values, for the record of a run."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from igbench.certify.cases import NO_CLOSED_FORM
from igbench.certify.certificates import Certificate, certify
from igbench.certify.ordering import LEVELS, OrderingTest, ordering_tests
from igbench.config import folders

log = logging.getLogger(__name__)


def certify_run(metrics: Iterable[str]) -> dict[str, Any]:
    """Certify the metrics of a run, as the files in conf/metric configure them.

    Args:
        metrics: Names of the metrics; those without a file in conf/metric are only listed.

    Returns:
        The certificates and ordering tests, see `as_record`.
    """
    names, known = list(metrics), folders.packaged("metric")
    own = [name for name in names if name in known]
    certificates, tests = (certify(own), ordering_tests(own)) if own else ([], [])
    wrong = [c.metric for c in certificates if not c.ok] + [t.metric for t in tests if not t.ok]
    for name in wrong:
        log.warning("%s does not give a known answer; run: igbench certify %s", name, name)
    return as_record(names, certificates, tests)


def as_record(
    names: Iterable[str], certificates: Iterable[Certificate], tests: Iterable[OrderingTest]
) -> dict[str, Any]:
    """Certificates and ordering tests of some metrics as plain values.

    Returns:
        "cases": one entry for each case; "ordering": one for each metric that has an order;
        "without": names of metrics without a case, and the reason.
    """
    known = folders.packaged("metric")
    return {
        "cases": [asdict(c) | {"ok": c.ok} for c in certificates],
        "ordering": [
            {
                "metric": test.metric,
                **dict(zip(LEVELS, test.scores, strict=True)),
                "higher": test.higher,
                "ok": test.ok,
            }
            for test in tests
            if not test.note
        ],
        "without": {
            name: NO_CLOSED_FORM.get(name, "it is not one of the metrics in conf/metric")
            for name in names
            if name in NO_CLOSED_FORM or name not in known
        },
    }
