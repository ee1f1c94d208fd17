"""Every file in conf/ composes and builds; bad words get one clear line."""

from __future__ import annotations

import io

import pytest
import yaml
from rich.console import Console

from igbench.cli import listing
from igbench.config import build, compose
from igbench.errors import InputError
from igbench.metrics import Deletion

PLAIN = compose.compose([])


def included(said, config, at=""):
    """Keys that an experiment sets and that did not arrive."""
    lost = []
    for key, value in said.items():
        if key == "defaults":
            continue
        if isinstance(value, dict):
            lost += included(value, config.get(key, {}), f"{at}{key}.")
        elif config.get(key) != value:
            lost.append(f"{at}{key}")
    return lost


@pytest.mark.parametrize("name", compose.choices("experiment"))
def test_experiment_composes_and_changes_something(name):
    config = compose.compose([f"experiment={name}"])
    assert config["name"] == name
    said = yaml.safe_load((compose.FOLDER / "experiment" / f"{name}.yaml").read_text())
    # It may also say something of methods and metrics that are not chosen by default.
    files = {
        g: [n for n in said.get(g, {}) if n in compose.choices(g)] for g in ("method", "metric")
    }
    groups = {
        g: [n for n in [*config[g], *own] if n in compose.choices(g)] for g, own in files.items()
    }
    chosen = [f"{g}=[{','.join(dict.fromkeys(names))}]" for g, names in groups.items()]
    config = compose.compose([f"experiment={name}", *chosen])
    assert included(said, config) == []
    for entry in config["metric"]:
        build.construct(config["metric"][entry], f"metric.{entry}")


@pytest.mark.parametrize(
    "group",
    [*(pytest.param(g, marks=pytest.mark.slow) for g in ("model", "data")), "baseline", "executor"],
)
def test_single_choices_compose(group):
    for name in compose.choices(group):
        node = compose.compose([f"{group}={name}"])[group]
        assert callable(build.locate(node["_target_"], group))


def test_default_is_the_offline_experiment():
    assert PLAIN["name"] == "imagenet_lite"
    assert PLAIN["limit"] >= 16
    assert len(PLAIN["method"]) == 10


def test_command_line_wins_over_the_experiment():
    config = compose.compose(
        ["experiment=digits_resnet", "limit=3", "method=[ig,random]", "method.ig.n_steps=7"]
    )
    assert config["limit"] == 3
    assert list(config["method"]) == ["ig", "random"]
    assert config["method"]["ig"]["n_steps"] == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiment=imagenet_light"], r"unknown experiment 'imagenet_light'.*'imagenet_lite'"),
        (["method=[ig,oclusion]"], r"unknown method 'oclusion'.*'occlusion'"),
        (["metric=[sensitvity_n]"], r"unknown metric 'sensitvity_n'.*'sensitivity_n'"),
        (["model=resnet51"], r"unknown model 'resnet51'.*'resnet50'"),
        (["limt=3"], r"unknown key 'limt'.*'limit'"),
        (["limit=[3"], r"limit=\[3"),
    ],
)
def test_unknown_words_name_the_nearest(words, message):
    with pytest.raises(InputError, match=message) as caught:
        compose.compose(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("~method", r"'~method.NAME' leaves one out"),
        ("~method.foo", r"leaves out a method that is not chosen; chosen: ig, ig_captum"),
        ("~metric=srg", r"'~metric.NAME' leaves one out"),
        ("~model", r"every run needs it; choose another one: model=NAME"),
        ("~limit", r"every run needs it; set limit=VALUE"),
        ("~limt", r"unknown key 'limt'.*'limit'"),
        ("+limit=3", r"'limit' exists, so '\+limit=3' needs no sign; write limit=3"),
        ("+model=resnet18", r"needs no sign; write model=resnet18"),
        ("+loading.workers=1", r"needs no sign; write loading.workers=1"),
        ("+limt=3", r"unknown key 'limt', which nothing would read. Did you mean 'limit'"),
        ("++limt=3", r"unknown key 'limt', which nothing would read"),
        ("limit=", r"'limit=' has no value; write limit=VALUE, or limit=null for none"),
        ("model=", r"'model=' has no value; write model=VALUE\."),
        ("limit", r"'limit' is no key=value; write limit=VALUE"),
        ("limit:3", r"write limit=3\."),
        ("limit = 3", r"write limit=3\."),
        ("limit==3", r"write limit=3\."),
        ("=3", r"write KEY=3"),
        ("method=ig,occlusion", r"write 'method=\[ig,occlusion\]', or put -m before it"),
        ("method=[ig saliency]", r"needs commas: 'method=\[ig,saliency\]'"),
        ("model=resnet18,resnet50", r"several values; put -m before it"),
        ("seed=1,2", r"several values; put -m before it"),
        ("method.ig=3", r"method.ig=3 is no set of parameters"),
        ("loading.worker=2", r"known: workers, prefetch, timeout. Did you mean 'workers'"),
        ("experiment.limit=3", r"Did you mean 'limit'"),
        ("limit=${foo}", r"'foo' not found \(in 'limit=\$\{foo\}'\)"),
        ("name=../up", r"cannot be a folder in results_dir"),
        ("name=.hidden", r"cannot be a folder in results_dir"),
    ],
)
def test_words_that_are_nearly_right_are_answered_with_the_right_one(word, message):
    with pytest.raises(InputError, match=message) as caught:
        compose.compose([word])
    assert "\n" not in str(caught.value)


