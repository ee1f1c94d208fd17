"""Measure the error of Shapley estimators against evaluations, and the coverage of their intervals.

Games whose exact values are known: sums of unanimity games, and small networks with all 2^n
values enumerated.  Ours are `igbench.shapley`; beside them the paired regression with replacement
(Covert and Lee 2021) and `captum.attr.KernelShap`, and shap's where it is installed.  Writes
table.md beside this file.

    python experiments/shapley/run.py [--seeds 20] [--games 1000]
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from igbench.core import rng
from igbench.errors import NotDefinedError
from igbench.shapley import antithetic_permutations, exact_values, leverage_regression
from igbench.shapley.exact import coalitions
from igbench.shapley.leverage import solve

HERE = Path(__file__).parent
N = 12
"""Players."""
BUDGETS = (3, 5, 10, 20, 40, 80)
"""Evaluations for each player."""
SLOW_SEEDS = 5
"""Seeds of the libraries' estimators, which take a hundred times as long."""

Estimator = Callable[["Game", int, int], Tensor]


@dataclass(frozen=True)
class Game:
    """All values of a game, and its Shapley values.

    Attributes:
        name: Name in tables.
        values: (2^n,) value of the coalition of the bits of each number.
        exact: (n,) Shapley values.
    """

    name: str
    values: Tensor
    exact: Tensor

    def __call__(self, masks: Tensor) -> Tensor:
        """Values of coalitions (D, n)."""
        return self.values[masks.long() @ (2 ** torch.arange(N))]


def unanimity(seed: int, terms: int = 50) -> Game:
    """A random sum of games that need all of a random set of 1 to 8 players."""
    g = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 9, (terms,), generator=g)
    sets = torch.rand(terms, N, generator=g).argsort(dim=1).argsort(dim=1) < sizes[:, None]
    weights = torch.randn(terms, generator=g, dtype=torch.float64)
    exact = (weights[:, None] * sets / sizes[:, None]).sum(dim=0)
    have = ALL.double() @ sets.double().T >= sizes
    return Game(f"unanimity {seed}", have.double() @ weights, exact)


