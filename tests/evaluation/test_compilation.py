"""compile=auto: the rule, what is remembered, and runs that go on as they began."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from igbench.config import build, compose
from igbench.core import compiling
from igbench.core.inference import Compiled
from igbench.evaluation import compilation, cost, loop
from igbench.evaluation.compilation import Gain, pays
from igbench.run import runner

pytestmark = pytest.mark.usefixtures("cache")

GPU = Path(__file__).parents[2] / "experiments" / "speed" / "gpu.py"
WORDS = ["experiment=digits_resnet", "limit=4", "convergence=0", "keep_maps=0", "batch_size=16"]
WORDS += ["method=[random]", "metric=[infidelity,deletion,completeness]", "shard_size=2"]


@pytest.mark.parametrize(
    ("rows", "per_forward", "gain", "expected"),
    [
        (10_000, 0.02, Gain(0.36, 50.0, ""), True),  # 72 s for 50 s
        (5_000, 0.02, Gain(0.36, 50.0, ""), False),  # 36 s
        (1_000, 0.125, Gain(0.5, 62.5, ""), False),  # 62.5 s for 62.5 s are no gain
        (10**9, 1.0, Gain(0.0, 0.0, ""), False),
        (10**9, 1.0, Gain(-0.2, 1.0, ""), False),
        (0, 0.0, Gain(0.5, 1.0, ""), False),
    ],
)
def test_it_pays_where_the_time_saved_exceeds_that_of_compilation(
    rows, per_forward, gain, expected
):
    assert pays(rows, per_forward, gain) == expected


@pytest.fixture
def memory(monkeypatch, tmp_path) -> Path:
    """A cache folder of its own for decisions, a compiler that is not asked, and a gain."""
    monkeypatch.setitem(compilation.EXPECTED, ("cpu", "float32"), Gain(0.36, 50.0, "as expected"))
    monkeypatch.setattr(compilation, "cache_folder", lambda _: tmp_path)
    monkeypatch.setattr(compiling, "lacking", lambda device: "")
    return tmp_path / "compile.json"


def built(*words: str):
    return build.experiment(compose.compose([*WORDS, "compile=auto", *words]))


def with_costs(monkeypatch, rows: int, plain: float, compiled: float) -> list[str]:
    """Costs in place of measured ones; returns what was asked for."""
    asked: list[str] = []
    monkeypatch.setattr(cost, "perturbed", lambda e: asked.append("rows") or (rows, plain))

    def seconds(e) -> float:
        asked.append("compiled")
        e.quick.compiled.seconds += 10.0
        return compiled

    monkeypatch.setattr(cost, "perturbed_seconds", seconds)
    return asked


def said(caplog) -> list[str]:
    return [m for m in caplog.messages if m.startswith("compile=")]


def test_long_runs_compile_and_measure_what_it_brings_once(monkeypatch, memory, caplog):
    asked = with_costs(monkeypatch, 10_000, 0.02, 0.015)
    with caplog.at_level(logging.INFO):
        assert built().quick.backend == "inductor"
    assert asked == ["rows", "compiled"]
    line = (
        "compile=auto: compiled; 10,000 perturbed inputs take 200 s, of which 25 % or 50 s are "
        "saved for 20 s (measured)"
    )
    assert said(caplog) == [line]
    with_costs(monkeypatch, 10_000, 0.0, 1.0)  # whatever is measured now
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert built().quick.backend == "inductor", "a run that goes on decides as before"
    assert said(caplog) == [f"{line} (as before)"]
    asked = with_costs(monkeypatch, 3_000, 0.02, 9.9)
    assert built("limit=3").quick.backend == "", "15 s for 20 s, by what was measured"
    assert asked == ["rows"]


def test_short_runs_and_what_saves_nothing_do_not_compile(monkeypatch, memory):
    assert with_costs(monkeypatch, 1_000, 0.02, 0.01) == []
    assert built().quick.backend == ""
    asked = with_costs(monkeypatch, 10_000, 0.02, 0.03)
    assert built("limit=3").quick.backend == "", "slower than uncompiled"
    assert asked == ["rows", "compiled"]
    assert built("limit=2").quick.backend == "", "known by now"


def test_without_a_compiler_auto_means_no(monkeypatch, memory, caplog):
    monkeypatch.setattr(compiling, "lacking", lambda device: "there is no C++ compiler (g++)")
    with caplog.at_level(logging.INFO):
        assert built().quick.backend == ""
    assert said(caplog) == ["compile=auto: not compiled; there is no C++ compiler (g++)"]


def test_strange_memories_are_asked_nothing(memory):
    good = {"compiled": True, "reason": "long"}
    memory.write_text(json.dumps({"a": good, "b": 3, "c": {"saved": "x"}, "d": {"compiled": 1}}))
    assert compilation.recall(memory) == {"a": good}
    memory.write_text("[1]")
    assert compilation.recall(memory) == {}


def test_rows_that_may_be_compiled_are_counted(memory):
    experiment = build.experiment(compose.compose(WORDS))
    rows, seconds = cost.perturbed(experiment)
    assert seconds > 0
    seen: list[int] = []

    class Counted(Compiled):
        def __call__(self, x, most=None):
            seen.append(len(x))
            return self.module(x)

    quick = replace(experiment.quick, compiled=Counted(experiment.model.module, "eager"))
    loop.run(replace(experiment, quick=quick))
    assert rows == sum(seen)


def test_decisions_share_no_rows(monkeypatch, memory, tmp_path):
    words = [*WORDS, f"results_dir={tmp_path}"]
    keys = {}
    for name, costs in {"no": (0, 0.0, 1.0), "yes": (10_000, 0.02, 0.01)}.items():
        memory.unlink(missing_ok=True)
        with_costs(monkeypatch, *costs)
        keys[name] = runner.job(compose.compose([*words, "compile=auto"])).identity
    plain, compiled = (
        runner.job(compose.compose([*words, f"compile={w}"])).identity for w in ("false", "true")
    )
    assert keys == {"no": plain, "yes": compiled}


@pytest.mark.slow
def test_the_measurement_of_accelerators_runs_on_a_cpu(tmp_path: Path):
    words = ["--device", "cpu", "--models", "small", "--size", "64", "--rows", "8"]
    words += ["--photographs", "1", "--repeats", "1", "--out", str(tmp_path)]
    words += ["--ways", "float32", "bf16", "tf32", "bf16+cudagraphs"]
    subprocess.run([sys.executable, str(GPU), *words], check=True, timeout=600)
    forwards = pd.read_csv(tmp_path / "gpu_forwards.csv")
    assert forwards["failed"].fillna("").tolist() == [
        *("", "tf32 exists on CUDA alone", "", "CUDA graphs exist on CUDA alone"),
    ]
    metrics = pd.read_csv(tmp_path / "gpu_metrics.csv")
    assert set(metrics["quantity"]) >= {"ig_50", "srg", "infidelity", "sensitivity-n"}
    first = metrics.set_index("quantity").loc["ig_50"]
    assert torch.tensor(first["images/s"]) > 0
    assert first["library"] == "Captum"