def test_any_path_can_be_given_as_it_is():
    for path in (
        "~/x", "/fotos/é", "a (2)", "it's", "a#b;c&d!", "a=b", "C:\\x\\", "caf\udce9", "a\\'b", '"',
    ):  # fmt: skip
        config = compose.compose(["data=photographs", f"data.path={path}"])
        assert config["data"]["path"] == path
    assert compose.compose(["data=photographs", "data.path='a,b'"])["data"]["path"] == "a,b"


@pytest.mark.parametrize(
    "word",
    [
        "~method.ig", "~experiment", "+method=saliency", "limit=null", "model.variant=x",
        "results_dir='a,b'", "+_own=3", "method.ig.rule='a b'", "loading={workers:0,timeout:1}",
    ],
)  # fmt: skip
def test_words_that_are_right_pass(word):
    if word == "model.variant=x":
        assert compose.compose([word])["model"]["variant"] == "x"
    assert compose.compose([word])["name"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["limit=0"], "limit=0 must be a whole number of at least 1"),
        (["limit=some"], "limit=some must be a whole number"),
        (["seed=-1"], "seed=-1"),
        (["target=class"], "unknown target 'class'"),
        (["device=gpu"], "device 'gpu' is unknown"),
        (["dtype=float8"], "unknown dtype 'float8'"),
        (["method=[]"], "no method is chosen"),
        (["+method.ig.n_step=3"], r"unknown key 'method.ig.n_step'.*n_steps"),
        (["method.ig.nsteps=3"], r"unknown key 'method.ig.nsteps'.*'n_steps'"),
        (["metric.srg.steps=1"], r"unknown key 'metric.srg.steps'.*'step'"),
        (["metric.srgg.step=1"], r"unknown metric 'srgg'.*'srg'"),
        (["metric.road.order=morf"], r"metric.road.order=morf.*not chosen.*srg.*,road\]"),
        (["data=imagenet"], "data.root"),
        (["data=imagenet", "data.root=missing-folder"], "missing-folder"),
        (["model.weights=missing.pt", "model=resnet18"], "missing.pt"),
        (["metric.srg.occluder=gray"], "unknown occluder 'gray'"),
        (["batch_size=0"], "batch_size=0"),
    ],
)
def test_bad_values_are_refused_before_any_work(words, message):
    with pytest.raises(InputError, match=message) as caught:
        build.experiment(compose.compose(words))
    assert "\n" not in str(caught.value)


def test_targets_that_do_not_exist():
    with pytest.raises(InputError, match="cannot be imported"):
        build.construct({"_target_": "igbench.nowhere.Thing"}, "method.x")
    with pytest.raises(InputError, match="has no _target_"):
        build.construct({"n_steps": 3}, "method.x")


def text_of(group: str = "") -> str:
    console = Console(file=io.StringIO(), width=100)
    listing.show(console, group)
    return console.file.getvalue()


def test_everything_is_listed():
    text = text_of()
    for group in compose.GROUPS:
        for name in compose.choices(group):
            assert f"  {name} " in text
    with pytest.raises(InputError, match="unknown group"):
        text_of("metrcs")


