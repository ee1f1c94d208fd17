"""Files of the user: found wherever they are, before those of the package, and by everything."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

import igbench
import igbench.report
from igbench.__main__ import main
from igbench.cli import init, listing, slurm
from igbench.config import build, compose, folders
from igbench.errors import InputError
from igbench.run import runner
from igbench.run.executors.ray import Worker
from tests.helpers import faults, toy

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def study(tmp_path, monkeypatch) -> Path:
    """The folder conf/ of a new study; the current folder is beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "study", raising=False)
    folder = init.write("study", tmp_path) / "conf"
    yield folder
    sys.modules.pop("study", None)


def add(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_new_study_runs_at_once_from_anywhere(study, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(igbench.report, "write_report", faults.sketch)
    words = ["method=[ig,random]", "metric=[relevance_mass]", f"results_dir={tmp_path}/out"]
    assert main(["--config-dir", str(study), "experiment=study", *words]) == 0
    assert "study (made by hand) on cpu; 8 samples of study" in capsys.readouterr().out
    (folder,) = (tmp_path / "out" / "study").iterdir()
    rows = igbench.records.store.scores(folder)
    mass = rows[rows.metric == "relevance_mass"].groupby("method").value.mean()
    assert mass["ig"] > 0.9
    assert mass["random"] < 0.1
    command = igbench.records.store.read_run(folder).config["command"]
    assert f"--config-dir={study}" in command
    assert "study" not in sys.modules or "study.py" in str(sys.modules["study"].__file__)


def test_init_refuses_what_would_not_work(study, tmp_path):
    with pytest.raises(InputError, match="exists, and is left as it is"):
        init.write("study", tmp_path)
    for name, message in {
        "9-x": "for example 'study_9_x'",
        "class": "for example 'study_class'",
        "../up": "for example 'up'",
        "": "cannot be the name",
        "json": "a Python module 'json' already",
        "resnet50": "a model 'resnet50' already",
    }.items():
        with pytest.raises(InputError, match=message):
            init.write(name, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["study"]


def test_conf_in_the_current_folder_is_found_by_itself(study, monkeypatch):
    assert "study" not in folders.choices("experiment")
    monkeypatch.chdir(study.parent)
    assert "study" in folders.choices("experiment")
    assert "study" not in folders.packaged("experiment")
    assert compose.compose(["experiment=study"])["data"]["size"] == 4


def test_a_conf_that_is_a_whole_configuration_is_not_taken_for_the_users(tmp_path, monkeypatch):
    add(tmp_path, "conf/model/other.yaml", "_target_: a.b")
    monkeypatch.chdir(tmp_path)
    assert "other" in folders.choices("model")
    add(tmp_path, "conf/run.yaml", "a: 1")
    assert "other" not in folders.choices("model")
    monkeypatch.chdir(folders.FOLDER.parent)
    assert folders.own() == []


@pytest.mark.parametrize("group", folders.GROUPS)
def test_every_group_takes_files_of_the_user(tmp_path, group):
    texts = {
        "experiment": "# @package _global_\nname: mine\nseed: 5\n",
        "preset": "# @package _global_\npreset: mine\nseed: 5\n",
        "method": "mine:\n  _target_: igbench.methods.IntegratedGradients\n",
        "metric": "mine:\n  _target_: igbench.metrics.Deletion\n  step: 5\n",
        "model": "_target_: igbench.models.digits_resnet.digits_resnet\n",
        "data": "_target_: igbench.data.digits.digits\n",
        "baseline": "_target_: igbench.baselines.Zero\n",
        "executor": "_target_: igbench.run.executors.Serial\n",
    }
    add(tmp_path, f"mine/{group}/mine.yaml", texts[group])
    value = "[mine]" if group in folders.LISTS else "mine"
    with folders.searching([tmp_path / "mine"]):
        config = compose.compose([f"{group}={value}"])
        assert "mine" in folders.choices(group)
        console = Console(file=io.StringIO(), width=200)
        listing.show(console, group)
        assert "\n  mine" in console.file.getvalue()
    if group in ("experiment", "preset"):
        assert config["seed"] == 5
    elif group in folders.LISTS:
        assert list(config[group]) == ["mine"]
    else:
        assert callable(build.locate(config[group]["_target_"], group))
    with pytest.raises(InputError, match=rf"unknown {group} 'mine'"):
        compose.compose([f"{group}={value}"])


def test_a_search_path_of_hydra_names_folders_too(study):
    words = ["experiment=study", f"hydra.searchpath=[file://{study}]"]
    assert compose.compose(words)["name"] == "study"
    assert compose.searched_folders(["hydra.searchpath=[pkg://tests.helpers, 'b']"]) == (
        [],
        [str(Path(toy.__file__).parent), "b"],
    )
    for word, message in {
        "hydra.searchpath=[pkg://nowhere_at_all]": "nowhere_at_all",
        "hydra.searchpath=[http://x]": "is no folder",
        "--config-dir": "needs a folder",
        f"--config-dir={study.parent}": rf"none of the folders.*Did you mean .*{study}",
        "--config-dir=nowhere": "no folder .*nowhere",
    }.items():
        with pytest.raises(InputError, match=message):
            compose.compose([word])


def test_the_first_of_several_folders_wins_and_the_package_comes_last(tmp_path, caplog):
    for folder, seed in {"a": 1, "b": 2}.items():
        add(tmp_path, f"{folder}/experiment/shared.yaml", f"# @package _global_\nseed: {seed}\n")
    add(tmp_path, "b/experiment/only.yaml", "# @package _global_\nseed: 3\n")
    add(tmp_path, "b/baseline/blur.yaml", "_target_: igbench.baselines.Zero\n")
    words = ["--config-dir", str(tmp_path / "a"), f"--config-dir={tmp_path / 'b'}"]
    assert compose.compose([*words, "experiment=shared"])["seed"] == 1
    assert compose.compose([*words, "experiment=only"])["seed"] == 3
    blur = {"_target_": "igbench.baselines.Zero"}
    assert compose.compose([*words, "baseline=blur"])["baseline"] == blur
    assert compose.compose(["baseline=blur"])["baseline"] != blur
    said = [r.getMessage() for r in caplog.records]
    assert said == [
        "your own files are used for baseline=blur, in place of those of igbench "
        f"({tmp_path / 'a'}, {tmp_path / 'b'})"
    ]


def test_from_python_names_of_the_user_work_as_well(tmp_path, monkeypatch):
    import torch

    add(
        tmp_path,
        "conf/method/mine.yaml",
        "mine:\n  _target_: igbench.methods.IntegratedGradients\n",
    )
    monkeypatch.chdir(tmp_path)
    model = torch.nn.Linear(3, 2).eval()
    found = igbench.evaluate(model, torch.ones(2, 3), methods=["mine"], metrics=["complexity"])
    assert list(found.table().index) == ["mine"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("other:\n  _target_: a.b\n", "must hold the one key 'mine'"),
        ("_target_: a.b\n", "must hold the one key 'mine'"),
        ("mine: [\n", "mine.yaml' cannot be read"),
        ("just words", "must hold keys and values"),
        ("", "must hold the one key 'mine'"),
    ],
)
def test_files_with_other_content_are_refused_in_one_line(tmp_path, text, message):
    add(tmp_path, "mine/metric/mine.yaml", text)
    with folders.searching([tmp_path / "mine"]):
        with pytest.raises(InputError, match=message) as caught:
            compose.compose(["metric=[mine]"])
        console = Console(file=io.StringIO(), width=200)
        listing.show(console, "metrics")
    assert "\n" not in str(caught.value)
    text = console.file.getvalue()
    assert f"metrics, {listing.BROKEN}\n  mine" in text, "the list goes on"
    assert "  deletion " in text


@pytest.mark.parametrize("group", ["experiment", "preset"])
def test_keys_that_would_set_nothing_are_refused(tmp_path, group):
    add(tmp_path, f"mine/{group}/mine.yaml", "# Mine.\n# @package _global_\nseed: 5\n")
    with pytest.raises(InputError, match=rf"file of the {group} must begin with the line"):
        compose.compose([f"--config-dir={tmp_path}/mine", f"{group}=mine"])


def test_names_that_are_nearly_right_get_the_right_advice(study, monkeypatch):
    with pytest.raises(InputError, match=r"Did you mean --config-dir study.conf\?"):
        compose.compose(["experiment=study"])
    monkeypatch.chdir(study.parent)
    (study / "model" / "study.yaml").rename(study / "model" / "study.yml")
    with pytest.raises(InputError, match=r"unknown model 'study'.*Rename .* to study.yaml"):
        compose.compose(["model=study"])


def test_a_metric_of_the_user_is_not_certified_with_the_answers_of_another(tmp_path):
    from igbench import certify

    add(tmp_path, "mine/metric/deletion.yaml", "deletion:\n  _target_: igbench.metrics.Insertion\n")
    assert certify.certify_run(["deletion"])["cases"]
    with folders.searching([tmp_path / "mine"]):
        assert certify.certify_run(["deletion"])["cases"] == []


def test_commands_that_travel_name_the_folders(study):
    with folders.searching([study]):
        text = slurm.script(["experiment=study"])
    assert f"python -u -m igbench --config-dir={study} experiment=study" in text


def test_workers_find_the_users_modules(study, tmp_path):
    with folders.searching([study]):
        config = compose.compose(["experiment=study", "method=[random]", "metric=[deletion]"])
        weights = build.experiment(config).model.weights_hash
        path = list(sys.path)
    sys.modules.pop("study")
    before = list(sys.path)
    with pytest.raises(InputError, match=r"'study.model' cannot be imported"):
        Worker(build.experiment, config, str(tmp_path), weights, 1)
    try:
        worker = Worker(build.experiment, config, str(tmp_path), weights, 1, path)
    finally:
        sys.path[:] = before
    assert worker.experiment.data.name == "study"


def test_the_users_code_is_part_of_the_keys(study, tmp_path):
    def identity() -> str:
        sys.modules.pop("study", None)
        with folders.searching([study]):
            words = ["experiment=study", "method=[random]", "metric=[deletion]", "batch_size=8"]
            return runner.job(compose.compose(words)).identity

    before, file = identity(), study.parent / "study.py"
    text = file.read_text()
    file.write_text(f"# a comment\n{text}")
    assert identity() == before
    file.write_text(text.replace("* 0.2", "* 0.3"))
    assert identity() != before


def test_modules_in_the_current_folder_are_found(tmp_path, monkeypatch, capsys):
    add(tmp_path, "conf/method/mine.yaml", "mine:\n  _target_: mine_own.Mine\n")
    line = (
        "from igbench.methods import IntegratedGradients\nclass Mine(IntegratedGradients): pass\n"
    )
    add(tmp_path, "mine_own.py", line)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert main(["list", "methods"]) == 0
    assert sys.path == before
    text = capsys.readouterr().out
    assert "\n  mine  " in text
    assert listing.BROKEN not in text


def test_a_current_folder_that_is_gone_holds_nothing(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert folders.own() == []
    assert main(["--version"]) == 0
    monkeypatch.chdir(tmp_path)
