"""Completeness, agreement of the metrics, costs and detectable differences in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator

from igbench.records import stats
from igbench.report import front, styles
from igbench.report.finding import IG, INTERVAL, Evidence, Finding, View
from igbench.report.phrases import (
    count,
    difference,
    join,
    label,
    number,
    numbers,
    p_text,
    tau_text,
    verb,
)


def completeness(view: View) -> Iterator[Finding]:
    """The completeness gap of Integrated Gradients, and what independent ones differ from it by."""
    names = list(dict.fromkeys(map(str, view.lines["method"])))
    ig = IG if IG in names else view.ig
    parts, lines = [], []
    gap = view.line(ig, "completeness")
    if gap is not None:
        parts.append(
            f"The completeness gap of {label(ig)} is {numbers(gap)} on average, with a median of "
            f"{number(gap['median'])} (n = {int(gap['n'])}; "
            f"{view.run.metrics['completeness'].title})."
        )
        lines.append(gap)
    oracles = [m for m in names if styles.role(view.run, m) == "oracle"]
    known = [(m, line) for m in oracles if (line := view.line(m, "difference_from_ig")) is not None]
    if known:
        differ = join([f"{label(m)} by {numbers(line)}" for m, line in known])
        title = view.run.metrics["difference_from_ig"].title
        parts.append(f"Independent implementations differ from {label(IG)}: {differ} ({title}).")
        lines += [line for _, line in known]
    if lines:
        test = Evidence(INTERVAL, float(lines[0]["mean"]), math.nan, int(lines[0]["n"]))
        yield Finding(" ".join(parts), "table-scores", test)


def agreement(view: View) -> Iterator[Finding]:
    """Whether the metrics put the methods into one order."""
    taus = view.agreement
    found = taus[taus["tau"].notna()].sort_values("tau", kind="stable")
    if found.empty:
        return
    for_, against = int((found["low"] > 0).sum()), int((found["high"] < 0).sum())
    least, most = found.iloc[0], found.iloc[-1]
    shown = [most, least] if len(found) > 1 else [least]
    extremes = "; ".join(
        f"{label(line['a'])} and {label(line['b'])} {tau_text(line)}" for line in shown
    )
    unclear = len(found) - for_ - against
    which = " (the most and the least agreeing)" if len(found) > 1 else ""
    text = (
        f"Of {count(len(found), 'pair')} of metrics, {for_} agree on the order of the methods, "
        f"{against} contradict each other and {unclear} {verb(unclear)} not distinguishable from "
        f"unrelated ones. Kendall's tau: {extremes}{which}."
    )
    name = f"Kendall's tau-b, {INTERVAL} over samples"
    drawn = len({*found["a"], *found["b"]}) > 2
    anchor = "figure-metric_agreement" if drawn else "table-scores"
    test = Evidence(name, float(least["tau"]), math.nan, int(least["n"]))
    yield Finding(text, anchor, test)


def cost(view: View) -> Iterator[Finding]:
    """The cheapest method that cannot be told from the leader, and the Pareto front."""
    cost, best = front.costs(view.lines), view.names[0]
    known = [m for m in view.names if m in cost.index and not math.isnan(cost[m])]
    if best not in known or len(known) < 2:
        return
    compared = view.pairs.against(best, known)
    cheaper = [c for c in compared if cost[c.b] < cost[best]]
    equal = [c for c in cheaper if not c.better]
    unit = f"model evaluations for one attribution; a gradient counts {front.GRADIENT_COST:g}"
    dear, dear_in_words = (f"{label(best)} ({cost[best]:,.4g}{u})" for u in ("", f" {unit}"))
    if equal:
        one = min(equal, key=lambda c: float(cost[c.b]))
        verdict = "ties with" if one.equivalent else "is not distinguishable from"
        text = (
            f"{label(one.b)} ({cost[one.b]:,.4g} {unit}) is the cheapest method that {verdict} "
            f"{dear} on {view.title} (difference {difference(one)}, Holm p = {p_text(one.p)})"
        )
    elif cheaper:
        one = max(cheaper, key=lambda c: c.p)
        text = (
            f"Every method that is cheaper than {dear_in_words} is significantly worse on "
            f"{view.title} (largest Holm p = {p_text(one.p)})"
        )
    else:
        one = min(compared, key=lambda c: c.p)
        text = f"No method is cheaper than {dear_in_words}, which has the best mean of {view.title}"
    names = front.front(view.run, view.lines, view.metric)
    shown = join([f"{label(m)} ({cost[m]:,.4g})" for m in names])
    text += f". By means, no method of equal or lower cost reaches {shown}"
    ig = view.ig
    text += (
        f"; {label(ig)} ({cost[ig]:,.4g}) is not among them"
        if ig in known and ig not in names
        else ""
    )
    yield Finding(f"{text}.", "figure-cost_quality", view.test(one))


def detectable(view: View) -> Iterator[Finding]:
    """The smallest difference that so many samples can show."""
    best, *others = view.names
    rival = view.ig if view.ig and view.ig != best else next(iter(others), "")
    compared = view.pairs.against(best, [rival]) if rival else []
    if not compared:
        return
    (one,) = compared
    alpha, least = stats.LEVEL / view.pairs.size, one.detectable
    who = f"{label(best)} and {label(rival)}"
    family = f"{count(one.n, 'sample')} and Holm's correction over {view.pairs.size} pairs"
    if math.isinf(least):
        text = (
            f"With {family}, no difference of any size can be significant: the smallest p-value is "
            f"{p_text(min(1.0, 2.0 ** (1 - one.n) * view.pairs.size))}."
        )
    elif math.isnan(least):
        return
    else:
        text = (
            f"With {family}, a difference in {view.title} between {who} is found with a "
            f"probability of 90 % if it is at least {number(least)}; smaller ones may go unseen."
        )
    test = Evidence("power of the signed-rank test, normal approximation", least, alpha, one.n)
    yield Finding(text, "table-scores", test)
