"""Nothing is left on the host, and the host does not wait inside loops: on a pretended device."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from dataclasses import replace

import pytest
import torch

from igbench.config import compose
from igbench.core import rng
from igbench.core.batch import Attribution, Batch, Metric
from igbench.core.inference import Compiled, InferenceOptions
from igbench.evaluation import loop
from igbench.integration.integrate import integrated_gradients
from igbench.run import runner
from tests.helpers.contract import (
    GLOBAL,
    METHODS,
    METRICS,
    PIECEWISE_LINEAR,
    Simple,
    batch,
    batch_for,
    maps_for,
    measured,
    method,
    metric,
    take,
)
from tests.helpers.fake_device import FAR, Far, Mixed, moved, pretended

EXACT = {"rtol": 1e-12, "atol": 1e-13}
"""The pretended device does its sums on the CPU, in the same order: it differs by a rounding where
an operation is put together in another way, and by nothing else."""

COLOURS = 3
"""Channels: pixels that are several elements, whose numbers take another way to a device."""


def far(near: Batch) -> Batch:
    """The same samples and the same model on the pretended device."""
    score = copy.deepcopy(near.score)
    moved(score)
    return replace(
        near,
        score=score,
        x=near.x.to(FAR),
        baseline=near.baseline.to(FAR),
        target=None if near.target is None else near.target.to(FAR),
    )


def test_the_pretended_device_refuses_what_a_device_refuses():
    with pretended() as waits:
        x = torch.arange(6.0).to(FAR)
        waits.clear()
        with pytest.raises(Mixed, match="left on the host"):
            x + torch.ones(6)
        with pytest.raises(Mixed, match="left on the host"):
            torch.where(torch.ones(6, dtype=torch.bool), x, x)
        with pytest.raises(Mixed, match="generator"):
            torch.rand(3, generator=rng.generator(0, "", ""), device=FAR)
        with pytest.raises(Mixed, match="no array"):
            x.numpy()
        assert isinstance(x + torch.ones(()) + 1, Far)
        assert not waits


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: float(x.sum()),
        lambda x: bool((x > 1).any()),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x[x > 1],
        lambda x: x.unique(),
        lambda x: x[torch.tensor([1, 2])],
        lambda x: x[[1, 2]],
        lambda x: torch.ones(3).to(x),
        lambda x: torch.tensor([1.0], device=x.device),
    ],
)
def test_the_pretended_device_counts_what_makes_the_host_wait(wait):
    with pretended() as waits:
        x = torch.arange(6.0).to(FAR)
        waits.clear()
        wait(x)
        assert sum(waits.values()) == 1
        with torch.inference_mode():
            wait(x)
        assert sum(waits.values()) == 2


@pytest.mark.parametrize("name", METHODS)
def test_methods_stay_on_the_device(config, name):
    near, m = take(batch_for(name, COLOURS), [0, 1]), method(config, name, COLOURS)
    if name in PIECEWISE_LINEAR:  # thousands of small steps: one sample, in few calls
        near = take(near, [1])
        near.score.batch_size = 512
    with pretended():
        found = m(far(near))
        assert isinstance(found, Far)
        torch.testing.assert_close(found.cpu(), m(near), **EXACT)


@pytest.mark.parametrize(
    "name",
    [pytest.param(m, marks=[pytest.mark.slow] if "quantus" in m else []) for m in METRICS],
)
def test_metrics_stay_on_the_device(config, name):
    near, m = take(batch(channels=COLOURS), [0, 1]), metric(config, name, COLOURS)
    expected = measured(m, near, maps_for(near))
    with pretended():
        there = far(near)
        found = measured(m, there, maps_for(there))
        for key, own in expected.items():
            torch.testing.assert_close(found[key].value.cpu(), own.value, **EXACT)
            if own.std_error is not None:
                torch.testing.assert_close(found[key].std_error.cpu(), own.std_error, **EXACT)
            for curve, (_, y) in own.curves.items():
                torch.testing.assert_close(found[key].curves[curve][1].cpu(), y, **EXACT)


def waits_of(m: Metric, rows: int) -> Counter[str]:
    """What makes the host wait while a metric observes and measures two maps."""
    near = batch()
    near.score.batch_size = rows
    g = torch.Generator().manual_seed(0)
    values = torch.randn(2, *near.x.shape, generator=g, dtype=near.x.dtype)
    with pretended() as waits:
        there = far(near)
        maps = {str(i): Attribution(v.to(FAR), GLOBAL, Simple(1)) for i, v in enumerate(values)}
        waits.clear()
        measured(m, there, maps)
        return Counter(waits)


LOOPS = {
    "completeness": {},
    "infidelity": {"draws": (8, 32)},
    "sensitivity_n": {"subsets": (8, 32)},
    "faithfulness_correlation": {"subsets": (8, 32)},
    "faithfulness_estimate": {"features": ("patch:4", "patch:2")},
    "monotonicity_correlation": {"draws": (2, 8)},
    "convergence_error": {"n_reference": (16, 64)},
    "deletion": {"step": (16, 4)},
    "insertion": {"step": (16, 4)},
    "srg": {"step": (16, 4)},
    "aopc": {"step": (16, 4)},
    "comprehensiveness": {"fractions": ((0.1, 0.5), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8))},
    "difference_from_ig": {},
    "sparseness": {},
}
"""Metrics whose work is a loop on the device, and what makes it four times as long."""


@pytest.mark.parametrize("name", LOOPS)
def test_metrics_do_not_wait_inside_loops(config, name):
    few = many = metric(config, name)
    for argument, (small, large) in LOOPS[name].items():
        few, many = (replace(m, **{argument: v}) for m, v in ((few, small), (many, large)))
    expected = waits_of(few, rows=64)
    assert waits_of(many, rows=64) == expected, "more draws or steps"
    assert waits_of(many, rows=3) == expected, "more calls of the model"


@pytest.mark.parametrize("rows", [3, 64])
@pytest.mark.parametrize("n_steps", [8, 32])
def test_integration_asks_the_device_once(rows, n_steps):
    near = batch()
    near.score.batch_size = rows
    with pretended() as waits:
        b = far(near)
        waits.clear()
        integrated_gradients(b.score, b.x, b.baseline, b.target, n_steps=n_steps)
        assert waits == {"aten._to_copy to device": 2, "aten._to_copy to host": 1}


@pytest.mark.parametrize("name", ["blur_ig", "expected_gradients"])
def test_other_paths_do_not_wait_for_each_call_of_the_model(config, name):
    counts = []
    for rows in (3, 64):
        near = batch()
        near.score.batch_size = rows
        with pretended() as waits:
            there = far(near)
            waits.clear()
            method(config, name)(there)
            counts.append(Counter(waits))
    assert counts[0] == counts[1]


WORDS = ["experiment=digits_resnet", "limit=4", "convergence=0", "batch_size=32"]
MAPS = "method=[ig,ig_captum,saliency,occlusion,random]"
SCORES = "metric=[completeness,infidelity,sensitivity_n,max_sensitivity,convergence_error]"


def values_of(*words: str) -> dict[tuple[str, str, str], float]:
    """Scores of a small run by method, metric and sample; costs left out."""
    job = runner.job(compose.compose([*WORDS, MAPS, SCORES, *words]))
    costs = ("seconds", "peak_memory")
    found = loop.run(job.experiment).rows
    return {(r.method, r.metric, r.sample_id): r.value for r in found if r.metric not in costs}


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


@cuda
@pytest.mark.parametrize(
    ("words", "tolerance"),
    [
        # Sums of some thousand float32 products in another order: 1e-5 of a logit, which the
        # differences that metrics are made of turn into 1e-3 at most.
        ([], 1e-3),
        (["compile=eager"], 1e-3),
        (["compile=cudagraphs"], 1e-3),
        pytest.param(["compile=true"], 1e-3, marks=pytest.mark.slow),
        # 10 bits of mantissa, and differences of outputs: a few percent.
        (["precision=tf32"], 5e-2),
        (["precision=bf16"], 5e-1),
    ],
)
def test_cuda_gives_what_the_cpu_gives(words, tolerance):
    expected = torch.tensor(list(values_of("device=cpu").values()))
    found = torch.tensor(list(values_of("device=cuda", *words).values()))
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


@cuda
def test_cuda_with_channels_last():
    job = runner.job(compose.compose([*WORDS, MAPS, SCORES, "device=cuda"]))
    e = job.experiment
    last = replace(e, model=replace(e.model, channels_last=not e.model.channels_last))
    values = [
        torch.tensor([r.value for r in loop.run(one).rows if r.metric == "completeness"])
        for one in (e, last)
    ]
    torch.testing.assert_close(*values, rtol=1e-3, atol=1e-3, equal_nan=True)


def on_cuda(near: Batch) -> Batch:
    """The same samples and the same model on the CUDA device."""
    score = copy.deepcopy(near.score).cuda()
    target = None if near.target is None else near.target.cuda()
    return replace(near, score=score, x=near.x.cuda(), baseline=near.baseline.cuda(), target=target)


DOUBLE = {"rtol": 1e-8, "atol": 1e-10}
"""Sums of some hundred float64 products in another order, and differences of a few such sums."""


@cuda
@pytest.mark.parametrize("name", METHODS)
def test_methods_on_cuda_give_the_map_of_the_cpu(config, name):
    near, m = batch_for(name, COLOURS), method(config, name, COLOURS)
    if name in PIECEWISE_LINEAR:
        near = take(near, [1])
    found = m(on_cuda(near))
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), m(near), **DOUBLE)


@cuda
@pytest.mark.parametrize("name", METRICS)
def test_metrics_on_cuda_give_the_numbers_of_the_cpu(config, name):
    near, m = batch(channels=COLOURS), metric(config, name, COLOURS)
    expected = measured(m, near, maps_for(near))
    there = on_cuda(near)
    maps = {k: replace(a, values=a.values.cuda()) for k, a in maps_for(near).items()}
    for key, found in measured(m, there, maps).items():
        torch.testing.assert_close(found.value.cpu(), expected[key].value, **DOUBLE)


@cuda
@pytest.mark.parametrize("name", LOOPS)
def test_loops_never_synchronise_the_cuda_device(config, name):
    """As many waits for many draws or steps in many calls as for few, by the driver's own count."""
    few = many = metric(config, name)
    for argument, (small, large) in LOOPS[name].items():
        few, many = (replace(m, **{argument: v}) for m, v in ((few, small), (many, large)))
    assert synchronisations(many, rows=3) == synchronisations(few, rows=64)


