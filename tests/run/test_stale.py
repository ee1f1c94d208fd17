"""A change in code, in files or in what data hold is another key, wherever the change is."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from igbench.__main__ import main
from igbench.core.model import Preprocess
from igbench.data import imagenet as folders_of_images
from igbench.data.given import given
from igbench.data.masks import with_given
from igbench.data.mosaic import mosaic
from igbench.errors import InputError
from igbench.evaluation import loop
from igbench.methods import CallableMethod
from igbench.metrics import Deletion
from igbench.records import store
from igbench.run import contents, file_hashes, fingerprint, notes, sources
from igbench.run.shards import shards
from tests.helpers.experiments import data, experiment, model

NAME = "stale_study"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Writes files of code, and imports the module `stale_study` as a new process would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(**files: str):
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/').replace('INIT', '__init__')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return load

    def load():
        for name in list(sys.modules):
            if name.partition(".")[0] in (NAME, *(p.stem for p in tmp_path.iterdir())):
                del sys.modules[name]
        importlib.invalidate_caches()
        return importlib.import_module(NAME)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # texts of one size within a second
    yield write
    for name in list(sys.modules):
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


USES = {
    "absolute": "import stale_helper\ndef part(x):\n    return stale_helper.f(x)\n",
    "as": "import stale_pack.inner as c\ndef part(x):\n    return c.f(x)\n",
    "from": "from stale_helper import f\ndef part(x):\n    return f(x)\n",
    "within a function": "def part(x):\n    from stale_helper import f\n    return f(x)\n",
    "two deep": "from stale_between import f\ndef part(x):\n    return f(x)\n",
    "base class": "from stale_helper import Base\nclass part(Base):\n    pass\n",
    "factory": "from stale_helper import make\npart = make(3)\n",
    "decorator": "from stale_helper import twice\n@twice\ndef part(x):\n    return x\n",
    "partial": "from functools import partial\nimport stale_helper\n"
    "part = partial(stale_helper.f, 1)\n",
    "lambda": "from stale_helper import f\npart = lambda x: f(x)\n",
    "instance": "from stale_helper import Base\nclass Own:\n    def __init__(self):\n"
    "        self.inner = [Base()]\npart = Own()\n",
    "package": "from stale_pack import f\ndef part(x):\n    return f(x)\n",
    "relative": "from stale_pack.outer import f\ndef part(x):\n    return f(x)\n",
    "namespace": "from stale_space.inner import f\ndef part(x):\n    return f(x)\n",
    "by name": "from importlib import import_module\npart = import_module('stale_' + 'helper').f\n",
    "by name, late": "import importlib\ndef part(x, name='helper'):\n"
    "    return importlib.import_module(f'stale_{name}').f(x)\n",
}
HELPER = """
def f(x):
    return x * 2
class Base:
    def g(self):
        return 2
def make(n):
    return lambda x: n * x
def twice(g):
    return lambda x: g(x) * 2
