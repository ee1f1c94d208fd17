"""Which method leads on the headline metric, by how much, and from whom it cannot be told."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from igbench.records import stats
from igbench.report.comparisons import Comparison
from igbench.report.finding import COUNT, INTERVAL, Evidence, Finding, View
from igbench.report.phrases import (
    count,
    difference,
    every_other,
    fixed,
    interval,
    join,
    label,
    p_text,
    verb,
)
from igbench.report.table import ends, percent


def no_leader(view: View) -> Finding:
    """That no method has a value of the headline metric."""
    rows = int((view.scores["metric"] == view.metric).sum())
    text = f"No method has a value of {view.title} on any sample, so none leads."
    return Finding(text, "problems", Evidence(COUNT, 0, math.nan, rows))


def leader(view: View) -> Iterator[Finding]:
    """The best mean, and from which methods it cannot be told."""
    best, *others = view.names
    line, n = view.ranked.iloc[0], int(view.ranked["n"].iloc[0])
    some = f" of {view.size}" if n < view.size else ""
    own = (
        f"{label(best)} has the best mean of {view.title} ({view.spec.direction} is better): "
        f"{interval(line, view.digits)} (n = {n}{some})."
    )
    compared = view.pairs.against(best, others)
    if not compared:
        alone = "No other method has a value" + (" on the same samples." if others else ".")
        test = Evidence(INTERVAL, float(line["mean"]), math.nan, n)
        yield Finding(f"{own} {alone}", "table-scores", test)
        return
    open_ = [c for c in compared if not c.better]
    if not open_:
        hardest = max(compared, key=lambda c: c.p)
        text = (
            f"{own} It is significantly better than {every_other(len(compared))} (largest Holm p = "
            f"{p_text(hardest.p)}); the difference from the next, {label(compared[0].b)}, is "
            f"{difference(compared[0])}."
        )
        yield Finding(text, "table-scores", view.test(hardest))
        return
    yield Finding(f"{own} {_not_told(view, open_, len(compared))}", "table-scores",
                  view.test(open_[0]))  # fmt: skip


def _not_told(view: View, open_: Sequence[Comparison], compared: int) -> str:
    """From whom the leader cannot be told, and whom it ties with."""
    ties = [c for c in open_ if c.equivalent]
    small = [c for c in open_ if not c.equivalent and c.p <= stats.LEVEL]
    unclear = [c for c in open_ if not c.equivalent and c not in small]
    parts = []
    if unclear:
        near = unclear[0]
        shown = join([label(c.b) for c in unclear])
        parts.append(
            f"it is not distinguishable from {shown} ("
            + ("" if len(unclear) == 1 else f"{label(near.b)}: ")
            + f"n = {near.n}, difference {difference(near)}, Holm p = {p_text(near.p)})"
        )
    if small:
        names = join([label(c.b) for c in small])
        parts.append(
            f"it differs significantly from {names}, but not for sure by more than "
            f"{small[0].band:.2g} (nearest: {label(small[0].b)}, {difference(small[0])})"
        )
    if ties:
        parts.append(
            f"it ties with {join([label(c.b) for c in ties])}: the interval of the difference "
            f"lies within ±{ties[0].band:.2g} (nearest: {label(ties[0].b)}, "
            f"{difference(ties[0])})"
        )
    rest = compared - len(open_)
    if rest:
        parts.append(f"it is significantly better than {count(rest, 'other method')}")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def place_of_ig(view: View) -> Iterator[Finding]:
    """Rank of Integrated Gradients, with how many methods are better and worse for sure."""
    ig, best = view.ig, view.names[0]
    if not ig or ig == best:
        return
    compared = view.pairs.against(ig, view.names)
    first = next((c for c in compared if c.b == best), None)
    if first is None:
        return
    better, worse = sum(c.worse for c in compared), sum(c.better for c in compared)
    line = view.ranked.iloc[view.names.index(ig)]
    same = len(compared) - better - worse
    test = f"n = {first.n}, Holm p = {p_text(first.p)}"
    text = (
        f"{label(ig)} has rank {view.names.index(ig) + 1} of {len(view.names)} with "
        f"{interval(line, view.digits)}: of the others, {better} {verb(better)} significantly "
        f"better, {worse} {verb(worse)} worse and {same} {verb(same)} not distinguishable. "
        f"Its difference from {label(best)} is {difference(first)} ({test})."
    )
    yield Finding(text, "table-scores", view.test(first))


def chance(view: View) -> Iterator[Finding]:
    """Which methods are better than the random control."""
    floor = view.line(stats.FLOOR)
    if floor is None:
        return
    compared = [c for m in view.names for c in view.pairs.against(m, [stats.FLOOR])]
    if not compared:
        return
    level = f"the random control ({fixed(float(floor['mean']), view.digits)})"
    level += f" on {view.title}"
    weakest = max(compared, key=lambda c: (not c.better, c.p))
    missed = [c for c in compared if not c.better]
    if not missed:
        one = len(compared) == 1
        who = f"{label(compared[0].a)} is" if one else f"All {len(compared)} methods are"
        text = f"{who} significantly better than {level}; largest Holm p = {p_text(weakest.p)}."
        yield Finding(text, "figure-metrics", view.test(weakest))
        return
    worse = [label(c.a) for c in missed if c.worse]
    unclear = [label(c.a) for c in missed if not c.worse]
    good = len(compared) - len(missed)
    text = f"Of {count(len(compared), 'method')}, {good} {verb(good)} "
    text += f"significantly better than {level}"
    text += f"; not distinguishable from it: {join(unclear)}" if unclear else ""
    text += f"; significantly worse: {join(worse)}" if worse else ""
    text += f" (largest Holm p = {p_text(max(c.p for c in compared))})."
    yield Finding(text, "figure-metrics", view.test(weakest))


def share(view: View) -> Iterator[Finding]:
    """How far the best method and Integrated Gradients come on the way to the ceiling."""
    between = ends(view.run, view.lines, view.metric)
    ranked = view.ranked[view.ranked["share"].notna()]
    if between is None or ranked.empty:
        return
    (_, low), (ceiling, high) = between
    parts = [
        f"{label(line['method'])} goes "
        + percent(*(100 * float(line[k]) for k in ("share", "share_low", "share_high")))
        for i, line in ranked.iterrows()
        if i == ranked.index[0] or line["method"] == view.ig
    ]
    text = (
        f"Of the way from the random control ({fixed(low, view.digits)}) to the best order found "
        f"by {label(ceiling)} ({fixed(high, view.digits)}), {join(parts)}."
    )
    first = ranked.iloc[0]
    yield Finding(text, "table-shares",
                  Evidence(INTERVAL, float(first["share"]), math.nan, int(first["n"])))  # fmt: skip
