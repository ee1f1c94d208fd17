"""No sample takes the run or its loaders down, or fills the memory."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from igbench.data.digits import digit_id, load_split
from igbench.errors import InputError
from igbench.evaluation import loader_workers, loading, loop
from igbench.evaluation.loading import Loading
from tests.helpers.experiments import N, data, experiment
from tests.helpers.loading import CPU, SOON, assert_equal, loaded, opened, plain

pytestmark = pytest.mark.usefixtures("cache")


# -- samples that bring trouble -------------------------------------------------------------


def troubled(trouble, at=2):
    """Six samples, one of which brings trouble before it is loaded."""
    given = data()

    def load(i):
        if i == at:
            trouble()
        return given.load(i)

    return replace(given, load=load)


def sleep_for_ever():
    time.sleep(1000)


def hold_everything():
    """Sleep in C without letting other threads of the process go on."""
    ctypes.PyDLL(None).sleep(1000)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_load_that_hangs_is_a_failed_sample(workers):
    begun = time.monotonic()
    e = experiment(data=troubled(sleep_for_ever), shard_size=4, loading=Loading(workers, 1, 0.5))
    results = loop.run(e)
    assert {r.sample_id: r.reason for r in results.rows if r.status == "failed"} == {
        "s2": "loading took longer than 0.5 s"
    }
    assert [s["status"] for s in results.samples] == ["ok", "ok", "failed", "ok", "ok", "ok"]
    assert time.monotonic() - begun < SOON
    expected = loop.run(replace(e, data=data(broken={2}), loading=Loading()))
    assert [r for r in plain(results)[0] if "s2" not in r] == [
        r for r in plain(expected)[0] if "s2" not in r
    ]


def test_a_load_that_holds_its_process(monkeypatch):
    """Not even a thread can give it up; the process is replaced."""
    monkeypatch.setattr(loader_workers, "GRACE", 1.0)
    given = troubled(hold_everything)
    expected = [*loaded(data(), Loading())]
    expected[2] = "loading took longer than 0.5 s"
    for workers in (1, 2):
        assert_equal(loaded(given, Loading(workers, 1, 0.5)), expected)


def test_an_answer_that_comes_too_late_is_not_that_of_another_sample():
    given = troubled(lambda: time.sleep(0.6))
    found = loaded(given, Loading(0, 1, 0.3))
    time.sleep(0.5)
    expected = [*loaded(data(), Loading())]
    expected[2] = "loading took longer than 0.3 s"
    assert_equal(found, expected)


def test_a_process_that_is_killed_once(tmp_path, caplog):
    """By the system, which wants memory back: what it had is loaded again."""
    marker = tmp_path / "marker"

    def die():
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    expected = loaded(data(), Loading())
    for workers in (1, 2):
        marker.unlink(missing_ok=True)
        caplog.clear()
        assert_equal(loaded(troubled(die), Loading(workers, 2, 60)), expected)
        assert "was killed by SIGKILL; out of memory?; loading again" in caplog.text


def test_a_process_whose_connection_is_gone_before_it_is(monkeypatch):
    """Its end is waited for, since only that tells what happened."""

    def dying():
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)

    def receive(loader, device, asked, answers):
        process = multiprocessing.get_context(loader_workers.START).Process(target=dying)
        process.start()
        answers.put((process,))
        answers.put(ConnectionResetError(104, "Connection reset by peer"))

    monkeypatch.setattr(loader_workers, "_receive", receive)
    members = loader_workers.LoaderWorkers(
        loader_workers.Limited(data().load, 60),
        range(N),
        processes=1,
        ahead=1,
        device=torch.device("cpu"),
    )
    with pytest.raises(loader_workers.LostError, match="was killed by SIGKILL; out of memory"):
        members.receive()
    members.dismiss()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_sample_that_kills_whoever_loads_it(workers):
    """It alone fails, although others are on their way when it strikes."""
    given = troubled(lambda: os.kill(os.getpid(), signal.SIGSEGV), at=4)
    expected = [*loaded(data(), Loading())]
    expected[4] = "the process that loads it was killed by SIGSEGV"
    assert_equal(loaded(given, Loading(workers, 2, 60)), expected)


def test_a_lost_process_is_nothing_to_who_does_not_ask():
    """No error appears in the middle of other work, and Ctrl-C and its like are as they were."""
    before = signal.getsignal(signal.SIGCHLD)
    with opened(data(), Loading(2, 1, 60)) as ready:
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        for _ in range(1000):
            assert signal.getsignal(signal.SIGCHLD) == before
        assert_equal([ready.load(i) for i in range(N)], loaded(data(), Loading()))


def test_no_more_processes_to_be_had(monkeypatch, caplog):
    """Processes are lost, and the system gives no others: this one loads."""
    expected = loaded(data(), Loading())
    with opened(data(), Loading(1, 1, 60)) as ready:
        found = [ready.load(0)]
        for process in multiprocessing.active_children():
            process.kill()
            process.join()

        def refused(*arguments, **options):
            raise InputError("no more processes")

        monkeypatch.setattr(loading, "LoaderWorkers", refused)
        found += [ready.load(i) for i in range(1, N)]
    assert_equal(found, expected)
    assert "going on without" in caplog.text


def test_whatever_a_loader_raises_becomes_a_reason():
    def stumble():
        raise OSError("the disk\nis gone")

    for settings in (Loading(), Loading(0, 1, 60), Loading(1, 1, 60)):
        assert loaded(troubled(stumble), settings)[2] == "OSError: the disk is gone"
        assert loaded(replace(data(), load=lambda i: None), settings)[0] == (
            "the loader returned a NoneType, not a tensor"
        )


def test_a_request_to_stop_is_passed_on():
    def stop():
        raise KeyboardInterrupt

    for settings in (Loading(), Loading(0, 1, 60)):
        with opened(troubled(stop), settings) as ready:
            assert ready.load(1) is not None
            with pytest.raises(KeyboardInterrupt):
                ready.load(2)
            assert torch.equal(ready.load(3), data().load(3))


def test_out_of_order():
    """What is not asked for in the order that was told is loaded all the same."""
    given = data()
    with opened(given, Loading(2, 1, 60), order=[1, 4, 0]) as ready:
        for i in (1, 5, 4, 1, 0, 2):
            assert torch.equal(ready.load(i), given.load(i))


def test_processes_load_and_go_when_all_is_loaded():
    """In turn, so that each has its share; the samples behind them need no process any more."""
    given = replace(data(), load=lambda i: torch.tensor(os.getpid()))
    with opened(given, Loading(2, 1, 60)) as ready:
        own = [int(ready.load(i)) for i in range(N)]
        assert not multiprocessing.active_children()
    assert own == [*own[:2]] * 3
    assert len({os.getpid(), *own}) == 3


def test_processes_are_not_waited_for():
    given = replace(data(), load=lambda i: sleep_for_ever())
    with opened(given, Loading(2, 1, None)):
        time.sleep(0.3)
        begun = time.monotonic()
    assert time.monotonic() - begun < 4  # torch would give them 5 seconds to end


def test_opened_twice_is_opened_once():
    with opened(data(), Loading(1)) as ready, opened(ready, Loading(2)) as again:
        assert again is ready
        assert len(multiprocessing.active_children()) == 1


def test_the_first_sample():
    given = data(broken={0, 1})
    i, x = loading.first(given, Loading(2, 1, 60))
    assert i == 2
    assert torch.equal(x, given.load(2))
    assert loading.first(data(broken=set(range(N))), Loading()) is None
    assert loading.first(troubled(sleep_for_ever, at=0), Loading(0, 1, 0.2))[0] == 1


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    loaded(data(), Loading(2, 1, 60))
    assert torch.equal(torch.get_rng_state(), before)


# -- memory ---------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [Loading(), Loading(0, 1, 60), Loading(2, 2, 60)])
def test_samples_do_not_pile_up(settings):
    """However many there are: held are those of one batch, and on their way those ahead."""
    batch, samples = 4, 40
    begun = multiprocessing.get_context("fork").Value("i", 0)

    def load(i):
        with begun.get_lock():
            begun.value += 1
        return torch.full((3, 8, 8), float(i + 1))

    given = replace(
        data(), load=load, sample_ids=tuple(map(str, range(samples))), labels=(0,) * samples
    )
    alive: list[weakref.ref] = []
    held, ahead = [], []
    asked = 0

    def look(batch_of):
        held.append(sum(r() is not None for r in alive))

    class Watch:
        spec = experiment().methods["random"].spec

        def __call__(self, batch_of):
            look(batch_of)
            return batch_of.x

    class Seen(loading.Stream):
        def __call__(self, i):
            nonlocal asked
            x = super().__call__(i)
            asked += 1
            ahead.append(begun.value - asked)
            alive.append(weakref.ref(x))
            return x

    e = experiment(
        data=given, methods={"watch": Watch()}, metrics={}, shard_size=batch, loading=settings
    )
    order = range(samples)
    stream = Seen(load, order, settings, device=CPU, batch=batch)
    loop.run(replace(e, data=replace(given, load=stream)))
    stream.close()
    assert asked == samples
    assert len(held) == samples // batch
    # The loop joins a batch into one tensor; of single samples it may keep a reference for a while.
    assert max(held) <= batch
    most = math_ceil_to(settings.prefetch * batch, settings.workers) if settings.workers else 0
    # One is replaced while it is handed over.
    assert max(ahead) <= most + bool(settings.workers)


def math_ceil_to(value, step):
    return -(-value // step) * step


# -- whole processes ------------------------------------------------------------------------


def start(tmp_path, workers, *more):
    """A run that will hang at its last sample, in a process group of its own."""
    words = [
        "experiment=digits_resnet", "limit=4", "shard_size=2", "convergence=0",
        "batch_size=4", "method=[saliency]", "metric=[completeness]",
        "data._target_=tests.helpers.loading.stuck_digits", "+data.at=3",
        f"+data.marker={tmp_path / 'marker'}", f"results_dir={tmp_path / 'results'}",
        f"loading.workers={workers}", *more,
    ]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-W", "error::ResourceWarning", "-m", "igbench", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )


def wait_for(condition):
    end = time.monotonic() + 6 * SOON
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def group(number):
    """Living processes of a group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == number and fields[0] not in "ZX":
            found.append(path.parent.name)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_while_a_load_hangs(tmp_path, workers):
    run = start(tmp_path, workers)
    wait_for(lambda: (tmp_path / "marker").exists() or run.poll() is not None)
    time.sleep(1.5)  # the shard before is done, and the hung sample is waited for
    begun = time.monotonic()
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to all of them
    said, _ = run.communicate(timeout=SOON)
    assert run.returncode == 130, said
    assert "1 of 2 shards are saved" in said
    assert "Traceback" not in said
    assert time.monotonic() - begun < SOON
    wait_for(lambda: not group(run.pid))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_processes_end_with_a_run_that_is_killed(tmp_path):
    run = start(tmp_path, 2)
    wait_for(lambda: (tmp_path / "marker").exists() or run.poll() is not None)
    time.sleep(0.5)
    run.kill()
    run.communicate(timeout=2 * SOON)
    wait_for(lambda: not group(run.pid))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_with_a_load_that_hangs_finishes(tmp_path, workers):
    """And its process ends, although the load does not."""
    run = start(tmp_path, workers, "loading.timeout=1")
    said, _ = run.communicate(timeout=6 * SOON)
    assert run.returncode == 3, said
    assert f"{digit_id(load_split().held_out[3])}: loading took longer than 1 s" in said
    if sys.platform == "linux":
        wait_for(lambda: not group(run.pid))
