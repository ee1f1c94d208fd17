"""`igbench tcav` as a user meets it: a folder of results, or one line before any work."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from igbench.__main__ import main
from igbench.cli import tcav as cli
from igbench.data import pictures
from igbench.data.digits import load_split
from igbench.data.given import given
from igbench.errors import InputError
from igbench.report import concepts as report
from igbench.schema import ConceptScore
from tests.test_layers import HEAVY, loaded_by

pytestmark = pytest.mark.usefixtures("cache")


def refused(capsys, *words: str) -> str:
    """Run, expect exit status 2 and a single line; return it."""
    assert main(["tcav", *words]) == 2
    text = capsys.readouterr().err
    assert text.startswith("igbench: ")
    assert text.count("\n") == 1
    return text


def write_digits(folder: Path, digit: int, n: int, enlarged: int = 1) -> Path:
    """Pictures of one digit that nobody else uses."""
    folder.mkdir(parents=True)
    split = load_split()
    chosen = [i for i in split.train[64:] if split.labels[i] == digit][:n]
    for i in chosen:
        grey = (split.images[i, 0].numpy() * 255).round().astype(np.uint8)
        Image.fromarray(np.kron(grey, np.ones((enlarged, enlarged), np.uint8))).save(
            folder / f"{i}.png"
        )
    return folder


@pytest.fixture(scope="module")
def concepts(tmp_path_factory):
    where = tmp_path_factory.mktemp("concepts")
    return write_digits(where / "a_one", 1, 12), write_digits(where / "round", 0, 12, enlarged=4)


def test_a_folder_of_results(concepts, tmp_path, capsys):
    one, zero = concepts
    words = ["experiment=digits_resnet", "limit=40", "layer=layer2", "target=1", "target=0"]
    words += [f"concept={one}", f"concept={zero}", f"results_dir={tmp_path}"]
    assert main(["tcav", *words]) == 0
    printed = capsys.readouterr().out
    assert "a_one" in printed
    assert "layer2" in printed
    (folder,) = (tmp_path / "tcav" / "digits_resnet").iterdir()
    names = {"scores.csv", "scores.parquet", "tcav.json", "tcav.md", "tcav.pdf", "tcav.png"}
    assert {p.name for p in folder.iterdir()} == names
    scores = pd.read_csv(folder / "scores.csv", dtype={"target": str}, keep_default_na=False)
    assert scores[["concept", "target"]].to_numpy().tolist() == [
        ["a_one", "1"], ["a_one", "0"], ["round", "1"], ["round", "0"],
    ]  # fmt: skip
    own = scores.set_index(["concept", "target"])
    assert float(own.score["a_one", "1"]) == float(own.score["round", "0"]) == 1.0
    assert float(own.magnitude["a_one", "0"]) < 0
    assert pd.read_parquet(folder / "scores.parquet").shape == scores.shape
    record = json.loads((folder / "tcav.json").read_text())
    assert record["layer"] == "layer2"
    assert record["sets"] == 30
    assert len(record["weights"]) == 64
    assert record["random"]["folder"] == ""
    assert record["scores"][0]["n_random"] == 40 + 64
    assert len(record["concepts"]["round"]["pictures"]) == 64
    assert "target=1" in record["command"]
    assert r"a\_one" in (folder / "tcav.md").read_text()


def test_help_and_refusals_are_light(tmp_path):
    code = "from igbench.__main__ import main\nmain(['tcav', '--help'])"
    assert not loaded_by(code) & (HEAVY | {"torch", "hydra"})
    code = f"from igbench.__main__ import main\nmain(['tcav', 'concept={tmp_path}/none'])"
    assert not loaded_by(code) & (HEAVY | {"torch", "hydra"})


def test_words_that_cannot_be_used(concepts, tmp_path, capsys):
    one = f"concept={concepts[0]}"
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("no picture")
    twin = tmp_path / "a_one"
    twin.symlink_to(concepts[1])
    results = f"results_dir={tmp_path / 'out'}"
    for words, message in (
        ([], "write concept=DIR"),
        (["concept="], "has no value"),
        ([f"concept={tmp_path}/none"], "does not exist"),
        ([f"concept={tmp_path}/text/notes.txt"], "is a file"),
        ([f"concept={tmp_path}/empty"], "is empty"),
        ([one, f"random={tmp_path}/empty"], "random="),
        ([one, "sets=29"], "at least 30"),
        ([one, "positions=max"], "known: mean, all"),
        ([one, "layr=layer3"], "Did you mean 'layer'"),
        ([one, "method=[ig]"], "takes no part"),
        ([one, "layer=a", "layer=b"], "2 times"),
        ([one, f"concept={twin}"], "two concepts are called 'a_one'"),
        ([f"concept={tmp_path}/text", results], "no images"),
        ([one, f"random={tmp_path}/text", results], "no images"),
        ([one, "experiment=digit_resnet", results], "'digits_resnet'"),
    ):
        assert message in refused(capsys, *words), words
    assert not (tmp_path / "out").exists()


def test_what_the_model_and_the_data_refuse(concepts, tmp_path, capsys):
    base = [f"concept={concepts[0]}", "experiment=digits_resnet", f"results_dir={tmp_path / 'out'}"]
    few = write_digits(tmp_path / "few", 3, 9)
    assert "'few' has 9 pictures" in refused(capsys, *base, f"concept={few}")
    assert "12 random pictures" in refused(capsys, *base, f"random={concepts[1]}")
    assert "Did you mean 'layer3'" in refused(capsys, *base, "layer=layer4")
    assert "no class 'eleven'" in refused(capsys, *base, "target=eleven")
    assert "no sample is of class" in refused(capsys, *base, "limit=1", "target=0", "target=1")
    assert not (tmp_path / "out").exists()


def test_pictures_in_the_range_of_the_data(concepts, tmp_path):
    x = np.zeros((2, 1, 8, 8), np.float32)
    data = given(x)
    with pytest.raises(InputError, match="black and white"):
        pictures.check_images(data, None)
    with pytest.raises(InputError, match="of kind table"):
        pictures.check_images(given(np.zeros((2, 3), np.float32)), None)
    from igbench.data.digits import digits
    from igbench.models.digits_resnet import digits_resnet

    split, data = load_split(), digits(digits_resnet(), limit=1)
    files = pictures.listed(concepts[1], "concept")
    found = pictures.load(files, data, None)
    expected = split.images[[int(p.stem) for p in files]]
    assert float((found - expected).abs().max()) <= 0.5 / 255 + 1e-6  # 8 bits
    (tmp_path / "broken.png").write_bytes(b"")
    with pytest.raises(InputError, match="can be read"):
        pictures.load([tmp_path / "broken.png"], data, None)


def line(concept: str, **changed: object) -> ConceptScore:
    numbers = {
        "score": 0.9, "score_low": 0.8, "score_high": 1.0, "null_low": 0.2, "null_high": 0.8,
        "magnitude": 2.0, "null_magnitude": 0.5, "critical": 1.0, "accuracy": 0.9,
        "accuracy_low": 0.8, "accuracy_high": 0.95, "p_value": 0.001, "p_holm": 0.002,
        "n_samples": 5, "n_sets": 30, "n_pictures": 20, "n_random": 60, "n_set": 20,
    }  # fmt: skip
    return ConceptScore(concept, "cat", "conv", **(numbers | changed))


def test_table_and_figure(tmp_path):
    nothing = {"score": math.nan, "score_low": math.nan, "score_high": math.nan,
               "magnitude": math.nan, "p_value": math.nan, "p_holm": math.nan}  # fmt: skip
    lines = [
        line("a|b $x$ <i>"),
        line("weak", p_holm=0.2, score=0.7, magnitude=-0.5),
        line("none", status="undefined", reason="not a direction", **nothing),
    ]
    table = report.table(lines)
    assert [cells[1].best for cells in table.cells] == [True, False, False]
    assert [cells[1].text for cells in table.cells][2] == "–"
    assert table.footnotes == {"a": "not a direction"}
    report.write(lines, tmp_path)
    text = (tmp_path / "tcav.md").read_text()
    assert r"a\|b \$x\$ &lt;i&gt;" in text
    left, right = report.figure(lines).axes
    labels = [t.get_text() for t in left.get_yticklabels()]
    assert labels == [r"a|b \$x\$ <i> → cat *", "weak → cat", "none → cat"]
    assert [t.get_text() for t in right.texts] == ["*"]
    assert [t.get_text() for t in left.texts] == ["undefined"]
    before = (tmp_path / "tcav.png").read_bytes()
    report.write(lines, tmp_path)
    assert (tmp_path / "tcav.png").read_bytes() == before


def test_the_command_says_what_it_was(concepts):
    asked = cli.request([f"concept={concepts[0]}", "experiment=digits_resnet", "target=cat, tabby"])
    assert asked.targets == ("cat, tabby",)
    assert asked.overrides == ("experiment=digits_resnet",)
    assert cli._command(asked).startswith(
        "python -m igbench tcav experiment=digits_resnet concept="
    )
