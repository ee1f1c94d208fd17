"""Measure ResNet-50 and ViT-B/16 at 224 pixels on an accelerator: throughput, and metrics.

Two tables.  `gpu_metrics`: Integrated Gradients and metrics beside Captum and Quantus at equal
settings, both sides in turn, and our metrics in each way of evaluating perturbed inputs.
`gpu_forwards`: forwards of perturbed inputs by precision and compilation, as a share of what the
network alone reaches.  Both say in which share of the time a kernel runs, how often the host waits
for the device, and how much memory was taken.  Weights are random: they decide no time.

The most telling rows come first, the tables are written after each of them, and what fails or finds
no time left is a row that says so.

    python experiments/speed/gpu.py [--device cuda] [--rows 64] [--photographs 4] [--minutes 4.5]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import metrics
import pandas as pd
import torch
import torchvision
from captum.attr import IntegratedGradients
from torch import Tensor, nn

from igbench.core import compiling, memory
from igbench.core.batch import Attribution, Batch, Method, Metric
from igbench.core.inference import Compiled, InferenceOptions, Precision, full_precision
from igbench.core.score import Score, frozen
from igbench.integration.integrate import integrated_gradients
from igbench.methods import InputXGradient, Occlusion, Random, Saliency
from igbench.metrics.faithfulness.areas import SymmetricRelevanceGain
from igbench.metrics.faithfulness.infidelity import Infidelity
from igbench.metrics.faithfulness.sensitivity_n import SensitivityN
from igbench.schema import MethodSpec

HERE = Path(__file__).parent


def vit() -> nn.Module:
    """ViT-B/16 with a head that is not zero, as torchvision makes it: all maps would be zero."""
    module = torchvision.models.vit_b_16()
    nn.init.normal_(module.heads.head.weight, std=0.02)
    return module


def small() -> nn.Module:
    """A network for trying this script on a CPU."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=4),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 5),
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "resnet50": torchvision.models.resnet50,
    "vit_b_16": vit,
    "small": small,
}
BIG = ("resnet50", "vit_b_16")
WAYS: tuple[tuple[Precision, str], ...] = (
    ("float32", ""),
    ("tf32", ""),
    ("bf16", ""),
    ("bf16", "cudagraphs"),
    ("bf16", "inductor"),
    ("float32", "cudagraphs"),
    ("tf32", "cudagraphs"),
    ("tf32", "inductor"),
    ("float32", "inductor"),
)
"""Precision, and the backend of torch.compile ("" for none), the most telling first."""

CALLS = 8
"""Full calls of the model in each timing of forwards."""

LONG = 2.0
"""Seconds of a setting of a library beyond which it is timed once."""

ALONE = "-"
"""Library and setting of quantities that neither Captum nor Quantus has."""

Work = Callable[[], object]


class Deadline:
    """Seconds that are left.

    Args:
        seconds: In all.
    """

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    @property
    def over(self) -> bool:
        """Whether nothing more is begun."""
        return time.monotonic() > self.end


@dataclass(frozen=True)
class Place:
    """Where and on how much things are measured.

    Attributes:
        device: The device.
        rows: Rows in a call.
        size: Height and width of a picture.
        repeats: Turns, of which the median counts.
    """

    device: torch.device
    rows: int
    size: int
    repeats: int


@dataclass(frozen=True)
class Subject:
    """A model, pictures for it, and the maps of four cheap methods.

    Attributes:
        name: Name of the model.
        module: The model.
        batch: Random pictures.
        maps: Maps by method.
    """

    name: str
    module: nn.Module
    batch: Batch
    maps: dict[str, Attribution]


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
    if not spans:
        return float("nan")
    busy, reached = 0.0, spans[0][0]
    for start, end in spans:
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return busy / (reached - spans[0][0])


def waits(work: Work, device: torch.device) -> float:
    """How often the host waits for the device in one call, by CUDA's own count; NaN on a CPU."""
    if device.type != "cuda":
        return float("nan")
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode(before)
    return float(sum("synchroniz" in str(w.message) for w in caught))


