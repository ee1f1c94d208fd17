"""Pieces of a report are shared by processes, with the results of one."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from igbench import report
from igbench.report import workers
from igbench.schema import Records
from tests.helpers.synthetic import METHODS, make_records, sample_ids

linux = pytest.mark.skipif(sys.platform != "linux", reason="no safe fork")
two_processes = pytest.mark.skipif(workers.processes(2) < 2, reason="one core, or not Linux")
HERE = os.getpid()


def slow(i: int) -> tuple[int, int]:
    time.sleep(0.02)
    return i, os.getpid()


@two_processes
def test_both_processes_take_pieces_and_results_keep_their_order() -> None:
    found = workers.shared([partial(slow, i) for i in range(40)])
    assert [i for i, _ in found] == list(range(40))
    processes = {pid for _, pid in found}
    assert os.getpid() in processes
    assert len(processes) == workers.processes(40)


@linux
@pytest.mark.parametrize(("cores", "pieces", "expected"), [(3, 9, 3), (64, 9, 4), (64, 2, 2)])
def test_as_many_processes_as_there_are_cores_and_pieces(
    monkeypatch: Any, cores: int, pieces: int, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    assert workers.processes(pieces) == expected
    together = multiprocessing.get_context("fork").Barrier(expected, timeout=60)

    def piece() -> int:
        together.wait()  # until each of the processes has one
        return os.getpid()

    assert len(set(workers.shared([piece] * expected))) == expected


def test_one_process_does_all_where_there_is_no_second_core(monkeypatch: Any) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0}, raising=False)
    assert workers.processes(5) == 1
    assert {pid for _, pid in workers.shared([partial(slow, i) for i in range(4)])} == {os.getpid()}


def test_nothing_and_one_piece_start_no_process() -> None:
    assert workers.shared([]) == []
    assert workers.shared([os.getpid]) == [os.getpid()]


def dies() -> int:
    if os.getpid() != HERE:
        os._exit(1)
    time.sleep(0.02)
    return 1


def fails_elsewhere() -> int:
    if os.getpid() != HERE:
        raise RuntimeError
    time.sleep(0.02)
    return 1


def not_pickled() -> Callable[[], int]:
    time.sleep(0.02)
    return lambda: 1


@pytest.mark.parametrize("piece", [dies, fails_elsewhere])
def test_what_the_fork_does_not_deliver_is_done_here(piece: Callable[[], int]) -> None:
    global HERE
    HERE = os.getpid()
    assert workers.shared([piece] * 10) == [1] * 10


@pytest.mark.filterwarnings("ignore")
def test_results_that_cannot_be_pickled_are_made_here() -> None:
    assert [made() for made in workers.shared([not_pickled] * 6)] == [1] * 6


@two_processes
def test_a_fork_that_hangs_is_given_up(monkeypatch: Any) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.2)
    here = os.getpid()

    def piece() -> int:
        time.sleep(0.02 if os.getpid() == here else 60)
        return 1

    assert workers.shared([piece] * 6) == [1] * 6


def test_an_error_is_that_of_the_piece() -> None:
    def piece() -> int:
        raise ValueError("no data")

    with pytest.raises(ValueError, match="no data"):
        workers.shared([piece] * 3)


def test_a_fork_works_beside_threads_of_torch() -> None:
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            torch.rand(200, 200) @ torch.rand(200, 200)

    busy = threading.Thread(target=compute)
    busy.start()
    try:
        assert [i for i, _ in workers.shared([partial(slow, i) for i in range(6)])] == [*range(6)]
    finally:
        stop.set()
        busy.join()


def with_maps(folder: str) -> Records:
    rng, ids = np.random.default_rng(0), sample_ids(24)[:2]
    records = make_records()
    maps: dict[str, Any] = {m: {s: rng.normal(size=(16, 16)) for s in ids} for m in METHODS}
    maps["inputs"] = {s: rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for s in ids}
    return replace(records, maps=maps, folder=folder)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@two_processes
def test_a_report_has_the_same_bytes_from_one_and_from_several_processes(
    tmp_path: Path, monkeypatch: Any
) -> None:
    made = []
    for count in (3, 1):
        monkeypatch.setattr(workers, "processes", lambda _pieces, own=count: own)
        folder = tmp_path / str(count)
        folder.mkdir()
        report.write_report(with_maps(str(folder)))
        made.append(files(folder))
    assert len(made[0]) > 20
    assert made[0].keys() == made[1].keys()
    assert [name for name in made[0] if made[0][name] != made[1][name]] == []