def test_metrics_are_listed_by_family_with_the_question_that_they_ask():
    blocks = text_of("metrics").split("\n\n")
    faithfulness = next(b for b in blocks if b.startswith("metrics, faithfulness\n"))
    line = next(line for line in faithfulness.splitlines() if line.startswith("  deletion "))
    assert "↓" in line
    assert Deletion().spec.explains in line
    assert Deletion().spec.reference in line
    assert "  completeness " not in faithfulness
    assert any(b.startswith("metrics, axiomatic\n") and "  completeness " in b for b in blocks)


def test_methods_are_listed_by_kind():
    blocks = {b.split("\n")[0]: b for b in text_of("methods").split("\n\n")}
    starts = {title.split(":")[0]: block for title, block in blocks.items()}
    assert "  ig " in starts["methods, global"]
    assert "  saliency " in starts["methods, local"]
    assert "  ig_captum " in starts["methods, oracles"]
    assert "  random " in starts["methods, controls"]


def test_reference_runs_can_be_read():
    from igbench.records import store

    folders = sorted((compose.FOLDER.parent / "experiments").glob("*/reference"))
    assert folders
    for folder in folders:
        records = store.read(folder)
        assert records.run.experiment == folder.parent.name
        assert (records.scores["status"] == "ok").any()


@pytest.mark.parametrize("name", ["sensitivity-n", "Sensitivity-N", "SensitivityN"])
def test_a_bare_sensitivity_n_is_that_of_ancona_and_says_so_once(name, caplog, monkeypatch):
    monkeypatch.setattr(compose, "_said", set())
    for _ in range(2):
        config = compose.compose([f"metric=[completeness,{name}]"])
        assert list(config["metric"]) == ["completeness", "sensitivity_n"]
    said = [r.getMessage() for r in caplog.records if "Ancona" in r.getMessage()]
    assert len(said) == 1
    assert name in said[0]
    assert "max_sensitivity_n" in said[0]


@pytest.mark.parametrize(
    ("former", "present"),
    [
        ("engine=ray", "executor=ray"),
        ("engine.threads=3", "executor.threads=3"),
        ("samples_at_once=5", "shard_size=5"),
        ("++samples_at_once=5", "++shard_size=5"),
    ],
)
def test_former_keys_are_understood_and_the_new_one_is_named_once(
    former, present, caplog, monkeypatch
):
    monkeypatch.setattr(compose, "_said", set())
    assert compose.compose([former]) == compose.compose([present])
    compose.compose([former])
    (message,) = [r.getMessage() for r in caplog.records]
    old, new = (word.lstrip("+").partition("=")[0].partition(".")[0] for word in (former, present))
    assert message == f"the key {old} is called {new} now"


def test_keys_that_only_begin_like_a_former_one_stay():
    assert compose.renamed("engines=1") == "engines=1"
    assert compose.renamed("method.x.engine=1") == "method.x.engine=1"


def test_names_that_are_not_ambiguous_stay(caplog):
    assert list(compose.compose(["metric=[max_sensitivity_n]"])["metric"]) == ["max_sensitivity_n"]
    assert not caplog.records


def test_the_key_that_is_wrong_is_the_one_that_is_named():
    with pytest.raises(InputError, match=r"unknown key 'method.occlusion.windows'"):
        build.experiment(
            compose.compose(["method=[ig,occlusion]", "method.occlusion.windows=3", "limit=1"])
        )


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_parameters_that_a_file_leaves_out_can_be_overridden(sign):
    words = [f"{sign}metric.deletion.step=1", f"{sign}metric.sensitivity_n.n=[1,2]"]
    config = compose.compose(["method=[ig]", "method.ig.n_steps=9", *words])
    metric = build.construct(config["metric"]["deletion"], "metric.deletion")
    assert metric.step == 1
    assert build.construct(config["metric"]["sensitivity_n"], "").n == (1, 2)
    assert build.construct(config["method"]["ig"], "").n_steps == 9


def test_a_metric_of_ones_own_can_be_added_and_overridden():
    target = "+metric.mine._target_=igbench.metrics.Deletion"
    config = compose.compose([target, "metric.mine.step=2"])
    assert build.construct(config["metric"]["mine"], "metric.mine").step == 2
