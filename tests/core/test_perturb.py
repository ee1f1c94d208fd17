"""Random orders of features: the same draws in fewer bytes."""

from __future__ import annotations

import pytest
import torch

from igbench.core import perturb, rng


@pytest.mark.parametrize("count", [1, 2, 17, 40_000])
def test_orders_are_those_of_64_bits(count):
    g = rng.generator(3, "purpose", "cat")
    expected = torch.stack([torch.randperm(count, generator=g) for _ in range(5)])
    found = perturb.ranks(count, 5, 3, "purpose", "cat")
    assert found.dtype == torch.int32
    assert torch.equal(found.long(), expected)
    assert torch.equal(perturb.ranks(count, 3, 3, "purpose", "cat"), found[:3])
