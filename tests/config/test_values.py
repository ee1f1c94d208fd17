"""Any value of any key, any file and any target: used, or refused in one line before any work."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from igbench.__main__ import main
from igbench.config import build, compose, folders
from igbench.errors import InputError
from igbench.run import runner
from tests.helpers import parts

PARTS = "tests.helpers.parts"
HOSTILE = (
    0, -1, 1.5, 10**30, math.nan, math.inf, True, None, "", "no_such", "two\nlines", "\x1b[31m",
    [], [1], [None], {}, {"a": 1}, {1: 2}, "../up", b"x",
)  # fmt: skip
"""What a value may be by mistake."""

USED: dict[str, tuple[Any, ...]] = {
    "name": (0, "no_such"),
    "target": (0,),
    "limit": (None,),
    "seed": (0,),
    "loading": ({},),
    "loading.workers": (0,),
    "loading.timeout": (1.5, None),
    "keep_maps": (0,),
    "convergence": (0,),
    "results_dir": ("no_such", "../up"),
    "overwrite": (True,),
    "preset": (None, "no_such", "../up"),  # Hydra has resolved it
    "executor": (None, {}),
    "executor.threads": (None,),
}
"""Values that mean something."""


def base() -> dict[str, Any]:
    """A resolved configuration on a model that works at once."""
    words = ["experiment=digits_resnet", "method=[ig]", "metric=[completeness]", "batch_size=2"]
    found = compose.compose([*words, "convergence=0", "compile=eager"])
    return found | {"model": {"_target_": f"{PARTS}.model"}, "data": {"_target_": f"{PARTS}.data"}}


BASE = base()


def paths(node: dict[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in node.items():
        yield (*at, key)
        if isinstance(value, dict):
            yield from paths(value, (*at, key))


def changed(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The configuration with another value of one key."""
    config = copy.deepcopy(BASE)
    node = config
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return config


def refusal(config: dict[str, Any]) -> str:
    """Why a configuration is refused, "" where it is not."""
    try:
        runner.job(compose.complete(config))
    except InputError as error:
        return str(error)
    return ""


KEYS = [*paths(BASE), ("nope",), ("loading", "nope"), ("method", "nope"), ("model", "nope")]


@pytest.mark.parametrize("path", KEYS, ids=".".join)
def test_a_value_of_any_kind_is_used_or_refused_by_its_key(path):
    name, dotted = path[-1], ".".join(path)
    for value in HOSTILE:
        if dotted == "compile" and value is True:
            continue  # imports all of a compiler
        text = refusal(changed(path, value))
        if any(type(value) is type(used) and value == used for used in USED.get(dotted, ())):
            assert text == ""
            continue
        assert text.isprintable()
        assert name in text, value


def test_a_seed_may_be_a_date_and_time():
    assert refusal(changed(("seed",), 20261126103000123)) == ""
    assert "seed=9223372036854775808" in refusal(changed(("seed",), 2**63))


@pytest.mark.parametrize(
    ("path", "target", "message"),
    [
        ("model", "os.system", "_target_=os.system is of Python itself"),
        ("model", "builtins.eval", "is of Python itself"),
        ("data", "subprocess.run", "is of Python itself"),
        ("executor", "shutil.rmtree", "is of Python itself"),
        ("method.ig", "pickle.loads", "is of Python itself"),
        ("model", "nowhere.model", "cannot be imported: No module named 'nowhere'"),
        ("model", f"{PARTS}.no_such", "cannot be imported"),
        ("model", "model", "cannot be imported"),
        ("model", "..model", "cannot be imported"),
        ("model", f"{PARTS}.NUMBER", "is no class or function"),
        ("model", f"{PARTS}.nothing", "returned NoneType; it must return an igbench Model"),
        ("model", f"{PARTS}.raising", "raised RuntimeError: two lines"),
        ("model", f"{PARTS}.leaving", "raised SystemExit: 5"),
        ("model", "igbench.baselines.Zero", "returned Zero"),
        ("data", f"{PARTS}.nothing", "data is None; it must be an igbench Data"),
        ("data", f"{PARTS}.twice", "not unique"),
        ("data", f"{PARTS}.model", "data is of type Model"),
        ("baseline", f"{PARTS}.nothing", "baseline is None"),
        ("baseline", f"{PARTS}.model", "baseline is"),
        ("executor", f"{PARTS}.nothing", "has no run"),
        ("method.ig", f"{PARTS}.nothing", "method.ig is None, which cannot be called"),
        ("method.ig", f"{PARTS}.Bare", "method.ig is of type Bare without a definition"),
        ("method.ig", f"{PARTS}.Metric", "method.ig.spec is of type MetricSpec"),
        ("metric.completeness", f"{PARTS}.nothing", "metric.completeness is None without"),
        ("metric.completeness", f"{PARTS}.Method", "metric.completeness.spec is of type Method"),
        ("metric.completeness", f"{PARTS}.Unscored", "has no sharing_key, for_shape"),
    ],
)
def test_a_target_that_makes_no_part(path, target, message):
    parts.CALLS.clear()
    text = refusal(changed(tuple(path.split(".")), {"_target_": target}))
    assert message in text
    assert text.isprintable()
    assert "method" not in parts.CALLS


