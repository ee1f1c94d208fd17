"""Decide whether compiling the forwards of perturbed inputs saves more time than it takes."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from igbench.core import compiling
from igbench.evaluation import answers, cost
from igbench.evaluation.experiment import Experiment
from igbench.files import cache_folder

log = logging.getLogger(__name__)
log.setLevel(logging.INFO)  # who writes compile=auto wants to read what that came to

AUTO = "auto"
"""Value of `compile` for which this module decides."""

BACKEND = "inductor"
"""Backend of `torch.compile` for `compile=true` and `compile=auto`."""


@dataclass(frozen=True)
class Gain:
    """What compilation brings and costs.

    Attributes:
        saved: Share of the seconds of a forward that a compiled one saves.
        seconds: Seconds of compilation, for both sizes of calls.
        source: Where the numbers are from.
    """

    saved: float
    seconds: float
    source: str


EXPECTED = {
    ("cpu", "float32"): Gain(0.05, 50.0, "as for EfficientNet-Lite0 on 2 cores"),
    ("cuda", "bf16"): Gain(0.32, 30.0, "as for ViT-B/16 on an H100"),
}
"""Gains by type of device and precision before any is measured; elsewhere none is expected.

On 2 CPU cores, EfficientNet-Lite0, batch norms folded, ran 1.03 to 1.07 times as fast, after 25 s
for each size.
On an H100, ViT-B/16 evaluated 8,040 perturbed inputs a second in place of 5,460 in bf16, after 15 s
for each size, and ResNet-50 17,200 in place of 7,760 (experiments/speed/gpu_forwards.md).
"""

NO_GAIN = Gain(0.0, 0.0, "no gain is known for this device and precision")


def pays(rows: int, per_forward: float, gain: Gain) -> bool:
    """Whether rows x seconds of a forward x saved share exceeds the seconds of compilation.

    Args:
        rows: Perturbed inputs of the whole run.
        per_forward: Seconds of one, uncompiled.
        gain: What compilation brings and costs.

    >>> pays(10_000, 0.02, Gain(0.36, 50.0, ""))  # 72 s
    True
    >>> pays(5_000, 0.02, Gain(0.36, 50.0, ""))
    False
    """
    return rows * per_forward * gain.saved > gain.seconds


def chosen(experiment: Experiment) -> Experiment:
    """The experiment with its compiled model, or without it where that does not pay.

    The decision is remembered in the cache folder, so that a run that goes on decides as before;
    what is measured at a first compilation decides for other experiments with the same model.

    Args:
        experiment: One whose `quick` holds a compiled model.
    """
    memory = cache_folder(None) / "compile.json"
    key, known = _key(experiment), recall(memory)
    if key in known:
        compiled, reason = bool(known[key]["compiled"]), f"{known[key]['reason']} (as before)"
    else:
        compiled, reason = _decide(experiment, memory)
        remember(memory, key, {"compiled": compiled, "reason": reason})
    log.info("compile=auto: %s; %s", "compiled" if compiled else "not compiled", reason)
    return experiment if compiled else _without(experiment)


def _without(experiment: Experiment) -> Experiment:
    return replace(experiment, quick=experiment.quick.uncompiled())


def _decide(experiment: Experiment, memory: Path) -> tuple[bool, str]:
    """Whether to compile, and why."""
    if missing := compiling.lacking(experiment.device):
        return False, missing
    place = _place(experiment)
    kind = (experiment.device.type, experiment.quick.precision)
    measured = recall(memory).get(place)
    gain = Gain(**measured) if measured else EXPECTED.get(kind, NO_GAIN)
    if gain.saved <= 0:
        return False, "it saves nothing" if measured else gain.source
    rows, seconds = cost.perturbed(_without(experiment))
    if not pays(rows, seconds, gain):
        return False, described(rows, seconds, gain)
    if not measured:
        gain = _measured(experiment, seconds)
        remember(memory, place, vars(gain))
    compiled = experiment.quick.compiled
    if compiled is not None and compiled.broken:
        return False, f"it does not work here ({compiled.broken})"
    return pays(rows, seconds, gain), described(rows, seconds, gain)


def _measured(experiment: Experiment, per_forward: float) -> Gain:
    """Compile one of the two sizes, and time it."""
    compiled = experiment.quick.compiled
    assert compiled is not None
    before = compiled.seconds
    seconds = cost.perturbed_seconds(experiment)
    saved = 0.0 if compiled.broken or per_forward <= 0 else 1 - seconds / per_forward
    return Gain(saved, 2 * (compiled.seconds - before), "measured")


def described(rows: int, per_forward: float, gain: Gain) -> str:
    """The sums of the rule in words.

    >>> described(10_000, 0.02, Gain(0.36, 50.0, "measured"))
    '10,000 perturbed inputs take 200 s, of which 36 % or 72 s are saved for 50 s (measured)'
    """
    whole = rows * per_forward
    return (
        f"{rows:,} perturbed inputs take {whole:.0f} s, of which {gain.saved:.0%} or "
        f"{whole * gain.saved:.0f} s are saved for {gain.seconds:.0f} s ({gain.source})"
    ).replace("%", " %")


def _place(experiment: Experiment) -> str:
    """What decides how fast a model is, compiled or not."""
    e = experiment
    return _hashed(
        *("gain", bool(e.folded)),
        *(e.model.weights_hash, e.model.channels_last, str(e.device), str(e.dtype)),
        *(e.quick.precision, tuple(e.data.shape), e.batch_size),
        *(torch.get_num_threads(), torch.__version__),
    )


def _key(experiment: Experiment) -> str:
    """What decides how fast a model is, and how many rows of it a run takes."""
    e = experiment
    parts = [sorted((k, repr(v)) for k, v in each.items()) for each in (e.methods, e.metrics)]
    return _hashed(_place(e), e.data.name, len(e.data), parts, repr(e.baseline), e.seed)


def _hashed(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()


def recall(memory: Path) -> dict[str, dict[str, Any]]:
    """Decisions and gains of earlier runs, without those that are not what they should be."""
    found = answers.recall(memory)
    return {key: value for key, value in found.items() if _is_gain(value) or _is_decision(value)}


def _is_gain(value: Any) -> bool:
    if not isinstance(value, Mapping) or set(value) != {"saved", "seconds", "source"}:
        return False
    numbers = [value["saved"], value["seconds"]]
    return all(isinstance(n, int | float) and math.isfinite(n) for n in numbers)


def _is_decision(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and set(value) == {"compiled", "reason"}
        and isinstance(value["compiled"], bool)
    )


def remember(memory: Path, key: str, value: Mapping[str, Any]) -> None:
    """Add an entry, replacing the file in one step."""
    answers.remember(
        memory,
        recall(memory) | {key: dict(value)},
        "what compile=auto came to",
        "set compile=true or false, or a stopped run may begin again with the other",
    )