"""
FILES = {
    "stale_helper": HELPER,
    "stale_between": "from stale_helper import f\n",
    "stale_pack__INIT": "from .inner import f\n",
    "stale_pack__inner": HELPER,
    "stale_pack__outer": "from . import inner\nfrom .inner import f\n",
    "stale_space__inner": HELPER,
    "stale_other": HELPER,
}


@pytest.mark.parametrize("how", USES)
def test_a_helper_counts_however_it_is_imported(study, how):
    load = study(**FILES, stale_study=USES[how])
    before = fingerprint.of_metric(load().part)
    assert fingerprint.of_metric(load().part) == before
    changed = {n: text.replace("2", "3") for n, text in FILES.items() if "2" in text}
    if how != "by name, late":  # which may import whatever is beside it
        study(stale_other=changed["stale_other"])
        assert fingerprint.of_metric(load().part) == before, "nothing imports it"
    study(**{n: "# A comment.\n" + text for n, text in FILES.items()})
    assert fingerprint.of_metric(load().part) == before
    study(**changed)
    assert fingerprint.of_metric(sys.modules[NAME].part) != before, "in the same process"
    assert fingerprint.of_metric(load().part) != before


def test_cycles_end_and_files_that_are_no_python_count_by_their_bytes(study, tmp_path):
    load = study(
        stale_study="import stale_a\ndef part(x):\n    import stale_broken\n",
        stale_a="import stale_study\n",
        stale_broken="this is no Python 1",
    )
    before = fingerprint.of_metric(load().part)
    names = {source.name for source in sources.code(load().part).files}
    assert names == {NAME, "stale_a", "stale_broken"}
    study(stale_broken="this is no Python 2")
    assert fingerprint.of_metric(load().part) != before


def test_two_files_that_change_places_are_another_code(study):
    one, two = "def f(x):\n    return x\n", "def f(x):\n    return -x\n"
    load = study(
        stale_study="import stale_a, stale_b\ndef part(x): ...\n", stale_a=one, stale_b=two
    )
    before = fingerprint.of_metric(load().part)
    study(stale_a=two, stale_b=one)
    assert fingerprint.of_metric(load().part) != before


def test_a_class_whose_module_was_not_kept_counts(tmp_path):
    def part(text):
        path = tmp_path / "hub.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location("hub", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.Net

    one = fingerprint.shared([part("class Net:\n    def f(self):\n        return 1\n")])
    assert one != fingerprint.shared([part("class Net:\n    def f(self):\n        return 22\n")])


def test_a_metric_of_the_user_changes_its_own_key_alone(study):
    text = (
        "from dataclasses import dataclass\nfrom igbench.metrics import Deletion\n"
        "from stale_helper import f\n@dataclass(frozen=True)\nclass Mine(Deletion):\n    pass\n"
    )
    load = study(**FILES, stale_study=text)

    def keys():
        own = load().Mine(8, occluder="baseline", scalar="score")
        metrics = {"mine": own, "deletion": Deletion(8, occluder="baseline", scalar="score")}
        (first, *_) = shards(experiment(metrics=metrics))
        return first.key, *(key for _, key in first.metrics)

    before = keys()
    assert "igbench.metrics.faithfulness.removal" in {
        source.name for source in sources.code(sys.modules[NAME].Mine).files
    }
    study(stale_helper=HELPER.replace("2", "3"))
    assert [a == b for a, b in zip(keys(), before, strict=True)] == [True, False, True]


def test_what_a_factory_of_a_metric_imports_is_in_its_key(study):
    text = "from igbench.metrics import Deletion\nfrom stale_helper import f\nmake = Deletion\n"
    load = study(**FILES, stale_study=f"{text}def made(step):\n    return Deletion(step)\n")
    node = {"m": {"_target_": f"{NAME}.made", "step": 8}}

    def keys():
        load()
        metrics = {"m": Deletion(8, occluder="baseline", scalar="score")}
        (first, *_) = shards(experiment(metrics=metrics), {"metric": node})
        return first.key, first.metrics

    before = keys()
    study(stale_helper=HELPER.replace("2", "3"))
    after = keys()
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_rooms_that_all_rows_depend_on_import_no_room_that_is_in_no_hash():
    for source in sources.shared():
        for line in sources.read(source.path).imports:
            room = f"{line.module}.{line.name}".split(".")[1:2]
            if line.module.partition(".")[0] == "igbench" and room != ["__version__"]:
                inside = room[0] in sources.SHARED or f"{room[0]}.py" in sources.SHARED
                assert inside or not room[0], f"{source.name} imports {line}"


def test_numbers_that_a_function_encloses_count():
    def key(alpha, values):
        method = CallableMethod(lambda x, t: alpha * x + values.sum(), kind="global")
        return shards(experiment(methods={"m": method}))[0].key

    assert key(0.5, np.ones(2)) == key(0.5, np.ones(2))
    assert len({key(0.5, np.ones(2)), key(0.6, np.ones(2)), key(0.5, np.zeros(2))}) == 3


# -- files and tensors of samples ------------------------------------------------------------


@pytest.fixture
def remembered(tmp_path, monkeypatch):
    """A cache folder, and files old enough that their hashes are remembered."""
    monkeypatch.setenv("IGBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(file_hashes, "SETTLED", 0)
    return tmp_path / "cache" / contents.MEMORY


def picture(path: Path, grey: int, size=(8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey, grey, grey)).save(path)
    return path


def images_of(folder: Path, **more):
    net = replace(model(), preprocess=Preprocess(8, 8, (0.5,) * 3, (0.5,) * 3))
    return folders_of_images.imagenet(net, limit=6, root=str(folder), **more)


@pytest.fixture
def pictures(tmp_path, remembered):
    """A folder of eight pictures in two classes."""
    for i in range(8):
        picture(tmp_path / "root" / "ab"[i % 2] / f"{i}.png", 20 * i + 1)
    return tmp_path / "root"


def keys_of(source) -> list[str]:
    return [shard.key for shard in shards(experiment(data=source, shard_size=1))]


def differing(source, before: list[str]) -> list[int]:
    return [i for i, (a, b) in enumerate(zip(keys_of(source), before, strict=True)) if a != b]


@pytest.mark.parametrize("how", ["in place", "same size and time", "link", "gone"])
def test_a_picture_that_changes_changes_its_own_shard(pictures, tmp_path, how):
    source = images_of(pictures)
    before = keys_of(source)
    assert keys_of(images_of(pictures)) == before
    (path,) = source.files(2)
    if how == "in place":
        picture(path, 250)
    elif how == "same size and time":
        then, size = path.stat(), path.stat().st_size
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
        assert path.stat().st_size == size
    elif how == "link":
        other = picture(tmp_path / "elsewhere.png", 251)
        path.unlink()
        path.symlink_to(other)
    else:
        path.unlink()
    assert differing(source, before) == [2]


def test_a_picture_of_the_pool_changes_all_shards(pictures):
    source = images_of(pictures)
    before = keys_of(source)
    picture(source.reference.load.paths[0], 252)
    assert differing(source, before) == list(range(6))


def test_the_content_of_a_folder_counts_and_its_place_does_not(pictures, tmp_path, monkeypatch):
    keys = []
    for name, grey in (("one", 0), ("two", 0), ("three", 9)):
        for i in range(8):
            picture(tmp_path / name / "root" / "ab"[i % 2] / f"{i}.png", 20 * i + grey)
        monkeypatch.chdir(tmp_path / name)
        keys.append(keys_of(images_of(Path("root"))))
    assert keys[0] == keys[1]
    assert not set(keys[0]) & set(keys[2])


def test_a_mask_counts_for_its_own_sample(pictures, tmp_path):
    masks = tmp_path / "masks"
    for sample in images_of(pictures).sample_ids:
        path = masks / f"{sample}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = Image.new("L", (8, 8))
        mask.paste(255, (0, 0, 4, 4))
        mask.save(path)
    source = images_of(pictures, masks=str(masks))
    before = keys_of(source)
    assert source.files(3)[1] == masks / f"{source.sample_ids[3]}.png"
    mask.paste(255, (0, 0, 5, 5))
    mask.save(source.files(3)[1])
    assert differing(source, before) == [3]
    assert differing(images_of(pictures, masks=str(masks)), before) == list(range(6))


def test_a_mosaic_is_read_from_the_files_of_its_tiles(pictures):
    source = mosaic(images_of(pictures), targets=2)
    before = keys_of(source)
    assert len(source.files(0)) == 4
    picture(source.files(0)[1], 253)
    with_it = [i for i in range(len(source)) if source.files(0)[1] in source.files(i)]
    assert differing(source, before) == with_it


def test_tensors_in_memory_count(remembered):
    x = torch.rand(6, 3, 8, 8)
    other = x.clone()
    other[4] += 1
    assert keys_of(given(x)) == keys_of(given(x.clone()))
    assert not set(keys_of(given(x))) & set(keys_of(given(other)))
    marks = torch.zeros(6, 8, 8)
    turned = marks.clone()
    turned[1, 2, 3] = 1
    plain = given(x)
    assert set(keys_of(with_given(plain, marks))).isdisjoint(keys_of(with_given(plain, turned)))


@pytest.mark.parametrize("kind", ["closure", "list", "frame", "paths", "texts", "memmap"])
def test_what_load_holds_counts_where_data_name_no_files(tmp_path, remembered, kind):
    import pandas as pd

    path = tmp_path / "numbers.npy"

    def source(number):
        values = np.full((6, 3, 8, 8), float(number))
        np.save(path, values)
        held = {
            "closure": torch.from_numpy(values),
            "list": [[float(number)], {"a": [number, 2]}],
            "frame": pd.DataFrame({"a": [number]}),
            "paths": [path],
            "texts": {"x": str(path)},
            "memmap": np.load(path, mmap_mode="r"),
        }[kind]
        return replace(data(), load=lambda i: held)

    assert keys_of(source(1)) == keys_of(source(1))
    assert set(keys_of(source(1))).isdisjoint(keys_of(source(2)))


def test_files_must_be_paths(remembered):
    with pytest.raises(InputError, match=r"Data.files\(0\) of data 'toy' returned str 'a.png'"):
        keys_of(replace(data(), files=lambda i: "a.png"))


def test_files_that_were_not_touched_are_not_read_again(pictures, remembered, monkeypatch):
    read, real = [], file_hashes._sha256
    monkeypatch.setattr(file_hashes, "_sha256", lambda p: read.append(p) or real(p))
    source = images_of(pictures)
    before = keys_of(source)
    assert len(read) == 8
    assert keys_of(source) == before
    assert len(read) == 8
    (memory,) = remembered.glob("*.json")
    text = memory.read_bytes()
    for damaged in (text[:-2], text.replace(b"a", b"b"), b"", b"[]"):
        memory.write_bytes(damaged)
        read.clear()
        assert keys_of(source) == before
        assert len(read) == 8, "a damaged memory is not believed"
        assert memory.read_bytes() == text
    monkeypatch.setattr(file_hashes, "SETTLED", 10**18)
    memory.unlink()
    assert keys_of(source) == before
    assert not memory.exists(), "files that may change unseen are read each time"


def test_a_memory_that_cannot_be_written_is_no_error(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    notes.remember(tmp_path / "file" / "m.json", {"a": 1})
    assert "cannot remember the hashes of files" in caplog.text
    assert notes.recall(tmp_path / "file" / "m.json") == {}


def test_pools_of_methods_are_followed():
    method = CallableMethod(partial(torch.add, torch.ones(1)), kind="global")
    other = CallableMethod(partial(torch.add, torch.zeros(1)), kind="global")
    assert contents.of_parts(method) != contents.of_parts(other)


# -- the whole way ---------------------------------------------------------------------------

STUDY = """
import torch
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.methods import CallableMethod
from igbench.models.weights import ready, state_hash
from torch import nn

