"""Mosaics: tiles, masks, and the scores that they are for."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch

from igbench import metrics
from igbench.data.digits import digits
from igbench.data.mosaic import mosaic, mosaic_digits
from igbench.errors import InputError
from tests.helpers.toy import same_rng, toy_model

MODEL = toy_model(tuple("0123456789"), None)


@pytest.mark.parametrize("targets", [1, 2])
def test_tiles_are_of_the_classes_that_the_mask_says(targets):
    base = digits(MODEL, limit=None)
    with same_rng():
        made = mosaic_digits(MODEL, limit=20, targets=targets)
    assert len(made) == 20
    assert made.shape == (1, 16, 16)
    assert made.labels == base.labels[:20]
    known = dict(zip(base.sample_ids, range(len(base)), strict=True))
    for index, name in enumerate(made.sample_ids):
        first, _, names = name.partition("-in-")
        tiles = [known[n] for n in names.split("+")]
        assert known[first] == index
        assert index in tiles
        assert len(set(tiles)) == 4
        own = [base.labels[i] == made.labels[index] for i in tiles]
        assert sum(own) == targets
        others = {base.labels[i] for i, mine in zip(tiles, own, strict=True) if not mine}
        assert len(others) == (1 if targets == 2 else 3)
        x, mask = made.load(index), made.mask(index)
        for place, (tile, mine) in enumerate(zip(tiles, own, strict=True)):
            rows, columns = (slice(8 * k, 8 * k + 8) for k in divmod(place, 2))
            assert torch.equal(x[:, rows, columns], base.load(tile))
            assert bool((mask[rows, columns] == mine).all())


def test_mosaics_depend_on_the_seed_and_on_nothing_else():
    made = mosaic_digits(MODEL, limit=5)
    assert made.sample_ids == mosaic_digits(MODEL, limit=9).sample_ids[:5]
    assert made.sample_ids != mosaic_digits(MODEL, limit=5, seed=1).sample_ids
    copy = pickle.loads(pickle.dumps(made))
    assert torch.equal(copy.load(3), made.load(3))
    assert torch.equal(copy.mask(3), made.mask(3))


def test_focus_is_the_share_of_positive_relevance_on_the_tiles_of_the_class():
    made = mosaic_digits(MODEL, limit=2)
    mask = made.mask(0).double()[None, None]
    x = made.load(0)[None].double()
    phi = 3 * mask + (1 - mask)
    phi[0, 0, 0, 0] = -100  # the negative part does not count
    own = 3 * 127 if bool(mask[0, 0, 0, 0]) else 3 * 128
    rest = 128 if bool(mask[0, 0, 0, 0]) else 127
    found = metrics.relevance_mass(lambda z: z.flatten(1).sum(1), x, phi, masks=mask[0])
    assert float(found) == pytest.approx(own / (own + rest), abs=1e-12)


def test_what_cannot_be_tiled_is_refused():
    base = digits(MODEL, limit=None)
    with pytest.raises(InputError, match="targets"):
        mosaic(base, targets=3)
    with pytest.raises(InputError, match="no labelled images"):
        mosaic(replace(base, labels=(None,) * len(base)))
    with pytest.raises(InputError, match="too few classes"):
        mosaic(digits(MODEL, limit=2))
