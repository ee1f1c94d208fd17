"""Memory does not grow with the number of steps."""

from __future__ import annotations

import subprocess
import sys

import pytest

from igbench.core import memory

SCRIPT = """
import torch
from torch import nn
from igbench.core import memory
from igbench.integration.adaptive import adaptive_integrated_gradients
from igbench.integration.integrate import integrated_gradients
from igbench.core.score import Score, frozen

torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                    nn.Linear(8, 1)).eval()
x, device = torch.randn(2, 3, 96, 96), torch.device("cpu")
score, zero = Score(net, batch_size=8), torch.zeros_like(x)
with frozen(net):
    integrated_gradients(score, x, zero, n_steps=20)
    for n in (20, 500):  # 480 more points of 221 kB would be 106 MB
        memory.reset_peak(device)
        integrated_gradients(score, x, zero, rule="middle", n_steps=n)
        print(memory.peak(device))
    for n in (17, 513):
        memory.reset_peak(device)
        adaptive_integrated_gradients(score, x, zero, tolerance=1e-9, max_steps=n)
        print(memory.peak(device))
"""


@pytest.mark.skipif(not memory._CLEAR.exists(), reason="peaks cannot be reset on this system")
def test_peak_memory_is_flat_in_the_number_of_steps():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    few, many, coarse, fine = map(float, done.stdout.split())
    assert many < 1.1 * few
    assert fine < 1.1 * coarse
