"""Time each method beside the library that has it, at equal settings, in one run.

EfficientNet-Lite0, photographs, float32, the logit of the predicted class.  Both sides explain the
same photographs with as many model rows or gradients; the library once as it comes and once at the
setting that was found fastest, ours with batch norms folded where a run does so.  Turns are
interleaved.  Writes methods.csv and methods.md, or gpu_methods.csv and gpu_methods.md on another
device than the CPU, beside this file.

    python experiments/speed/methods.py [--photographs 8] [--masks 256] [--repeats 1] [--only NAME]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from captum import attr
from captum._utils.models.linear_model import SkLearnLinearRegression
from torch import Tensor, nn

from igbench import methods
from igbench.config import build, compose
from igbench.core import memory
from igbench.core.batch import Batch, Method, attribute
from igbench.core.fold import folded
from igbench.core.players import players
from igbench.core.score import Score, frozen

HERE = Path(__file__).parent
DRAWS = 20
"""Gradients of the sampled gradient methods, for each photograph."""
ROWS = (8, 16)
"""Rows in a call of the libraries that are tried for their best setting."""

Work = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One method on both sides.

    Attributes:
        method: Name.
        library: Class of the library.
        ours: The method.
        default: The library as it comes.
        tuned: Name of a setting to the library with it; empty where it has none.
    """

    method: str
    library: str
    ours: Method
    default: Work
    tuned: Mapping[str, Work] = field(default_factory=dict)


def load(photographs: int, device: torch.device) -> tuple[Batch, nn.Module, str]:
    """Photographs with their predicted classes, the network, and its last layer with places."""
    experiment = build.experiment(
        compose.compose([f"limit={photographs}", f"device={device}", "method=[random]"])
    )
    module = experiment.model.module
    x = torch.stack([experiment.data.load(i) for i in range(photographs)]).to(device)
    with torch.no_grad():
        target = torch.cat([module(one[None]).argmax(dim=1) for one in x])
    last = experiment.model.channels_last
    own = folded(module)[0]
    score = Score(module, "logit", experiment.batch_size, channels_last=last, folded=own)
    ids = experiment.data.sample_ids
    return Batch(score, x, torch.zeros_like(x), target, ids, "pixel"), module, "conv_head"


def each(batch: Batch, one: Callable[[Tensor, Tensor, Tensor], object]) -> Work:
    """A library that explains one photograph in a call: with its target and its superpixels."""
    masks = [players(None, batch, i).index[None].contiguous() for i in range(len(batch))]
    assert batch.target is not None
    parts = list(zip(batch.x.split(1), batch.target.split(1), masks, strict=True))
    return lambda: [one(x, t, m.to(x.device)) for x, t, m in parts]


def gradient_cases(batch: Batch, module: nn.Module, layer: str) -> list[Case]:
    """Methods of one or several gradients; the library gets all photographs in one call."""
    x, target = batch.x, batch.target
    tunnel = attr.NoiseTunnel(attr.Saliency(module))

    def noisy(rows: int | None) -> Work:
        spread = {"nt_samples": DRAWS, "stdevs": 0.3, "abs": False, "nt_samples_batch_size": rows}
        return each(batch, lambda x, t, m: tunnel.attribute(x, target=t, **spread))

    return [
        Case(
            "saliency",
            "Saliency",
            methods.Saliency(),
            lambda: attr.Saliency(module).attribute(x, target=target),
        ),
        Case(
            "input_x_gradient",
            "InputXGradient",
            methods.InputXGradient(),
            lambda: attr.InputXGradient(module).attribute(x, target=target),
        ),
        Case(
            "smoothgrad",
            "NoiseTunnel(Saliency)",
            methods.SmoothGrad(draws=DRAWS),
            noisy(None),
            {f"nt_samples_batch_size={n}": noisy(n) for n in (4, 10)},
        ),
        Case(
            "gradient_shap",
            "GradientShap",
            methods.GradientShap(draws=DRAWS, noise=0.09),
            each(
                batch,
                lambda x, t, m: attr.GradientShap(module).attribute(
                    x, torch.zeros_like(x), n_samples=DRAWS, stdevs=0.09, target=t
                ),
            ),
        ),
        Case(
            "deep_lift",
            "DeepLift (the gradient on this network)",
            methods.DeepLift(),
            lambda: attr.DeepLift(module).attribute(x, target=target),
        ),
        Case(
            "guided_backprop",
            "GuidedBackprop (the gradient on this network)",
            methods.GuidedBackprop(),
            lambda: attr.GuidedBackprop(module).attribute(x, target=target),
        ),
        Case(
            "grad_cam",
            "LayerGradCam",
            methods.GradCam(layer),
            lambda: attr.LayerGradCam(module, dict(module.named_modules())[layer]).attribute(
                x, target=target
            ),
        ),
    ]


