"""Time our metrics next to those of Captum and Quantus, for eight methods.

The same definition, the same maps and the same draws on both sides, timed in one process, in turn.
Writes metrics.csv and metrics.md beside this file.

    python experiments/speed/metrics.py [--photographs 4] [--repeats 2]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor, nn

from igbench.config import build, compose
from igbench.core import features as feature_units
from igbench.core import memory, perturb
from igbench.core.batch import Attribution, Batch, Measurement, Method, Metric
from igbench.core.score import Score, frozen
from igbench.metrics.faithfulness.correlation import FaithfulnessCorrelation
from igbench.metrics.faithfulness.infidelity import Infidelity
from igbench.metrics.faithfulness.means import PixelFlipping
from igbench.metrics.quantus import metric_class, quiet
from igbench.metrics.robustness.sensitivity import MaxSensitivity
from igbench.schema import MethodSpec

HERE = Path(__file__).parent
METHODS = (
    "ig",
    "saliency",
    "input_x_gradient",
    "gradient_shap",
    "smoothgrad",
    "occlusion",
    "grad_cam_signed",
    "random",
)
Scores = dict[str, np.ndarray]
Side = Callable[[], Scores]


@dataclass(frozen=True)
class Case:
    """A metric, ours and another library's.

    Attributes:
        metric: Name.
        library: "Captum" or "Quantus".
        shared: Whether methods can share model rows.
        ours: Scores of ours, by method.
        theirs: The same from the library, by setting.
        tolerance: Largest relative difference that rounding explains.
    """

    metric: str
    library: str
    shared: bool
    ours: Side
    theirs: Mapping[str, Side]
    tolerance: float


def load(photographs: int) -> tuple[Batch, dict[str, Attribution], nn.Module]:
    """Photographs, and the maps of eight methods, all taken as contributions of elements."""
    words = [
        f"limit={photographs}",
        f"method=[{','.join(METHODS)}]",
        "method.ig.n_steps=8",
        "method.gradient_shap.draws=4",
        "method.smoothgrad.draws=4",
        "method.occlusion.window=56",
        "method.occlusion.stride=56",
    ]
    experiment = build.experiment(compose.compose(words))
    module = experiment.model.module
    x = torch.stack([experiment.data.load(i) for i in range(photographs)])
    with torch.no_grad():
        target = torch.cat([module(one[None]).argmax(dim=1) for one in x])
    score = Score(
        module, batch_size=experiment.batch_size, channels_last=experiment.model.channels_last
    )
    ids = experiment.data.sample_ids
    batch = Batch(score, x, torch.zeros_like(x), target, ids, "pixel", 0)
    spec = MethodSpec("given", "", "global", signed=True)
    with frozen(module):
        maps = {
            name: Attribution(method(batch).detach(), spec, method)
            for name, method in experiment.methods.items()
        }
    return batch, maps, module


def ours(metric: Metric, batch: Batch, maps: Mapping[str, Attribution]) -> Side:
    """All methods at once, as a run does it."""
    metric = metric.for_shape(batch.x.shape[1:])

    def work() -> Scores:
        found = metric.measure(batch, maps, metric.observe(batch))
        return {name: _numbers(m) for name, m in found.items()}

    return work


def _numbers(measurement: Measurement) -> np.ndarray:
    return measurement.value.double().cpu().numpy()


# -- Captum ----------------------------------------------------------------------------------


def infidelity_case(
    batch: Batch,
    maps: Mapping[str, Attribution],
    module: nn.Module,
    most: Sequence[int | None] = (None, 4, 8, 16),
) -> Case:
    """64 removed squares; Captum gets the same masks, however it cuts its batches."""
    own = Infidelity(perturbation="square", draws=64, normalize=False)
    drawn = [own._masks(batch, i) for i in range(len(batch))]
    shape = batch.x.shape[1:]
    gone = torch.stack([feature_units.spread(m, f).expand(64, *shape) for m, f in drawn])
    gone = gone.to(batch.x.device)

    def with_rows(most: int | None) -> Side:
        def work() -> Scores:
            return {name: one(a.values) for name, a in maps.items()}

        def one(phi: Tensor) -> np.ndarray:
            place = [0]

            def remove(inputs: Tensor) -> tuple[Tensor, Tensor]:
                draws = len(inputs) // len(batch)
                now = gone[:, place[0] : place[0] + draws].flatten(0, 1)
                place[0] += draws
                return now.to(inputs), inputs.masked_fill(now, 0)

            found = infidelity(
                module,
                remove,
                batch.x,
                phi,
                target=batch.target,
                n_perturb_samples=64,
                max_examples_per_batch=most,
            )
            return found.detach().double().cpu().numpy()

        return work

    rows = {f"max_examples_per_batch={rows}": with_rows(rows) for rows in most}
    return Case("infidelity", "Captum", True, ours(own, batch, maps), rows, 1e-3)


def sensitivity_case(batch: Batch, maps: Mapping[str, Attribution]) -> Case:
    """4 neighbours; the same functions make the maps on both sides."""
    own = MaxSensitivity(radius=0.02, draws=4)
    deltas = torch.stack([own.deltas(batch, i) for i in range(len(batch))])

    def with_rows(most: int | None) -> Side:
        def work() -> Scores:
            return {name: one(a.explain) for name, a in maps.items()}

        def one(method: Method | None) -> np.ndarray:
            place = [0]

            def neighbours(inputs: Tensor) -> Tensor:
                draws = len(inputs) // len(batch)
                now = deltas[:, place[0] : place[0] + draws].flatten(0, 1)
                place[0] += draws
                return inputs + now

            def explain(inputs: Any, target: Tensor) -> Any:
                rows = inputs[0] if isinstance(inputs, tuple) else inputs
                assert method is not None
                with torch.enable_grad():
                    found = method(_versions(batch, rows, len(rows) // len(batch)))
                found = found.detach().contiguous()
                return (found,) if isinstance(inputs, tuple) else found

            found = sensitivity_max(
                explain,
                batch.x,
                perturb_func=neighbours,
                target=batch.target,
                n_perturb_samples=4,
                max_examples_per_batch=most,
            )
            return found.double().numpy()

        return work

    rows = {f"max_examples_per_batch={most}": with_rows(most) for most in (None, 4)}
    return Case("max-sensitivity", "Captum", False, ours(own, batch, maps), rows, 1e-2)


def _versions(batch: Batch, rows: Tensor, each: int) -> Batch:
    """`each` changed versions of every sample, sample by sample, as a batch."""
    assert batch.target is not None
    return replace(
        batch,
        x=rows,
        baseline=torch.zeros_like(rows),
        target=batch.target.repeat_interleave(each),
        sample_ids=tuple(s for s in batch.sample_ids for _ in range(each)),
    )


# -- Quantus ---------------------------------------------------------------------------------


def ask(name: str, batch: Batch, module: nn.Module, phi: Tensor, **options: Any) -> np.ndarray:
    """A metric of Quantus on all samples as one batch, without scaling of maps."""
    more = {k: options.pop(k) for k in ("explain_func",) if k in options}
    assert batch.target is not None
    with quiet():
        metric = metric_class(name)(
            normalise=False, disable_warnings=True, return_aggregate=False, **options
        )
        found = metric(
            model=module,
            x_batch=batch.x.cpu().numpy().copy(),
            y_batch=batch.target.cpu().numpy(),
            a_batch=phi.cpu().numpy().copy(),
            channel_first=True,
            softmax=False,
            device=str(batch.x.device),
            batch_size=len(batch),
            **more,
        )
    return np.asarray(found, dtype=float)


def correlation_case(batch: Batch, maps: Mapping[str, Attribution], module: nn.Module) -> Case:
    """100 sets of a fifth of the elements; Quantus gets ours in place of its draws."""
    count, draws = batch.x[0].numel(), 100
    size = count // 5
    own = FaithfulnessCorrelation(n=size, subsets=draws, features="element")
    sets = []
    for sample_id in batch.sample_ids:
        ranks = perturb.ranks(count, draws, batch.seed, "sensitivity_n", sample_id)
        sets.append((ranks < size).nonzero()[:, 1].view(draws, size).cpu().numpy())
    order = [sets[i][d] for d in range(draws) for i in range(len(batch))]

    def work() -> Scores:
        found = {}
        for name, a in maps.items():
            replay = iter(order)
            with patch("numpy.random.choice", lambda *_, replay=replay, **__: next(replay)):
                found[name] = ask(
                    "FaithfulnessCorrelation",
                    batch,
                    module,
                    a.values,
                    nr_runs=draws,
                    subset_size=size,
                    perturb_baseline=0.0,
                )
        return found

    rows = {f"batches of {len(batch)}": work}
    side = ours(own, batch, maps)
    return Case("faithfulness correlation", "Quantus", True, side, rows, 1e-2)


def robustness_case(batch: Batch, maps: Mapping[str, Attribution], module: nn.Module) -> Case:
    """The same as for Captum; Quantus explains one neighbour of all samples at a time."""
    own = MaxSensitivity(radius=0.02, draws=4)
    deltas = torch.stack([own.deltas(batch, i) for i in range(len(batch))])

    def work() -> Scores:
        return {name: one(a) for name, a in maps.items()}

    def one(a: Attribution) -> np.ndarray:
        replay = iter(deltas.flatten(2).transpose(0, 1).numpy())

        def near(arr: np.ndarray, indices: np.ndarray, **settings: Any) -> np.ndarray:
            return arr + next(replay).reshape(arr.shape)

        def explain(model: Any, inputs: np.ndarray, targets: Any, **settings: Any) -> np.ndarray:
            rows = torch.from_numpy(inputs).to(batch.x).view_as(batch.x)
            assert a.explain is not None
            return a.explain(_versions(batch, rows, 1)).detach().numpy()

        return ask(
            "MaxSensitivity",
            batch,
            module,
            a.values,
            nr_samples=4,
            perturb_func=near,
            explain_func=explain,
        )

    rows = {f"batches of {len(batch)}": work}
    return Case("max-sensitivity", "Quantus", False, ours(own, batch, maps), rows, 1e-2)


def flipping_case(batch: Batch, maps: Mapping[str, Attribution], module: nn.Module) -> Case:
    """48 steps of 3,136 elements; the mean over the curve without its first point is compared."""
    step = 3136
    own = PixelFlipping(step, "baseline", "score", "element", tie_orders=1)  # as Quantus
    own = own.for_shape(batch.x.shape[1:])

    def mine() -> Scores:
        found = own.measure(batch, maps, own.observe(batch))
        curves = {n: m.curves["pixel_flipping"][1] for n, m in found.items()}
        return {n: y[:, 1:].double().mean(dim=1).cpu().numpy() for n, y in curves.items()}

    def work() -> Scores:
        return {
            name: ask(
                "PixelFlipping",
                batch,
                module,
                a.values,
                features_in_step=step,
                perturb_baseline=0.0,
            ).mean(axis=1)
            for name, a in maps.items()
        }

    return Case("pixel flipping", "Quantus", False, mine, {f"batches of {len(batch)}": work}, 1e-2)


# -- timing ----------------------------------------------------------------------------------


def timed(case: Case, score: Score, repeats: int) -> list[dict[str, Any]]:
    """Both sides in turn; the slow settings of a library once."""
    sides = {"ours": case.ours, **case.theirs}
    times: dict[str, list[float]] = {name: [] for name in sides}
    scores: dict[str, Scores] = {}
    for turn in range(repeats):
        for name, work in sides.items():
            if turn and "None" in name:
                continue
            before, start = score.cost.snapshot(), time.perf_counter()
            scores[name] = work()
            times[name].append(time.perf_counter() - start)
            if name == "ours":
                spent = score.cost.since(before)
    base = statistics.median(times["ours"])
    lines = []
    for name, took in times.items():
        apart = difference(scores[name], scores["ours"])
        if apart > case.tolerance:
            print(f"{case.metric}, {case.library} {name}: scores differ by {apart:.2g}")  # noqa: T201
        lines.append(
            {
                "metric": case.metric,
                "rows shared": "yes" if case.shared else "no",
                "side": name if name == "ours" else f"{case.library}, {name}",
                "seconds": statistics.median(took),
                "over ours": statistics.median(took) / base,
                "our forwards": spent.forward,
                "our gradients": spent.backward,
                "largest difference": apart,
            }
        )
    return lines


def difference(a: Scores, b: Scores) -> float:
    """Largest difference of scores of any method and sample, over the largest score of the method.

    Methods that score zero everywhere (a map that never changes) are left out.
    """
    worst = 0.0
    for name, found in a.items():
        size = np.nanmax(np.abs(b[name]))
        if size > 0:
            worst = max(worst, float(np.nanmax(np.abs(found - b[name])) / size))
    return worst


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    memory.keep_freed()  # as the command does, for both sides
    batch, maps, module = load(options.photographs)
    with frozen(module):
        cases = [
            infidelity_case(batch, maps, module),
            sensitivity_case(batch, maps),
            correlation_case(batch, maps, module),
            robustness_case(batch, maps, module),
            flipping_case(batch, maps, module),
        ]
        batch.score.evaluate(batch.x, batch.target)  # warm up
        lines = [line for case in cases for line in timed(case, batch.score, options.repeats)]
    frame = pd.DataFrame(lines)
    frame.to_csv(HERE / "metrics.csv", index=False)
    text = [
        f"{len(maps)} methods, {len(batch)} photographs, EfficientNet-Lite0, float32, "
        f"{torch.get_num_threads()} threads, {batch.score.batch_size} rows in a call of ours, "
        f"torch {torch.__version__}. Medians of {options.repeats} runs in turn (one with None).",
        frame.to_markdown(index=False, floatfmt=".3g"),
    ]
    (HERE / "metrics.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
