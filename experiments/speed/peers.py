"""Time methods and metrics beside every library that has the same computation, in one table.

Integrated Gradients with 50 steps, occlusion at equal windows and as it comes, and metrics, each
library at the best of the settings that metrics.py and methods.py try; both sides in turn, ours
with batch norms folded, as a run has it.  What methods can share is scored for eight methods,
everything else for four.  What no library has, or what is not installed, is a row with the reason.
Writes peers.csv and peers.md beside this file, row by row; with --only the other rows stay as they
are.

    python experiments/speed/peers.py [--photographs 2] [--repeats 1] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import methods as methods_study
import metrics as metrics_study
import numpy as np
import pandas as pd
import torch
from captum import attr
from torch import Tensor, nn

from igbench.core import memory
from igbench.core.batch import Attribution, Batch
from igbench.core.fold import folded
from igbench.core.score import Score, frozen
from igbench.integration.integrate import integrated_gradients
from igbench.methods import Occlusion
from igbench.metrics import SymmetricRelevanceGain

HERE = Path(__file__).parent
SHARED = 5.0
"""How many times as fast metrics whose model rows are shared by methods should be."""
NOISE = 0.05
"""Share of the time by which single turns may differ."""
FEW = ("saliency", "input_x_gradient", "smoothgrad", "random")
"""Methods where no model rows are shared."""
SIDE, STRIDE = 32, 16
"""Of the windows of occlusion."""
STEP = 3136
"""Elements removed at a time, of 150,528."""

Work = Callable[[], object]


@dataclass(frozen=True)
class Pair:
    """A computation on both sides.

    Attributes:
        name: What is computed.
        library: Who has it too.
        shared: Whether methods share model rows.
        methods: How many are scored; 0 where nothing is.
        ours: Our side.
        theirs: The library's, by setting.
        same: Whether both give the same numbers, so that their difference is shown.
    """

    name: str
    library: str
    shared: bool
    methods: int
    ours: Work
    theirs: Mapping[str, Work]
    same: bool = True


ABSENT = (
    ("SRG", "Captum", "it has none, nor pixel flipping"),
    ("sensitivity-n", "Captum", "it has none"),
    ("sensitivity-n", "Quantus", "its SensitivityN removes features in order of the map: another"),
)
"""Computations without a peer: name, library, reason."""


def missing() -> list[tuple[str, str, str]]:
    """Rows of libraries that are not timed, with the reason."""
    found = list(ABSENT)
    for library, name in (("shap", "GradientExplainer"), ("attribench", "metrics")):
        there = importlib.util.find_spec(library) is not None
        found.append((name, library, "no case is written" if there else "not installed"))
    return found


def ig_pair(batch: Batch, module: nn.Module) -> Pair:
    """Integrated Gradients with 50 Gauss-Legendre steps."""
    explainer = attr.IntegratedGradients(module)
    call = partial(explainer.attribute, batch.x, target=batch.target, n_steps=50)
    return Pair(
        "IG, 50 steps",
        "Captum",
        False,
        0,
        lambda: integrated_gradients(
            batch.score, batch.x, batch.baseline, batch.target, n_steps=50
        ),
        {f"internal_batch_size={n}": partial(call, internal_batch_size=n) for n in (8, 16, 32)},
    )


def occlusion_pairs(batch: Batch, module: nn.Module) -> list[Pair]:
    """Occlusion with Captum's windows, and with ours, which overhang the border."""
    explainer = attr.Occlusion(module)
    whole = batch.x.shape[1] * SIDE**2
    call = partial(
        explainer.attribute,
        batch.x,
        sliding_window_shapes=(batch.x.shape[1], SIDE, SIDE),
        strides=(batch.x.shape[1], STRIDE, STRIDE),
        target=batch.target,
    )
    theirs = {
        f"perturbations_per_eval={n}": partial(call, perturbations_per_eval=n) for n in (1, 2, 4)
    }
    equal, own = (Occlusion(SIDE, STRIDE, overhang=overhang) for overhang in (False, True))
    return [
        Pair("occlusion, equal windows", "Captum", False, 0, lambda: whole * equal(batch), theirs),
        Pair("occlusion, our default", "Captum", False, 0, lambda: own(batch), theirs, same=False),
    ]


def ranks(values: Tensor) -> Tensor:
    """Ranks of the values of each row, from 0 for the smallest, (N, *F).

    >>> ranks(torch.tensor([[3.0, -1.0, 2.0]]))
    tensor([[2., 0., 1.]])
    """
    return values.flatten(1).argsort(dim=1).argsort(dim=1).to(values).view_as(values)


def srg_pair(batch: Batch, maps: Mapping[str, Attribution], module: nn.Module) -> Pair:
    """Symmetric relevance gain: pixel flipping of Quantus in both orders.

    Curves of both orders share their ends, so that the difference of the areas is the mean of the
    difference over the points of Quantus, which leave out the first.  For the reverse order it gets
    ranks, as it takes no map that is negative everywhere.
    """
    last = {n: ranks(-a.values) for n, a in maps.items()}
    own = SymmetricRelevanceGain(STEP, "baseline", "score", "element", tie_orders=1)

    def work() -> metrics_study.Scores:
        def flipped(phi: Tensor) -> np.ndarray:
            return metrics_study.ask(
                "PixelFlipping",
                batch,
                module,
                phi,
                features_in_step=STEP,
                perturb_baseline=0.0,
            ).mean(axis=1)

        return {n: flipped(last[n]) - flipped(a.values) for n, a in maps.items()}

    rows = {f"pixel flipping twice, batches of {len(batch)}": work}
    return Pair("SRG", "Quantus", False, len(maps), metrics_study.ours(own, batch, maps), rows)


