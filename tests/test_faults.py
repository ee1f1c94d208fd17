"""Whatever happens to a run: nothing is lost, nothing is hidden.

Each test brings one fault about, and compares what survives, to the last bit, with a run that
nothing happened to.  Runs that are killed while they work, for hours, are in `experiments/soak`.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from igbench import report
from igbench.__main__ import main
from igbench.config import compose
from igbench.data.photographs import PHOTOS
from igbench.evaluation import batch_size, loop
from igbench.metrics.faithfulness.removal import Deletion
from igbench.models import digits_resnet
from igbench.records import store
from igbench.report import html, plots
from igbench.run import checkpoint, fingerprint, lock, runner
from igbench.schema import COSTS
from tests.helpers import faults
from tests.helpers.runs import assert_same, only_run

SHARDS = 4
# float64: a sample whose neighbour is gone is computed in a batch of another size, where float32
# may differ by more than the 1e-9 that is asked for.
RUN = [
    "experiment=digits_resnet",
    "limit=8",
    f"samples_at_once={8 // SHARDS}",
    "convergence=1",
    "keep_maps=1",
    "batch_size=16",
    "dtype=float64",
    "method=[ig,random]",
    "method.ig.n_steps=4",
    "metric=[completeness,deletion]",
    "metric.deletion.step=8",
    "metric.deletion.occluder=baseline",
    "metric.deletion.scalar=score",
]
METRICS = ("completeness", "deletion")
ROOT = Path(__file__).parent.parent


pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(autouse=True)
def quick(monkeypatch, request):
    """Reports cost more than these runs: they are drawn where a test is about them."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(report, "write_report", faults.sketch)


@pytest.fixture
def drawn():
    """Asks for reports as they are."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing happens to."""
    where = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_report", faults.sketch)
        assert main([*RUN, f"results_dir={where}"]) == 0
    return only_run(where)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def disk():
    """A disk that can be filled; free again at the end."""
    disk = faults.Disk()
    yield disk
    disk.free()


@pytest.fixture
def at_shard(monkeypatch):
    """Makes something happen once, before the samples of a shard are loaded."""
    run = loop.run

    def install(number, happen):
        waiting = [happen]

        def watched(experiment, *rest, **more):
            if more.get("only") == [number] and waiting:
                waiting.pop()()
            return run(experiment, *rest, **more)

        monkeypatch.setattr(loop, "run", watched)

    return install


def line(capsys) -> str:
    """The one line that is said on the way out."""
    said = [s for s in capsys.readouterr().err.splitlines() if s.startswith("igbench: ")]
    assert len(said) == 1, said
    return said[0]


def goes_on(words: list[str], out: Path, whole: store.Records, found: int | None = None) -> None:
    """The same command finishes, with the rows of the run that nothing happened to."""
    assert main(words) == 0
    mine = only_run(out)
    assert_same(mine, whole)
    if found is not None:
        assert mine.run.environment["engine"]["found"] == found


def stopped(words: list[str], monkeypatch, shards: int = 2) -> None:
    """The command, stopped by Ctrl-C when some shards are done."""
    run, done = loop.run, []

    def stop(experiment, *rest, **more):
        if more.get("only"):
            if len(done) == shards:
                raise KeyboardInterrupt
            done.append(1)
        return run(experiment, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "run", stop)
        assert main(words) == 130


