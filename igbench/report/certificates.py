"""Do the metrics of a run give the answers that are known?  Two tables, from its record."""

from __future__ import annotations

from igbench.report.table import Cell, Table
from igbench.schema import Run


def tables(run: Run) -> list[Table]:
    """Certificates and ladders; nothing where the run has none on record."""
    record = run.environment.get("certificates") or {}
    cases, ladders = record.get("cases", []), record.get("ladders", [])
    made = []
    if cases:
        made.append(
            Table(
                "certificates",
                f"What the metrics say of models whose answer is known: "
                f"{sum(c['ok'] for c in cases)} of {len(cases)} certificates hold.",
                ("metric", "case", "expected", "obtained", "tolerance", "holds"),
                tuple(c["metric"] for c in cases),
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
                {"": _without(record.get("without", {}))} if record.get("without") else {},
                numeric=False,
            )
        )
    if ladders:
        made.append(
            Table(
                "ladders",
                "Mean scores of three maps of a model with planted contributions, which must be in "
                "this order.",
                ("metric", "better", "random", "input", "truth", "in order"),
                tuple(one["metric"] for one in ladders),
                tuple(
                    (
                        Cell("higher" if one["higher"] else "lower"),
                        *(
                            Cell(f"{one[rung]:.4g}", value=one[rung])
                            for rung in ("random", "input", "truth")
                        ),
                        _yes(one["ok"]),
                    )
                    for one in ladders
                ),
                numeric=False,
            )
        )
    return made


def sentence(run: Run) -> str:
    """What the certificates say, in a sentence; "" where there are none."""
    record = run.environment.get("certificates") or {}
    checked = [*record.get("cases", []), *record.get("ladders", [])]
    if not checked:
        return ""
    wrong = sorted({one["metric"] for one in checked if not one["ok"]})
    if wrong:
        return (
            f"Do not trust {', '.join(wrong)}: on models with known answers the numbers are wrong."
        )
    return (
        f"On models with known answers all {len(checked)} checks of these metrics hold "
        "(see Certificates)."
    )


def _yes(ok: bool) -> Cell:
    return Cell("yes" if ok else "no", best=not ok)


def _without(names: dict[str, str]) -> str:
    return "Without a case: " + "; ".join(f"{name}, {why}" for name, why in names.items()) + "."
