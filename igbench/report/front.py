"""Quality against cost: what an attribution costs, families of budgets, the Pareto front."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from igbench.report import styles
from igbench.schema import Run

GRADIENT_COST = 2.0
"""Cost of one gradient in model evaluations: one row forwards and one row backwards.

The weights of the model are frozen, so that a backward row passes the layers once, as a forward row
does; only training, which needs gradients of the weights too, takes a backward pass of two.
"""
_BUDGET = re.compile(r"(?P<base>.+)_\d+$")


def costs(lines: pd.DataFrame) -> pd.Series:
    """Model evaluations for one attribution by method; NaN where rows were not counted.

    Rows that are differentiated were evaluated too, so the cost is forwards + (`GRADIENT_COST` - 1)
    x backwards.

    Args:
        lines: Lines of `igbench.records.stats.summarise` of one model.
    """
    counted = lines[lines["metric"].isin(("forward_rows", "backward_rows"))]
    rows = counted.pivot(index="method", columns="metric", values="mean").reindex(
        columns=["forward_rows", "backward_rows"]
    )
    found: pd.Series = rows["forward_rows"] + (GRADIENT_COST - 1) * rows["backward_rows"]
    return found


def base_of(name: str) -> str:
    """Name of the method without a budget at its end.

    >>> base_of("ig_256"), base_of("grad_cam")
    ('ig', 'grad_cam')
    """
    found = _BUDGET.match(name)
    return found["base"] if found else name


def families(names: Iterable[str]) -> dict[str, list[str]]:
    """Methods that occur with several budgets, by the name that they share.

    >>> families(["ig_64", "random", "ig_256", "lime_64"])
    {'ig': ['ig_64', 'ig_256']}
    """
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(base_of(name), []).append(name)
    return {base: members for base, members in found.items() if len(members) > 1}


def family_styles(run: Run, methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Styles of the methods as in `igbench.report.styles`, one for all budgets of a method."""
    known_families = families(run.methods)
    base = {m: base_of(m) if base_of(m) in known_families else m for m in run.methods}
    specs = {base[m]: run.methods[m] for m in reversed(run.methods)}
    known = styles.method_styles(dict(reversed(specs.items())))
    return {m: known[base[m]] if m in base else dict(styles.UNKNOWN) for m in methods}


def front(run: Run, lines: pd.DataFrame, metric: str) -> list[str]:
    """The Pareto front: methods that no cheaper or equally dear one reaches, cheapest first.

    Oracles, controls and ceilings take no part.

    Args:
        run: Definitions.
        lines: Lines of `igbench.records.stats.summarise` of one model.
        metric: The quality; it has a direction.
    """
    own = lines[lines["metric"] == metric].set_index("method")["mean"].astype(float)
    merit = own if run.metrics[metric].direction == "higher" else -own
    points = pd.DataFrame({"cost": costs(lines), "merit": merit}).dropna()
    points = points[[styles.role(run, str(m)) == "method" for m in points.index]]
    ordered = points.sort_values(["cost", "merit"], ascending=[True, False], kind="stable")
    best = ordered["merit"].cummax().shift(fill_value=-float("inf"))
    return [str(name) for name in ordered.index[ordered["merit"] > best]]