def network(seed: int, width: int = 32) -> Game:
    """A network of two hidden ReLU layers at a random point, from a baseline of 0."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(N, generator=g, dtype=torch.float64)
    h = ALL.double() * x
    for inputs in (N, width):
        w = torch.randn(inputs, width, generator=g, dtype=torch.float64) / inputs**0.5
        h = torch.relu(h @ w + torch.randn(width, generator=g, dtype=torch.float64) / 2)
    values = h @ torch.randn(width, generator=g, dtype=torch.float64)
    game = Game(f"network {seed}", values, torch.zeros(N))
    return Game(game.name, values, exact_values(game, N).values)


ALL = coalitions(N)


def seeded(seed: int) -> torch.Generator:
    """The generator of one run."""
    return rng.generator(seed, "experiment", "shapley")


def leverage(game: Game, budget: int, seed: int) -> Tensor:
    """Ours: leverage scores, pairs, without replacement."""
    return leverage_regression(game, N, budget, seeded(seed)).values


def antithetic(game: Game, budget: int, seed: int) -> Tensor:
    """Ours: orders and their reverses."""
    return antithetic_permutations(game, N, budget, seeded(seed)).values


def paired(game: Game, budget: int, seed: int) -> Tensor:
    """KernelSHAP with pairs drawn with replacement, each evaluated once."""
    g, pairs = seeded(seed), (budget - 2) // 2
    chances = torch.tensor([1.0 / (s * (N - s)) for s in range(1, N)])
    counts: dict[int, int] = {}
    while len(counts) < pairs:
        sizes = torch.multinomial(chances, pairs, replacement=True, generator=g) + 1
        masks = torch.rand(pairs, N, generator=g).argsort(dim=1).argsort(dim=1) < sizes[:, None]
        masks = torch.where(masks[:, :1], masks, ~masks)
        for number in (masks.long() @ (2 ** torch.arange(N))).tolist():
            if len(counts) < pairs or number in counts:
                counts[number] = counts.get(number, 0) + 1
    half = ALL[list(counts)]
    weights = torch.tensor(list(counts.values())).double()
    total = game.values[-1] - game.values[0]
    return solve(half, game(half) - game(~half), total, weights, torch.zeros(len(half)))[0]


def captum(game: Game, budget: int, seed: int) -> Tensor:
    """`captum.attr.KernelShap` as it is."""
    from captum.attr import KernelShap

    torch.manual_seed(seed)
    explainer = KernelShap(lambda z: game(z > 0.5).float())
    ones = torch.ones(1, N)
    found: Tensor = explainer.attribute(
        ones, baselines=0 * ones, n_samples=budget, perturbations_per_eval=budget
    )
    return found[0].double()


def shap(game: Game, budget: int, seed: int) -> Tensor:
    """`shap.KernelExplainer` with all features kept."""
    from shap import KernelExplainer

    np.random.seed(seed)  # noqa: NPY002  shap draws from the global generator
    function = lambda z: game(torch.from_numpy(z > 0.5)).numpy()  # noqa: E731
    explainer = KernelExplainer(function, np.zeros((1, N)))
    found = explainer.shap_values(np.ones((1, N)), nsamples=budget - 2, l1_reg=False, silent=True)
    return torch.from_numpy(np.asarray(found)).reshape(N)


OURS: dict[str, Estimator] = {
    "leverage, paired, without replacement (igbench)": leverage,
    "KernelSHAP, paired, with replacement": paired,
    "permutations, antithetic (igbench)": antithetic,
}
OTHERS: dict[str, tuple[str, Estimator]] = {
    "captum.attr.KernelShap": ("captum", captum),
    "shap.KernelExplainer": ("shap", shap),
}


def relative_error(game: Game, estimator: Estimator, budget: int, seeds: int) -> float:
    """Root mean square over seeds of |estimate - exact| / |exact|; NaN where it is undefined."""
    squares = []
    for seed in range(seeds):
        try:
            gap = estimator(game, budget * N, seed) - game.exact
        except NotDefinedError:
            continue
        squares.append(float(gap.square().sum() / game.exact.square().sum()))
    return math.sqrt(float(np.mean(squares))) if squares else math.nan


def errors(seeds: int) -> pd.DataFrame:
    """Geometric mean over games of the relative error, estimators x budgets."""
    games = [unanimity(s) for s in (1, 2, 3)] + [network(s) for s in (1, 2, 3)]
    chosen: dict[str, tuple[Estimator, int]] = {name: (e, seeds) for name, e in OURS.items()}
    for name, (library, estimator) in OTHERS.items():
        if importlib.util.find_spec(library) is not None:
            chosen[name] = (estimator, min(seeds, SLOW_SEEDS))
    table = {
        name: {
            f"{b}n": math.exp(
                np.mean([math.log(relative_error(g, estimator, b, many)) for g in games])
            )
            for b in BUDGETS
        }
        for name, (estimator, many) in chosen.items()
    }
    return pd.DataFrame(table).T


def coverage(games: int, first: int = 0) -> pd.DataFrame:
    """Share of players whose value is in the 95 % interval, over games, estimators x budgets."""
    normal, table = stats.norm.ppf(0.975), {}
    for name in ("leverage, normal", "permutations, normal", "permutations, Student's t"):
        table[name] = {f"{b}n": 0.0 for b in BUDGETS[1:]}
    for seed in range(first, first + games):
        game = unanimity(1000 + seed)
        for b in BUDGETS[1:]:
            by_regression = leverage_regression(game, N, b * N, seeded(seed))
            by_orders = antithetic_permutations(game, N, b * N, seeded(seed))
            pairs = (b * N - 2) // (2 * (N - 1))
            for name, found, width in (
                ("leverage, normal", by_regression, normal),
                ("permutations, normal", by_orders, normal),
                ("permutations, Student's t", by_orders, stats.t.ppf(0.975, pairs - 1)),
            ):
                inside = (found.values - game.exact).abs() <= width * found.std_error
                table[name][f"{b}n"] += float(inside.double().mean()) / games
    return pd.DataFrame(table).T


def fewer(table: pd.DataFrame) -> pd.DataFrame:
    """Evaluations a player that the regression needs for the error of Captum's, and their ratio."""
    ours = np.log(table.loc["leverage, paired, without replacement (igbench)"].to_numpy())
    theirs = np.log(table.loc["captum.attr.KernelShap"].to_numpy())
    at = np.log(np.array(BUDGETS))
    needed = np.exp(np.interp(-theirs, -ours, at))
    rows = {
        "Captum's evaluations": [f"{b}n" for b in BUDGETS],
        "error": np.exp(theirs).round(3).tolist(),
        "ours for the same error": [
            f"{k:.1f}n" if t <= ours[0] else f"less than {BUDGETS[0]}n"
            for k, t in zip(needed, theirs, strict=True)
        ],
        "times as many": [
            f"{b / k:.1f}" if t <= ours[0] else f"above {b / BUDGETS[0]:.1f}"
            for b, k, t in zip(BUDGETS, needed, theirs, strict=True)
        ],
    }
    return pd.DataFrame(rows)


def report(table: pd.DataFrame, covered: pd.DataFrame, seeds: int, games: int) -> str:
    """The three tables as Markdown."""
    return "\n\n".join(
        [
            f"Relative error |estimate - exact| / |exact|, n = {N} players: root mean square over "
            f"{seeds} seeds ({min(seeds, SLOW_SEEDS)} for libraries), geometric mean over 3 sums "
            "of 50 unanimity games and 3 networks.",
            table.round(3).to_markdown(),
            "Evaluations of the leverage regression for the error of Captum's KernelShap.",
            fewer(table).to_markdown(index=False),
            "Coverage of 95 % intervals, value +- quantile x standard error, over "
            f"{games:,} games and {N} players each, %.",
            (100 * covered).round(1).to_markdown(),
        ]
    )


def main() -> None:
    """Run and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--games", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")  # of the libraries
    text = report(errors(options.seeds), coverage(options.games), options.seeds, options.games)
    (HERE / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)  # noqa: T201


if __name__ == "__main__":
    main()
