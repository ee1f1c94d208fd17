"""Classifiers of six families: the outputs of transformers, whatever is beside a text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from igbench import evaluate, methods
from igbench.core.model import Model
from igbench.core.tokens import DELETED, HIDDEN, packed
from igbench.data.texts import texts_data
from igbench.errors import InputError, NotDefinedError
from igbench.models import hf_folder
from igbench.models.hf_text import HuggingFaceText, hf_text, wrapped
from tests.helpers import classifiers

pytest.importorskip("transformers")

TEXT = "don't watch it, it was bad"
BOUNDS = {torch.float32: 1e-6, torch.float64: 1e-12}


@pytest.fixture(params=classifiers.FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def model(family: str) -> Model:
    return wrapped(classifiers.classifier(family), classifiers.tokenizer(family))


def saved(family: str, place: Path) -> str:
    classifiers.classifier(family).save_pretrained(place)
    classifiers.tokenizer(family).save_pretrained(place)
    return str(place)


def row(own: Model, text: str, more: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A packed text, with some deleted places behind it."""
    encoded = own.text.encode(text)  # type: ignore[union-attr]
    rows = own.text.embed(encoded.ids)  # type: ignore[union-attr]
    return packed(rows, len(rows) + more).to(dtype)


def expected(family: str, text: str, **named: Any) -> torch.Tensor:
    """What transformers returns for the tokens of a text."""
    ids = classifiers.tokenizer(family)(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return classifiers.classifier(family)(input_ids=ids, **named).logits[0]


def test_outputs_are_those_of_transformers_for_tokens(family):
    own = model(family)
    for text in (TEXT, "good"):
        found = own.module(row(own, text)[None])[0]
        torch.testing.assert_close(found, expected(family, text), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", list(BOUNDS))
def test_neither_padding_nor_company_nor_order_changes_a_row(family, dtype):
    own = model(family)
    net = own.module.to(dtype)
    texts = ("good", TEXT, "the movie was wonderful")
    length = max(len(row(own, text)) for text in texts)
    rows = [row(own, t, length - len(row(own, t)), dtype) for t in texts]
    alone = torch.cat([net(row(own, text, 0, dtype)[None]) for text in texts])
    together = net(torch.stack(rows))
    bound = BOUNDS[dtype]
    torch.testing.assert_close(together, alone, atol=bound, rtol=0)
    torch.testing.assert_close(net(torch.stack(rows[::-1])).flip(0), alone, atol=bound, rtol=0)
    assert (alone[0] - alone[1]).abs().max() > 0.01


def test_hidden_tokens_have_attention_mask_0_and_deleted_ones_are_not_there(family):
    own = model(family)
    x = row(own, TEXT)
    encoded = own.text.encode(TEXT)
    ordinary = (~encoded.special).nonzero()[:, 0].tolist()
    for place in (ordinary[0], ordinary[2]):
        mask = torch.ones(1, len(x), dtype=torch.int64)
        mask[0, place] = 0
        rows = x.repeat(2, 1, 1)
        rows[0, place, -1], rows[1, place, -1] = HIDDEN, DELETED
        named = {"position_ids": torch.arange(2, 2 + len(x))[None]} if family == "roberta" else {}
        with torch.no_grad():
            by_mask = classifiers.classifier(family)(
                input_ids=encoded.ids[None], attention_mask=mask, **named
            ).logits[0]
            shorter = torch.cat([encoded.ids[:place], encoded.ids[place + 1 :]])
            without = classifiers.classifier(family)(input_ids=shorter[None]).logits[0]
        found = own.module(rows)
        torch.testing.assert_close(found[1], without, atol=1e-6, rtol=0)
        torch.testing.assert_close(found[0], by_mask, atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_decoder_reads_the_last_token_that_is_visible(family):
    own = model(family)
    x = row(own, TEXT)
    rows = x.repeat(3, 1, 1)
    rows[1, -2:, -1] = HIDDEN
    rows[2, -2:, -1] = DELETED
    found = own.module(rows)
    torch.testing.assert_close(found[1], found[2], atol=1e-6, rtol=0)
    assert (found[0] - found[1]).abs().max() > 0.01
    rows[1, -2:, :-1] += 5  # hidden, so of no influence
    torch.testing.assert_close(own.module(rows)[1], found[1], atol=1e-6, rtol=0)


def test_a_text_without_any_token_has_no_meaning():
    own = model("gpt2")
    for mark in (HIDDEN, DELETED):
        x = row(own, "good")
        x[:, -1] = mark
        with pytest.raises(NotDefinedError, match="no token is left"):
            own.module(x[None])


def test_gradients_are_those_of_the_embeddings(family):
    own = model(family)
    x = row(own, TEXT).requires_grad_()
    (found,) = torch.autograd.grad(own.module(x[None])[0, 2], x)
    embeddings = own.text.embed(own.text.encode(TEXT).ids)[None].requires_grad_()
    (by_rows,) = torch.autograd.grad(
        classifiers.classifier(family)(inputs_embeds=embeddings).logits[0, 2], embeddings
    )
    torch.testing.assert_close(found[:, :-1], by_rows[0], atol=1e-5, rtol=1e-4)
    assert found[:, -1].abs().max() == 0


@pytest.mark.parametrize("family", ["roberta", "llama"])
def test_special_tokens_are_no_features_and_sums_are_complete(family):
    own = model(family)
    own = replace(own, module=own.module.double())
    data = texts_data(
        "t", own, [TEXT, "good"], sample_ids=["a", "b"], labels=[None, None], source=""
    )
    found = evaluate(
        own, data, methods={"ig": methods.IntegratedGradients(n_steps=50)},
        metrics=["completeness"], baseline="mean_token",
    )  # fmt: skip
    assert set(found.frame.status) == {"ok"}
    assert list(data.feature_names(0)) == ["don't", "watch", "it", ",", "it", "was", "bad"]
    assert [len(found.results.maps["ig"][i]) for i in "ab"] == [7, 1]
    assert found.table().loc["ig", "completeness"] < 0.05


def test_a_folder_gives_the_same_outputs_as_its_parts(family, tmp_path):
    from_folder, own = hf_text(path=saved(family, tmp_path)), model(family)
    assert from_folder.class_names == ("bad", "mixed", "good")
    assert from_folder.name == tmp_path.name
    assert from_folder.source.startswith(
        f"Hugging Face {type(classifiers.classifier(family)).__name__}, folder {tmp_path}; files"
    )
    x = row(own, TEXT)[None]
    torch.testing.assert_close(from_folder.module(x), own.module(x), atol=1e-6, rtol=0)
    assert not any(p.requires_grad for p in from_folder.module.parameters())
    assert from_folder.text.longest == 24


def test_texts_longer_than_the_model_takes_are_cut_off(family):
    own = model(family)
    encoded = own.text.encode("good " * 60)
    assert len(encoded.ids) == 24
    assert encoded.truncated > 0
    own.module(row(own, "good " * 60)[None])


def test_the_hash_is_that_of_weights_settings_and_tokens(tmp_path):
    path = saved("bert", tmp_path)
    first = hf_text(path=path).weights_hash
    assert hf_text(path=path).weights_hash == first
    for name in ("config.json", "tokenizer.json"):
        file = tmp_path / name
        before = file.read_bytes()
        file.write_bytes(before + b" ")
        assert hf_text(path=path).weights_hash != first, name
        file.write_bytes(before)
    weights = tmp_path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert hf_text(path=path).weights_hash != first


def test_what_a_caller_gives_stays_as_it_is():
    given = classifiers.classifier("bert")
    assert all(p.requires_grad for p in given.parameters())
    assert not any(p.requires_grad for p in model("bert").module.parameters())
    with pytest.raises(InputError, match="training mode"):
        wrapped(type(given)(given.config).train(), classifiers.tokenizer("bert"))
    with pytest.raises(InputError, match="is no model of texts"):
        wrapped(Wrong().eval(), classifiers.tokenizer("bert"))


class Wrong(torch.nn.Module):
    """No model of transformers."""

    config = classifiers.classifier("bert").config


def test_folders_that_cannot_be_used_are_explained(tmp_path):
    with pytest.raises(InputError, match=r"set model\.path=DIR"):
        hf_text()
    with pytest.raises(InputError, match="is not a folder on this machine; nothing is downl"):
        hf_text(path=str(tmp_path / "none"))
    path = saved("bert", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, why in (
        ({"auto_map": {"AutoConfig": "mine.Config"}}, "needs code of its own"),
        ({"architectures": ["BertModel"]}, "holds BertModel, not a model ForSequenceClassif"),
        ({"num_hidden_layers": 3}, "among the missing keys"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(InputError, match=why):
            hf_text(path=path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match=r"the tokenizer in .* cannot be loaded") as error:
        hf_text(path=path)
    assert "\n" not in str(error.value)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"a pickle, which is not read; save model\.safetensors"):
        hf_text(path=path)


def test_a_model_that_reads_tokens_elsewhere_is_refused():
    given = classifiers.classifier("bert")

    class Other(type(given)):
        """Looks at the tokens beside their embeddings."""

        def forward(self, input_ids=None, **named):
            found = super().forward(input_ids=input_ids, **named)
            if input_ids is not None:
                found.logits = found.logits + input_ids.sum()
            return found

    other = Other(given.config).eval()
    with pytest.raises(InputError, match="something else from embeddings than from tokens"):
        wrapped(other, classifiers.tokenizer("bert"))


def test_the_hub_is_asked_for_safe_files_alone(tmp_path, monkeypatch):
    import huggingface_hub

    path, seen = saved("bert", tmp_path), {}

    def download(name, **named):
        seen.update(named, name=name)
        if name == "none/here":
            raise OSError("offline\nno connection")
        return path

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    found = hf_text(path="someone/some-model")
    assert found.name == "some-model"
    assert f"hub someone/some-model at {tmp_path.name}" in found.source
    assert seen["allow_patterns"] == list(hf_folder.DECIDING)
    assert not any(p.endswith((".bin", ".py", ".pt")) for p in seen["allow_patterns"])
    with pytest.raises(InputError, match="cannot be fetched from the hub"):
        hf_text(path="none/here")


def test_the_wrapper_is_a_model_of_tokens():
    own = model("roberta").module
    assert isinstance(own, HuggingFaceText)
    assert own.first == 2
    assert own.table.shape == (320, 16)
