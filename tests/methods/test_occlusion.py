"""Occlusion: contributions of windows, shared among their elements."""

from __future__ import annotations

import math

import pytest
import torch
from captum.attr import Occlusion as CaptumOcclusion
from torch import nn

from igbench.core.batch import Batch
from igbench.core.score import Score
from igbench.errors import InputError, NotDefinedError
from igbench.methods import Occlusion, explain
from igbench.surrogates.windows import windows_of
from tests.helpers import closed_form as cf

F64 = torch.float64


def weights(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=F64)


def scalar(w: torch.Tensor):
    return lambda x: (x * w.to(x)).flatten(1).sum(dim=1)


def captums(f, x, window, stride) -> torch.Tensor:
    """Captum's own map; it adds in float32."""
    found = CaptumOcclusion(f).attribute(x, sliding_window_shapes=window, strides=stride)
    return found.double()


@pytest.mark.parametrize(
    ("shape", "window", "stride"),
    [
        ((7,), 1, 1), ((7,), 2, 1), ((7,), 3, 3), ((7,), 6, 2), ((3, 16), 4, 2), ((3, 16), 5, 5),
        ((2, 7, 10), 4, 2), ((2, 7, 10), (1, 2, 6), (1, 1, 2)), ((2, 7, 10), (2, 4, 4), (1, 4, 4)),
        ((2, 3, 5, 4), 2, 1), ((3, 16), None, None), ((2, 30, 36), None, None),
    ],
)  # fmt: skip
def test_shares_of_a_linear_function_sum_to_its_change(shape, window, stride):
    w, x, start = weights(*shape), weights(2, *shape) + 1, weights(2, *shape) / 2
    found = explain(Occlusion(window, stride), scalar(w), x, baselines=start)
    change = scalar(w)(x) - scalar(w)(start)
    torch.testing.assert_close(found.flatten(1).sum(dim=1), change, rtol=1e-10, atol=1e-10)


def test_equal_contributions_are_found_whatever_the_stride():
    for window, stride in ((4, 3), (5, 2), (3, 1)):
        found = explain(
            Occlusion(window, stride), scalar(torch.ones(7, dtype=F64)), cf.row(*[1] * 7)
        )
        torch.testing.assert_close(found, torch.ones(1, 7, dtype=F64), rtol=1e-10, atol=0)


def test_windows_that_overlap_and_overhang_by_hand():
    # w = (1, 2, 3, 4), windows of two: 1 | 3 / 2 | 5 / 2 | 7 / 2 | 4 for each element of them.
    found = explain(Occlusion(2, 1), cf.linear(1, 2, 3, 4), cf.row(1, 1, 1, 1))
    assert found.tolist()[0] == pytest.approx([1.25, 2, 3, 3.75], abs=1e-12)