# -- the process ends ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def battlefield(tmp_path_factory, whole):
    """Runs that were killed at each place and, four times, at random moments."""
    where = tmp_path_factory.mktemp("killed")
    code = (
        "from tests.helpers import faults; from pathlib import Path; "
        f"faults.massacre({RUN!r}, Path({str(where)!r}), 5)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=False,
        cwd=ROOT,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr.decode()
    return where


@pytest.mark.parametrize("place", [*faults.PLACES, "random moments"])
def test_kill_9(battlefield, whole, place):
    out = battlefield / place
    goes_on([*RUN, f"results_dir={out}"], out, whole)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("number", [0, 2])
def test_asked_to_stop(out, whole, capsys, at_shard, how, number):
    words = [*RUN, f"results_dir={out}"]
    at_shard(number, lambda: os.kill(os.getpid(), how))
    assert main(words) == 130
    kept = f"{number} of {SHARDS} shards are saved" if number else "No shard was finished"
    assert kept in line(capsys)
    goes_on(words, out, whole, found=number)


def test_ctrl_c_while_the_report_is_drawn(out, whole, capsys, monkeypatch):
    words = [*RUN, f"results_dir={out}"]

    def stop(records):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(report, "write_report", stop)
        assert main(words) == 130
    said = line(capsys)
    assert "The run is saved in" in said
    assert_same(only_run(out), whole)
    goes_on(words, out, whole)


def test_a_run_beside_a_finished_one_is_stopped(out, whole, capsys, monkeypatch):
    words = [*RUN, f"results_dir={out}"]
    assert main(words) == 0
    first = only_run(out)
    stopped([*words, "overwrite=true"], monkeypatch)
    assert "Run the same command again without overwrite=true to resume" in line(capsys)
    assert main(["plan", *words]) == 0
    assert "2 of 4 shards" in capsys.readouterr().out
    assert main(words) == 0
    newest = store.read(store.latest(out, "digits_resnet"))
    assert newest.folder != first.folder
    assert newest.run.environment["engine"]["found"] == 2, "its own shards, not the other run"
    assert_same(newest, whole)
    assert len(list((out / "digits_resnet").iterdir())) == 2


# -- the disk --------------------------------------------------------------------------------


def test_full_disk_while_a_shard_is_written(out, whole, capsys, at_shard, disk):
    words = [*RUN, f"results_dir={out}"]
    at_shard(2, disk.fill)
    assert main(words) == 2
    disk.free()
    assert re.search(r"cannot save samples 4 to 5 .*Earlier shards are saved", line(capsys))
    goes_on(words, out, whole, found=2)


@pytest.mark.parametrize(
    "writes",
    ["store._fill", "store.pq.write_table", "store.pd.DataFrame.to_csv", "store.Path.write_bytes"],
    ids=["record", "rows", "summary", "maps"],
)
def test_full_disk_while_the_run_folder_is_written(out, whole, capsys, monkeypatch, disk, writes):
    words = [*RUN, f"results_dir={out}"]
    *parents, name = writes.split(".")
    place = store
    for parent in parents[1:]:
        place = getattr(place, parent)
    real, fill = getattr(place, name), store._fill

    def no_room(*args, **named):
        disk.fill()
        return real(*args, **named)

    def filling(*args):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, no_room)
            fill(*args)

    with monkeypatch.context() as patch:
        patch.setattr(store, "_fill", no_room if name == "_fill" else filling)
        assert main(words) == 2
    disk.free()
    assert re.search(r"cannot write .*File too large.*Finished shards are saved", line(capsys))
    assert not store.runs(out / "digits_resnet")
    goes_on(words, out, whole, found=SHARDS)


def test_power_cut(out, whole, capsys, monkeypatch):
    """What a run is made of goes when all of it is on the disk, and not before."""
    words = [*RUN, f"results_dir={out}"]
    synced = []

    def fails(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def sync(descriptor):
        shards = len(list(out.rglob("shards/*.json")))
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink(), shards))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        assert main(words) == 2
    assert "Input/output error. Finished shards are saved" in line(capsys)
    monkeypatch.setattr(os, "fsync", sync)
    goes_on(words, out, whole, found=SHARDS)
    made = {"report.html", "tables", "scores.md"}
    files = {p.name for p in Path(only_run(out).folder).rglob("*")} - made
    home = (out / "digits_resnet").resolve()
    assert files <= {path.name for path, _ in synced}
    assert synced[-1] == (home, SHARDS), "the name in its folder last, and the shards still there"


def test_full_disk_while_the_report_is_drawn(out, whole, capsys, monkeypatch, disk, drawn):
    words = [*RUN, f"results_dir={out}"]
    page = html.page

    def no_room(*args):
        disk.fill()
        return page(*args)

    with monkeypatch.context() as patch:
        patch.setattr(html, "page", no_room)
        assert main(words) == 2
    disk.free()
    said = line(capsys)
    assert "File too large" in said
    assert_same(only_run(out), whole)
    (folder,) = store.runs(out / "digits_resnet")
    assert f"igbench report {folder}" in said
    assert not list(folder.glob("report*")), "half a page would be taken for a whole one"
    assert main(words) == 0
    assert "</html>" in _page(out)


def test_read_only_results(capsys):
    # procfs takes no files, not even from root, whom permission bits do not stop.
    assert main([*RUN, "results_dir=/proc/igbench"]) == 2
    assert "cannot write to /proc/igbench" in line(capsys)


