"""ERASER's metrics on words: the numbers for ten of them, roundings, and what replaces a word."""

from __future__ import annotations

import math

import pytest

from igbench import evaluate, methods
from igbench.metrics import Comprehensiveness, Sufficiency
from tests.helpers import numbers

TEN = "7 10 3 1 9 2 8 6 4 5"
LOO = {"loo": methods.FeatureAblation()}


def values(text: str = TEN, model=None, methods=LOO, **chosen) -> list[float]:
    model = model or numbers.adder()
    found = evaluate(
        model, numbers.data(text, model=model), methods=methods, metrics=chosen, baseline="zero"
    ).frame
    assert (found.status == "ok").all(), found.reason.tolist()
    return [float(found.value[found.metric == name].iloc[0]) for name in chosen]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # Shares .01, .05, .1, .2, .5 of ten words: 1, 1, 1, 2, 5 of them, or 0, 0, 1, 2, 5.
        ({}, (17.8, 37.2)),
        ({"rounding": "floor"}, (13.8, 41.2)),
        ({"rounding": "floor", "zero": True}, (11.5, 43.5)),
        ({"zero": True}, (89 / 6, (5 * 37.2 + 55) / 6)),
    ],
)
def test_ten_words(options, expected):
    found = values(comp=Comprehensiveness(**options), suff=Sufficiency(**options))
    assert found == pytest.approx(expected, rel=1e-6)


def test_words_are_deleted_and_the_probability_tracked_by_default():
    model = numbers.adder(numbers.two_classes)
    found = evaluate(model, numbers.data("2 1", model=model), methods=LOO, baseline="zero",
                     metrics=["comprehensiveness", "sufficiency"])  # fmt: skip
    spec = found.run.metrics["comprehensiveness"]
    assert spec.title.endswith("of the features, delete occluder)")
    assert spec.scalar == "probability"
    p = [1 / (1 + math.exp(-z)) for z in (3, 2, 1)]
    # Of two words each share is one word: without "2" 1 is left, with it alone 2.
    by = found.frame.set_index("metric").value
    assert by["comprehensiveness"] == pytest.approx(p[0] - p[2], rel=1e-5)
    assert by["sufficiency"] == pytest.approx(p[0] - p[1], rel=1e-5)


@pytest.mark.parametrize(
    ("occluder", "drop"), [("delete", 2), ("hide", 2), ("zero", 2), ("mask", 3), ("pad", 1.5)]
)
def test_what_replaces_a_word_is_in_the_title(occluder, drop):
    metric = Comprehensiveness(fractions=(1,), occluder=occluder)
    assert values("2 1", c=metric) == pytest.approx([drop])
    assert metric.spec.title.endswith(f"{occluder} occluder)")


def test_the_preset_has_the_bins_of_the_paper():
    from igbench.config import build, compose

    config = compose.compose(["preset=eraser"])["metric"]
    comp, suff = (build.construct(config[n], n) for n in ("comprehensiveness", "sufficiency"))
    assert comp.spec.title == (
        "Comprehensiveness (mean over 0.01, 0.05, 0.1, 0.2, 0.5 of the features, rounded down, "
        "delete occluder)"
    )
    model = numbers.adder(lambda total: numbers.two_classes(total / 20))
    p = [1 / (1 + math.exp(-z / 20)) for z in (55, 45, 36, 15)]
    assert values(model=model, comp=comp, suff=suff) == pytest.approx(
        [(3 * p[0] - p[1] - p[2] - p[3]) / 5,
         p[0] - sum(1 / (1 + math.exp(-z / 20)) for z in (0, 0, 10, 19, 40)) / 5],
        rel=1e-5,
    )  # fmt: skip
