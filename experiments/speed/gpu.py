"""Measure ResNet-50 and ViT-B/16 at 224 pixels on an accelerator: throughput, and metrics.

Two tables.  `gpu_forwards`: forwards of perturbed inputs by precision and compilation, as a share
of what the network alone reaches, and the share of the time in which a kernel runs.
`gpu_metrics`: Integrated Gradients and metrics beside Captum and Quantus at equal settings, both
sides in turn.  Weights are random: they decide no time.

    python experiments/speed/gpu.py [--device cuda] [--rows 64] [--photographs 4] [--repeats 2]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import metrics
import pandas as pd
import torch
import torchvision
from captum.attr import IntegratedGradients
from torch import nn

from igbench.core import memory
from igbench.core.batch import Attribution, Batch, Method
from igbench.core.inference import Compiled, InferenceOptions, Precision, full_precision
from igbench.core.score import Score, frozen
from igbench.integration.integrate import integrated_gradients
from igbench.methods import InputXGradient, Occlusion, Random, Saliency
from igbench.metrics.faithfulness.removal import SymmetricRelevanceGain
from igbench.schema import MethodSpec

HERE = Path(__file__).parent


def vit() -> nn.Module:
    """ViT-B/16 with a head that is not zero, as torchvision makes it: all maps would be zero."""
    module = torchvision.models.vit_b_16()
    nn.init.normal_(module.heads.head.weight, std=0.02)
    return module


MODELS: dict[str, Callable[[], nn.Module]] = {
    "resnet50": torchvision.models.resnet50,
    "vit_b_16": vit,
}
WAYS: tuple[tuple[Precision, str], ...] = (
    ("float32", ""),
    ("tf32", ""),
    ("bf16", ""),
    ("float32", "cudagraphs"),
    ("bf16", "cudagraphs"),
    ("bf16", "inductor"),
)
"""Precision, and the backend of torch.compile ("" for none)."""

Work = Callable[[], object]


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Work, device: torch.device) -> float:
    """Wall time of one call, the device's work included."""
    synchronise(device)
    start = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - start


def in_kernels(work: Work, device: torch.device) -> float:
    """Share of the wall time of one call in which at least one kernel runs; NaN on a CPU."""
    if device.type != "cuda":
        return float("nan")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        work()
        synchronise(device)
    spans = sorted(
        (e.time_range.start, e.time_range.end)
        for e in profile.events()
        if e.device_type == torch.autograd.DeviceType.CUDA
    )
    busy, reached = 0.0, spans[0][0]
    for start, end in spans:
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return busy / (reached - spans[0][0])