def perturbation_cases(batch: Batch, module: nn.Module, masks: int) -> list[Case]:
    """Methods of many forwards: so many masks of each photograph where they are sampled."""
    x, target = batch.x, batch.target
    window = {"sliding_window_shapes": (3, 32, 32), "strides": (3, 16, 16), "target": target}
    occlusion = attr.Occlusion(module)

    def ablation(rows: int) -> Work:
        explainer = attr.FeatureAblation(module)
        return each(
            batch,
            lambda x, t, m: explainer.attribute(
                x, target=t, feature_mask=m, perturbations_per_eval=rows
            ),
        )

    def sampled(explainer: Any, rows: int, samples: int) -> Work:
        return each(
            batch,
            lambda x, t, m: explainer.attribute(
                x, target=t, feature_mask=m, n_samples=samples, perturbations_per_eval=rows
            ),
        )

    def case(name: str, cls: Any, ours: Method, samples: int, **options: Any) -> Case:
        explainer = cls(module, **options)
        return Case(
            name,
            cls.__name__,
            ours,
            sampled(explainer, 1, samples),
            {f"perturbations_per_eval={n}": sampled(explainer, n, samples) for n in ROWS},
        )

    count = max(players(None, batch, i).count for i in range(len(batch)))
    orders = masks // count
    return [
        Case(
            "occlusion",
            "Occlusion",
            methods.Occlusion(window=32, stride=16),
            partial(occlusion.attribute, x, **window),
            {
                f"perturbations_per_eval={n}": partial(
                    occlusion.attribute, x, perturbations_per_eval=n, **window
                )
                for n in (2, 4)
            },
        ),
        Case(
            "feature_ablation",
            "FeatureAblation",
            methods.FeatureAblation(),
            ablation(1),
            {f"perturbations_per_eval={n}": ablation(n) for n in ROWS},
        ),
        case("kernel_shap", attr.KernelShap, methods.KernelShap(evaluations=masks), masks),
        case(
            "shapley_sampling",
            attr.ShapleyValueSampling,
            methods.ShapleySampling(evaluations=orders * count),
            orders,
        ),
        case(
            "lime",
            attr.Lime,
            methods.Lime(samples=masks),
            masks,
            interpretable_model=SkLearnLinearRegression(),
        ),
    ]


def timed(
    work: Work, module: nn.Module, device: torch.device, score: Score | None = None
) -> tuple[float, int]:
    """Wall time of one call, the device's work included, and rows that the network was given.

    Rows are those of the score, if there is one, whose folded copy is no part of the network.
    """
    rows, before = 0, score.cost.forward if score else 0.0

    def count(_: nn.Module, __: object, out: Tensor) -> None:
        nonlocal rows
        rows += len(out)

    with module.register_forward_hook(count):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took = time.perf_counter() - start
    return took, int(score.cost.forward - before) if score else rows


def line(case: Case, batch: Batch, module: nn.Module, repeats: int) -> dict[str, object]:
    """Both sides in turn; the median of each."""
    device = batch.x.device
    sides: dict[str, Work] = {
        "ours": lambda: attribute(case.ours, batch),
        "default": case.default,
        **case.tuned,
    }
    if device.type == "cuda":
        for name in ("ours", *case.tuned):
            sides[name]()  # the first call chooses kernels
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            score = batch.score if name == "ours" else None
            found[name].append(timed(work, module, device, score))
    seconds = {name: statistics.median(s for s, _ in own) for name, own in found.items()}
    best = min((n for n in seconds if n != "ours"), key=lambda n: seconds[n])
    rows, theirs = found["ours"][0][1], found[best][0][1]
    return {
        "method": case.method,
        "beside captum.attr": case.library,
        "rows": rows,
        "its rows": theirs,
        "ours, s": seconds["ours"],
        "default, s": seconds["default"],
        "best, s": seconds[best],
        "best setting": best,
        "default / ours": seconds["default"] / seconds["ours"],
        "best / ours": seconds[best] / seconds["ours"],
        "best / ours, a row": seconds[best] / seconds["ours"] * rows / theirs,
    }


def main() -> None:
    """Time all cases and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--photographs", type=int, default=8)
    parser.add_argument("--masks", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    memory.keep_freed()
    device = torch.device(options.device)
    batch, module, layer = load(options.photographs, device)
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    head = (
        f"{options.photographs} photographs, {options.masks} masks, {what}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, {batch.score.batch_size} "
        f"rows in a call of ours, batch norms folded; medians of {options.repeats}."
    )
    lines = []
    with frozen(module):
        cases = gradient_cases(batch, module, layer)
        cases += perturbation_cases(batch, module, options.masks)
        methods.Saliency()(batch)  # the first call is slower
        for case in cases:
            if not options.only or case.method in options.only:
                lines.append(line(case, batch, module, options.repeats))
                write(lines, head, "methods" if device.type == "cpu" else "gpu_methods")


def write(lines: list[dict[str, object]], head: str, stem: str) -> None:
    """Write the table as far as it goes, so that an interrupted study keeps what it has."""
    table = pd.DataFrame(lines)
    table.to_csv(HERE / f"{stem}.csv", index=False)
    text = f"{head}\n\n{table.to_markdown(index=False, floatfmt='.3g')}\n"
    (HERE / f"{stem}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