def test_results_that_become_read_only(out, whole, capsys, monkeypatch, at_shard):
    words = [*RUN, f"results_dir={out}"]

    def refuse(self, content):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    with monkeypatch.context() as patch:
        at_shard(3, lambda: patch.setattr(Path, "write_bytes", refuse))
        assert main(words) == 2
    assert "Read-only file system" in line(capsys)
    goes_on(words, out, whole, found=3)


def test_read_only_cache(out, whole, monkeypatch, caplog):
    trained = digits_resnet.digits_resnet().module
    monkeypatch.setattr(digits_resnet, "train", lambda data, recipe: trained)
    monkeypatch.setattr(batch_size, "_search", lambda *args: 16)
    monkeypatch.setenv("IGBENCH_CACHE", "/proc/igbench")
    words = [*RUN, "batch_size=auto", f"results_dir={out}"]
    with caplog.at_level(logging.WARNING):
        assert main(words) == 0
    assert_same(only_run(out), whole)
    assert "digits_resnet is not cached" in caplog.text
    assert "cannot remember the batch size" in caplog.text
    assert "set batch_size=16" in caplog.text


def test_results_are_deleted_while_it_runs(out, whole, capsys, at_shard):
    words = [*RUN, f"results_dir={out}"]
    at_shard(2, lambda: shutil.rmtree(out))
    assert main(words) == 2
    assert "lacks shard 0; run the same command again" in line(capsys)
    goes_on(words, out, whole, found=2)


def test_no_hard_links(out, whole, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with lock.held(out), pytest.raises(Exception, match="is locked by"), lock.held(out):
        pass
    goes_on([*RUN, f"results_dir={out}"], out, whole)


# -- files are damaged -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "suffix"),
    [(how, checkpoint.ROWS) for how in ("cut", "flip", "empty", "lost", "unreadable")]
    + [("flip", checkpoint.MAPS), ("flip", checkpoint.MANIFEST), ("lost", checkpoint.MANIFEST)],
)
def test_damaged_shard(out, whole, monkeypatch, caplog, how, suffix):
    words = [*RUN, f"results_dir={out}"]
    stopped(words, monkeypatch)
    key = runner.job(compose.compose(words)).shards[0].key
    (path,) = [p for p in out.rglob(f"{key}*{suffix}") if p.name.count(".") == 1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    if how in ("cut", "flip", "empty"):
        path.write_bytes({"cut": content[:-9], "flip": content, "empty": b""}[how])
    elif how == "lost":
        path.unlink()
    else:
        os.utime(path, (1, 1))
    read = Path.read_bytes

    def fails(self):
        if self == path and self.stat().st_mtime == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))
        return read(self)

    if how == "unreadable":
        monkeypatch.setattr(Path, "read_bytes", fails)
    with caplog.at_level(logging.WARNING):
        goes_on(words, out, whole, found=1)
    # Without its manifest a shard was never finished: nothing to warn of.
    told = (how, suffix) != ("lost", checkpoint.MANIFEST)
    assert ("samples 0 to 1 are done again" in caplog.text) == told


@pytest.mark.parametrize("whose", ["another", "own"])
def test_damaged_record_of_a_run(out, whole, monkeypatch, caplog, whose):
    words = [*RUN, f"results_dir={out}"]
    assert main([*words, "seed=1"] if whose == "another" else words) == 0
    (other,) = store.runs(out / "digits_resnet")
    path = other / store.RUN_FILE
    path.write_bytes(path.read_bytes()[:-50])
    with caplog.at_level(logging.WARNING):
        assert main(words) == 0
    assert ("damaged" in caplog.text) == (whose == "own")
    folders = store.runs(out / "digits_resnet")
    assert len(folders) == 2, "the damaged one is left alone"
    assert_same(store.read(folders[-1]), whole)
    assert main(words) == 0
    assert store.runs(out / "digits_resnet") == folders, "found"


def test_damaged_rows_of_a_finished_run(out, whole, capsys):
    words = [*RUN, f"results_dir={out}"]
    assert main(words) == 0
    (folder,) = store.runs(out / "digits_resnet")
    path = folder / store.SCORES_FILE
    path.write_bytes(path.read_bytes()[:-50])
    assert main(words) == 2
    assert "repeat it with overwrite=true" in line(capsys)
    assert main([*words, "overwrite=true"]) == 0
    assert_same(store.read(store.latest(out, "digits_resnet")), whole)


