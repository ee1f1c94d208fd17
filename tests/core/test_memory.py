"""Is freed memory kept where that is asked for, and given back, and do loads leave no threads?

In processes of their own: the setting is that of a process, and so are page faults.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from igbench.core import memory

GLIBC = memory._libc() is not None
needs_glibc = pytest.mark.skipif(not GLIBC, reason="the allocator is not that of glibc")

FAULTS = """
import resource, sys, torch
from igbench.core import memory
if sys.argv[1] == "keep":
    assert memory.keep_freed()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def fill():
    torch.ones(12_000_000)  # 48 MB: 11,719 pages of 4 KiB
for _ in range(20):  # aligned blocks settle after some rounds
    fill()
before = faults()
for _ in range(10):
    fill()
print(faults() - before)
"""

THREADS = """
import os, time, torch
from igbench.evaluation.loader_workers import Limited
torch.ones(10**6).exp()
def threads():
    return len(os.listdir("/proc/self/task"))
before = threads()
for _ in range(5):
    assert Limited(lambda i: torch.ones(10**6).exp(), 60.0)[0].x is not None
for _ in range(100):
    if threads() <= before:
        break
    time.sleep(0.05)
print(threads() - before)
"""


def ask(script: str, *words: str, **environment: str) -> int:
    found = subprocess.run(
        [sys.executable, "-c", script, *words],
        check=True, capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    return int(found.stdout)


@pytest.mark.slow
@needs_glibc
def test_kept_memory_is_not_handed_out_again_page_by_page():
    pages = 48_000_000 // 4096
    assert ask(FAULTS, "plain") > 9 * pages
    assert ask(FAULTS, "keep") < pages / 10


@needs_glibc
def test_settings_of_the_environment_stay(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("MALLOC_ARENA_MAX", "2")
        assert not memory.keep_freed()
    with monkeypatch.context() as patch:
        patch.setenv("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1")
        assert not memory.keep_freed()


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert not memory.keep_freed()
    memory.give_back()


@needs_glibc
def test_free_memory_is_given_back():
    script = """
import torch
from igbench.core import memory
memory.keep_freed()
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
torch.ones(50_000_000)
kept = resident()
memory.give_back()
print(kept - resident())
"""
    assert ask(script) > 190_000_000  # 200 MB, but for what the heap has grown by otherwise


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_load_leaves_no_threads_behind():
    # Threads of OpenMP that outlive a load slow the model down, as there are more than cores then.
    assert ask(THREADS, OMP_NUM_THREADS="2") == 0