def peak_of(work: Work, device: torch.device) -> float:
    """Peak memory of one call, MiB."""
    memory.reset_peak(device)
    work()
    synchronise(device)
    return memory.peak(device)


def guarded(
    deadline: Deadline, known: dict[str, Any], work: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """A row of a table; where it cannot be measured, why."""
    if deadline.over:
        return known | {"failed": "no time left"}
    try:
        return known | work()
    except Exception as error:  # one combination that fails must not cost the others
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        text = " ".join(str(error).split())
        return known | {"failed": f"{type(error).__name__}: {text[:160]}"}


def cannot(device: torch.device, precision: Precision, backend: str) -> str:
    """Why a way does not exist on a device; "" where it does."""
    if device.type != "cuda" and "cuda" in backend:
        return "CUDA graphs exist on CUDA alone"
    if device.type != "cuda" and precision == "tf32":
        return "tf32 exists on CUDA alone"
    return compiling.lacking(device) if backend == "inductor" else ""


def quick_rows(
    subject: Subject, place: Place, way: tuple[Precision, str], deadline: Deadline
) -> Iterator[tuple[str, dict[str, Any]]]:
    """A row of forwards, and rows of our metrics, evaluated in one way; each with its table."""
    precision, backend = way
    known = {"model": subject.name, "precision": precision, "compiled by": backend or ALONE}
    if reason := cannot(place.device, precision, backend):
        yield "gpu_forwards", known | {"failed": reason}
        return
    compiled = Compiled(subject.module, backend) if backend else None
    quick = InferenceOptions(precision, compiled)
    line = guarded(deadline, known, lambda: forwards(subject, place, quick))
    yield "gpu_forwards", line
    if (compiled and compiled.broken) or line.get("failed"):
        return
    if not (backend or precision != "float32"):
        return  # measured beside the libraries
    batch = replace(subject.batch, score=Score(subject.module, batch_size=place.rows, quick=quick))
    for quantity, metric in own_metrics(subject).items():

        def ours(m: Metric = metric) -> object:
            return m.measure(batch, subject.maps, m.observe(batch))

        row = known | {"quantity": quantity, "maps": len(subject.maps), "library": ALONE}
        yield "gpu_metrics", guarded(deadline, row, partial(figures, ours, place, len(batch)))


def own_metrics(subject: Subject) -> dict[str, Metric]:
    """Metrics of perturbed inputs that are measured in each way."""
    shape = subject.batch.x.shape[1:]
    found: dict[str, Metric] = {
        "srg": SymmetricRelevanceGain(),
        "infidelity": Infidelity(perturbation="square", draws=64, normalize=False),
        "sensitivity-n": SensitivityN(),
    }
    return {name: m.for_shape(shape) for name, m in found.items()}


def figures(ours: Work, place: Place, photographs: int) -> dict[str, Any]:
    """Seconds, images a second, share in kernels, waits and memory of a piece of our work."""
    device = place.device
    ours()
    peak = peak_of(ours, device)
    took = statistics.median(seconds(ours, device) for _ in range(place.repeats))
    return {
        "ours, s": took,
        "images/s": photographs / took,
        "time in kernels": in_kernels(ours, device),
        "host waits": waits(ours, device),
        "peak, MiB": peak,
    }


def forwards(subject: Subject, place: Place, quick: InferenceOptions) -> dict[str, Any]:
    """Rows a second of the network alone and of perturbed inputs, evaluated in one way.

    The planned memory is that of the network alone on a full call, and three chunks of inputs more:
    the perturbed ones, the copy that the model may change, and the masks.
    """
    device, rows, module = place.device, place.rows, subject.module
    g = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 3, place.size, place.size, generator=g).to(device)
    target = torch.zeros(1, dtype=torch.int64, device=device)
    masks = (torch.rand(rows * CALLS, 1, *x.shape[2:], generator=g) < 0.5).to(device)
    score = Score(module, batch_size=rows, quick=quick)
    call = quick.model(module, rows)

    def alone(calls: int = CALLS) -> None:
        with torch.no_grad(), quick.arithmetic(device):
            for _ in range(calls):
                call(x)

    def perturbed() -> Tensor:
        return score.evaluate_draws(
            rows * CALLS, target, lambda d: x[:1].masked_fill(masks[d], 0), device=device
        )

    first = sum(seconds(work, device) for work in (alone, perturbed))
    planned = peak_of(lambda: alone(1), device) + 3 * x.numel() * x.element_size() / 2**20
    peak = peak_of(perturbed, device)
    with torch.no_grad():
        full = Score(module, batch_size=rows).evaluate_draws(
            rows, target, lambda d: x[:1].masked_fill(masks[d], 0), device=device, full=True
        )
    off = (perturbed()[:rows] - full).abs().max() / full.abs().max()
    taken = [(seconds(alone, device), seconds(perturbed, device)) for _ in range(place.repeats)]
    plain, own = (statistics.median(t) for t in zip(*taken, strict=True))
    compiled = quick.compiled
    return {
        "first call, s": first,
        "compilation, s": compiled.seconds if compiled else 0.0,
        "network alone, rows/s": rows * CALLS / plain,
        "perturbed inputs, rows/s": rows * CALLS / own,
        "share of the network": plain / own,
        "time in kernels": in_kernels(perturbed, device),
        "host waits": waits(perturbed, device),
        "planned, MiB": planned,
        "peak, MiB": peak,
        "outputs off by": float(off),
        "failed": compiled.broken if compiled else "",
    }