def pairs(photographs: int) -> tuple[list[Pair], Batch, nn.Module]:
    """All pairs, made of the cases of both studies, the photographs, and the network."""
    batch, maps, module = metrics_study.load(photographs)
    plain = batch.score
    score = Score(module, "logit", plain.batch_size, plain.channels_last, folded=folded(module)[0])
    batch = replace(batch, score=score)
    few = {name: maps[name] for name in FEW}
    with frozen(module):
        cases = [
            (maps, metrics_study.infidelity_case(batch, maps, module, (8, 16))),
            (maps, metrics_study.correlation_case(batch, maps, module)),
            (few, metrics_study.sensitivity_case(batch, few)),
            (few, metrics_study.robustness_case(batch, few, module)),
            (few, metrics_study.flipping_case(batch, few, module)),
        ]
    found = [ig_pair(batch, module), *occlusion_pairs(batch, module)]
    found += [Pair(c.metric, c.library, c.shared, len(m), c.ours, c.theirs) for m, c in cases]
    return [*found, srg_pair(batch, few, module)], batch, module


def warm_up(batch: Batch, module: nn.Module) -> None:
    """One call of the network with and one without a gradient, on both sides."""
    batch.score.evaluate(batch.x, batch.target)
    attr.Saliency(module).attribute(batch.x.clone().requires_grad_(), target=batch.target)


def difference(theirs: object, ours: object) -> float:
    """Largest difference of scores over the largest, or that of maps as a share of their sum."""
    if isinstance(theirs, Tensor) and isinstance(ours, Tensor):
        return float((theirs - ours).abs().sum() / ours.abs().sum())
    assert isinstance(theirs, dict)
    assert isinstance(ours, dict)
    return metrics_study.difference(theirs, ours)


def verdict(ratio: float, *, shared: bool) -> str:
    """Whether ours is never slower, and 5 times as fast where rows are shared.

    >>> [verdict(r, shared=s) for r, s in ((0.9, False), (1.2, False), (4.0, True), (9.0, True))]
    ['slower', 'never slower', 'less than 5x', '5x']
    """
    if shared:
        return "5x" if ratio >= SHARED else "less than 5x"
    return "never slower" if ratio >= 1 - NOISE else "slower"


def line(pair: Pair, batch: Batch, module: nn.Module, repeats: int) -> dict[str, Any]:
    """Both sides in turn; the medians, and the library's fastest setting."""
    sides = {"ours": pair.ours, **pair.theirs}
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in sides}
    results: dict[str, object] = {}
    for _ in range(repeats):
        for name, work in sides.items():

            def kept(name: str = name, work: Work = work) -> None:
                results[name] = work()

            own = name == "ours"
            score = batch.score if own else None
            with batch.score.folding(own):
                seen = methods_study.timed(kept, module, torch.device("cpu"), score)
            found[name].append(seen)
    seconds = {name: statistics.median(s for s, _ in own) for name, own in found.items()}
    best = min(pair.theirs, key=seconds.__getitem__)
    ratio = seconds[best] / seconds["ours"]
    return {
        "computation": pair.name,
        "library": pair.library,
        "rows shared": "yes" if pair.shared else "no",
        "photographs": len(batch),
        "methods": pair.methods or None,
        "turns": repeats,
        "ours, s": seconds["ours"],
        "theirs, s": seconds[best],
        "best setting": best,
        "our rows": found["ours"][0][1],
        "their rows": found[best][0][1],
        "theirs / ours": ratio,
        "difference": difference(results[best], results["ours"]) if pair.same else None,
        "verdict": verdict(ratio, shared=pair.shared),
    }


def write(lines: list[dict[str, Any]], earlier: pd.DataFrame, out: Path) -> None:
    """Write the table: rows that are new, those of before that are not measured again, reasons."""
    new = {(row["computation"], row["library"]) for row in lines}
    old = [
        row
        for row in earlier.to_dict("records")
        if (row["computation"], row["library"]) not in new and pd.notna(row["ours, s"])
    ]
    absent = [{"computation": n, "library": lib, "verdict": why} for n, lib, why in missing()]
    table = pd.DataFrame([*old, *lines, *absent])
    table.to_csv(out / "peers.csv", index=False)
    head = (
        f"EfficientNet-Lite0, float32, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}; medians of turns, both sides in turn; ours with batch norms folded, "
        "as a run has it."
    )
    cells = table.astype(object).where(table.notna(), None)
    text = cells.to_markdown(index=False, floatfmt=".3g", missingval="")
    (out / "peers.md").write_text(f"{head}\n\n{text}\n", encoding="utf-8")


def main() -> None:
    """Time all pairs and write the table as far as it goes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--photographs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=[], help="computations; other rows stay")
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    memory.keep_freed()
    found, batch, module = pairs(options.photographs)
    unknown = set(options.only) - {pair.name for pair in found}
    if unknown:
        parser.error(f"there is no {min(unknown)!r}; there are {', '.join(p.name for p in found)}")
    before = options.out / "peers.csv"
    earlier = pd.read_csv(before) if options.only and before.exists() else pd.DataFrame()
    lines: list[dict[str, Any]] = []
    with frozen(module):
        warm_up(batch, module)
        for pair in found:
            if not options.only or pair.name in options.only:
                lines.append(line(pair, batch, module, options.repeats))
                write(lines, earlier, options.out)


if __name__ == "__main__":
    main()
