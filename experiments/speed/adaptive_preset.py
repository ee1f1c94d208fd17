"""Rows that looser bounds save, and how far they move the means: what preset=quick takes.

Maps of a few methods on photographs are scored with the exact settings and with each bound.  The
network sees every perturbed input once: outputs are remembered by the bytes of the input, so that
settings differ by what they ask and not by what they cost.  Writes adaptive_preset.csv (a row for
each metric, setting and method) and adaptive_preset.md (one for each metric and setting) beside
this file.

    python experiments/speed/adaptive_preset.py [--photographs 16] [--record FILE] [--only NAME]
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from igbench.config import build, compose
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.score import Score, frozen
from igbench.metrics import (
    BaseMetric,
    Deletion,
    Infidelity,
    Insertion,
    SensitivityN,
    SymmetricRelevanceGain,
)

HERE = Path(__file__).parent
METHODS = ("ig", "saliency", "input_x_gradient", "occlusion", "grad_cam_signed", "random", "edges")
EXACT = "as it is"
CURVES = (Deletion(), SymmetricRelevanceGain(), Insertion())
SETTINGS: dict[str, tuple[tuple[BaseMetric, ...], dict[str, dict[str, Any]]]] = {
    "curves": (
        CURVES,
        {
            EXACT: {},
            "step=1/14": {"step": 1 / 14},
            "step=1/7": {"step": 1 / 7},
            **{f"auto, error {e:g}": {"step": "auto", "error": e} for e in (0.005, 0.01, 0.02, 1)},
        },
    ),
    "infidelity": (
        (Infidelity(),),
        {
            EXACT: {},
            "16 draws": {"draws": 16},
            "32 draws": {"draws": 32},
            **{
                f"auto, error {e:g}, most 64": {"draws": "auto", "error": e, "most": 64}
                for e in (0.35, 0.5)
            },
        },
    ),
    "sensitivity_n": (
        (SensitivityN(),),
        {
            EXACT: {},
            "16 sets": {"subsets": 16},
            **{
                f"auto, error {e:g}, most 40": {"subsets": "auto", "error": e, "most": 40}
                for e in (0.1, 0.15)
            },
        },
    ),
}
"""Metrics that share their rows, and settings of them."""


class Remembered(nn.Module):
    """A network that sees each input once.

    Attributes:
        network: Maps (N, *F) to (N, K).
        known: Outputs (K,) by the digest of the input.
    """

    def __init__(self, network: nn.Module, known: dict[bytes, Tensor]) -> None:
        super().__init__()
        self.network, self.known = network, known
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (N, K) of inputs (N, *F)."""
        keys = [hashlib.blake2b(row.contiguous().numpy(), digest_size=16).digest() for row in x]
        new = {key: i for i, key in enumerate(keys) if key not in self.known}
        if new:
            self.known.update(zip(new, self.network(x[list(new.values())]), strict=True))
        return torch.stack([self.known[key] for key in keys])


def load(photographs: int, known: dict[bytes, Tensor]) -> tuple[Batch, dict[str, Attribution]]:
    """Photographs and the maps of the methods on them."""
    words = [
        f"limit={photographs}",
        f"method=[{','.join(METHODS)}]",
        "method.ig.n_steps=16",
        "method.occlusion.window=32",
        "method.occlusion.stride=32",
    ]
    experiment = build.experiment(compose.compose(words))
    module, last = experiment.model.module, experiment.model.channels_last
    x = torch.stack([experiment.data.load(i) for i in range(photographs)])
    with torch.no_grad():
        target = torch.cat([module(one[None]).argmax(dim=1) for one in x])
    plain = Score(module, batch_size=16, channels_last=last)
    batch = Batch(plain, x, torch.zeros_like(x), target, experiment.data.sample_ids, "pixel", 0)
    with frozen(module):
        maps = {
            name: Attribution(method(batch).detach(), method.spec, method)
            for name, method in experiment.methods.items()
        }
    remembered = Score(Remembered(module, known), batch_size=16, channels_last=last)
    return replace(batch, score=remembered), maps


