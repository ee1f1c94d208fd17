from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.data.digits import digits, display, load_split
from igbench.errors import InputError
from tests.helpers.toy import same_rng, toy_model

FIRST = ("digit-0293", "digit-0262", "digit-1752", "digit-1760")


def model() -> Model:
    return toy_model(tuple("0123456789"), preprocess=None)


def index(sample_id: str) -> int:
    return int(sample_id.removeprefix("digit-"))


def made(limit: int | None) -> Data:
    return digits(model(), limit=limit)


def test_samples_are_scikit_learns() -> None:
    bunch = load_digits()
    data = made(None)
    assert data.shape == (1, 8, 8)
    for i, sample_id in enumerate(data.sample_ids):
        x = data.load(i)
        assert x.dtype == torch.float32
        assert np.array_equal(x[0].numpy() * 16, bunch.images[index(sample_id)])
        assert data.labels[i] == bunch.target[index(sample_id)]


def test_the_split_is_stratified_and_complete() -> None:
    split = load_split()
    assert not set(split.train) & set(split.held_out)
    assert set(split.train) | set(split.held_out) == set(range(1797))
    target = load_digits().target
    every, held = Counter(target), Counter(target[list(split.held_out)])
    for k in range(10):
        assert abs(held[k] - every[k] / 5) <= 0.5


def test_the_split_is_fixed() -> None:
    """Changing it would change every number ever recorded on digits."""
    assert made(4).sample_ids == FIRST
    assert made(None).sample_ids[:4] == FIRST


def test_small_limits_hold_several_classes() -> None:
    assert len(set(made(16).labels)) >= 6


def test_reference_digits_are_never_evaluated() -> None:
    data = made(None)
    assert data.reference is not None
    pool = data.reference()
    assert pool.shape == (64, 1, 8, 8)
    split = load_split()
    training = split.images[list(split.train)].flatten(1)
    assert all((training == p).all(dim=1).any() for p in pool.flatten(1))
    assert data.reference_labels is not None
    labels = {
        tuple(d.flatten().tolist()): int(k) for d, k in zip(split.images, split.labels, strict=True)
    }
    expected = [labels[tuple(p.flatten().tolist())] for p in pool]
    assert list(data.reference_labels()) == expected


def test_nobody_can_spoil_the_samples() -> None:
    data = made(2)
    assert data.reference is not None
    before, pool = data.load(0).clone(), data.reference().clone()
    data.load(0).zero_()
    data.reference().zero_()
    assert torch.equal(data.load(0), before)
    assert torch.equal(data.reference(), pool)


def test_display_enlarges_every_pixel() -> None:
    x = torch.zeros(1, 8, 8)
    x[0, 2, 5], x[0, 7, 7] = 1.0, 0.5
    shown = display(x)
    assert shown.shape == (64, 64, 3)
    assert shown.dtype == np.uint8
    assert (shown[16:24, 40:48] == 255).all()
    assert (shown[56:, 56:] == 128).all()
    assert shown.astype(int).sum() == 3 * 64 * (255 + 128)


def test_black_is_the_background() -> None:
    data = made(None)
    corners = torch.stack([data.load(i)[0, :, 0] for i in range(len(data))])
    assert data.black == (corners.median().item(),)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match=r"'toy' does not take digits .*model=digits_resnet"):
        digits(toy_model(), limit=None)
    with pytest.raises(InputError, match=r"limit is -1; it must be above zero"):
        made(-1)


def test_global_generators_are_left_alone() -> None:
    with same_rng():
        made(3).load(0)
