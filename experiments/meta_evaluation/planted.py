"""A model of photographs whose contributions are known, its true maps, and corrupted ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from igbench.core import features as feature_units
from igbench.core import rng
from igbench.core.batch import Batch
from igbench.core.model import Model, Preprocess
from igbench.core.score import Score
from igbench.data.photographs import photographs
from igbench.integration.integrate import integrated_gradients

SIDE, PATCH, SCALE = 32, 4, 0.6
PARTS = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
KINDS = ("shuffled", "noisy", "unsigned")
DRAWS = 3


class Planted(nn.Module):
    """scale * sum_k w_k tanh(2 mean of patch k), (N, 3, H, W) to (N,)."""

    def __init__(self) -> None:
        super().__init__()
        count = (SIDE // PATCH) ** 2
        g = rng.generator(0, "planted weights", "")
        weights = 2 * torch.rand(count, generator=g, dtype=torch.float64) - 1
        self.weights: Tensor
        self.register_buffer("weights", SCALE * weights)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """One output for each row."""
        means = nn.functional.avg_pool2d(x.mean(dim=1, keepdim=True), PATCH).flatten(1)
        return torch.tanh(2 * means) @ self.weights


def load(count: int) -> tuple[Batch, Tensor]:
    """The photographs as a batch, and their true maps (N, 3, H, W)."""
    module = Planted()
    preprocess = Preprocess(36, SIDE, (0.48, 0.45, 0.41), (0.23, 0.22, 0.22))
    model = Model("planted", module, ("f",) * 1000, "", "", "planted", preprocess)
    data = photographs(model, limit=count)
    x = torch.stack([data.load(i) for i in range(len(data))]).double()
    batch = Batch(
        Score(module, batch_size=256), x, torch.zeros_like(x), None, data.sample_ids, "pixel", 0
    )
    truth = integrated_gradients(batch.score, x, batch.baseline, None, n_steps=64)
    total = truth.flatten(1).sum(dim=1)
    gap = (total - batch.score.evaluate(x, None)).abs() / truth.flatten(1).abs().sum(dim=1)
    if float(gap.max()) > 1e-9:
        raise RuntimeError(f"the true maps are off by {float(gap.max()):.1e}; raise n_steps.")
    return batch, truth


def corrupted(truth: Tensor, kind: str, part: float, g: torch.Generator) -> Tensor:
    """One map (3, H, W), of which `part` is corrupted."""
    features = feature_units.resolve(f"patch:{PATCH}", tuple(truth.shape))
    c = feature_units.total(truth[None], features)[0]
    chosen = torch.randperm(len(c), generator=g)[: max(2, round(part * len(c)))]
    new = c.clone()
    if kind == "shuffled":
        new[chosen] = c[chosen.roll(1)]
    elif kind == "noisy":
        noise = torch.randn(len(c), generator=g, dtype=torch.float64)
        new = c + part * c.std() * noise
    else:
        new[chosen] = c[chosen].abs()
    # The change is spread evenly over the patch: ranks and sums of patches are what counts here.
    change = (new - c) / (PATCH * PATCH * len(truth))
    return truth + feature_units.spread(change[None], features)[0]


def maps_of(batch: Batch, truth: Tensor) -> dict[str, Tensor]:
    """The truth and all its corruptions, by "kind part draw"."""
    maps = {"truth": truth}
    for kind in KINDS:
        for part in PARTS:
            for draw in range(DRAWS):
                maps[f"{kind} {part} {draw}"] = torch.stack(
                    [
                        corrupted(phi, kind, part, rng.generator(0, f"{kind} {part}", s, draw))
                        for phi, s in zip(truth, batch.sample_ids, strict=True)
                    ]
                )
    return maps