Found = dict[str, dict[str, Measurement]]


def scored(
    metrics: tuple[BaseMetric, ...], batch: Batch, maps: Mapping[str, Attribution]
) -> tuple[Found, float]:
    """Measurements by metric and method, and model rows a photograph; observations are shared."""
    before = batch.score.cost.snapshot()
    found: Found = {}
    seen: dict[object, Any] = {}
    for metric in metrics:
        own = metric.for_shape(batch.x.shape[1:])
        if own.sharing_key not in seen:
            seen[own.sharing_key] = own.observe(batch)
        found[metric.name] = own.measure(batch, maps, seen[own.sharing_key])
    return found, batch.score.cost.since(before).forward / len(batch)


def compared(group: str, batch: Batch, maps: Mapping[str, Attribution]) -> list[dict[str, Any]]:
    """A row for each metric, setting and method: the mean, and its distance to the exact one."""
    metrics, settings = SETTINGS[group]
    exact, most = scored(metrics, batch, maps)
    lines = []
    for setting, arguments in settings.items():
        found, rows = exact, most
        if arguments:
            own = tuple(replace(m, **arguments) for m in metrics)  # type: ignore[type-var]
            found, rows = scored(own, batch, maps)
        for metric, each in found.items():
            for method, m in each.items():
                full = exact[metric][method].value.double()
                apart = abs(float(m.value.double().nanmean() - full.nanmean()))
                full = full[full.isfinite()]
                lines.append(
                    {
                        "metric": metric,
                        "setting": setting,
                        "method": method,
                        "mean": float(m.value.double().nanmean()),
                        "std. error": float(full.std() / len(full) ** 0.5),
                        "apart, std. errors": apart / float(full.std() / len(full) ** 0.5),
                        "rows": rows,
                        "share of rows": rows / most,
                    }
                )
    return lines


def summary(lines: pd.DataFrame) -> pd.DataFrame:
    """A row for each metric and setting."""
    groups = lines.groupby(["metric", "setting"], sort=False)
    apart = groups["apart, std. errors"]
    return pd.DataFrame(
        {
            "rows a photograph": groups["rows"].first().round().astype(int),
            "share of rows": groups["share of rows"].first(),
            "means": apart.count(),
            "median distance, std. errors": apart.median(),
            "largest distance, std. errors": apart.max(),
            "within a third": apart.apply(lambda own: int((own <= 1 / 3).sum())),
        }
    ).reset_index()


def main() -> None:
    """Compare, and write both files as far as they go."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--photographs", type=int, default=16)
    parser.add_argument("--record", type=Path, help="file of outputs that are known")
    parser.add_argument("--only", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    known = torch.load(options.record) if options.record and options.record.exists() else {}
    batch, maps = load(options.photographs, known)
    lines: list[dict[str, Any]] = []
    with frozen(batch.score.model):
        for group in options.only:
            lines += compared(group, batch, maps)
            if options.record:
                torch.save(known, options.record)
            write(pd.DataFrame(lines), options.photographs, options.out)


def write(lines: pd.DataFrame, photographs: int, out: Path) -> None:
    """Write both files, metric by metric."""
    lines = lines.sort_values("metric", kind="stable")
    lines.to_csv(out / "adaptive_preset.csv", index=False, float_format="%.4g")
    head = (
        f"{photographs} photographs, {len(METHODS)} methods, EfficientNet-Lite0. Distances of "
        "means over photographs to those of the metrics as they are, in standard errors of these. "
        "Rows of deletion, srg and insertion are those of all three."
    )
    table = summary(lines).to_markdown(index=False, floatfmt=".2g")
    (out / "adaptive_preset.md").write_text(f"{head}\n\n{table}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