@pytest.mark.parametrize("content", [b"\xff{", b'{"a": "b"}', None], ids=repr)
def test_damaged_memory_of_batch_sizes(tmp_path, out, whole, monkeypatch, caplog, content):
    folder = tmp_path / "cache"
    shutil.copytree(os.environ["IGBENCH_CACHE"], folder)
    memory = folder / "rows.json"
    memory.unlink(missing_ok=True)
    if content is None:
        memory.mkdir()
    else:
        memory.write_bytes(content)
    monkeypatch.setenv("IGBENCH_CACHE", str(folder))
    monkeypatch.setattr(batch_size, "_search", lambda *args: 16)
    words = [*RUN, "batch_size=auto", f"results_dir={out}"]
    stopped(words, monkeypatch)
    goes_on(words, out, whole, found=2)
    if content is not None:
        assert list(json.loads(memory.read_text()).values()) == [16]


# -- samples, models, methods and metrics fail -----------------------------------------------


ALL = [faults.sample_at(i) for i in range(8)]
BAD = 3
"""Position of the sample that fails; its neighbour in the batch is 2."""


def surviving(found: store.Records, whole: store.Records, lost: set[tuple[str, str, str]]):
    """Check that exactly the cells `lost` failed, and that all others are as they were.

    To the last bit, where their batch is the same; the others, neighbours of what was lost, to the
    1e-9 to which numbers may depend on the size of a batch.

    Returns the reasons of those that failed.
    """
    key = ["method", "metric", "sample_id"]
    mine, other = (r.scores[~r.scores["metric"].isin(COSTS)].set_index(key) for r in (found, whole))
    assert set(mine.index) >= set(other.index), "no row is lost"
    failed = mine[mine["status"] == "failed"]
    assert set(failed.index) == lost, "every failure is said, and no other"
    ids = [s["sample_id"] for s in whole.run.samples]
    gone = {s for s in ids if {c for c in other.index if c[2] == s} <= lost}
    near = {s for i, s in enumerate(ids) if {ids[i], ids[i ^ 1]} & gone}
    columns = ["value", "status", "reason", "std_error"]
    _compare(mine[columns], other[columns].drop(index=lost & set(other.index)), near)
    key = ["method", "curve", "sample_id", "x"]
    mine, other = (r.curves.set_index(key)[["y"]] for r in (found, whole))
    _compare(
        mine, other.drop(index=[p for p in other.index if p[:3] in lost or p[2] in gone]), near
    )
    return failed["reason"]


def _compare(mine: pd.DataFrame, other: pd.DataFrame, near: set[str]) -> None:
    mine = mine.loc[other.index]
    by = other.index.get_level_values("sample_id").isin(list(near))
    pd.testing.assert_frame_equal(mine[~by], other[~by], check_exact=True)
    pd.testing.assert_frame_equal(mine[by], other[by], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("group", "how", "position", "reason"),
    [
        ("data", "nans", BAD, "the sample holds NaN or infinite values"),
        ("data", "shape", BAD, "has shape (1, 8, 9), expected (1, 8, 8)"),
        ("data", "shape", 0, "has shape (1, 8, 9), expected (1, 8, 8)"),
        ("data", "corrupt", BAD, "cannot read image 'digit.png': truncated"),
        ("model", "nans", BAD, "the model returned NaN or infinite outputs"),
        ("model", "raise", BAD, "RuntimeError: cannot digest this"),
        ("model", "raise", 0, "RuntimeError: cannot digest this"),
    ],
)
def test_a_sample_that_fails(out, whole, capsys, group, how, position, reason):
    change = [
        f"{group}._target_=tests.helpers.faults.bad_{'digits' if group == 'data' else 'resnet'}",
        f"+{group}.how={how}",
        f"+{group}.position={position}",
    ]
    assert main([*RUN, *change, f"results_dir={out}"]) == 3
    lost = {(method, metric, ALL[position]) for method in ("ig", "random") for metric in METRICS}
    shown = capsys.readouterr().out
    assert "4 cells failed" in shown
    assert reason in shown
    mine = only_run(out)
    assert mine.run.state == "finished with failures"
    assert set(surviving(mine, whole, lost)) == {reason}


