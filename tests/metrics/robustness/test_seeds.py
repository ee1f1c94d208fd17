"""Seed variance: the error of a map that draws, and nothing of one that does not."""

from __future__ import annotations

import math

import pytest
import torch

import igbench
from igbench.core import rng
from igbench.core.batch import Attribution, Batch
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.metrics import SeedVariance, seed_variance
from igbench.metrics.robustness.seeds import relative_error
from igbench.schema import MethodSpec

X = torch.ones(2, 400, dtype=torch.float64)


def total(x):
    return x.sum(dim=1)


def noisy(batch: Batch) -> torch.Tensor:
    """Ones plus noise of standard deviation 0.2, keyed."""
    draws = rng.per_sample(
        lambda g: torch.randn(400, generator=g, dtype=torch.float64),
        batch.seed,
        "noise",
        batch.sample_ids,
        batch.x,
    )
    return 1 + 0.2 * draws


def scored(method, **arguments):
    batch = Batch(Score(total), X, 0 * X, None, ("a", "b"))
    own = Attribution(method(batch), MethodSpec("", "", "global", True), method)
    return SeedVariance(**arguments).score(batch, {"m": own})["m"]


def test_the_error_of_a_noisy_map():
    found = scored(noisy, seeds=9)
    # 400 elements, ten maps: the sd is known to 1 / sqrt(2 * 400 * 9) = 1.2 %, and the mean map is
    # longer by a part of 0.02^2; four of these.
    assert found.value.tolist() == pytest.approx([0.2, 0.2], rel=0.05)
    assert found.std_error is not None
    assert 0 < float(found.std_error.max()) < 0.02
    assert float(found.value[0]) != float(found.value[1])


def test_by_hand():
    """Maps (1, 0), (1, 2), (1, 1): a variance of 1 around (1, 1), which is sqrt 2 long."""
    maps = torch.tensor([[[1.0, 0]], [[1, 2]], [[1, 1]]], dtype=torch.float64)
    found = relative_error(maps)
    assert float(found.value) == pytest.approx(1 / math.sqrt(2))
    pairs = [math.sqrt(v) / size for v, size in ((0.5, 1.25**0.5), (0.5, 3.25**0.5))]
    pairs.append(math.sqrt(2) / math.sqrt(2))
    wanted = torch.tensor([pairs[1], pairs[0], pairs[2]]).double()
    assert float(found.std_error) == pytest.approx(float(wanted.std(correction=0)) * 2**0.5)
    assert relative_error(maps[:2]).std_error is None


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_exactly_zero_without_draws(seeds):
    found = scored(lambda b: b.x / 3, seeds=seeds)
    assert found.value.tolist() == [0.0, 0.0]
    assert scored(lambda b: 0 * b.x, seeds=seeds).value.isnan().all()


def test_other_repeats_are_other_seeds():
    one, two = (seed_variance(total, X, X, method=noisy, seed=s).value for s in (0, 1))
    assert not torch.equal(one, two)
    assert torch.equal(one, seed_variance(total, X, X, method=noisy, seed=0).value)


def test_in_a_run():
    found = igbench.evaluate(
        total, X[:, :4].float(), methods=["ig", "random"], metrics=["seed_variance"]
    ).frame
    rows = found[found["metric"] == "seed_variance"].set_index("method")["value"]
    assert rows["ig"].tolist() == [0.0, 0.0]
    assert rows["random"].min() > 0.5


def test_refusals():
    with pytest.raises(InputError, match="seeds=0 must be a whole number of at least 1"):
        SeedVariance(seeds=0)
    with pytest.raises(InputError, match="needs the method itself"):
        seed_variance(total, X, X)
