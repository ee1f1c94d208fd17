"""Noisy linear imputation against cases with known answers and a slow solver of its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from igbench.errors import InputError
from igbench.metrics.faithfulness import imputation

# Direct solves of a well-conditioned system of some hundred unknowns: rounding of 1e-16 times the
# size of the values (below 100) times the condition number (below 1e3 for holes of this size).
EXACT = {"rtol": 0, "atol": 1e-11}


def mask(h: int, w: int, share: float, interior: bool = True, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    removed = torch.rand(h, w, generator=g) < share
    if interior:
        removed[[0, -1]] = False
        removed[:, [0, -1]] = False
    return removed


def ramp(h: int, w: int) -> Tensor:
    rows, columns = torch.arange(h).double(), torch.arange(w).double()
    one = 2 * rows[:, None] - 3 * columns[None, :] + 5
    return torch.stack([one, -one / 7])


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95, 1.0])
def test_ramp_comes_back_where_the_mask_is_interior(share):
    x = ramp(17, 13)
    removed = mask(17, 13, share)
    assert bool(removed.any())
    broken = torch.where(removed, torch.full_like(x, 1e6), x)
    torch.testing.assert_close(imputation.linear(broken, removed), x, **EXACT)


def test_constant_comes_back_at_the_border_too():
    removed = mask(12, 9, 0.8, interior=False)
    assert bool(removed[0].any())
    x = torch.full((3, 12, 9), 0.7, dtype=torch.float64)
    broken = torch.where(removed, torch.zeros_like(x), x)
    torch.testing.assert_close(imputation.linear(broken, removed), x, **EXACT)


def test_single_pixels_by_hand():
    x = torch.arange(9, dtype=torch.float64).view(1, 3, 3) ** 2
    centre = torch.zeros(3, 3, dtype=torch.bool)
    centre[1, 1] = True
    # edges 1, 9, 25, 49; corners 0, 4, 36, 64
    expected = (1 + 9 + 25 + 49) / 6 + (0 + 4 + 36 + 64) / 12
    assert float(imputation.linear(x, centre)[0, 1, 1]) == pytest.approx(expected, rel=1e-14)
    corner = torch.zeros(3, 3, dtype=torch.bool)
    corner[0, 0] = True
    # edges 1 and 9, corner 16: weights 2, 2, 1 of 5
    expected = (2 * 1 + 2 * 9 + 16) / 5
    assert float(imputation.linear(x, corner)[0, 0, 0]) == pytest.approx(expected, rel=1e-14)


def relaxed(x: Tensor, removed: Tensor, sweeps: int = 4000) -> Tensor:
    """The same equations by repeated averaging over the neighbours, with plain loops."""
    h, w = removed.shape
    value = torch.where(removed, torch.zeros_like(x), x)
    holes = [(int(i), int(j)) for i, j in removed.nonzero()]
    for _ in range(sweeps):
        worst = 0.0
        for i, j in holes:
            total, weights = torch.zeros(len(x), dtype=x.dtype), 0.0
            for a in range(max(0, i - 1), min(h, i + 2)):
                for b in range(max(0, j - 1), min(w, j + 2)):
                    if (a, b) != (i, j):
                        weight = 1 / 6 if a == i or b == j else 1 / 12
                        total, weights = total + weight * value[:, a, b], weights + weight
            new = total / weights
            worst = max(worst, float((new - value[:, i, j]).abs().max()))
            value[:, i, j] = new
        if worst < 1e-13:
            break
    return value


def test_agrees_with_relaxation():
    g = torch.Generator().manual_seed(4)
    x = torch.rand(2, 6, 5, generator=g, dtype=torch.float64)
    removed = mask(6, 5, 0.5, interior=False, seed=2)
    torch.testing.assert_close(
        imputation.linear(x, removed), relaxed(x, removed), rtol=0, atol=1e-10
    )


def test_noise_goes_to_removed_pixels_alone():
    x, removed = ramp(8, 8), mask(8, 8, 0.5)
    noise = torch.ones_like(x)
    difference = imputation.linear(x, removed, noise) - imputation.linear(x, removed)
    torch.testing.assert_close(difference, removed.double().expand_as(x), **EXACT)
    kept = imputation.linear(x, removed, noise)[:, ~removed]
    assert torch.equal(kept, x[:, ~removed])


def test_keeps_dtype_and_leaves_the_input_alone():
    x = ramp(6, 6).float()
    before = x.clone()
    assert imputation.linear(x, mask(6, 6, 0.5)).dtype == torch.float32
    assert torch.equal(x, before)
    nothing = torch.zeros(6, 6, dtype=torch.bool)
    assert torch.equal(imputation.linear(x, nothing), x)


def test_what_cannot_be_imputed_is_refused():
    x = ramp(4, 4)
    with pytest.raises(InputError, match="nothing to impute from"):
        imputation.linear(x, torch.ones(4, 4, dtype=torch.bool))
    with pytest.raises(InputError, match="mask"):
        imputation.linear(x, torch.zeros(4, 5, dtype=torch.bool))
