"""Compare our numbers with those of Captum and Quantus, and with known answers.

Digits, the small ResNet of digits_resnet in float64, and Integrated Gradients.  Captum's infidelity
and sensitivity_max on identical draws; the metrics of Quantus that are what their papers say, on
identical draws where it lets us choose them; and its others on a linear model with the exact map,
where the answer is known.  Writes table.md beside this file.

    python experiments/oracle_agreement/run.py [--digits 8]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from captum.metrics import infidelity, sensitivity_max
from known_answers import quantus_unsafe
from torch import Tensor

from igbench import captum, metrics
from igbench.config import build, compose
from igbench.core import features as feature_units
from igbench.core import rng
from igbench.core.batch import Batch
from igbench.core.score import Score, frozen
from igbench.integration.integrate import integrated_gradients
from igbench.metrics.faithfulness.correlation import FaithfulnessCorrelation
from igbench.metrics.faithfulness.infidelity import Infidelity
from igbench.metrics.quantus import Quantus
from igbench.metrics.robustness.sensitivity import MaxSensitivity

HERE = Path(__file__).parent
RUNS = 2000
"""Sets of the correlation, ours and those of Quantus."""

Explain = Callable[[Tensor, Tensor | None], Tensor]


def load(count: int) -> tuple[Batch, Tensor, Explain]:
    """Digits with their predicted classes, their maps, and what makes the maps; float64."""
    words = ["experiment=digits_resnet", f"limit={count}", "dtype=float64", "batch_size=64"]
    experiment = build.experiment(compose.compose(words))
    data, module = experiment.data, experiment.model.module.double()
    x = torch.stack([data.load(i) for i in range(count)]).double()
    with torch.no_grad():
        target = module(x).argmax(dim=1)
    batch = Batch(
        Score(module, batch_size=64), x, torch.zeros_like(x), target, data.sample_ids, "pixel", 0
    )

    def explain(z: Tensor, own: Tensor | None) -> Tensor:
        return integrated_gradients(batch.score, z, torch.zeros_like(z), own, n_steps=16)

    return batch, explain(x, target), explain


def line(metric: str, other: str, theirs: Any, ours: Any, why: str) -> dict[str, object]:
    """One comparison: the mean of either side, and the largest relative difference."""
    a, b = (torch.as_tensor(np.asarray(v, dtype=float)).reshape(-1) for v in (theirs, ours))
    return {
        "metric": metric,
        "beside": other,
        "theirs, mean": float(a.mean()),
        "ours, mean": float(b.mean()),
        "largest relative difference": f"{float(((a - b).abs() / b.abs()).max()):.1e}",
        "what explains it": why,
    }


def captum_infidelity(batch: Batch, phi: Tensor) -> list[dict[str, object]]:
    """Infidelity of Captum with one seed for both sides, and with our subsets."""
    module, target = batch.score.model, batch.target

    def noise(inputs: Tensor) -> tuple[Tensor, Tensor]:
        change = 0.05 * torch.randn_like(inputs)
        return change, inputs - change

    lines = []
    for normalize in (False, True):
        sides = []
        for function in (infidelity, captum.infidelity):
            torch.manual_seed(0)
            options: dict[str, Any] = {"n_perturb_samples": 50, "normalize": normalize}
            sides.append(function(module, noise, batch.x, phi, target=target, **options))
        name = "infidelity, drop-in" + (", best scale" if normalize else "")
        lines.append(line(name, "Captum, same seed", sides[0], sides[1], "order of sums"))
    own, theirs = Infidelity(perturbation="subset", draws=50, normalize=False), []
    pixels = feature_units.resolve("pixel", tuple(batch.x.shape[1:]))
    for i, sample_id in enumerate(batch.sample_ids):
        g = rng.generator(batch.seed, "infidelity", sample_id)
        gone = feature_units.spread(torch.rand(50, pixels.count, generator=g) < 0.5, pixels)

        def remove(inputs: Tensor, gone: Tensor = gone) -> tuple[Tensor, Tensor]:
            return gone.double(), inputs.masked_fill(gone, 0)

        one = slice(i, i + 1)
        theirs.append(
            infidelity(
                module,
                remove,
                batch.x[one],
                phi[one],
                target=batch.target_of(i),
                n_perturb_samples=50,
            )
        )
    ours = own(
        module,
        batch.x,
        phi,
        target=target,
        features="pixel",
        sample_ids=batch.sample_ids,
    )
    lines.append(line("infidelity", "Captum, our sets", torch.cat(theirs), ours, "order of sums"))
    return lines


def captum_sensitivity(batch: Batch, phi: Tensor, explain: Explain) -> list[dict[str, object]]:
    """Max-sensitivity of Captum with one seed for both sides, and with our neighbours."""

    def call(z: Any, target: Tensor) -> Any:  # a tuple at first, tensors later
        if isinstance(z, tuple):
            return (explain(z[0], target),)
        return explain(z, target.expand(len(z)) if len(target) == 1 else target)

    sides = []
    for function in (sensitivity_max, captum.sensitivity_max):
        torch.manual_seed(0)
        sides.append(function(call, batch.x, target=batch.target, n_perturb_samples=10))
    # The difference of two maps of relative size 1e-2 keeps 1e-14 of it; the model's own sums more.
    lines = [
        line("max-sensitivity, drop-in", "Captum, same seed", sides[0], sides[1], "order of sums")
    ]
    own, theirs = MaxSensitivity(radius=0.02, draws=10), []
    for i in range(len(batch)):
        deltas = own.deltas(batch, i)
        theirs.append(
            sensitivity_max(
                call,
                batch.x[i : i + 1],
                perturb_func=_adding(deltas),
                target=batch.target_of(i),
                n_perturb_samples=10,
            )
        )
    ours = with_ours(own, batch, phi, explain)
    lines.append(
        line("max-sensitivity", "Captum, our neighbours", torch.cat(theirs), ours, "order of sums")
    )
    return lines


def _adding(deltas: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda inputs: inputs + deltas


def with_ours(metric: Any, batch: Batch, phi: Tensor, explain: Explain) -> Tensor:
    """A metric of ours, or one of Quantus through the bridge."""
    more = {"target": batch.target, "sample_ids": batch.sample_ids, "explain": explain}
    found: Tensor = metric(batch.score.model, batch.x, phi, **more).value
    return found


def quantus_safe(batch: Batch, phi: Tensor, explain: Explain) -> list[dict[str, object]]:
    """The metrics of Quantus that agree with their definitions."""

    def theirs(name: str, arguments: dict[str, Any], **more: Any) -> Tensor:
        bridge = Quantus(name, "", "", "none", arguments=arguments, repeats=1, **more)
        return with_ours(bridge, batch, phi, explain)

    plain: dict[str, Any] = {"target": batch.target, "sample_ids": batch.sample_ids}
    module, near = batch.score.model, MaxSensitivity(radius=0.02, draws=20)
    correlation = theirs(
        "FaithfulnessCorrelation",
        {"nr_runs": RUNS, "subset_size": 13, "normalise": False},
        fill="baseline",
    )
    ours = FaithfulnessCorrelation(n=13, subsets=RUNS, features="pixel")(
        module, batch.x, phi, **plain
    )
    own, error = ours.value, ours.std_error
    assert error is not None
    # As many sets on either side: the difference has twice the variance.
    apart = float(((correlation - own).abs() / (math.sqrt(2) * error)).max())
    return [
        line(
            "faithfulness correlation, sets of 13",
            "Quantus, own sets",
            correlation,
            own,
            f"Monte Carlo: at most {apart:.1f} standard errors apart",
        ),
        line(
            "sparseness",
            "Quantus",
            theirs("Sparseness", {}),
            metrics.sparseness(module, batch.x, phi, **plain),
            "1e-7 added to magnitudes",
        ),
        line(
            "complexity",
            "Quantus",
            theirs("Complexity", {}),
            metrics.complexity(module, batch.x, phi, **plain),
            "1e-12 added to shares",
        ),
        line(
            "max-sensitivity",
            "Quantus, our neighbours",
            theirs(
                "MaxSensitivity", {"nr_samples": near.draws, "perturb_func": replayed(near, batch)}
            ),
            with_ours(near, batch, phi, explain),
            "order of sums",
        ),
    ]


def replayed(near: MaxSensitivity, batch: Batch) -> Callable[..., np.ndarray]:
    """A `perturb_func` for Quantus that returns our neighbours, one for each call."""
    deltas = iter(torch.cat([near.deltas(batch, i) for i in range(len(batch))]))

    def perturb(arr: np.ndarray, indices: np.ndarray, **settings: Any) -> np.ndarray:
        return arr + next(deltas).reshape(1, -1).numpy()

    return perturb


def main() -> None:
    """Compare, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=int, default=8)
    options = parser.parse_args()
    batch, phi, explain = load(options.digits)
    with frozen(batch.score.model):
        lines = [
            *captum_infidelity(batch, phi),
            *captum_sensitivity(batch, phi, explain),
            *quantus_safe(batch, phi, explain),
        ]
    text = [
        "## The same numbers",
        pd.DataFrame(lines).to_markdown(index=False, floatfmt=".6g"),
        "## Other numbers",
        quantus_unsafe().to_markdown(index=False),
    ]
    (HERE / "table.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
