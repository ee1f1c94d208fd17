"""Samples and rows are the same whoever loads them."""

from __future__ import annotations

from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

from igbench.__main__ import main
from igbench.config import build, compose
from igbench.core.model import Model, Preprocess
from igbench.data.digits import digits
from igbench.data.given import given as given_data
from igbench.data.imagenet import imagenet
from igbench.data.photographs import photographs
from igbench.errors import InputError
from igbench.evaluation import loader_workers, loading, loop
from igbench.evaluation.loading import Loading
from igbench.run import runner
from igbench.run.executors.base import Work
from igbench.run.executors.serial import Serial
from igbench.run.shards import shards
from tests.helpers.experiments import data, experiment
from tests.helpers.loading import CPU, TIMED, assert_equal, loaded, opened, plain

pytestmark = pytest.mark.usefixtures("cache")


# -- the packaged data sets -----------------------------------------------------------------


def source(name, tmp_path):
    seen = Preprocess(40, 32, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bicubic")
    net = Model("net", nn.Identity(), tuple("abcdefghij"), "", "0", "made here")
    seer = replace(net, class_names=tuple(map(str, range(1000))), preprocess=seen)
    if name == "digits":
        return digits(net, limit=5)
    if name == "photographs":
        return photographs(seer, limit=5)
    if name == "folder":
        for k in ("3", "7"):
            (tmp_path / k).mkdir()
            for i in range(2):
                Image.effect_noise((50, 45), 60).convert("RGB").save(tmp_path / k / f"{k}{i}.png")
        (tmp_path / "3" / "broken.jpg").write_bytes(b"\xff\xd8 not a photograph")
        return imagenet(seer, limit=None, root=str(tmp_path))
    x = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return given_data(x.to(memory_format=torch.channels_last))


@pytest.mark.parametrize("name", ["digits", "photographs", "folder", "tensors"])
def test_packaged_data_are_the_same_whoever_loads(name, tmp_path):
    given = source(name, tmp_path)
    plain = loaded(given, Loading())
    assert sum(isinstance(x, str) for x in plain) == (name == "folder")
    for i, x in enumerate(plain):
        if not isinstance(x, str):
            assert torch.equal(x, given.load(i))
    for settings in (Loading(0, 1, 60), Loading(1, 1, 60), Loading(2, 2, 60), Loading(2, 1, None)):
        assert_equal(plain, loaded(given, settings))


def test_a_view_is_sent_alone():
    """A row of a large tensor does not take the tensor along."""
    x = torch.zeros(1000, 4)
    given = given_data(x)
    for settings in (Loading(), Loading(1)):
        with opened(given, settings) as ready:
            assert ready.load(0).untyped_storage().nbytes() == 4 * 4


@pytest.mark.slow
def test_spawned_processes(monkeypatch):
    monkeypatch.setattr(loader_workers, "START", "spawn")
    given = source("digits", None)
    assert_equal(loaded(given, Loading()), loaded(given, Loading(1, 1, 60)))
    with (
        pytest.raises(InputError, match=r"cannot be started .*; set loading.workers=0"),
        opened(replace(given, load=lambda i: given.load(i)), Loading(1)),
    ):
        raise AssertionError("a closure cannot travel")


# -- rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize("only", [None, [1]])
def test_rows_are_the_same_whoever_loads(only):
    """With closures that fail, in whole runs and for one shard."""
    base = experiment(data=data(broken={1, 5}), shard_size=2)
    expected = plain(loop.run(base, only=only))
    assert "truncated" in str(expected[0]) or only
    for settings in (Loading(0, 1, 60), Loading(1, 1, 60), Loading(2, 2, 60), Loading(2)):
        assert plain(loop.run(replace(base, loading=settings), only=only)) == expected


def test_the_serial_engine_loads_across_shards(tmp_path, monkeypatch):
    started = []
    real = loading.LoaderWorkers
    monkeypatch.setattr(
        loading,
        "LoaderWorkers",
        lambda load, order, **o: started.append(order) or real(load, order, **o),
    )
    found = {}
    for workers in (0, 1, 2):
        e = experiment(data=data(broken={3}), shard_size=2, loading=Loading(workers, 1, 60))
        pieces = shards(e)
        folder = tmp_path / str(workers)
        # A run that goes on: its first shard is done.
        Serial().run(Work(e, build.experiment, {}, pieces[1:], folder), lambda stage, samples: None)
        tables = {}
        for path in sorted(folder.glob("*.parquet")):
            frame = pq.read_table(path).to_pandas()
            if "metric" in frame:
                frame = frame[~frame["metric"].isin(TIMED)].drop(columns="seconds")
            tables[path.name] = frame.to_csv()
        found[workers] = tables
    assert [list(order) for order in started] == [[2, 3, 4, 5]] * 2, "once for all shards"
    assert len(found[0]) == 2 * 2
    assert found[0] == found[1] == found[2], "names, which are keys, and content"


def test_how_samples_are_loaded_is_no_part_of_keys():
    words = ["experiment=digits_resnet", "limit=3", "batch_size=4", "metric=[completeness]"]
    jobs = [
        runner.job(compose.compose([*words, *more]))
        for more in ([], ["loading.workers=2", "loading.prefetch=5", "loading.timeout=null"])
    ]
    assert [job.experiment.loading for job in jobs] == [
        Loading("auto", 2, 120),
        Loading(2, 5, None),
    ]
    assert jobs[0].shards == jobs[1].shards
    assert jobs[0].identity == jobs[1].identity


# -- settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": -1}, "loading.workers=-1"),
        ({"workers": True}, "loading.workers=True"),
        ({"workers": "many"}, "loading.workers=many"),
        ({"workers": 1.5}, "loading.workers=1.5"),
        ({"prefetch": 0}, "loading.prefetch=0"),
        ({"prefetch": None}, "loading.prefetch=None"),
        ({"timeout": 0}, "loading.timeout=0"),
        ({"timeout": float("inf")}, "loading.timeout=inf"),
        ({"timeout": "soon"}, "loading.timeout=soon"),
    ],
)
def test_settings_that_make_no_sense(options, said):
    with pytest.raises(InputError, match=said):
        Loading(**options)


def test_auto(monkeypatch):
    auto, gpu = Loading("auto"), torch.device("cuda")
    monkeypatch.setattr(loading, "_cores", lambda: 16)
    assert auto.processes(CPU, 1000, 8) == 0
    assert auto.processes(gpu, 1000, 8) == 4
    assert auto.processes(gpu, 8, 8) == 0
    assert Loading(3).processes(CPU, 2, 8) == 2
    monkeypatch.setattr(loading, "_cores", lambda: 1)
    assert auto.processes(gpu, 1000, 8) == 0


def test_from_the_command_line(tmp_path, capsys):
    words = ["plan", "experiment=digits_resnet", "limit=2", f"results_dir={tmp_path}"]
    assert main([*words, "loading.workers=-1"]) == 2
    assert "loading.workers=-1" in capsys.readouterr().err
    assert main([*words, "loading.worker=1"]) == 2
    assert "'workers'" in capsys.readouterr().err
    config = compose.compose(words[1:])
    with pytest.raises(InputError, match="'workers'"):
        build.experiment({**config, "loading": {"worker": 1}})
    assert build.experiment({**config, "loading": None}).loading == Loading()