KNOWN = {
    "linear": (cf.linear(1, -2, 3), (1, 1, 1), (1, -2, 3)),
    "product": (cf.product, (2, 3), (6, 6)),
    "maximum": (lambda x: x.amax(dim=1), (2, 1), (1, 0)),
    "quadratic": (cf.quadratic(torch.tensor([[2.0, 1], [1, 3]], dtype=F64)), (1, 2), (3, 8)),
    "exclusive or": (lambda x: x.sum(dim=1) - 2 * x.prod(dim=1), (1, 1), (-1, -1)),
    "product of three": (cf.product, (1, 1, 1), (1, 1, 1)),
    "majority": (lambda x: (x.sum(dim=1) >= 2).to(x), (1, 1, 1), (0, 0, 0)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_single_elements_get_the_change_without_them(name):
    f, x, expected = KNOWN[name]
    found = explain(Occlusion(), f, cf.row(*x))
    assert found.tolist()[0] == pytest.approx(expected, abs=1e-10)


def test_disjoint_windows_rank_as_captum():
    net, x = cf.small_net(), cf.images(1)

    def f(z):
        return net(z)[:, 2]

    found = explain(Occlusion(2, 2), net, x, target=2)
    theirs = captums(f, x, (3, 2, 2), (3, 2, 2))
    torch.testing.assert_close(12 * found, theirs, rtol=1e-5, atol=1e-6)
    ours, other = found[0, 0, ::2, ::2].flatten(), theirs[0, 0, ::2, ::2].flatten()
    assert ours.argsort().tolist() == other.argsort().tolist()


@pytest.mark.parametrize(("window", "stride"), [(4, 2), (3, 1), (4, 3)])
def test_elements_in_whole_windows_alone_are_captums_divided_by_the_size(window, stride):
    w, x = weights(2, 9, 9), weights(1, 2, 9, 9)

    def f(z):
        return torch.tanh(scalar(w)(z))

    found = explain(Occlusion(window, stride), f, x)
    theirs = captums(f, x, (2, window, window), (2, stride, stride))
    # Elements that no overhanging window covers: on one axis, those from w - 1 (or the last
    # overhanging end) to the first start whose window would end beyond the border.
    axis = windows_of((9,), window, stride).axes[0]
    cut = (axis.starts < 0) | (axis.starts + window > 9)
    inner = ~axis.inside(axis.starts[cut]).any(dim=0)
    assert int(inner.sum()) >= 3
    sizes = 2 * window**2
    torch.testing.assert_close(
        (sizes * found)[..., inner, :][..., inner],
        theirs[..., inner, :][..., inner],
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("shape", "window", "stride"),
    [
        ((9,), 3, 3), ((9,), 4, 2), ((9,), 4, 3), ((10,), 4, 4), ((3, 10), 4, 3),
        ((1, 9, 9), 4, 2), ((3, 10, 7), 4, 3), ((3, 10, 7), (1, 5, 3), (1, 2, 3)),
        ((3, 8, 9), (2, 3, 4), (1, 3, 2)), ((2, 3, 5, 4), 2, 1), ((3, 16, 16), None, None),
    ],
)  # fmt: skip
def test_windows_that_do_not_overhang_are_captums_and_so_is_the_map(shape, window, stride):
    """Captum's map is ours times the elements of a whole window, also where the border cuts one."""
    w, x, start = weights(*shape), weights(2, *shape) + 1, weights(2, *shape) / 2
    windows = windows_of(shape, window, stride, overhang=False)
    sides = tuple(axis.window for axis in windows.axes)
    seen = []

    def f(z):
        seen.append(z)
        return torch.tanh(scalar(w)(z) / 10)

    explainer = CaptumOcclusion(f)
    theirs = explainer.attribute(
        x, sides, tuple(axis.stride for axis in windows.axes), baselines=start
    )
    rows = len(torch.cat(seen))
    score = Score(f)
    batch = Batch(score, x, start, None, ("a", "b"))
    found = Occlusion(window, stride, overhang=False)(batch)
    assert score.cost.forward == rows == 2 * (1 + math.prod(windows.grid))
    torch.testing.assert_close(math.prod(sides) * found, theirs.double(), rtol=1e-5, atol=1e-6)


def test_what_windows_that_do_not_overhang_lose_is_the_sum():
    f, x = cf.linear(1, 2, 3, 4), cf.row(1, 1, 1, 1)
    found = explain(Occlusion(2, 1, overhang=False), f, x)
    assert found.tolist()[0] == pytest.approx([1.5, 2, 3, 3.5], abs=1e-12)
    assert float(explain(Occlusion(2, 1), f, x).sum()) == pytest.approx(10, abs=1e-12)
    # Where windows do not overlap and the border cuts none, both are the same.
    both = [explain(Occlusion(2, 2, overhang=own), f, x) for own in (True, False)]
    assert torch.equal(*both)
    assert float(both[0].sum()) == pytest.approx(10, abs=1e-12)


def test_spans_of_features_that_do_not_overhang():
    x, numbers = torch.ones(1, 5, dtype=F64), torch.tensor([[0, 1, 1, 2, 3]])
    batch = Batch(Score(cf.linear(1, 2, 3, 4, 5)), x, 0 * x, None, ("a",), numbers)
    found = Occlusion(2, 1, overhang=False)(batch)
    # Spans {0, 1}, {1, 2}, {2, 3} change the output by 6, 9, 9, half of it for each feature.
    assert found.tolist()[0] == pytest.approx([3, 1.875, 1.875, 4.5, 4.5], abs=1e-12)


def test_windows_that_hide_the_same_differing_elements_are_evaluated_once():
    """Two of 16 elements differ; windows of four by one hide none, one of them, or both."""
    w, x = weights(16), torch.zeros(1, 16, dtype=F64)
    x[0, [6, 8]] = 1

    def f(z):
        return torch.tanh(scalar(w)(z))

    score = Score(f)
    found = Occlusion(4, 1)(Batch(score, x, 0 * x, None, ("a",)))
    assert score.cost.forward == 1 + 3
    start = x + 1e-9  # every element differs, by next to nothing
    start[0, [6, 8]] = 0
    every = Score(f)
    expected = Occlusion(4, 1)(Batch(every, x, start, None, ("a",)))
    assert every.cost.forward == 1 + 19
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


def test_distinct_windows_by_enumeration():
    marked = torch.rand(2, 7, 9, generator=torch.Generator().manual_seed(0)) < 0.1
    for overhang in (True, False):
        windows = windows_of((2, 7, 9), (1, 4, 3), (1, 2, 1), overhang=overhang)
        count = math.prod(windows.grid)
        hidden = (windows.inside(torch.arange(count)) & marked).flatten(1)
        sets = [tuple(row.nonzero()[:, 0].tolist()) for row in hidden]
        first, place = windows.distinct(marked)
        known = list(dict.fromkeys(s for s in sets if s))
        assert [sets[t] for t in first] == known
        assert [sets.index(s) for s in known] == first.tolist()
        assert place.tolist() == [known.index(s) if s else -1 for s in sets]
        assert len(known) < count


def test_parts_that_do_not_differ_from_the_baseline_cost_nothing_and_get_nothing():
    x = torch.zeros(1, 1, 8, 8, dtype=F64)
    x[..., 2:4, 2:4] = 1
    score = Score(lambda z: z.flatten(1).sum(dim=1) ** 2)
    found = Occlusion(2, 2)(Batch(score, x, 0 * x, None, ("a",)))
    assert score.cost.forward == 2
    assert float(found.sum()) == 16
    assert int((found != 0).sum()) == 4
    score = Score(lambda z: z.flatten(1).sum(dim=1))
    assert not Occlusion()(Batch(score, x, x, None, ("a",))).any()
    assert score.cost.forward == 0


def test_rows_and_batch_size():
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(64, 1)).double().eval(), weights(2, 1, 8, 8)
    maps = []
    for size in (1, 7, 1000):
        score = Score(net, batch_size=size)
        maps.append(Occlusion(2, 1)(Batch(score, x, 0 * x, None, ("a", "b"))))
        assert score.cost.forward == 2 * (1 + 9 * 9)
    for other in maps[1:]:
        torch.testing.assert_close(other, maps[0], rtol=1e-12, atol=1e-12)


def test_windows_that_do_not_fit_are_refused_in_one_line():
    x = torch.ones(1, 3, 8, 8)
    for window, stride, text in (
        ((1, 2), None, "one number for each of the 3 axes"),
        (0, None, "window=0 must be a whole number"),
        (2.5, None, "window=2.5 must be a whole number"),
        (9, None, "do not fit"),
        (2, 3, "do not fit"),
    ):
        with pytest.raises(InputError, match=text) as caught:
            explain(Occlusion(window, stride), lambda z: z.flatten(1).sum(dim=1), x)
        assert "\n" not in str(caught.value)
    with pytest.raises(NotDefinedError, match="hides all of a sample"):
        explain(Occlusion(8, 4), lambda z: z.flatten(1).sum(dim=1), x)
    assert explain(Occlusion(), cf.linear(3), cf.row(2)).tolist() == [[6.0]]


def test_a_window_of_many_elements_is_never_a_table_of_masks():
    """Windows of one of 10^5 elements: rows are built as they are evaluated."""
    windows = windows_of((100_000,))
    assert windows.grid == (100_000,)
    assert float(windows.share(torch.ones(100_000)).sum()) == pytest.approx(1e5)
    assert windows.inside(torch.tensor([0, 7])).sum(dim=1).tolist() == [1, 1]
    assert math.prod(windows_of((3, 224, 224)).grid) == 225
