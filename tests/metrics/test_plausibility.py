"""Marks of words: what ERASER's metrics say of maps by hand, and of texts without marks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from igbench import evaluate, methods, metrics
from igbench.errors import InputError
from igbench.metrics import Auprc, AveragePrecision, IouF1, PointingGame, RelevanceMass, TokenF1
from tests.helpers import numbers

LOO = {"loo": methods.FeatureAblation()}
PLAIN = {
    "f1": TokenF1,
    "iou": IouF1,
    "auprc": Auprc,
    "ap": AveragePrecision,
    "mass": RelevanceMass,
    "pointing": PointingGame,
}


def f(x):
    return x.sum(dim=1)


def call(name, phi, marks, **options):
    phi, marks = torch.tensor([phi]).double(), torch.tensor([marks]).bool()
    return float(getattr(metrics, name)(f, torch.ones_like(phi), phi, masks=marks, **options))


def scores(texts, marks, chosen=PLAIN, **options):
    data = replace(numbers.data(*texts), mask=lambda i: marks[i])
    return evaluate(
        numbers.adder(), data, methods=LOO, baseline="zero",
        metrics={name: metric(data=data, **options) for name, metric in chosen.items()},
    )  # fmt: skip


def test_marks_of_words():
    # phi is the number of each word; 3 and 4 are marked.  In falling order 5, 4*, 3*, 2: precision
    # 0, 1/2, 2/3 at recalls 0, 1/2, 1; the top two are 5 and 4.
    marks = [torch.tensor([False, True, True, False])]
    found = scores(["5 4 3 2"], marks)
    value = found.frame.set_index("metric").value
    assert value["f1"] == 0.5
    assert value["iou"] == 0  # spans 0-1 and 1-2 share one of three
    assert value["auprc"] == pytest.approx((0 + 1 / 2) / 4 + (1 / 2 + 2 / 3) / 4)
    assert value["ap"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert value["mass"] == pytest.approx(7 / 14)
    assert value["pointing"] == 0  # a word is not near its neighbour
    for name in PLAIN:
        assert found.run.metrics[name].unit == "word"
    assert found.run.metrics["pointing"].title == "Pointing game, 0 words (positive part)"


def test_texts_have_marks_of_their_own_length_or_none():
    marks = [torch.tensor([True, False]), None, torch.tensor([False, False, True])]
    found = scores(["2 1", "7", "1 2 3"], marks, {"f1": TokenF1}).frame
    own = found[found.metric == "f1"]
    assert own.status.tolist() == ["ok", "undefined", "ok"]
    assert own.value.tolist()[::2] == [1, 1]
    assert "the sample has no mask" in own.reason.iloc[1]


def test_marks_may_be_given_and_must_fit():
    data = numbers.data("2 1", "3 1 2")
    given = [[1, 0], [1, 0, 1]]
    found = evaluate(numbers.adder(), data, methods=LOO, metrics=["token_f1"], masks=given,
                     baseline="zero").frame  # fmt: skip
    assert found[found.metric == "token_f1"].value.tolist() == [1, 1]
    with pytest.raises(InputError, match=r"shape \(3,\), its pixels or features \(2,\)"):
        evaluate(numbers.adder(), data, methods=LOO, metrics=["token_f1"],
                 masks=[[1, 0, 1], None])  # fmt: skip
    short = scores(["3 1 2"], [torch.tensor([True])], {"f1": TokenF1}).frame
    reason = short[short.metric == "f1"].reason.iloc[0]
    assert "has shape (1,), its features (3,); they must match" in reason
    with pytest.raises(InputError, match="'numbers' has no masks"):
        TokenF1(data=numbers.data("2 1"))


def test_number_of_words_that_are_chosen():
    marks = [torch.tensor([True, False, False]), torch.tensor([True, True, True])]
    texts = ["3 2 1", "3 2 1"]
    by = {k: scores(texts, marks, {"f1": TokenF1}, k=k).frame for k in ("marked", "mean", 1, 9)}
    value = {k: v[v.metric == "f1"].value.tolist() for k, v in by.items()}
    assert value["marked"] == [1, 1]
    assert value["mean"] == pytest.approx([2 / 3, 4 / 5])  # two of three
    assert value[1] == pytest.approx([1, 1 / 2])
    assert value[9] == pytest.approx([1 / 2, 1])
    with pytest.raises(InputError, match="k='mean' needs data"):
        call("token_f1", [3, 2], [1, 0], k="mean")


@pytest.mark.parametrize(
    ("phi", "k", "f1"),
    [
        ((5, 4, 0, 0, 0, 3), 3, 1),  # 2 of 3, and 1 of 1
        ((5, 0, 4, 0, 0, 3), 3, 2 / (3 + 2)),  # a third each, and 1: precision 1/3, recall 1/2
        ((5, 4, 3, 0, 2, 0), 4, 1 / 2),  # 1 and nothing: 1/2 both
        ((0, 0, 0, 5, 4, 0), 2, 0),
    ],
)
def test_spans(phi, k, f1):
    assert call("iou_f1", phi, (1, 1, 1, 0, 0, 1), k=k) == pytest.approx(f1)


def test_two_halves_match_the_same_span_once():
    # Each half of a span of four has an IOU of .5; recall is 1, and not 2.
    assert call("iou_f1", (4, 3, 0, 0, 0), (1, 1, 1, 1, 0), k=2) == 1
    assert call("iou_f1", (4, 3, 0, 0, 0), (1, 1, 1, 1, 0), k=2, overlap=0.6) == 0


def test_ties_count_equally():
    # One of two tied words is chosen, and one of them is marked: half a hit of 2 + 2.
    assert call("token_f1", (3, 1, 1, 0), (1, 1, 0, 0)) == pytest.approx(2 * 1.5 / 4)
    assert call("average_precision", (1, 1, 1, 1), (1, 0, 0, 0)) == pytest.approx(1 / 4)
    assert call("auprc", (1, 1, 1, 1), (1, 0, 0, 0)) == pytest.approx((1 + 1 / 4) / 2)