@pytest.mark.parametrize(
    ("how", "sample", "reason"),
    [
        ("raise", ALL[BAD], "RuntimeError: out of luck"),
        ("raise", "", "RuntimeError: out of luck"),
        ("exit", ALL[BAD], "SystemExit: 0"),
        ("nans", ALL[BAD], "the attribution holds NaN"),
        ("shape", "", "must match"),
        ("none", ALL[BAD], "AttributeError"),
    ],
)
def test_a_method_that_fails(out, whole, how, reason, sample):
    words = [
        *RUN,
        f"+method.bad={{_target_:tests.helpers.faults.BadMethod,how:{how},sample:'{sample}'}}",
    ]
    assert main([*words, f"results_dir={out}"]) == 3
    lost = {("bad", metric, s) for metric in METRICS for s in ALL if sample in ("", s)}
    assert all(reason in said for said in surviving(only_run(out), whole, lost))


@pytest.mark.parametrize(
    ("how", "sample", "reason"),
    [
        ("observe", ALL[BAD], "RuntimeError: cannot look"),
        ("measure", ALL[BAD], "RuntimeError: cannot count"),
        ("measure", "", "RuntimeError: cannot count"),
        ("exit", ALL[BAD], "SystemExit: 0"),
        ("shape", ALL[BAD], "the metric's value has shape ()"),
        ("curve", ALL[BAD], "the curve 'bad' has shape (1, 1)"),
        ("forget", "", "the metric measured nothing; it was given"),
    ],
)
def test_a_metric_that_fails(out, whole, how, reason, sample):
    bad = (
        f"_target_:tests.helpers.faults.BadMetric,how:{how},sample:'{sample}',step:8,features:pixel"
    )
    words = [*RUN, f"+metric.bad={{{bad}}}"]
    assert main([*words, f"results_dir={out}"]) == 3
    lost = {(method, "bad", s) for method in ("ig", "random") for s in ALL if sample in ("", s)}
    mine = only_run(out)
    assert all(reason in said for said in surviving(mine, whole, lost))
    # It is deletion, and where it works it says what deletion says.
    good = [s for s in ALL if sample not in ("", s)]
    scores = mine.scores.set_index(["metric", "method", "sample_id"])["value"]
    for method in ("ig", "random"):
        for s in good:
            assert scores["bad", method, s] == pytest.approx(
                scores["deletion", method, s], rel=1e-9
            )
    points = mine.curves
    assert set(points[points["curve"] == "bad"]["sample_id"]) == set(good)


def test_a_report_of_failures_only(out, drawn):
    bad = "+method.bad={_target_:tests.helpers.faults.BadMethod,how:raise}"
    words = [w for w in RUN if not w.startswith("method")]
    assert main([*words, "method=[random]", bad, f"results_dir={out}"]) == 3
    assert "out of luck" in _page(out)


def _page(out: Path) -> str:
    return (Path(only_run(out).folder) / "report.html").read_text(encoding="utf-8")


def test_out_of_memory(out, tmp_path, caplog):
    model = ["model._target_=tests.helpers.faults.bad_resnet"]
    with caplog.at_level(logging.WARNING):
        assert main([*RUN, *model, "+model.most=4", f"results_dir={out}"]) == 0
    for rows in (8, 4):
        assert f"out of memory; from now on {rows} model rows in one call" in caplog.text
    few = tmp_path / "few"
    assert main([*RUN, *model, "batch_size=4", f"results_dir={few}"]) == 0
    mine, other = only_run(out), only_run(few)
    assert mine.run.state == "finished"
    assert mine.run.identity["rows"] > 4
    assert mine.run.totals["rows_in_a_call"] == other.run.totals["rows_in_a_call"] == 4
    surviving(mine, other, set())


def test_a_model_that_cannot_be_timed(out, tmp_path, monkeypatch, caplog):
    """It fails on the first sample alone, and so does the run."""
    model = ["model._target_=tests.helpers.faults.bad_resnet", "+model.how=raise"]
    assert main([*RUN, *model, "batch_size=1", f"results_dir={out}"]) == 3
    folder = tmp_path / "cache"
    shutil.copytree(os.environ["IGBENCH_CACHE"], folder)
    (folder / "rows.json").unlink(missing_ok=True)
    monkeypatch.setenv("IGBENCH_CACHE", str(folder))
    auto = tmp_path / "auto"
    with caplog.at_level(logging.WARNING):
        assert main([*RUN, *model, "batch_size=auto", f"results_dir={auto}"]) == 3
    assert "the model cannot be timed (RuntimeError: " in caplog.text
    assert not (folder / "rows.json").exists()
    assert_same(only_run(auto), only_run(out))


