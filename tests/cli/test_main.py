"""The command line as a user meets it: exit status, one clear line, nothing half-written."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

from igbench.__main__ import main
from igbench.cli import repeats
from igbench.records import store
from tests.helpers import faults, toy

PHOTOS = Path(__file__).parents[2] / "igbench" / "data" / "photos"
SMALL = ["method=[ig,ig_captum,saliency,random]", "metric=[completeness,srg,difference_from_ig]"]


pytestmark = pytest.mark.usefixtures("cache")


def refused(capsys, *words: str) -> str:
    """Run, expect exit status 2 and a single line; return it."""
    assert main(list(words)) == 2
    text = capsys.readouterr().err
    assert text.startswith("igbench: ")
    assert text.count("\n") == 1
    return text


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """A small run on digits, and where it is."""
    where = tmp_path_factory.mktemp("results")
    words = ["experiment=digits_resnet", "limit=6", "convergence=2", f"results_dir={where}"]
    status = main([*words, *SMALL])
    return status, where


def test_run_writes_a_whole_folder(digits_run):
    status, where = digits_run
    assert status == 0
    folder = store.latest(where, "digits_resnet")
    names = {p.name for p in folder.iterdir()}
    assert names >= {
        "run.json",
        "scores.parquet",
        "curves.parquet",
        "summary.csv",
        "report.html",
        "tables",
        "plots",
        "attributions",
    }
    records = store.read(folder)
    assert len(records.scores) == 6 * (4 * (3 + 4) - 1), "ig is not compared with itself"
    assert set(records.scores["status"]) == {"ok", "undefined"}
    scores = records.scores
    apart = scores[(scores.method == "ig_captum") & (scores.metric == "difference_from_ig")].value
    assert len(apart) == 6
    assert float(apart.max()) < 1e-5
    assert not [p for p in folder.parent.iterdir() if p != folder], "no temporary folders left"


def test_float64_agrees_with_captum_to_a_millionth(tmp_path, capsys):
    words = [
        "experiment=digits_resnet",
        "limit=8",
        "convergence=0",
        "dtype=float64",
        "method=[ig,ig_captum]",
        "metric=[difference_from_ig]",
        f"results_dir={tmp_path}",
    ]
    assert main(words) == 0
    scores = store.read(store.latest(tmp_path, "digits_resnet")).scores
    apart = scores[scores.metric == "difference_from_ig"].value.dropna()
    assert len(apart) == 8
    assert float(apart.max()) < 1e-6


def test_report_again_and_compare(digits_run, tmp_path, capsys):
    _, where = digits_run
    folder = store.latest(where, "digits_resnet")
    (folder / "report.html").unlink()
    assert main(["report", str(folder)]) == 0
    assert (folder / "report.html").is_file()
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert main(["compare", str(folder), str(copy)]) == 0
    assert "identical" in capsys.readouterr().out


def test_one_run_is_not_compared_with_itself(digits_run, tmp_path, capsys):
    _, where = digits_run
    folder = store.latest(where, "digits_resnet")
    option = f"--results-dir={where}"
    text = refused(capsys, "compare", "digits_resnet", str(folder), option)
    assert f"mean the same run, {folder}; it is the only one in" in text
    for name in ("20200101-000000-aaaaaaaa", "20200101-000001-bbbbbbbb"):
        shutil.copytree(folder, tmp_path / "digits_resnet" / name)
    text = refused(capsys, "compare", "digits_resnet", "digits_resnet", f"--results-dir={tmp_path}")
    first, second = sorted((tmp_path / "digits_resnet").iterdir())
    assert text.endswith(f"name two, for example: igbench compare {first} {second}.\n")


def test_compare_refuses_another_seed(digits_run, tmp_path, capsys):
    _, where = digits_run
    words = ["experiment=digits_resnet", "limit=6", "seed=1", f"results_dir={tmp_path}", *SMALL]
    assert main(words) == 0
    base = store.latest(where, "digits_resnet")
    new = store.latest(tmp_path, "digits_resnet")
    capsys.readouterr()
    assert main(["compare", str(base), str(new)]) == 2
    assert "NOT COMPARABLE seed: 0 -> 1 (--across seed allows it)" in capsys.readouterr().out
    assert main(["compare", str(base), str(new), "--across", "seed"]) in (0, 1)
    assert "--across sed: nothing of this name" in refused(
        capsys, "compare", str(base), str(new), "--across", "sed"
    )


def test_unknown_words(capsys):
    assert "'imagenet_lite'" in refused(capsys, "experiment=imagenet_light")
    assert "'occlusion'" in refused(capsys, "method=[oclusion]")
    assert "'limit'" in refused(capsys, "limt=3")
    assert "'compare'" in refused(capsys, "compar", "a", "b")
    assert "No such option" in refused(capsys, "compare", "--fast")


def test_missing_weights_file(tmp_path, capsys):
    text = refused(
        capsys, "experiment=imagenet_resnet", "model.weights=nowhere.pth", f"results_dir={tmp_path}"
    )
    assert "nowhere.pth" in text
    assert not list(tmp_path.iterdir())


def test_missing_and_empty_data_folder(tmp_path, capsys):
    words = ["data=imagenet", f"results_dir={tmp_path / 'out'}"]
    assert "nowhere" in refused(capsys, *words, "data.root=nowhere")
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(capsys, *words, f"data.root={tmp_path / 'empty'}")


def test_results_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    text = refused(
        capsys, "experiment=digits_resnet", f"results_dir={tmp_path / 'file' / 'results'}"
    )
    assert "results" in text


def test_missing_run_folder(capsys):
    assert "nowhere" in refused(capsys, "report", "nowhere")
    assert "nowhere" in refused(capsys, "compare", "nowhere", "nowhere")


@pytest.fixture(scope="module")
def resnet_weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(torchvision.models.resnet18().state_dict(), path)
    return path


def folder_of_photos(where: Path) -> Path:
    where.mkdir()
    for source in sorted(PHOTOS.glob("*.jpg"))[:2]:
        (where / source.name).write_bytes(source.read_bytes())
    (where / "0009_broken.jpg").write_bytes(b"\xff\xd8 not a photograph")
    return where


@pytest.mark.slow
def test_weights_from_a_file_and_a_corrupt_photograph(tmp_path, resnet_weights, capsys):
    folder = folder_of_photos(tmp_path / "photos")
    words = [
        "experiment=imagenet_resnet",
        "model=resnet18",
        f"model.weights={resnet_weights}",
        f"data.path={folder}",
        f"results_dir={tmp_path / 'out'}",
        "convergence=0",
        "limit=3",
        "method=[saliency,random]",
        "metric=[srg]",
        "metric.srg.step=0.25",
    ]
    assert main(words) == 3
    out = capsys.readouterr().out
    assert "2 cells failed" in out
    assert "0009_broken" in out
    records = store.read(store.latest(tmp_path / "out", "imagenet_resnet"))
    assert records.run.state == "finished with failures"
    counts = records.scores[records.scores.metric == "srg"].groupby("status").size()
    assert counts.to_dict() == {"failed": 2, "ok": 4}


@pytest.mark.slow
def test_a_model_that_returns_nan(tmp_path, resnet_weights, capsys):
    state = torch.load(resnet_weights, weights_only=True)
    state["fc.bias"][0] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    words = [
        "experiment=imagenet_resnet",
        "model=resnet18",
        f"model.weights={tmp_path / 'nan.pth'}",
        f"results_dir={tmp_path / 'out'}",
        "convergence=0",
        "limit=2",
        "method=[random]",
        "metric=[srg]",
    ]
    assert main(words) == 3
    assert "the model returned NaN" in capsys.readouterr().out


def test_imagenet_folder(tmp_path, resnet_weights):
    root = tmp_path / "val"
    for wnid, colour in [("n01440764", (200, 80, 30)), ("n01443537", (30, 80, 200))]:
        (root / wnid).mkdir(parents=True)
        Image.effect_noise((64, 48), 60).convert("RGB").save(root / wnid / f"{colour[0]}.jpg")
    words = [
        "experiment=imagenet_resnet",
        "model=resnet18",
        f"model.weights={resnet_weights}",
        "data=imagenet",
        f"data.root={root}",
        f"results_dir={tmp_path / 'out'}",
        "convergence=0",
        "target=label",
        "method=[input_x_gradient]",
        "metric=[completeness]",
    ]
    assert main(words) == 0
    run = store.read(store.latest(tmp_path / "out", "imagenet_resnet")).run
    assert sorted(s["target"] for s in run.samples) == [0, 1]


@pytest.mark.parametrize("word", ["--help", "--version", "list", "doctor"])
def test_light_commands(word):
    done = subprocess.run(
        [sys.executable, "-m", "igbench", word], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "igbench" in done.stdout or "experiments:" in done.stdout


def test_sweep_runs_each_and_goes_on(tmp_path):
    words = [
        "-m",
        "experiment=digits_resnet",
        "seed=0,1",
        "limit=2",
        "convergence=0",
        "method=[random]",
        "metric=[completeness]",
        f"results_dir={tmp_path}",
    ]
    log = logging.getLogger("igbench.evaluation.loop")
    assert main(words) == 0
    assert len(list((tmp_path / "digits_resnet").iterdir())) == 2
    assert not log.disabled, "Hydra leaves the loggers alone"


@pytest.mark.parametrize("where", ["run", "plan", "list"])
def test_ctrl_c_at_the_start_is_said_in_a_sentence(where, monkeypatch, capsys):
    from igbench.cli import listing
    from igbench.run import runner

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "job", stop)
    monkeypatch.setattr(listing, "show", stop)
    words = {"run": [], "plan": ["plan"], "list": ["list"]}[where]
    assert main(words) == 130
    said = capsys.readouterr().err
    assert said == "igbench: Interrupted. Run the same command again to resume.\n"


def test_ctrl_c_during_imports_is_said_in_a_sentence(monkeypatch, capsys):
    import igbench.cli.main as module

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "main", stop)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == (
        "igbench: Interrupted before it began. Run the same command again.\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-m", "experiment=digits_resnet,digits_resnt"], r"unknown experiment 'digits_resnt'"),
        (["-m", "limt=3,4"], r"unknown key 'limt'.*Did you mean 'limit'"),
        (["-m", "limit=range(1,"], r"cannot read 'limit=range\(1,'"),
        (["-m", " limit=1,2"], r"' limit=1,2' is no key=value; write limit=1,2"),
        (["--foo"], r"unrecognized arguments: --foo. See igbench --help"),
        (["--cfg", "jobs"], r"invalid choice: 'jobs'"),
    ],
)
def test_wrong_words_beside_options_get_one_line(capsys, words, message):
    assert re.search(message, refused(capsys, *words))


def test_a_mistake_that_many_samples_share_is_said_once(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(logging.root, "handlers", [])  # as in a process of its own
    bad = "+method.bad={_target_:tests.helpers.faults.BadMethod,how:raise}"
    words = ["experiment=digits_resnet", "limit=6", "convergence=0", "batch_size=8", bad]
    monkeypatch.setattr("igbench.report.write_report", faults.sketch)
    chosen = ["method=[random]", "metric=[completeness,deletion]"]
    assert main([*words, *chosen, f"results_dir={tmp_path}"]) == 3
    out, err = capfd.readouterr()
    assert "12 cells failed, all for one reason; the first: bad, completeness, digit-" in out
    first, more = err.splitlines()
    assert re.fullmatch(r"WARNING: bad on digit-\d+: RuntimeError: out of luck", first)
    assert more == f"WARNING: 5 more like: {first.removeprefix('WARNING: ')}"
    assert logging.root.handlers == []


def test_reasons_are_grouped_and_the_most_frequent_comes_first():
    cells = [("ig", "srg", f"s{i}", f"cannot read 'dir/{i}.png': {i} bytes") for i in range(3)]
    cells.insert(0, ("ig", "srg", "odd", "ValueError: out of luck"))
    assert repeats.reasons(cells) == [
        "4 cells failed, for 2 reasons:",
        "  3, the first: ig, srg, s0: cannot read 'dir/0.png': 0 bytes",
        "  1, the first: ig, srg, odd: ValueError: out of luck",
    ]
    many = [("ig", "srg", "s", "x" * n) for n in range(1, 8)]
    assert repeats.reasons(many)[0] == "7 cells failed, for 7 reasons; the most frequent 5:"
    assert len(repeats.reasons(many)) == 6


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux")
def test_names_that_are_not_utf8_go_through_a_whole_run(tmp_path, monkeypatch, capsys):
    folder = tmp_path / os.fsdecode(b"pho\xe9tos")
    for name in (b"caf\xe9", "naïve".encode()):
        toy.picture(folder / os.fsdecode(name + b".png"))
    (folder / os.fsdecode(b"bro\xe9ken.png")).write_bytes(b"no image")
    out = tmp_path / os.fsdecode(b"r\xe9sultats")
    words = ["experiment=custom", "~model.variant", "method=[random]", "metric=[complexity]"]
    words += ["model._target_=tests.helpers.faults.photo_net", "limit=null", "batch_size=4"]
    assert main([*words, "keep_maps=1", f"data.path={folder}", f"results_dir={out}"]) == 3
    assert capsys.readouterr().out.encode(), "what is printed is text"
    records = store.read(store.latest(out, "custom"))
    assert set(records.scores.sample_id) == {r"caf\xe9", "naïve", r"bro\xe9ken"}
    assert records.run.config["data"]["path"] == str(folder)
    assert records.run.environment["data_source"] == str(tmp_path / r"pho\xe9tos")
    assert records.maps["random"].keys() <= {r"caf\xe9", "naïve", r"bro\xe9ken"}
    assert Path(records.folder, "report.html").read_text(encoding="utf-8")


def test_output_that_cannot_show_a_character_shows_its_number():
    code = (
        "import sys; from igbench import __main__ as m\n"
        "m._set_up(); sys.stdout.write('↑ caf\\udce9\\n'); sys.stderr.write('±\\n')"
    )
    shown = {"ascii": rb"\u2191 caf\udce9", "utf-8": "↑ caf".encode() + rb"\udce9"}
    for encoding, out in shown.items():
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stdout.strip()) == (0, out)
        assert done.stderr.strip() == (rb"\xb1" if encoding == "ascii" else "±".encode())