def forwards(
    name: str, module: nn.Module, device: torch.device, rows: int, size: int, repeats: int
) -> Iterator[dict[str, Any]]:
    """Rows a second of the network alone and of perturbed inputs, by precision and backend."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 3, size, size, generator=g).to(device)
    target, calls = torch.zeros(1, dtype=torch.int64, device=device), 8
    masks = (torch.rand(rows * calls, 1, size, size, generator=g) < 0.5).to(device)
    for precision, backend in WAYS:
        compiled = Compiled(module, backend) if backend else None
        quick = InferenceOptions(precision, compiled)
        score = Score(module, batch_size=rows, quick=quick)

        def alone(call: Any = compiled or module, quick: InferenceOptions = quick) -> None:
            with torch.no_grad(), quick.arithmetic(device):
                for _ in range(calls):
                    call(x)

        def perturbed(score: Score = score) -> None:
            score.evaluate_draws(
                rows * calls, target, lambda d: x[:1].masked_fill(masks[d], 0), device=device
            )

        first = [seconds(work, device) for work in (alone, perturbed)]
        memory.reset_peak(device)
        taken = [(seconds(alone, device), seconds(perturbed, device)) for _ in range(repeats)]
        plain, own = (statistics.median(t) for t in zip(*taken, strict=True))
        yield {
            "model": name,
            "precision": precision,
            "compiled by": (compiled and compiled.broken) or backend or "-",
            "first call, s": sum(first),
            "network alone, rows/s": rows * calls / plain,
            "perturbed inputs, rows/s": rows * calls / own,
            "share of the network": plain / own,
            "time in kernels": in_kernels(perturbed, device),
            "peak, MiB": memory.peak(device),
        }
        torch.compiler.reset()


def prepared(
    module: nn.Module, device: torch.device, rows: int, size: int, photographs: int
) -> tuple[Batch, dict[str, Attribution]]:
    """Random pictures, and the maps of four cheap methods."""
    g = torch.Generator().manual_seed(1)
    x = torch.randn(photographs, 3, size, size, generator=g).to(device)
    with torch.no_grad():
        target = module(x).argmax(dim=1)
    score = Score(module, batch_size=rows)
    ids = tuple(f"picture-{i}" for i in range(photographs))
    batch = Batch(score, x, torch.zeros_like(x), target, ids, "pixel", 0)
    spec = MethodSpec("given", "", "global", signed=True)
    methods: dict[str, Method] = {
        "saliency": Saliency(),
        "input_x_gradient": InputXGradient(),
        "occlusion": Occlusion(window=size // 4, stride=size // 4),
        "random": Random(),
    }
    return batch, {k: Attribution(m(batch).detach(), spec, m) for k, m in methods.items()}


def beside(
    name: str, module: nn.Module, batch: Batch, maps: dict[str, Attribution], repeats: int
) -> Iterator[dict[str, Any]]:
    """Our time, images a second, and the best setting of Captum and Quantus for each quantity."""
    device, score, zero = batch.x.device, batch.score, torch.zeros_like(batch.x)
    captum = IntegratedGradients(module)

    def captum_ig(rows: int | None) -> Work:
        return lambda: captum.attribute(
            batch.x, target=batch.target, n_steps=50, internal_batch_size=rows
        )

    own_srg = SymmetricRelevanceGain().for_shape(batch.x.shape[1:])
    cases: dict[str, tuple[str, Work, dict[str, Work]]] = {
        "ig_50": (
            "Captum",
            lambda: integrated_gradients(score, batch.x, zero, batch.target, n_steps=50),
            {f"internal_batch_size={n}": captum_ig(n) for n in (None, score.batch_size)},
        ),
        "srg": ("-", lambda: own_srg.measure(batch, maps, own_srg.observe(batch)), {}),
    }
    for case in (
        metrics.infidelity_case(batch, maps, module, (None, score.batch_size)),
        metrics.correlation_case(batch, maps, module),
        metrics.flipping_case(batch, maps, module),
    ):
        cases[case.metric] = (case.library, case.ours, dict(case.theirs))
    for quantity, (library, ours, theirs) in cases.items():
        sides = {"ours": ours, **theirs}
        for work in sides.values():
            work()
        memory.reset_peak(device)
        ours()
        peak = memory.peak(device)
        taken: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(repeats):
            for side, work in sides.items():
                taken[side].append(seconds(work, device))
        median = {side: statistics.median(t) for side, t in taken.items()}
        best = min((s for s in median if s != "ours"), key=median.__getitem__, default="")
        yield {
            "model": name,
            "quantity": quantity,
            "maps": 1 if quantity == "ig_50" else len(maps),
            "ours, s": median["ours"],
            "images/s": len(batch) / median["ours"],
            "time in kernels": in_kernels(ours, device),
            "peak, MiB": peak,
            "library": library,
            "best setting": best,
            "best, s": median.get(best, float("nan")),
            "best / ours": median.get(best, float("nan")) / median["ours"],
        }


def main() -> None:
    """Measure, and write the tables as far as they go."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--photographs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    device = torch.device(options.device)
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    head = (
        f"{what}, torch {torch.__version__}, {options.rows} rows in a call, {options.size} pixels, "
        f"medians of {options.repeats} turns."
    )
    tables: dict[str, list[dict[str, Any]]] = {"gpu_metrics": [], "gpu_forwards": []}
    for name in options.models:
        torch.manual_seed(0)
        module = MODELS[name]().eval().to(device)
        with full_precision(device), frozen(module):
            shape = (device, options.rows, options.size)
            batch, maps = prepared(module, *shape, options.photographs)
            for line in beside(name, module, batch, maps, options.repeats):
                tables["gpu_metrics"].append(line)
                write(tables, head, options.out)
            for line in forwards(name, module, *shape, options.repeats):
                tables["gpu_forwards"].append(line)
                write(tables, head, options.out)


def write(tables: dict[str, list[dict[str, Any]]], head: str, folder: Path) -> None:
    """Write the tables."""
    for stem, lines in tables.items():
        frame = pd.DataFrame(lines)
        frame.to_csv(folder / f"{stem}.csv", index=False, float_format="%.5g")
        text = f"{head}\n\n{frame.to_markdown(index=False, floatfmt='.3g')}\n"
        (folder / f"{stem}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
