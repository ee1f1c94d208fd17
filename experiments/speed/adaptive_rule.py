"""Compare rules that decide when infidelity has enough draws, by resampling a pool of draws.

Draws of each sample are drawn again from a pool of 320, with replacement, and scored with a fixed
number, with as many as the standard error of each method's own score needs, and with as many as
that of the mean squared change needs, which all methods share.  The pool is the truth.  Writes
adaptive_rule.md beside this file.

    python experiments/speed/adaptive_rule.py [--photographs 6] [--repeats 200]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from metrics import load
from scipy.stats import kendalltau
from torch import Tensor

from igbench.core.score import frozen
from igbench.metrics.faithfulness.infidelity import Infidelity
from igbench.metrics.sequential import Growing, ladder, stops

HERE = Path(__file__).parent
POOL = 320
RUNGS = ladder(256)
BOUNDS = (0.2, 0.25, 0.3, 0.4)


def pool(photographs: int) -> tuple[Tensor, Tensor]:
    """Predicted changes (N, M, POOL) and changes (N, POOL) of photographs."""
    batch, maps, module = load(photographs)
    own = Infidelity(draws="auto", most=POOL).for_shape(batch.x.shape[1:])
    parts = [slice(a, b) for a, b in zip([0, *ladder(POOL)], ladder(POOL), strict=False)]
    dots, changes = [], []
    with frozen(module), torch.no_grad():
        seen = own.observe(batch)
        assert isinstance(seen, Growing)
        for i in range(len(batch)):
            weights = own._weights(batch, i, list(maps.values()))
            dots.append(torch.cat([own._dots(batch, i, weights, p) for p in parts], dim=1))
            changes.append(torch.cat([seen.outputs(i, p) for p in parts]))
    return torch.stack(dots), torch.stack(changes)


def scores(dots: Tensor, changes: Tensor) -> tuple[Tensor, Tensor]:
    """Infidelity with the best scale, and its standard error, (N, M) both."""
    fit = (dots * changes).sum(dim=-1, keepdim=True) / (dots**2).sum(dim=-1, keepdim=True)
    squared = (dots * fit.nan_to_num() - changes) ** 2
    return squared.mean(dim=-1), squared.std(dim=-1) / dots.shape[-1] ** 0.5


def outcomes(dots: Tensor, changes: Tensor) -> Iterator[tuple[str, Tensor, float]]:
    """Rule, scores (N, M) and draws that a sample costs, for draws (N, M, D) and (N, 1, D)."""
    at = {r: scores(dots[..., :r], changes[..., :r]) for r in RUNGS}
    squared = {r: changes[..., :r] ** 2 for r in RUNGS}
    for r in RUNGS[:-1]:
        yield f"fixed, {r}", at[r][0], float(r)
    for bound in BOUNDS:
        for rule in ("own error", "shared error"):
            value, taken = torch.zeros_like(at[RUNGS[0]][0]), torch.zeros_like(at[RUNGS[0]][0])
            done = torch.zeros_like(value, dtype=torch.bool)
            for r in RUNGS:
                error = squared[r].std(dim=-1) / r**0.5 if rule == "shared error" else at[r][1]
                now = ~done & (stops(error, bound * squared[r].mean(dim=-1)) | (r == RUNGS[-1]))
                value[now], taken[now] = at[r][0][now], float(r)
                done |= now
            yield f"{rule}, {bound:g}", value, float(taken.amax(dim=1).mean())


def table(dots: Tensor, changes: Tensor, repeats: int) -> pd.DataFrame:
    """Errors of the means over samples by rule, relative to the mean of all."""
    truth = scores(dots, changes[:, None])[0].mean(dim=0)
    g = torch.Generator().manual_seed(0)
    found: dict[str, list[tuple[Tensor, float]]] = {}
    for _ in range(repeats):
        drawn = torch.randint(POOL, (len(dots), RUNGS[-1]), generator=g)
        again = dots.gather(2, drawn[:, None].expand(-1, dots.shape[1], -1))
        for rule, value, draws in outcomes(again, changes.gather(1, drawn)[:, None]):
            found.setdefault(rule, []).append((value.mean(dim=0), draws))
    i, j = np.triu_indices(len(truth), 1)
    rows = []
    for rule, each in found.items():
        means = torch.stack([mean for mean, _ in each])
        off = (means - truth) / truth.mean()
        between = off[:, i] - off[:, j]
        tau = [kendalltau(m.numpy(), truth.numpy()).statistic for m in means]
        rows.append(
            {
                "rule": rule,
                "draws a sample": np.mean([draws for _, draws in each]),
                "bias, %": 100 * float(off.mean()),
                "error of a mean, %": 100 * float(off.square().mean().sqrt()),
                "error of a difference, %": 100 * float(between.square().mean().sqrt()),
                "tau with the truth": np.mean(tau),
            }
        )
    return pd.DataFrame(rows)


def main(photographs: int, repeats: int) -> None:
    """Resample, and write the table."""
    found = table(*pool(photographs), repeats)
    (HERE / "adaptive_rule.md").write_text(
        f"# Rules that stop drawing\n\nInfidelity of 8 methods on {photographs} photographs, "
        f"{repeats} times with draws from a pool of {POOL}.\n\n"
        f"{found.to_markdown(index=False, floatfmt='.3g')}\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=200)
    given = parser.parse_args()
    main(given.photographs, given.repeats)