def test_a_target_of_python_is_not_called(tmp_path):
    made = tmp_path / "made"
    node = {"_target_": "os.mkdir", "path": str(made)}
    with pytest.raises(InputError, match="of Python itself"):
        build.construct(node, "model")
    assert not made.exists()


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(8)
)
FILES: dict[str, tuple[bytes, str]] = {
    "a key twice": (b"_target_: a.b\n_target_: c.d\n", "the key '_target_' is there twice"),
    "a nested key twice": (b"a:\n  b: 1\n  b: 2\n", "the key 'b' is there twice"),
    "tabs": (b"a:\n\tb: 1\n", "cannot be read"),
    "Latin-1": ("a: Böhle".encode("latin-1"), "can't decode"),
    "zeros": (b"\x00\x00\x00", "cannot be read"),
    "an object": (b"a: !!python/object/apply:os.system ['true']\n", "could not determine"),
    "a tag": (b"a: !mine 3\n", "could not determine"),
    "a billion laughs": (BOMB.encode(), "more than 100,000 values"),
    "itself": (b"a: &a [*a]\n", "an alias of itself"),
    "deep": (b"a: " + b"[" * 500 + b"]" * 500, "cannot be read"),
    "large": (b"a: " + b"x" * 1_000_001, "more than 1,000,000 bytes"),
    "a list": (b"[1, 2]\n", "must hold keys and values"),
    "a word": (b"word\n", "must hold keys and values"),
}


@pytest.fixture
def study(tmp_path, monkeypatch) -> Path:
    """A folder of own files, with a model that works."""
    for group in ("model", "experiment", "method"):
        (tmp_path / "conf" / group).mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text(f"_target_: {PARTS}.model\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "conf"


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_configuration(study, kind):
    content, message = FILES[kind]
    (study / "model" / "mine.yaml").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        compose.compose(["model=mine"])
    assert str(caught.value).isprintable()
    assert "mine.yaml" in str(caught.value)


@pytest.mark.parametrize("kind", ["a billion laughs", "a key twice", "an object"])
@pytest.mark.parametrize("entry", ["override /model: mine", "/model@model: mine", "model: [mine]"])
def test_files_of_a_defaults_list_are_read_alike(study, kind, entry):
    content, message = FILES[kind]
    (study / "model" / "mine.yaml").write_bytes(content)
    text = f"# @package _global_\ndefaults:\n  - {entry}\n  - _self_\nname: study\n"
    (study / "experiment" / "study.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        compose.compose(["experiment=study"])


def test_an_empty_file_has_no_target(study):
    (study / "model" / "mine.yaml").write_text("")
    node = compose.compose(["model=mine"])["model"]
    assert "model has no _target_" in refusal(BASE | {"model": node})


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_choice_that_is_no_file(study, make):
    (study / "model" / "mine.yaml").unlink()
    make(study / "model" / "mine.yaml")
    with pytest.raises(InputError, match="unknown model 'mine'"):
        compose.compose(["model=mine"])
    with pytest.raises(InputError, match="no regular file"):
        folders.read(study / "model" / "mine.yaml")


def test_a_file_without_permission_or_behind_a_broken_link(study):
    (study / "model" / "mine.yaml").unlink()
    (study / "model" / "mine.yaml").symlink_to(study / "gone.yaml")
    with pytest.raises(InputError, match="unknown model 'mine'"):
        compose.compose(["model=mine"])
    with pytest.raises(InputError, match="No such file"):
        folders.read(study / "model" / "mine.yaml")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("limit=[1]", "limit=[1] must be a whole number, or null"),
        ("limit=2.0", "limit=2.0 must be a whole number"),
        ("seed=x", "seed=x must be a whole number"),
        ("name={}", "name={} must be a text"),
        ("results_dir=3", "results_dir=3 must be a text"),
        ("overwrite=maybe", "overwrite=maybe must be true or false"),
        ("loading.workers=-1", "loading.workers=-1 must be auto, or a whole number"),
        ("executor.threads=1.5", "threads=1.5 must be a whole number, or null"),
        ("method.ig.n_steps=abc", "method.ig: n_steps='abc' must be a whole number"),
        ("method.ig.n_steps=50.0", "method.ig: n_steps=50.0 must be a whole number"),
        ("method.ig.rule=[left]", "method.ig: rule=('left',) must be a text"),
        ("metric.srg.step=nan", "metric.srg: step=nan must be a finite number"),
        ("metric.srg.features=patch:0", "metric.srg: features 'patch:0' do not fit any"),
        ("baseline.sigma=1e9", "baseline.sigma is 1000000000.0; it must be at most 10000"),
    ],
)
def test_the_command_line_says_it_in_one_line(study, tmp_path, capsys, word, message):
    (study / "data").mkdir()
    (study / "data" / "mine.yaml").write_text(f"_target_: {PARTS}.data\n")
    own = ["model=mine", "data=mine", "method=[ig]", "metric=[srg]", "baseline=blur", "device=cpu"]
    words = [*own, word, *([] if "results_dir" in word else [f"results_dir={tmp_path}/out"])]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("igbench: ")
    assert message in line
    assert not list(tmp_path.glob("out/*"))
