"""Feature ablation: players one at a time."""

from __future__ import annotations

import pytest
import torch

from igbench.core.batch import Batch
from igbench.core.score import Score
from igbench.errors import NotDefinedError
from igbench.methods import FeatureAblation, Lime, Occlusion, explain
from tests.helpers import closed_form as cf
from tests.methods.test_occlusion import KNOWN, scalar, weights


@pytest.mark.parametrize("name", KNOWN)
def test_known_answers(name):
    f, x, expected = KNOWN[name]
    found = explain(FeatureAblation("element"), f, cf.row(*x))
    assert found.tolist()[0] == pytest.approx(expected, abs=1e-10)


def test_it_is_occlusion_with_windows_of_one():
    net, x = cf.small_net(), cf.images(2)
    target = torch.tensor([1, 3])
    found = explain(FeatureAblation("element"), net, x, target=target)
    single = explain(Occlusion((1, 1, 1), (1, 1, 1)), net, x, target=target)
    torch.testing.assert_close(found, single, rtol=1e-12, atol=1e-14)
    blocks = explain(FeatureAblation("patch:2"), net, x, target=target)
    torch.testing.assert_close(
        blocks, explain(Occlusion(2, 2), net, x, target=target), rtol=1e-12, atol=1e-14
    )


def test_contributions_of_players_are_spread_over_their_elements():
    numbers = torch.tensor([2, 0, 2, 1, 2])
    found = explain(FeatureAblation(numbers), cf.product, cf.row(2, 3, 1, 1, 5))
    assert found.tolist()[0] == pytest.approx([10, 30, 10, 30, 10])
    given = explain(FeatureAblation([2, 0, 2, 1, 2]), cf.product, cf.row(2, 3, 1, 1, 5))
    assert torch.equal(given, found)


def test_players_that_do_not_differ_are_not_evaluated():
    x, start = cf.row(1, 5, 3), cf.row(0, 5, 0)
    score = Score(cf.linear(1, 10, 3))
    found = FeatureAblation()(Batch(score, x, start, None, ("a",)))
    assert found.tolist() == [[1, 0, 9]]
    assert score.cost.forward == 3
    assert not FeatureAblation()(Batch(score, x, x, None, ("a",))).any()
    assert score.cost.forward == 3


def test_superpixels_of_a_linear_function_sum_to_its_change():
    w, x = weights(3, 64, 64), weights(1, 3, 64, 64)
    found = explain(FeatureAblation("superpixel:9"), scalar(w), x)
    torch.testing.assert_close(found.sum(), (w * x).sum(), rtol=1e-10, atol=1e-10)
    with pytest.raises(NotDefinedError, match="need images"):
        explain(FeatureAblation("superpixel"), cf.product, cf.row(1, 2))


def test_elements_that_take_no_part_keep_their_value():
    """f = x0 x1 x2 with x2 = 5 held: without x0, or x1, all 30 are lost; so LIME's slopes too."""
    x, active = cf.row(2, 3, 5), torch.tensor([[True, True, False]])
    batch = Batch(Score(cf.product), x, 0 * x, None, ("a",), active=active)
    assert FeatureAblation()(batch)[0].tolist() == pytest.approx([30, 30, 0])
    assert Lime(kernel="none")(batch)[0].tolist() == pytest.approx([15, 15, 0])