COMPILED = [
    "eager",
    "cudagraphs",
    pytest.param("inductor", marks=pytest.mark.slow),  # with CUDA graphs
]


@cuda
@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("name", ["infidelity", "sensitivity_n", "srg"])
def test_compiled_loops_never_synchronise_the_cuda_device(config, name, backend):
    few = many = metric(config, name)
    for argument, (small, large) in LOOPS[name].items():
        few, many = (replace(m, **{argument: v}) for m, v in ((few, small), (many, large)))
    expected = synchronisations(few, rows=64, backend=backend)
    assert synchronisations(many, rows=3, backend=backend) == expected


@cuda
@pytest.mark.parametrize("backend", COMPILED)
def test_outputs_of_replayed_graphs_stay(backend):
    """A later replay writes into its own outputs, not into those that are still held."""
    module = torch.nn.Linear(4, 3).cuda().eval()
    compiled, x = Compiled(module, backend), torch.randn(40, 4, device="cuda")
    with torch.no_grad():
        found = [compiled(part, most=8) for _ in range(3) for part in x.split(5)]
        torch.testing.assert_close(torch.cat(found), module(x).repeat(3, 1), rtol=1e-5, atol=1e-5)
    assert not compiled.broken


def synchronisations(m: Metric, rows: int, backend: str = "") -> int:
    """Warnings of CUDA's debug mode while a metric observes and measures two maps."""
    near = batch()
    near.score.batch_size = rows
    there = on_cuda(near)
    compiled = Compiled(there.score.model, backend) if backend else None
    there.score.quick = InferenceOptions(compiled=compiled)
    g = torch.Generator().manual_seed(0)
    values = torch.randn(2, *near.x.shape, generator=g, dtype=near.x.dtype).cuda()
    maps = {str(i): Attribution(v, GLOBAL, Simple(1)) for i, v in enumerate(values)}
    for _ in range(3):  # what is allocated, compiled and recorded once is done here
        measured(m, there, maps)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")  # which warns that it is new
            measured(m, there, maps)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert compiled is None or not compiled.broken
    return sum("called a synchronizing" in str(w.message) for w in caught)