def prepared(name: str, place: Place, photographs: int) -> Subject:
    """A model, random pictures, and the maps of four cheap methods."""
    torch.manual_seed(0)
    module = MODELS[name]().eval().to(place.device)
    g = torch.Generator().manual_seed(1)
    size = place.size
    x = torch.randn(photographs, 3, size, size, generator=g).to(place.device)
    with torch.no_grad():
        target = module(x).argmax(dim=1)
    score = Score(module, batch_size=place.rows)
    ids = tuple(f"picture-{i}" for i in range(photographs))
    batch = Batch(score, x, torch.zeros_like(x), target, ids, "pixel", 0)
    spec = MethodSpec("given", "", "global", signed=True)
    methods: dict[str, Method] = {
        "saliency": Saliency(),
        "input_x_gradient": InputXGradient(),
        "occlusion": Occlusion(window=size // 4, stride=size // 4),
        "random": Random(),
    }
    with frozen(module):
        maps = {k: Attribution(m(batch).detach(), spec, m) for k, m in methods.items()}
    return Subject(name, module, batch, maps)


Case = tuple[str, Work, Mapping[str, Work]]
"""Library, our work, and its work by setting."""


def cases(subject: Subject) -> dict[str, Callable[[], Case]]:
    """What is measured beside Captum and Quantus; made where it is measured, which can fail."""
    batch, maps, module = subject.batch, subject.maps, subject.module
    score, zero = batch.score, torch.zeros_like(batch.x)
    captum, rows = IntegratedGradients(module), (batch.score.batch_size, None)

    def captum_ig(most: int | None) -> Work:
        return lambda: captum.attribute(
            batch.x, target=batch.target, n_steps=50, internal_batch_size=most
        )

    def ig() -> Case:
        def ours() -> Tensor:
            return integrated_gradients(score, batch.x, zero, batch.target, n_steps=50)

        return "Captum", ours, {f"internal_batch_size={n}": captum_ig(n) for n in rows}

    def of(case: metrics.Case) -> Case:
        return case.library, case.ours, dict(case.theirs)

    def alone(metric: Metric) -> Case:
        return ALONE, lambda: metric.measure(batch, maps, metric.observe(batch)), {}

    own = own_metrics(subject)
    return {
        "ig_50": ig,
        "srg": lambda: alone(own["srg"]),
        "infidelity": lambda: of(metrics.infidelity_case(batch, maps, module, rows)),
        "sensitivity-n": lambda: alone(own["sensitivity-n"]),
        "faithfulness correlation": lambda: of(metrics.correlation_case(batch, maps, module)),
        "pixel flipping": lambda: of(metrics.flipping_case(batch, maps, module)),
    }


def beside(subject: Subject, place: Place, deadline: Deadline) -> Iterator[dict[str, Any]]:
    """Our time, images a second, and the best setting of Captum and Quantus for each quantity."""
    for quantity, make in cases(subject).items():
        known = {
            "model": subject.name,
            "precision": "float32",
            "compiled by": ALONE,
            "quantity": quantity,
            "maps": 1 if quantity == "ig_50" else len(subject.maps),
        }
        yield guarded(deadline, known, partial(compared, make, subject, place))


def compared(make: Callable[[], Case], subject: Subject, place: Place) -> dict[str, Any]:
    """Figures of ours, and the library's best setting, in turn with ours."""
    library, ours, theirs = make()
    found = figures(ours, place, len(subject.batch))
    if not theirs:
        return found | {"library": "neither Captum nor Quantus has it"}
    sides, failed = {"ours": ours}, []
    for setting, work in theirs.items():
        try:
            work()
            sides[setting] = work
        except Exception as error:  # out of memory, or another version of the library
            failed.append(f"{library}, {setting}: {type(error).__name__}")
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(place.repeats):
        for side, work in sides.items():
            if side == "ours" or max(taken[side], default=0.0) < LONG:
                taken[side].append(seconds(work, place.device))
    median = {side: statistics.median(t) for side, t in taken.items()}
    own = median.pop("ours")
    best = min(median, key=median.__getitem__, default="")
    equal = median.get(next(iter(theirs)), float("nan"))
    return found | {
        "ours, s": own,
        "images/s": len(subject.batch) / own,
        "library": library,
        "at our rows, s": equal,
        "best setting": best,
        "best, s": median.get(best, float("nan")),
        "best / ours": median.get(best, float("nan")) / own,
        "failed": "; ".join(failed),
    }


def main() -> None:
    """Measure, and write the tables as far as they go."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", nargs="*", default=list(BIG))
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--photographs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=4.5)
    parser.add_argument("--ways", nargs="*", help="such as float32 or bf16+inductor")
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    deadline, device = Deadline(60 * options.minutes), torch.device(options.device)
    place = Place(device, options.rows, options.size, options.repeats)
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    head = (
        f"{what}, torch {torch.__version__}, {place.rows} rows in a call, {place.size} pixels, "
        f"medians of {place.repeats} turns."
    )
    tables: dict[str, list[dict[str, Any]]] = {"gpu_metrics": [], "gpu_forwards": []}
    for table, line in measured(options, place, deadline):
        tables[table].append(line)
        write(tables, head, options.out)


def measured(
    options: argparse.Namespace, place: Place, deadline: Deadline
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows, each with its table, the most telling first."""
    subjects = [prepared(name, place, options.photographs) for name in options.models]
    wanted = [w for w in WAYS if not options.ways or "+".join(filter(None, w)) in options.ways]
    with full_precision(place.device):
        for subject in subjects:
            with frozen(subject.module):
                for line in beside(subject, place, deadline):
                    yield "gpu_metrics", line
        for way in wanted:
            for subject in subjects:
                with frozen(subject.module):
                    yield from quick_rows(subject, place, way, deadline)
                torch.compiler.reset()


def write(tables: dict[str, list[dict[str, Any]]], head: str, folder: Path) -> None:
    """Write the tables."""
    for stem, lines in tables.items():
        frame = pd.DataFrame(lines)
        if "failed" in frame:  # last, and empty where all went well
            frame["failed"] = frame.pop("failed").fillna("")
        frame.to_csv(folder / f"{stem}.csv", index=False, float_format="%.5g")
        text = f"{head}\n\n{frame.to_markdown(index=False, floatfmt='.3g')}\n"
        (folder / f"{stem}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