def test_out_of_memory_for_a_single_row(out, capsys):
    model = ["model._target_=tests.helpers.faults.bad_resnet", "+model.most=0"]
    assert main([*RUN, *model, f"results_dir={out}"]) == 3
    assert "allocate memory" in capsys.readouterr().out
    assert set(only_run(out).scores["status"]) == {"failed"}


@pytest.mark.parametrize("how", ["cut", "text", "empty", "lost"])
def test_an_image_that_is_none(tmp_path, out, capsys, at_shard, how):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, photo in enumerate(sorted(PHOTOS.glob("*.jpg"))[:4]):
        Image.open(photo).resize((24, 16)).save(photos / f"p{number}.png")
    words = [w for w in RUN if not w.startswith(("limit", "samples_at_once", "batch_size"))]
    words += [
        "data=photographs",
        f"data.path={photos}",
        "model._target_=tests.helpers.faults.photo_net",
        "limit=4",
        "samples_at_once=2",
        "batch_size=16",
    ]
    assert main([*words, f"results_dir={tmp_path / 'good'}"]) == 0
    good = only_run(tmp_path / "good")
    capsys.readouterr()
    bad = good.run.samples[2]["sample_id"]
    path = photos / f"{bad}.png"
    content = path.read_bytes()

    def spoil():
        if how == "lost":
            path.unlink()
        else:
            path.write_bytes({"cut": content[:150], "text": b"a text", "empty": b""}[how])

    if how == "lost":
        at_shard(1, spoil)
    else:
        spoil()
    assert main([*words, f"results_dir={out}"]) == 3
    lost = {(method, metric, bad) for method in ("ig", "random") for metric in METRICS}
    reasons = set(surviving(only_run(out), good, lost))
    assert len(reasons) == 1
    assert f"{bad}.png" in reasons.pop()
    assert "4 cells failed" in capsys.readouterr().out


# -- others are at work ----------------------------------------------------------------------


def test_the_same_run_twice_at_once(out, whole, capsys, at_shard):
    words = [*RUN, f"results_dir={out}"]
    seen = []
    at_shard(2, lambda: seen.append(main(words)))
    goes_on(words, out, whole, found=0)
    assert seen == [2]
    assert f"locked by process {os.getpid()}" in line(capsys)


def test_another_run_into_the_same_folder(out, whole, at_shard):
    words = [*RUN, f"results_dir={out}"]
    seen = []
    at_shard(2, lambda: seen.append(main([*words, "seed=1"])))
    assert main(words) == 0
    assert seen == [0]
    runs = [store.read(folder) for folder in (out / "digits_resnet").iterdir()]
    assert len(runs) == 2
    (mine,) = [r for r in runs if r.run.config["seed"] == 0]
    assert_same(mine, whole)


@pytest.mark.parametrize("owner", ["dead", "elsewhere", "empty"])
def test_a_lock_is_left(out, whole, capsys, monkeypatch, owner):
    words = [*RUN, f"results_dir={out}"]
    stopped(words, monkeypatch)
    capsys.readouterr()
    path = runner.job(compose.compose(words)).partial / lock.NAME
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          check=True, capture_output=True, text=True)  # fmt: skip
    said = {
        "dead": {"pid": int(gone.stdout), "host": socket.gethostname(), "born": "1"},
        "elsewhere": {"pid": 1, "host": "elsewhere", "born": "1"},
        "empty": {},
    }[owner]
    path.write_text(json.dumps(said))
    if owner == "elsewhere":
        assert main(words) == 2
        assert f"process 1 on elsewhere; wait for it, or delete {path}" in line(capsys)
        path.unlink()
    goes_on(words, out, whole, found=2)


# -- time passes -----------------------------------------------------------------------------


