"""What can go wrong, on demand: methods, metrics, samples and models that fail, and full disks."""

from __future__ import annotations

import contextlib
import math
import os
import random
import resource
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from igbench.__main__ import main
from igbench.core.model import Model, Preprocess
from igbench.data import digits as digits_data
from igbench.data.digits import digit_id, load_split
from igbench.errors import InputError, SampleError
from igbench.metrics.faithfulness.areas import Deletion
from igbench.models import digits_resnet
from igbench.schema import MethodSpec
from tests.helpers import closed_form as cf

SIGNALS = {"kill": signal.SIGKILL, "int": signal.SIGINT, "term": signal.SIGTERM}
NO_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte"


@dataclass(frozen=True)
class Trouble:
    """A signal for the own process when a sample comes by; only the first time.

    Args:
        how: "kill", "int" or "term".
        sample: Identifier of the sample.
        marker: File that says that it has happened; "" for every time.
    """

    how: str
    sample: str
    marker: str = ""

    @property
    def spec(self):
        return MethodSpec("trouble", "", "global", signed=True)

    def __call__(self, batch):
        marker = Path(self.marker or "missing")
        if self.sample in batch.sample_ids and not marker.exists():
            if self.marker:
                marker.touch()
            os.kill(os.getpid(), SIGNALS[self.how])
        return batch.x * 0.5


def sample_at(position: int) -> str:
    """Identifier of the digit at a position of the samples."""
    return digit_id(load_split().held_out[position])


def trouble(how: str, position: int, marker: Path | str = "") -> str:
    """The override that adds it to an experiment on digits, at a position of the samples."""
    return (
        f"+method.trouble={{_target_:tests.helpers.faults.Trouble,how:{how},sample:{sample_at(position)},"
        f"marker:'{marker}'}}"
    )


def broken(config):
    """An experiment that cannot be built elsewhere."""
    raise InputError("no such file here; copy it")


# -- methods and metrics ---------------------------------------------------------------------


@dataclass(frozen=True)
class BadMethod:
    """Half the input, but for one sample, or all.

    Args:
        how: "raise", "exit", "nans", "shape" (wrong there) or "none" (no tensor).
        sample: Identifier of the sample; "" for all.
    """

    how: str
    sample: str = ""

    @property
    def spec(self):
        return MethodSpec("bad", "", "global", signed=True)

    def __call__(self, batch):
        values = batch.x * 0.5
        if self.sample and self.sample not in batch.sample_ids:
            return values
        if self.how == "raise":
            raise RuntimeError("out of luck")
        if self.how == "exit":
            sys.exit(0)
        if self.how == "nans":
            rows = [self.sample in ("", s) for s in batch.sample_ids]
            values[torch.tensor(rows)] = math.nan
        return {"shape": values[:, :, :3], "none": None}.get(self.how, values)


@dataclass(frozen=True)
class BadMetric(Deletion):
    """Deletion, but for one sample, or all.

    Args:
        how: "observe" or "measure" (raises there), "exit" (likewise), "shape", "curve" (wrong
            there) or "forget" (a method is left out).
        sample: Identifier of the sample; "" for all.
    """

    how: str = "observe"
    sample: str = ""

    @property
    def sharing_key(self):
        return (super().sharing_key, self.how, self.sample)

    def _meets(self, batch):
        return self.sample in ("", *batch.sample_ids)

    def observe(self, batch):
        if self.how == "observe" and self._meets(batch):
            raise RuntimeError("cannot look")
        return super().observe(batch)

    def measure(self, batch, attributions, observation):
        found = {
            name: replace(m, curves={"bad": m.curves["deletion"]})
            for name, m in super().measure(batch, attributions, observation).items()
        }
        if not self._meets(batch):
            return found
        if self.how == "measure":
            raise RuntimeError("cannot count")
        if self.how == "exit":
            sys.exit(0)
        if self.how == "forget":
            return {}
        if self.how == "shape":
            return {name: replace(m, value=m.value.sum()) for name, m in found.items()}
        short = {"bad": ([0.0, 1.0], torch.zeros(len(batch), 1))}
        return {name: replace(m, curves=short) for name, m in found.items()}


# -- samples and models ----------------------------------------------------------------------


def bad_digits(model, *, limit: int | None, how: str, position: int):
    """The digits, one of which cannot be used: "nans", "shape" or "corrupt"."""
    data = digits_data.digits(model, limit=limit)

    def load(i):
        x = data.load(i)
        if i != position:
            return x
        if how == "corrupt":
            raise SampleError("cannot read image 'digit.png': truncated")
        return torch.zeros(1, 8, 9) if how == "shape" else x.fill_(math.nan)

    return replace(data, load=load)


