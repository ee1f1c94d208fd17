"""Tables of the certificates and ordering tests of a run, from its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from igbench.report import styles
from igbench.report.table import Cell, Table
from igbench.schema import Run


def tables(run: Run) -> list[Table]:
    """Make the tables of certificates and ordering tests; none if the run has none on record."""
    return record_tables(run.environment.get("certificates") or {})


def record_tables(record: Mapping[str, Any]) -> list[Table]:
    """Make the tables of a record, as `igbench.certify.as_record` returns it."""
    cases, ordering = record.get("cases", []), _ordering(record)
    without = [f"{_title(name)}, {reason}" for name, reason in record.get("without", {}).items()]
    certificates = Table(
        "certificates",
        f"Values of the metrics on models with known answers: {sum(c['ok'] for c in cases)} of "
        f"{len(cases)} certificates hold.",
        ("metric", "case", "expected", "obtained", "tolerance", "holds"),
        tuple(_title(c["metric"]) for c in cases),
        tuple(
            (
                Cell(f"{c['case']} ({c['note']})" if c["note"] else c["case"]),
                Cell(f"{c['expected']:.9g}", value=c["expected"]),
                Cell(f"{c['obtained']:.9g}", value=c["obtained"]),
                Cell(f"{c['tolerance']:.1g}", value=c["tolerance"]),
                _yes(c["ok"]),
            )
            for c in cases
        ),
        {"": f"Without a case: {'; '.join(without)}."} if without else {},
        numeric=False,
    )
    levels = ("random", "input", "truth")
    tests = Table(
        "ordering",
        "Mean scores of three maps of a model with planted contributions, which must be in this "
        "order.",
        ("metric", "better", *levels, "in order"),
        tuple(_title(test["metric"]) for test in ordering),
        tuple(
            (
                Cell("higher" if test["higher"] else "lower"),
                *(Cell(f"{test[level]:.4g}", value=test[level]) for level in levels),
                _yes(test["ok"]),
            )
            for test in ordering
        ),
        numeric=False,
    )
    return [table for table in (certificates, tests) if table.rows]


def sentence(run: Run) -> str:
    """Summarise the certificates in a sentence; "" if there are none."""
    record = run.environment.get("certificates") or {}
    checked = [*record.get("cases", []), *_ordering(record)]
    if not checked:
        return ""
    wrong = sorted({one["metric"] for one in checked if not one["ok"]})
    if wrong:
        return (
            f"Do not trust {', '.join(wrong)}: the values on models with known answers are wrong."
        )
    return (
        f"All {len(checked)} checks of these metrics on models with known answers hold "
        "(see Certificates)."
    )


def _title(metric: object) -> str:
    return styles.name_text(str(metric))


def held(run: Run) -> tuple[int, int]:
    """How many checks on models with known answers hold, and how many there are."""
    record = run.environment.get("certificates") or {}
    checked = [*record.get("cases", []), *_ordering(record)]
    return sum(bool(one["ok"]) for one in checked), len(checked)


def _yes(ok: bool) -> Cell:
    return Cell("yes" if ok else "no", best=not ok)


def _ordering(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The ordering tests on record, which were called "ladders" before."""
    return list(record.get("ordering", record.get("ladders", [])))
