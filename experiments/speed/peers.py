"""Time methods and metrics beside every library that has the same computation, in one table.

Integrated Gradients with 50 steps, occlusion, and the metrics of eight methods, each library at the
best of the settings that metrics.py and methods.py try; both sides in turn.  What no library has,
or what is not installed, is a row with the reason.  Writes peers.csv and peers.md beside this file.

    python experiments/speed/peers.py [--photographs 4] [--repeats 1] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import methods as methods_study
import metrics as metrics_study
import pandas as pd
import torch
from captum import attr
from torch import nn

from igbench.core import memory
from igbench.core.batch import Batch
from igbench.core.score import frozen
from igbench.integration.integrate import integrated_gradients

HERE = Path(__file__).parent
SHARED = 5.0
"""How many times as fast metrics whose model rows are shared by methods should be."""
NOISE = 0.05
"""Share of the time by which single turns may differ."""

Work = Callable[[], object]


@dataclass(frozen=True)
class Pair:
    """A computation on both sides.

    Attributes:
        name: What is computed.
        library: Who has it too.
        shared: Whether methods share model rows.
        ours: Our side.
        theirs: The library's, by setting.
    """

    name: str
    library: str
    shared: bool
    ours: Work
    theirs: Mapping[str, Work]


ABSENT = (
    ("SRG", "Captum, Quantus", "neither has it"),
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
        lambda: integrated_gradients(
            batch.score, batch.x, batch.baseline, batch.target, n_steps=50
        ),
        {f"internal_batch_size={n}": partial(call, internal_batch_size=n) for n in (8, 16, 32)},
    )


def pairs(photographs: int) -> tuple[list[Pair], nn.Module]:
    """All pairs, made of the cases of both studies, and the network."""
    batch, maps, module = metrics_study.load(photographs)
    found = [ig_pair(batch, module)]
    for case in methods_study.perturbation_cases(batch, module, 64):
        if case.method == "occlusion":
            sides = {"default": case.default, **case.tuned}
            found.append(Pair("occlusion", "Captum", False, partial(case.ours, batch), sides))
    with frozen(module):
        cases = [
            metrics_study.infidelity_case(batch, maps, module, (8, 16)),
            metrics_study.sensitivity_case(batch, maps),
            metrics_study.correlation_case(batch, maps, module),
            metrics_study.robustness_case(batch, maps, module),
            metrics_study.flipping_case(batch, maps, module),
        ]
    found += [Pair(c.metric, c.library, c.shared, c.ours, c.theirs) for c in cases]
    return found, module


def verdict(ratio: float, *, shared: bool) -> str:
    """Whether ours is never slower, and 5 times as fast where rows are shared.

    >>> [verdict(r, shared=s) for r, s in ((0.9, False), (1.2, False), (4.0, True), (9.0, True))]
    ['slower', 'never slower', 'less than 5x', '5x']
    """
    if shared:
        return "5x" if ratio >= SHARED else "less than 5x"
    return "never slower" if ratio >= 1 - NOISE else "slower"


def line(pair: Pair, module: nn.Module, repeats: int) -> dict[str, Any]:
    """Both sides in turn; the medians, and the library's fastest setting."""
    sides = {"ours": pair.ours, **pair.theirs}
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            found[name].append(methods_study.timed(work, module, torch.device("cpu")))
    seconds = {name: statistics.median(s for s, _ in own) for name, own in found.items()}
    best = min(pair.theirs, key=seconds.__getitem__)
    ratio = seconds[best] / seconds["ours"]
    return {
        "computation": pair.name,
        "library": pair.library,
        "rows shared": "yes" if pair.shared else "no",
        "ours, s": seconds["ours"],
        "theirs, s": seconds[best],
        "best setting": best,
        "our rows": found["ours"][0][1],
        "their rows": found[best][0][1],
        "theirs / ours": ratio,
        "verdict": verdict(ratio, shared=pair.shared),
    }


def main() -> None:
    """Time all pairs and write the table as far as it goes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--photographs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    memory.keep_freed()
    found, module = pairs(options.photographs)
    absent = [
        {"computation": name, "library": library, "verdict": reason}
        for name, library, reason in missing()
    ]
    head = (
        f"{options.photographs} photographs, EfficientNet-Lite0, {len(metrics_study.METHODS)} "
        f"methods on every metric, float32, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}; medians of {options.repeats}, in turn."
    )
    lines: list[dict[str, Any]] = []
    with frozen(module):
        for pair in found:
            if not options.only or pair.name in options.only:
                lines.append(line(pair, module, options.repeats))
                table = pd.DataFrame([*lines, *absent])
                table.to_csv(options.out / "peers.csv", index=False)
                cells = table.astype(object).where(table.notna(), None)
                text = cells.to_markdown(index=False, floatfmt=".3g", missingval="")
                (options.out / "peers.md").write_text(f"{head}\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