class _Fails(nn.Module):
    """A model that fails for one input, or for too many rows at once."""

    def __init__(self, inner: nn.Module, how: str, sample: torch.Tensor, most: int) -> None:
        super().__init__()
        self.inner, self.how, self.most = inner, how, most
        self.sample = sample
        self.eval()

    def forward(self, x):
        if len(x) > self.most:
            raise RuntimeError(NO_MEMORY)
        met = (x == self.sample.to(x)).flatten(1).all(dim=1)
        if self.how == "raise" and bool(met.any()):
            raise RuntimeError("cannot digest this")
        out = self.inner(x)
        return torch.where(met[:, None], math.nan, out) if self.how == "nans" else out


def bad_resnet(
    *, cache_dir: str | None = None, how: str = "", position: int = 0, most: int = 10**9
) -> Model:
    """The digits ResNet, which cannot stand one sample ("nans", "raise") or many rows."""
    model = digits_resnet.digits_resnet(cache_dir=cache_dir)
    split = load_split()
    sample = split.images[split.held_out[position]]
    return replace(model, module=_Fails(model.module, how, sample, most))


def photo_net(*, cache_dir: str | None = None) -> Model:
    """A tiny model of photographs."""
    half = (0.5, 0.5, 0.5)
    shape = Preprocess(8, 8, half, half)
    net = cf.small_net(torch.float32)
    return Model("tiny", net, ("a", "b", "c", "d"), "features", "0", "made here", shape)


# -- the machine -----------------------------------------------------------------------------


class Disk:
    """A disk that is full for files of more than some bytes."""

    def __init__(self) -> None:
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self, most: int = 100) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, self.before[1]))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


def die(*_, **__):
    """kill -9 for the own process."""
    os.kill(os.getpid(), signal.SIGKILL)


def _after(function, times: int = 1):
    """The function, and then death, when it has been called so many times."""
    calls = []

    def dying(*args, **named):
        found = function(*args, **named)
        calls.append(1)
        if len(calls) == times:
            die()
        return found

    return dying


def _places() -> dict[str, tuple[object, str, object]]:
    """Moments of a run: which function dies, or kills when it is done."""
    from igbench import report
    from igbench.evaluation import cost
    from igbench.records import stats, store
    from igbench.run import checkpoint

    return {
        "before the lock": (cost, "estimate", die),
        "while a file of a shard is written": (Path, "replace", die),
        "between files of a shard": (checkpoint, "write_whole", _after(checkpoint.write_whole, 5)),
        "after the last shard": (checkpoint, "join", die),
        "while the run folder is written": (stats, "summarise", die),
        "when the run folder is there": (store, "write", _after(store.write)),
        "while the report is drawn": (report, "write_report", die),
    }


PLACES = (
    "before the lock",
    "while a file of a shard is written",
    "between files of a shard",
    "after the last shard",
    "while the run folder is written",
    "when the run folder is there",
    "while the report is drawn",
)


def sketch(records, options=None, *, paper=False) -> Path:
    """A report that costs nothing."""
    folder = Path(records.folder)
    (folder / "tables").mkdir(exist_ok=True)
    (folder / "tables" / "scores.md").write_text("scores\n")
    (folder / "report.html").write_text("a report")
    return folder / "report.html"


def massacre(words: list[str], results: Path, seed: int) -> None:
    """Runs that are killed: one at each place, and one four times at random moments.

    For a process of its own that has no threads: each run is a fork of it, and all has been
    imported when they begin.
    """
    from igbench import report
    from igbench.config import compose
    from igbench.run import runner

    report.write_report = sketch
    torch.set_num_threads(1)
    runner.job(compose.compose([*words, f"results_dir={results}"]))
    chosen = {_forked(words, results / place, place): place for place in PLACES}
    while chosen:
        pid, status = os.wait()
        place = chosen.pop(pid)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, place
    moments = random.Random(seed)
    for _ in range(4):
        child = _forked(words, results / "random moments", "")
        time.sleep(moments.uniform(0.1, 1.0))
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _forked(words: list[str], results: Path, place: str) -> int:
    child = os.fork()
    if child:
        return child
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if place:
        where, name, fault = _places()[place]
        setattr(where, name, fault)
    os._exit(main([*words, f"results_dir={results}"]))
