"""Load samples in every way, and compare what arrives."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import torch

from igbench.data.digits import digits
from igbench.errors import SampleError
from igbench.evaluation import loading

CPU = torch.device("cpu")
TIMED = ("seconds", "peak_memory")
SOON = 20.0
"""Seconds that a test waits for what should happen at once, on a machine that is busy."""


def opened(source, settings, order=None, batch=2):
    return loading.opened(
        source,
        range(len(source)) if order is None else order,
        settings,
        device=CPU,
        batch=batch,
    )


def loaded(source, settings, **options):
    """Each sample, or its reason."""
    found = []
    with opened(source, settings, **options) as ready:
        for i in range(len(source)):
            try:
                found.append(ready.load(i))
            except SampleError as error:
                found.append(str(error))
    return found


def assert_equal(one, other):
    """To the last bit, strides included, as kernels are chosen by them."""
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        if isinstance(a, str):
            assert a == b
        else:
            assert torch.equal(a, b)
            assert (a.dtype, a.stride()) == (b.dtype, b.stride())


def stuck_digits(model, *, limit, marker, at):
    """Held-out digits, one of which is never loaded."""
    given = digits(model, limit=limit)

    def load(i):
        if i == at:
            Path(marker).write_text(str(os.getpid()))
            time.sleep(1000)
        return given.load(i)

    return replace(given, load=load)


def plain(results):
    """All but times, as text, so that NaN equals NaN and each bit counts."""
    rows = [r._replace(seconds=0.0) for r in results.rows if r.metric not in TIMED]
    return [list(map(repr, rows)), list(map(repr, results.points)), results.samples]