def model():
    net = ready(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.linspace(-1, 1, p.numel()).view(p.shape))
    return Model("net", net, ("a", "b"), "", state_hash(net), "made")

def data(model, *, limit):
    x = torch.linspace(0, 1, 16).view(4, 4)
    names = ("s0", "s1", "s2", "s3")
    return Data("mine", "table", (4,), names, (0,) * 4, lambda i: x[i], "element", None,
                (0.0,), None, "made")

def method():
    def attribute(x, target):
        from stale_helper import f
        return f(x)
    return CallableMethod(attribute, kind="global")
"""


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "finished"])
def test_a_run_after_a_change_of_a_helper_has_the_rows_of_a_fresh_one(
    study, tmp_path, monkeypatch, remembered, stopped
):
    import igbench.report
    from tests.helpers import faults

    monkeypatch.setattr(igbench.report, "write_report", faults.sketch)
    conf = tmp_path / "conf"
    for group, name in (("model", "model"), ("data", "data"), ("method", "mine")):
        node = f"_target_: {NAME}.{name if group != 'method' else 'method'}\n"
        (conf / group).mkdir(parents=True)
        text = f"mine:\n  {node}" if group == "method" else node
        (conf / group / "mine.yaml").write_text(text)
    words = [
        *("--config-dir", str(conf), "model=mine", "data=mine", "method=[mine]", "name=mine"),
        *("metric=[completeness,complexity]", "baseline=zero", "batch_size=4", "shard_size=2"),
        *("convergence=0", "keep_maps=0", "experiment=digits_resnet", "limit=null"),
    ]
    load = study(stale_study=STUDY, stale_helper=HELPER)
    load()
    run = loop.run

    def stop(e, *rest, **more):
        if more.get("only") == [1]:
            raise KeyboardInterrupt
        return run(e, *rest, **more)

    with monkeypatch.context() as patch:
        if stopped:
            patch.setattr(loop, "run", stop)
        assert main([*words, f"results_dir={tmp_path}/out"]) == (130 if stopped else 0)
    study(stale_helper=HELPER.replace("2", "3"))
    load()
    for place in ("out", "fresh"):
        assert main([*words, f"results_dir={tmp_path}/{place}"]) == 0
    newest, fresh = (
        store.read(sorted(store.runs(tmp_path / place / "mine"))[-1]) for place in ("out", "fresh")
    )
    assert newest.run.environment["executor"]["found"] == 0
    columns = ["sample_id", "metric", "value", "status"]
    mine, other = (
        r.scores[r.scores.metric.isin(["completeness", "complexity"])][columns].reset_index(
            drop=True
        )
        for r in (newest, fresh)
    )
    assert len(mine) == 8
    assert mine.equals(other)
