"""Agreement with masks: counts by hand, ties, and data that have none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from igbench import metrics
from igbench.config import build
from igbench.data.digits import digits
from igbench.errors import InputError
from igbench.metrics.localisation import PointingGame, RelevanceMass, RelevanceRank
from tests.helpers.toy import toy_model

TRIO = [PointingGame, RelevanceRank, RelevanceMass]


def f(x: Tensor) -> Tensor:
    return x.flatten(1).sum(dim=1)


def image(*values: float) -> Tensor:
    """(1, 2, 2, 3): a map of 2 x 3 pixels, split unevenly over two channels."""
    plain = torch.tensor(values, dtype=torch.float64).view(1, 1, 2, 3)
    return torch.cat([1.5 * plain, -0.5 * plain], dim=1)


MASK = torch.tensor([[[True, False, False], [True, False, False]]])


def call(name: str, phi: Tensor, **own: float | str) -> float:
    return float(getattr(metrics, name)(f, torch.ones_like(phi), phi, masks=MASK, **own))


def test_mass():
    assert call("relevance_mass", image(1, 2, 3, 4, 0, 0)) == pytest.approx(5 / 10)
    assert call("relevance_mass", image(1, -2, 3, -4, 0, 0)) == pytest.approx(1 / 4)
    assert call("relevance_mass", image(1, -2, 3, -4, 0, 0), part="absolute") == pytest.approx(0.5)
    assert call("relevance_mass", image(*[7] * 6)) == pytest.approx(1 / 3)


def test_rank():
    assert call("relevance_rank", image(6, 5, 4, 3, 2, 1)) == 0.5
    assert call("relevance_rank", image(6, 1, 2, 5, 0, 0)) == 1
    assert call("relevance_rank", image(0, 1, 2, 0, 3, 3)) == 0
    assert call("relevance_rank", image(-6, 1, 2, -5, 3, 3)) == 0
    assert call("relevance_rank", image(-6, 1, 2, -5, 3, 3), part="absolute") == 1


@pytest.mark.parametrize(
    ("phi", "tolerance", "expected"),
    [
        ((9, 0, 0, 0, 0, 0), 0, 1),
        ((0, 0, 0, 9, 0, 0), 0, 1),
        ((0, 9, 0, 0, 0, 0), 0, 0),
        ((0, 9, 0, 0, 0, 0), 1, 1),
        ((0, 0, 9, 0, 0, 0), 1.9, 0),
        ((0, 0, 9, 0, 0, 0), 2, 1),
    ],
)
def test_pointing(phi, tolerance, expected):
    assert call("pointing_game", image(*phi), tolerance=tolerance) == expected


def test_tolerance_is_euclidean():
    phi, mask = torch.zeros(1, 1, 9, 9), torch.zeros(1, 9, 9, dtype=torch.bool)
    phi[0, 0, 0, 0], mask[0, 3, 4] = 1, True
    for tolerance, expected in ((4.99, 0), (5, 1)):
        found = metrics.pointing_game(f, phi + 1, phi, masks=mask, tolerance=tolerance)
        assert float(found) == expected
        # Neither in the first row nor in the first column, and the other way round.
        turned = metrics.pointing_game(
            f,
            phi + 1,
            phi.roll((4, 2), (2, 3)),
            masks=mask.roll((4, 2), (1, 2)),
            tolerance=tolerance,
        )
        assert float(turned) == expected


def test_vectors_have_masks_too():
    phi, mask = torch.tensor([[1.0, -2, 3, 4]]), torch.tensor([[True, True, False, True]])
    for name, expected in (("relevance_mass", 5 / 8), ("relevance_rank", 1.0)):
        found = getattr(metrics, name)(f, phi, phi, masks=mask)
        # The top three of 0-clipped (1, 0, 3, 4) are 4, 3, 1: two of them are marked.
        want = expected if name == "relevance_mass" else 2 / 3
        assert float(found) == pytest.approx(want)


def test_tied_maxima_hit_by_chance_alone():
    n = 600
    phi, mask = torch.ones(n, 1, 2, 3), MASK.expand(n, 2, 3)
    found = metrics.pointing_game(f, phi, phi, masks=mask, tolerance=0)
    # 2 of 6 pixels; the standard deviation of the mean is .019.
    assert float(found.mean()) == pytest.approx(1 / 3, abs=5 * 0.019)
    found = metrics.relevance_rank(f, phi, phi, masks=mask)
    assert float(found.mean()) == pytest.approx(1 / 3, abs=5 * 0.019)


@pytest.mark.parametrize("name", ["pointing_game", "relevance_rank", "relevance_mass"])
def test_undefined(name):
    phi = torch.cat([image(1, 2, 3, 4, 5, 6)] * 3 + [image(-1, -1, -1, -1, -1, -1)])
    masks = [MASK[0], None, 0 * MASK[0], MASK[0]]
    found = getattr(metrics, name)(f, torch.ones_like(phi), phi, masks=masks)
    assert found.isnan().tolist() == [False, True, True, True]
    with pytest.raises(InputError, match="they must match"):
        getattr(metrics, name)(f, phi, phi, masks=torch.ones(4, 3, 2, dtype=torch.bool))
    with pytest.raises(InputError, match="2 masks for 4 samples"):
        getattr(metrics, name)(f, phi, phi, masks=masks[:2])


@pytest.mark.parametrize("cls", TRIO)
def test_masks_come_with_the_data(cls):
    data = digits(toy_model(tuple("0123456789"), None), limit=3)
    with pytest.raises(InputError, match="'digits' has no masks"):
        cls(data=data)
    node = {"_target_": f"{cls.__module__}.{cls.__name__}"}
    with pytest.raises(InputError, match="has no masks"):
        build.construct(node, "metric.x", data=data)
    marked = replace(data, mask=lambda i: data.load(i)[0] > 0 if i else None)
    metric = build.construct(node, "metric.x", data=marked)
    from igbench.core.batch import Batch
    from igbench.core.score import Score

    x = torch.stack([data.load(i) for i in range(3)])
    batch = Batch(Score(f), x, 0 * x, None, data.sample_ids, "pixel", 0)
    found = metric.observe(batch)
    assert found[0] is None
    assert torch.equal(found[2].view(8, 8), data.load(2)[0] > 0)
    with pytest.raises(InputError, match="give masks="):
        cls().observe(batch)


def test_bad_arguments():
    with pytest.raises(InputError, match="unknown part"):
        RelevanceMass(part="negative")
    with pytest.raises(InputError, match="tolerance is -1"):
        PointingGame(tolerance=-1)
