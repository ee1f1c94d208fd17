"""Methods on texts, by closed forms: products and ANDs of words, spans, and controls."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from igbench import evaluate, methods
from igbench.core.batch import Batch
from igbench.core.model import Model
from igbench.core.score import Score
from igbench.core.tokens import HIDDEN, TokenModel
from igbench.errors import InputError, NotDefinedError
from igbench.integration.polyline import polyline_gradients, through_words
from igbench.methods import explain
from tests.helpers import words

TEXT = "good movie bad"
W = torch.tensor([1.0, 2.0])


class Product(TokenModel):
    """The product over tokens (without the first) of w . e, "movie" 1, "good" 4, "bad" -5."""

    def __init__(self) -> None:
        super().__init__(2)

    @property
    def table(self) -> Tensor:
        return words.ROWS

    def run(self, embeddings: Tensor, visible: Tensor, context: Tensor) -> Tensor:
        return (embeddings[:, 1:] @ W.to(embeddings)).prod(dim=1)


class Ands(TokenModel):
    """2 if words 1 and 2 are there, and 3 more if words 3, 4 and 5 are; the sixth does nothing."""

    def __init__(self) -> None:
        super().__init__(2)

    def run(self, embeddings: Tensor, visible: Tensor, context: Tensor) -> Tensor:
        here = embeddings[:, 1:].abs().sum(dim=2).ne(0).to(embeddings)
        return 2 * here[:, :2].prod(dim=1) + 3 * here[:, 2:5].prod(dim=1)


def maps(text: str, module: nn.Module | None = None, baseline: object = "zero", **chosen: object):
    model = words.bag()
    if module is not None:
        own = Model("own", module.eval(), (), "", "0" * 64, "closed form")
        model = Model(**{**vars(own), "text": words.SpaceEncoder()})
    data = words.data(text, model=model, references=["good movie", "bad bad"])
    found = evaluate(model, data, methods=chosen, metrics=["completeness"], baseline=baseline)
    bad = found.frame[found.frame.status == "failed"]
    assert bad.empty, bad.reason.tolist()
    return {name: found.results.maps[name]["text-0"].tolist() for name in chosen}


def explain_words(method, state: float = 0.0) -> Tensor:
    """The map of a text of four words from zero, whose words may be hidden, by the method alone."""
    x = words.data("good movie bad good").load(0)[None]
    numbers = torch.tensor([-1, 0, 1, 2, 3])[:, None].expand(x.shape[1:])
    start = torch.zeros_like(x)
    start[..., 2] = state
    return method(Batch(Score(words.Bag().eval()), x, start, None, ("a",), numbers))


def only(found) -> tuple[str, str]:
    """Status and reason of the one score of an evaluation."""
    (row,) = [r for r in found.results.rows if r.metric in ("completeness", "deletion")]
    return row.status, row.reason


# -- Integrated Gradients and its kin ----------------------------------------------------------


def test_a_product_of_words_is_shared_by_the_path_and_counted_twice_by_sequential_paths():
    """f = s1 s2 at (4, -5) from zero is -20."""
    found = maps(
        "good bad",
        Product(),
        ig=methods.IntegratedGradients(n_steps=4),
        shapley=methods.ExactShapley(),
        sig=methods.SequentialIG(),
        loo=methods.FeatureAblation(),
        ixg=methods.InputXGradient(),
    )
    assert found["ig"] == pytest.approx([-10, -10])
    assert found["shapley"] == pytest.approx([-10, -10])
    for name in ("sig", "loo", "ixg"):
        assert found[name] == pytest.approx([-20, -20]), name


def test_sequential_paths_start_from_the_other_words():
    """At (2, 3) from (1, -1): IG and Shapley 1 and 6, sequential IG 3 and 8, with sum 11."""
    product, x, start = (lambda z: z[:, 0] * z[:, 1]), [[2.0, 3.0]], [1.0, -1.0]
    made = {
        "ig": methods.IntegratedGradients(n_steps=4),
        "shapley": methods.ExactShapley(),
        "sig": methods.SequentialIG(n_steps=2),
        "loo": methods.FeatureAblation(),
        "ixg": methods.InputXGradient(),
    }
    found = {n: explain(m, product, x, baselines=start)[0].tolist() for n, m in made.items()}
    assert found["ig"] == pytest.approx([1, 6], abs=1e-6)
    assert found["shapley"] == pytest.approx([1, 6])
    assert found["sig"] == pytest.approx([3, 8], abs=1e-6)
    assert found["loo"] == pytest.approx([3, 8])
    assert found["ixg"] == pytest.approx([6, 6])


def test_sequential_paths_of_pixels_together():
    """(a b) c with a and b one feature: from zero, the feature has a b c in two equal parts."""
    method = methods.SequentialIG(features=torch.tensor([0, 0, 1]))
    found = explain(method, lambda z: z.prod(dim=1), [[2.0, 3.0, 4.0]])
    assert found[0].tolist() == pytest.approx([12, 12, 24], rel=1e-6)


CORNERS = torch.tensor([[0.0, 0.0], [1.5, 0.5], [2.0, 3.0]])


@pytest.mark.parametrize("rule", ["midpoint", "trapezoid"])
def test_a_path_of_pieces_is_complete(rule):
    """The product at (2, 3); a rule of left ends gives .25 and 3.75, two thirds of it."""
    f = Score(lambda z: z[:, 0] * z[:, 1], batch_size=2)
    assert polyline_gradients(f, CORNERS, None, rule).tolist() == [1.25, 4.75]


TABLE = torch.tensor([[0.0, 0.0], [4.0, 4.0], [3.0, 3.0], [1.0, 2.0], [2.0, 5.0], [9.0, 9.0]])


def path(strategy: str, anchors: int = 2, neighbours: int = 5) -> list[list[float]]:
    found = through_words(
        TABLE, TABLE[1:2], TABLE[:1], anchors=anchors, neighbours=neighbours, strategy=strategy
    )
    return found[:, 0].tolist()


@pytest.mark.parametrize("strategy", ["greedy", "maxcount"])
def test_paths_go_from_word_to_word(strategy):
    assert path(strategy) == [[4, 4], [3, 3], [1, 2], [0, 0]]


def test_dimensions_that_turn_back_take_a_step_instead():
    """After (1, 2) the nearest word left is (2, 5): no dimension is between, each goes a third."""
    assert path("greedy", anchors=3)[3] == pytest.approx([2 / 3, 4 / 3])


def test_without_a_word_left_the_path_goes_straight():
    assert path("greedy", neighbours=1) == [[4, 4], [0, 0], [0, 0], [0, 0]]


@pytest.mark.parametrize("rule", ["midpoint", "trapezoid"])
def test_discretised_paths_of_a_product_are_complete(rule):
    found = maps("good bad", Product(), dig=methods.DiscretizedIG(rule=rule, anchors=4))["dig"]
    assert sum(found) == pytest.approx(-20, rel=1e-5)


def test_discretised_paths_need_words():
    with pytest.raises(NotDefinedError, match="needs a model of texts with a table"):
        explain(methods.DiscretizedIG(), lambda x: x.sum(dim=1), [[1.0, 2.0]])
    with pytest.raises(NotDefinedError, match="moves word embeddings alone"):
        explain_words(methods.DiscretizedIG(), state=HIDDEN)


# -- the size of the gradient ------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "value"), [("l1", 3), ("l2", 5**0.5)])
def test_saliency_of_a_word_is_the_length_of_its_gradient(norm, value):
    found = maps(TEXT, saliency=methods.Saliency(norm))["saliency"]
    assert found == pytest.approx([value] * 3)


def test_saliency_of_a_flat_function_is_zero():
    found = explain(methods.Saliency("l2"), lambda x: 0 * x.sum(dim=1), [[1.0, 2.0]])
    assert found.tolist() == [[0, 0]]


# -- without words -----------------------------------------------------------------------------


def test_words_that_only_count_together():
    """1 each of the two and of the three; what is in no AND has nothing."""
    found = maps(
        "good movie bad good movie bad", Ands(), shapley=methods.ExactShapley(),
        kernel=methods.KernelShap(evaluations=64), loo=methods.FeatureAblation(),
    )  # fmt: skip
    assert found["shapley"] == pytest.approx([1, 1, 1, 1, 1, 0])
    assert found["kernel"] == pytest.approx([1, 1, 1, 1, 1, 0], abs=1e-4)
    assert found["loo"] == pytest.approx([2, 2, 3, 3, 3, 0])


@pytest.mark.parametrize(
    ("occluder", "values"),
    [
        ("delete", [2, 0.5, -2.5]),
        ("hide", [2, 0.5, -2.5]),
        ("pad", [4 / 3, 1 / 3, -5 / 3]),
        ("mask", [1.5, 0.5, -1.5]),
        ("baseline", [1.5, 0.5, -1.5]),
    ],
)
def test_leave_one_out_by_every_convention(occluder, values):
    """Of the mean of 4, 1 and -5; a [MASK] is worth -.5."""
    loo = methods.FeatureAblation(occluder=occluder)
    model = words.bag("mean")
    found = evaluate(
        model, words.data(TEXT, model=model), methods={"loo": loo}, metrics=["completeness"],
        baseline="mask",
    )  # fmt: skip
    assert found.results.maps["loo"]["text-0"].tolist() == pytest.approx(values, abs=1e-5)
    title = loo.spec.title
    assert title == "Feature ablation" + (
        f", {occluder} in place" if occluder != "baseline" else ""
    )


def test_spans_of_words_share_what_they_contribute():
    """Spans of two of (4, 1, -5, 0), overhanging: (4, 5, -4, -5, 0) over 1, 2, 2, 2 and 1 words."""
    text = "good movie bad nothing"
    found = maps(text, span=methods.Occlusion(window=2, stride=1), one=methods.Occlusion())
    assert found["one"] == pytest.approx([4, 1, -5, 0], abs=1e-6)
    assert found["span"] == pytest.approx([3.25, 0.25, -2.25, -1.25], abs=1e-6)


def test_spans_that_do_not_fit():
    found = evaluate(
        words.bag(), words.data(TEXT), methods={"span": methods.Occlusion(window=3)},
        metrics=["completeness"],
    )  # fmt: skip
    status, reason = only(found)
    assert status == "undefined"
    assert "a span of 3 features hides all 3 of the sample" in reason
    with pytest.raises(InputError, match="give one number"):
        explain_words(methods.Occlusion(window=(1, 2)))


# -- controls ----------------------------------------------------------------------------------


def test_controls_know_words_and_not_the_model():
    found = maps("good movie bad", position="position", rare="rare", length="length")
    assert found["position"] == [3, 2, 1]
    assert found["length"] == [4, 5, 3]
    log = torch.tensor([5 / 2, 5 / 2, 5 / 3]).log()
    assert found["rare"] == pytest.approx(log.tolist())


@pytest.mark.parametrize(("name", "reason"), [("rare", "how frequent"), ("length", "with names")])
def test_controls_of_words_need_them(name, reason):
    found = evaluate(nn.Linear(2, 1).eval(), torch.ones(1, 2), methods=[name],
                     metrics=["deletion"], baseline=0)  # fmt: skip
    status, said = only(found)
    assert status == "undefined"
    assert reason in said


def test_position_of_elements():
    assert explain(methods.Position(), lambda x: x.sum(dim=1), [[7.0, 5.0]]).tolist() == [[2, 1]]
