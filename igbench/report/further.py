"""Completeness, agreement of the metrics, costs and detectable differences in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator

from igbench.records import stats
from igbench.report import front, styles
from igbench.report.concordance import concordance
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
    found = concordance(view.run, view.lines, view.scores)
    if found is None:
        return
    mean, (a, b) = found.mean, found.least
    low = found.pairs[a, b]
    many = len(found.pairs) > 1
    if not many:
        head = f"The orders of {found.methods} methods by {label(a)} and {label(b)} have"
        text = f"{head} Kendall's tau {tau_text(low)}"
    else:
        text = (
            f"The orders of up to {found.methods} methods by two of {len(found.metrics)} metrics "
            f"have Kendall's tau {tau_text(mean)} in the mean; least in agreement are {label(a)} "
            f"and {label(b)}, {tau_text(low)}"
        )
    if mean.low > 0:
        verdict = "they agree on more pairs of methods than not"
    elif mean.high < 0:
        verdict = "they contradict one another on more pairs of methods than not"
    else:
        verdict = "agreement is not distinguishable from contradiction"
    name = f"Kendall's tau-b, {INTERVAL} over samples"
    anchor = "figure-metric_agreement" if len(found.metrics) > 2 else "table-scores"
    yield Finding(f"{text}: {verdict}.", anchor, Evidence(name, mean.tau, math.nan, found.n))


def cost(view: View) -> Iterator[Finding]:
    """The cheapest method that cannot be told from the leader, and the Pareto front."""
    cost, best = front.costs(view.lines), view.names[0]
    known = [m for m in view.names if m in cost.index and not math.isnan(cost[m])]
    if best not in known or len(known) < 2:
        return
    compared = view.pairs.against(best, known)
    cheaper = [c for c in compared if cost[c.b] < cost[best]]
    equal = [c for c in cheaper if not c.better]
    dear = f"{label(best)} ({cost[best]:,.4g})"
    if equal:
        one = min(equal, key=lambda c: float(cost[c.b]))
        verdict = "ties with" if one.equivalent else "is not distinguishable from"
        text = (
            f"{label(one.b)} ({cost[one.b]:,.4g} model evaluations for one attribution; a "
            f"gradient counts {front.GRADIENT_COST:g}) is the cheapest method that {verdict} "
            f"{dear} on {view.title} (difference {difference(one)}, Holm p = {p_text(one.p)})"
        )
    elif cheaper:
        one = max(cheaper, key=lambda c: c.p)
        text = (
            f"Every method cheaper than {dear} model evaluations for one attribution, a gradient "
            f"counting {front.GRADIENT_COST:g}, is significantly worse on {view.title} "
            f"(largest Holm p = {p_text(one.p)})"
        )
    else:
        one = min(compared, key=lambda c: c.p)
        text = (
            f"No method is cheaper than {dear} model evaluations for one attribution, a gradient "
            f"counting {front.GRADIENT_COST:g}, which has the best mean of {view.title}"
        )
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
    alpha = 0.05 / view.pairs.size
    least = stats.detectable(one.n, one.sd, alpha=alpha)
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
