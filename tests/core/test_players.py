"""Players: what fits each shape, superpixels that depend on the picture alone, and refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from igbench.core.batch import Batch
from igbench.core.players import players, superpixels
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.methods import ExactShapley, FeatureAblation, KernelShap, Lime, ShapleySampling


def batch_of(x: torch.Tensor) -> Batch:
    ids = tuple(str(i) for i in range(len(x)))
    return Batch(Score(lambda z: z.flatten(1).sum(1)), x, torch.zeros_like(x), None, ids)


def picture() -> torch.Tensor:
    """A bright disc on a dark ground, with a little texture."""
    g = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    disc = ((rows - 32) ** 2 + (columns - 32) ** 2 < 300).float()
    return disc.expand(3, 64, 64) + 0.05 * torch.rand(3, 64, 64, generator=g)


@pytest.mark.parametrize(
    ("shape", "name", "count"),
    [
        ((7,), "element", 7),
        ((2, 16), "pixel", 16),
        ((1, 2, 4, 4), "pixel", 32),
        ((1, 8, 8), "patch:2", 16),
        ((3, 16, 16), "patch:4", 16),
        ((3, 3, 3), "patch:1", 9),
    ],
)
def test_what_fits_each_shape(shape, name, count):
    found = players(None, batch_of(torch.rand(2, *shape)), 1)
    assert (found.name, found.count) == (name, count)


def test_superpixels_are_a_partition_that_follows_the_picture():
    x = picture()
    found = players(None, batch_of(x[None]), 0)
    assert found.index.shape == x.shape
    assert found.index.unique().tolist() == list(range(found.count))
    assert torch.equal(found.index[0], found.index[2])
    disc = x[0] > 0.5
    inside = torch.bincount(found.index[0][disc], minlength=found.count)
    size = torch.bincount(found.index[0].flatten(), minlength=found.count)
    mixed = torch.minimum(inside, size - inside).sum()
    assert int(mixed) < 0.05 * disc.numel(), "segments follow the edge of the disc"


def test_superpixels_do_not_depend_on_the_normalisation_or_the_company():
    x = picture()
    alone = superpixels(x)
    assert torch.equal(superpixels(x * 2 - 1).index, alone.index)
    pair = batch_of(torch.stack([torch.rand(3, 64, 64), x]))
    assert torch.equal(players("superpixel:50", pair, 1).index, alone.index)


@pytest.mark.parametrize("cls", [ExactShapley, FeatureAblation, KernelShap, Lime, ShapleySampling])
def test_the_players_that_were_chosen_are_on_the_record(cls):
    plain = cls().spec.title
    assert cls(features="superpixel:16").spec.title == f"{plain} on superpixel:16"
    assert cls(features=torch.tensor([0, 1, 1])).spec.title == f"{plain} on 2 features"


def test_numbers_of_the_batch_come_before_the_shape():
    numbers = torch.tensor([[0, 0, 1], [0, 1, 1]])
    batch = replace(batch_of(torch.rand(2, 3)), features=numbers)
    assert players(None, batch, 1).index.tolist() == [0, 1, 1]
    assert players("element", batch, 1).count == 3


@pytest.mark.parametrize(
    ("unit", "shape", "said"),
    [
        ("superpixel", (5,), "superpixels need images"),
        ("superpixel:x", (3, 8, 8), "about S segments"),
        ("superpixel:1", (3, 8, 8), "about S segments"),
        ("segments", (3, 8, 8), "do not fit"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(unit, shape, said):
    with pytest.raises(InputError, match=said) as caught:
        players(unit, batch_of(torch.rand(1, *shape)), 0)
    assert "\n" not in str(caught.value)
