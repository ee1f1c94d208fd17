"""Texts in an evaluation: special tokens are no features, and sums are complete."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from igbench import evaluate, methods, metrics
from igbench.baselines import Mask
from igbench.core.dataset import Data
from igbench.core.tokens import Encoded
from igbench.data.texts import texts_data
from igbench.errors import InputError
from tests.helpers import words

TEXT = "good movie bad"


def maps(data: Data, pooling: str = "sum", baseline: object = "zero", **chosen: object) -> dict:
    found = evaluate(
        words.bag(pooling), data, methods=chosen, metrics=["completeness"], baseline=baseline
    )
    assert not (found.frame.status == "failed").any()
    return {name: found.results.maps[name]["text-0"].tolist() for name in chosen}


@pytest.mark.parametrize(
    ("baseline", "values"), [("zero", [4, 1, -5]), ("pad", [4, 1, -5]), ("mask", [4.5, 1.5, -4.5])]
)
def test_methods_agree_on_a_bag_of_words(baseline, values):
    found = maps(
        words.data(TEXT),
        baseline=baseline,
        ig=methods.IntegratedGradients(n_steps=2),
        shapley=methods.ExactShapley(),
        leave_one_out=methods.FeatureAblation(),
        kernel_shap=methods.KernelShap(),
    )
    for name, own in found.items():
        assert own == pytest.approx(values, abs=1e-5), name


def test_shorter_texts_give_the_same_in_any_company():
    ig = methods.IntegratedGradients(n_steps=2)
    alone = maps(words.data("not bad"), ig=ig)
    assert alone == maps(words.data("not bad", "good movie good movie good"), ig=ig)
    assert alone["ig"] == [-2, -5]


@pytest.mark.parametrize(
    ("occluder", "curve"),
    [
        ("mask", [0.5, -4.0, -5.5, -1.0]),
        ("hide", [0.5, -3.5, -4.5, 0.5]),
        ("delete", [0.5, -3.5, -4.5, 0.5]),
        ("zero", [0.5, -3.5, -4.5, 0.5]),
    ],
)
def test_removal_curves_know_the_conventions(occluder, curve):
    deletion = metrics.Deletion(step=1, occluder=occluder)
    found = evaluate(
        words.bag(), words.data(TEXT), methods={"ig": methods.IntegratedGradients(n_steps=2)},
        metrics={"deletion": deletion}, baseline="mask",
    )  # fmt: skip
    assert [p.y for p in found.results.points if p.curve == "deletion"] == pytest.approx(curve)


def test_maps_of_the_report_have_a_number_for_each_word():
    data = words.data("good good . movie")
    found = maps(data, ig=methods.IntegratedGradients(n_steps=2))
    assert found["ig"] == [4.0, 4.0, 0.0, 1.0]
    assert data.feature_names(0) == ("good", "good", ".", "movie")


def test_tokens_of_a_word_belong_together():
    encoder = Halves()
    model = replace(words.bag(), text=encoder)
    tokens, whole = (words.data("good", model=model, unit=u) for u in ("token", "word"))
    assert tokens.feature_names(0) == ("go", "od")
    assert whole.feature_names(0) == ("good",)
    assert whole.groups(0)[:, 0].tolist() == [-1, 0, 0]


def test_a_model_without_texts_is_refused():
    with pytest.raises(InputError, match="model 'bag' takes no texts"):
        texts_data(
            "t",
            replace(words.bag(), text=None),
            ["good"],
            sample_ids=["a"],
            labels=[None],
            source="",
        )


def test_a_text_without_a_token_is_a_failed_sample():
    found = evaluate(words.bag(), words.data("good", ""), methods=["ig"], metrics=["completeness"])
    assert found.results.samples[1]["reason"] == "the text has no token to explain"
    assert found.results.samples[0]["status"] == "ok"


def test_masks_need_texts():
    with pytest.raises(InputError, match="needs data with a replacement of that name"):
        evaluate(torch.nn.Linear(2, 1).eval(), torch.ones(1, 2), methods=["ig"],
                 metrics=["completeness"], baseline=Mask())  # fmt: skip


class Halves(words.SpaceEncoder):
    """Every word in two tokens."""

    def encode(self, text: str) -> Encoded:
        whole = super().encode(text)
        spans = [(0, 0)]
        for start, end in whole.spans[1:]:
            spans += [(start, (start + end) // 2), ((start + end) // 2, end)]
        special = torch.tensor([True, *[False] * (len(spans) - 1)])
        ids = torch.cat([whole.ids[:1], whole.ids[1:].repeat_interleave(2)])
        return Encoded(text, ids, special, tuple(spans))


def test_one_sample_alone_keeps_its_own_features():
    data = words.data("good", "not bad").only(1)
    assert data.sample_ids == ("text-1",)
    assert data.feature_names(0) == ("not", "bad")
    assert torch.equal(data.groups(0), words.data("good", "not bad").groups(1))
