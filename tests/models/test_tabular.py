"""Models of tables are trained once, to the same bits, and well enough."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from igbench.data import breast_cancer
from igbench.errors import InputError
from igbench.models import tabular, weights
from igbench.models.tabular import ADULT, BREAST_CANCER, Recipe
from tests.helpers.toy import same_rng

QUICK = replace(BREAST_CANCER, epochs=1, least_accuracy=0.5)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setattr(tabular, "BREAST_CANCER", QUICK)
    return QUICK


def test_the_model_is_trained_once_and_kept(tmp_path: Path, quick: Recipe, monkeypatch) -> None:
    with same_rng():
        first = tabular.tabular_breast_cancer(cache_dir=str(tmp_path))
    (file,) = tmp_path.iterdir()
    assert file.name == f"tabular_breast_cancer-{quick.digest()}.safetensors"
    monkeypatch.setattr(tabular, "train", lambda *_: pytest.fail("trained again"))
    again = tabular.tabular_breast_cancer(cache_dir=str(tmp_path))
    assert again.weights_hash == first.weights_hash
    assert first.class_names == ("malignant", "benign")
    assert not any(p.requires_grad for p in first.module.parameters())


def test_other_weights_are_trained_again(tmp_path: Path, quick: Recipe, caplog) -> None:
    first = tabular.tabular_breast_cancer(cache_dir=str(tmp_path))
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"no weights")
    assert tabular.tabular_breast_cancer(cache_dir=str(tmp_path)).weights_hash == first.weights_hash
    assert "training tabular_breast_cancer again" in caplog.text
    worse = tabular.network(quick.widths).eval()
    known = load_file(file)
    worse.load_state_dict({k: -v if k.startswith("2.") else v for k, v in known.items()})
    weights.save_state(worse, file)
    tabular.tabular_breast_cancer(cache_dir=str(tmp_path))
    assert "holds other weights" in caplog.text


def test_training_does_not_depend_on_the_rows_that_are_held_out() -> None:
    split = breast_cancer.load_split()
    own = replace(split, held_out=split.held_out[:1])
    a, b = tabular.train(split, QUICK), tabular.train(own, QUICK)
    assert weights.state_hash(a) == weights.state_hash(b)
    for p in a.parameters():
        assert torch.equal(p * 2**18, (p * 2**18).round())


def test_other_hidden_layers_are_another_model(tmp_path: Path, quick: Recipe) -> None:
    linear = tabular.tabular_breast_cancer(hidden=[], cache_dir=str(tmp_path))
    assert linear.name == "tabular_breast_cancer_linear"
    assert [tuple(p.shape) for p in linear.module.parameters()] == [(2, 30), (2,)]
    with pytest.raises(InputError, match="hidden=0 must be a whole number of at least 1"):
        tabular.tabular_breast_cancer(hidden=[0], cache_dir=str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "model", "least"),
    [
        (ADULT, tabular.tabular_adult, 0.855),
        (BREAST_CANCER, tabular.tabular_breast_cancer, 0.97),
    ],
)
def test_accuracy_on_rows_that_were_held_out(tmp_path: Path, recipe, model, least) -> None:
    found = model(cache_dir=str(tmp_path))
    share = float(found.source.partition("accuracy ")[2].partition("%")[0]) / 100
    assert share >= least
    assert found.source.startswith("trained on ")
    assert [p.shape[0] for p in found.module.parameters()][::2] == list(recipe.widths[1:])