def clock_at(monkeypatch, year: int) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(year, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(runner, "datetime", Clock)


def test_the_clock_goes_back(out, whole, monkeypatch):
    words = [*RUN, f"results_dir={out}"]
    clock_at(monkeypatch, 2031)
    assert main(words) == 0
    first = only_run(out)
    future = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
    os.utime(Path(first.folder) / store.RUN_FILE, (future, future))
    clock_at(monkeypatch, 2021)
    stopped([*words, "overwrite=true"], monkeypatch)
    clock_at(monkeypatch, 2011)
    assert main(words) == 0
    newest = store.latest(out, "digits_resnet")
    assert newest != Path(first.folder)
    assert newest.name[:15] == "20310101-000001", "sorts after the other"
    second = store.read(newest)
    assert second.run.created == "2011-01-01T00:00:00+00:00", "what the clock said is on record"
    assert second.run.environment["engine"]["found"] == 2
    assert_same(second, whole)
    assert runner.job(compose.compose(words)).finished() == newest


def test_other_weights_between_attempts(tmp_path, out, whole, monkeypatch):
    folder = tmp_path / "cache"
    shutil.copytree(os.environ["IGBENCH_CACHE"], folder)
    monkeypatch.setenv("IGBENCH_CACHE", str(folder))
    words = [*RUN, f"results_dir={out}"]
    stopped(words, monkeypatch)
    (path,) = folder.glob("*.safetensors")
    state = load_file(path)
    state["fc.weight"] *= 1.01
    save_file(state, path)
    assert main(words) == 0
    (mine,) = [store.read(folder) for folder in store.runs(out / "digits_resnet")]
    assert mine.run.environment["engine"]["found"] == 0
    assert mine.run.comparability["weights"] != whole.run.comparability["weights"]
    assert main([*RUN, f"results_dir={tmp_path / 'fresh'}"]) == 0
    assert_same(mine, only_run(tmp_path / "fresh"))
    assert len(list(out.rglob("shards/*.json"))) == 2, "those of the other weights are kept"


def test_another_configuration_between_attempts(tmp_path, out, whole, monkeypatch):
    words = [*RUN, f"results_dir={out}"]
    stopped([*words, "method.ig.n_steps=9"], monkeypatch)
    assert main(words) == 0
    (folder,) = store.runs(out / "digits_resnet")
    mine = store.read(folder)
    assert mine.run.environment["engine"]["found"] == 0
    assert_same(mine, whole)


@pytest.mark.parametrize("how", ["version", "code"])
def test_another_metric_between_attempts(out, whole, monkeypatch, how):
    words = [*RUN, f"results_dir={out}"]
    stopped(words, monkeypatch)
    if how == "code":
        real = fingerprint.of_metric
        monkeypatch.setattr(
            fingerprint, "of_metric", lambda m: "new" if isinstance(m, Deletion) else real(m)
        )
    else:
        spec = Deletion.spec.fget
        newer = property(lambda self: spec(self).__class__(**{**vars(spec(self)), "version": 9}))
        monkeypatch.setattr(Deletion, "spec", newer)
    run, asked = loop.run, []

    def spy(experiment, *rest, **more):
        if more.get("only"):
            asked.append(list(experiment.metrics))
        return run(experiment, *rest, **more)

    monkeypatch.setattr(loop, "run", spy)
    assert main(words) == 0
    assert asked == [["deletion"]] * 2 + [list(METRICS)] * 2
    (folder,) = store.runs(out / "digits_resnet")
    surviving(store.read(folder), whole, set())


# -- the report ------------------------------------------------------------------------------


def test_a_report_that_cannot_be_drawn(out, whole, capsys, monkeypatch, drawn):
    words = [*RUN, f"results_dir={out}"]

    def fails(*args):
        raise RuntimeError("no such font")

    with monkeypatch.context() as patch:
        patch.setattr(plots, "figures", fails)
        assert main(words) == 2
        said = line(capsys)
        assert main(words) == 2, "it is not taken for done"
    (folder,) = store.runs(out / "digits_resnet")
    assert f"RuntimeError: no such font); the run is saved in {folder}" in said
    assert_same(only_run(out), whole)
    assert main(["report", str(folder)]) == 0
    assert "</html>" in _page(out)
    before = store.read(folder)
    assert main(words) == 0
    assert only_run(out).run == before.run


def test_the_table_of_faults_names_tests_that_exist():
    text = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    _, _, section = text.partition("# When something goes wrong")
    named = re.findall(r"`(?:(tests/[\w/]+\.py)::)?(test_\w+)`", section)
    own = Path(__file__).read_text(encoding="utf-8")
    for file, name in named:
        where = (ROOT / file).read_text(encoding="utf-8") if file else own
        assert f"\ndef {name}(" in where, name
    told = {name for file, name in named if not file}
    mine = set(re.findall(r"\ndef (test_\w+)\(", own))
    assert mine - told == {"test_the_table_of_faults_names_tests_that_exist"}
