"""Metrics of Quantus on a linear model, where every answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from igbench.core import rng
from igbench.metrics.quantus import metric_class, quiet


class Linear(nn.Module):
    """w . x for images, as two classes, float32."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w: Tensor
        self.register_buffer("w", w)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Two outputs for each row."""
        out = (x * self.w).flatten(1).sum(dim=1)
        return torch.stack([out, -out], dim=1)


def quantus_unsafe(samples: int = 10) -> pd.DataFrame:
    """Values of Quantus for a linear model with positive weights, its exact map and worse ones."""
    g = rng.generator(0, "linear", "")
    w = 0.1 + torch.rand(1, 1, 8, 8, generator=g)
    x = 0.1 + torch.rand(samples, 1, 8, 8, generator=g)
    exact, gradient = (x * w).double().numpy(), w.expand_as(x).double().numpy()
    given = {"model": Linear(w), "y_batch": np.zeros(samples, dtype=int), "channel_first": True}

    def ask(name: str, phi: np.ndarray, size: int = samples, **arguments: Any) -> np.ndarray:
        fixed = {"disable_warnings": True, "return_aggregate": False, "perturb_baseline": 0.0}
        with quiet(), rng.global_state(0, name, ""):
            metric = metric_class(name)(**{**fixed, **arguments})
            inputs = x.double().numpy().copy()
            found = metric(
                x_batch=inputs, a_batch=phi.copy(), softmax=False, batch_size=size, **given
            )
        return np.asarray(found, dtype=float)

    sensitivity = [ask("SensitivityN", exact, size) for size in (samples, 3)]
    spread = [f"{v.min():.2f} to {v.max():.2f}" for v in sensitivity]
    shares = [
        f"{ask(name, phi, **more).mean():.0%}"
        for name, phi, more in [
            ("Completeness", exact, {}),
            ("Completeness", exact, {"normalise": False}),
            ("Monotonicity", exact, {"abs": False}),
            ("Monotonicity", -exact + 2 * exact.max(), {"abs": False}),
        ]
    ]
    errors = [f"{ask('Infidelity', phi).mean():.3g}" for phi in (exact, gradient)]
    cumulative = "largest contributions first, drops add up but contributions do not, and one "
    rows = [
        (
            "SensitivityN",
            "exact map, every n",
            "1",
            spread[0],
            cumulative + "correlation over samples",
        ),
        ("SensitivityN", "the same, batches of 3", "1", spread[1], "only the first batch is used"),
        ("Completeness", "exact map", "100 %", shares[0], "divides maps by their largest entry"),
        ("Completeness", "the same, not divided", "100 %", shares[1], "tests floats with =="),
        ("Infidelity", "exact contributions", "0", errors[0], "multiplies maps by the input again"),
        ("Infidelity", "the gradient", "0", errors[1], "as it should be, for sensitivities"),
        ("Monotonicity", "exact map", "100 %", shares[2], "puts the baseline into the baseline"),
        ("Monotonicity", "reversed map", "0 %", shares[3], "so every map is monotonous"),
    ]
    columns = ["Quantus", "map of a linear model", "answer", "what it says", "why"]
    return pd.DataFrame(rows, columns=columns)
