"""Keys: what they depend on, and what they leave alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from igbench.core import features, perturb, rng
from igbench.errors import InputError


def test_every_part_of_the_key_counts():
    keys = {
        rng.key(seed, purpose, sample, draw)
        for seed in (0, 1)
        for purpose in ("a", "b")
        for sample in ("x", "y", "x1")
        for draw in (0, 1, 11)
    }
    assert len(keys) == 2 * 2 * 3 * 3
    assert all(0 <= k < 2**63 for k in keys)


def test_known_key_on_every_machine():
    # blake2b of "0<US>noise<US>cat<US>0", 8 bytes, big endian, shifted right by one.
    assert rng.key(0, "noise", "cat") == KNOWN


KNOWN = 3423113509401457333


def test_global_state_is_seeded_and_restored():
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    draws = []
    for _ in range(2):
        with rng.global_state(3, "shap", "cat"):
            draws.append((float(torch.rand(1)), float(np.random.rand())))  # noqa: NPY002
    assert draws[0] == draws[1]
    assert torch.equal(torch_state, torch.random.get_rng_state())
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def test_seeds_are_those_of_torch_and_no_stack_is_formatted_for_absent_devices(monkeypatch):
    value = rng.key(3, "shap", "cat")
    with rng.untouched():
        torch.manual_seed(value)
        expected = torch.rand(2)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr("traceback.format_stack", None)
    with rng.global_state(3, "shap", "cat"):
        assert torch.equal(torch.rand(2), expected)


def test_devices_that_are_there_are_seeded(monkeypatch):
    seeds: list[int] = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch, "manual_seed", seeds.append)
    with rng.global_state(3, "shap", "cat"):
        pass
    assert seeds == [rng.key(3, "shap", "cat")]


def test_features_of_images():
    pixel = features.resolve("pixel", (3, 4, 5))
    assert (pixel.count, pixel.index.shape) == (20, (3, 4, 5))
    patch = features.resolve("patch:2", (3, 4, 5))
    assert patch.count == 6
    assert patch.index[0].tolist() == [
        [0, 0, 1, 1, 2],
        [0, 0, 1, 1, 2],
        [3, 3, 4, 4, 5],
        [3, 3, 4, 4, 5],
    ]
    own = features.resolve(torch.tensor([0, 1, 1]), (3,))
    values = torch.tensor([[1.0, 2, 4]])
    assert features.total(values, own).tolist() == [[1, 6]]
    assert features.spread(torch.tensor([[5.0, 7]]), own).tolist() == [[5, 7, 7]]


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("patch:0", (3, 4, 4)),
        ("patch:2", (4,)),
        ("superpixel", (3, 4, 4)),
        (torch.tensor([0, 2]), (2,)),
        (torch.tensor([0.0, 1]), (2,)),
        (torch.tensor([0, 1]), (3,)),
    ],
)
def test_features_that_do_not_fit(spec, shape):
    with pytest.raises(InputError):
        features.resolve(spec, shape)


def test_subsets_and_ranks():
    assert perturb.all_subsets(4, 2).sum(dim=1).tolist() == [2] * 6
    assert len(perturb.all_subsets(3).unique(dim=0)) == 8
    with pytest.raises(InputError, match="too many"):
        perturb.all_subsets(40)
    ranks = perturb.ranks(9, 5, 0, "t", "cat")
    assert (ranks.sort(dim=1).values == torch.arange(9)).all()


def test_squares_lie_inside_and_have_their_side():
    masks = perturb.squares((3, 10, 12), 200, (2, 5), torch.Generator().manual_seed(0))
    for mask in masks.view(200, 10, 12):
        rows, columns = mask.any(dim=1).sum(), mask.any(dim=0).sum()
        assert rows == columns
        assert 2 <= rows <= 5
        assert mask.sum() == rows * columns
    assert masks.any(dim=0).all(), "every pixel is reached"


def test_rise_blur_is_nearly_a_box():
    x = torch.zeros(1, 1, 31, 31)
    x[..., 15, 15] = 1
    kernel = perturb.rise_blur(x)[0, 0, 10:21, 10:21]
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-6)
    assert float(kernel.max() / kernel.min()) == pytest.approx(1.14, abs=0.01)
