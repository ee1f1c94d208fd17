"""Grids of photographs that a model knows: cells, sizes, and maps whose score is known."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn

import igbench
from igbench.core.model import Model, Preprocess
from igbench.data.photograph_grids import photograph_grids
from igbench.errors import InputError
from tests.helpers.toy import picture, same_rng, toy_model

PLAIN = Preprocess(8, 6, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
COLOURS = {0: (255, 0, 0), 1: (0, 255, 0), 2: (0, 0, 255), 3: (255, 255, 0), 4: (0, 255, 255)}


def colour_model() -> Model:
    """Pools over positions and knows five colours: logit k is 8 (2 c - 1) . mean, + or - a bit."""
    head = nn.Linear(3, 5)
    signs = torch.tensor([[2.0 * (v > 0) - 1 for v in c] for c in COLOURS.values()])
    with torch.no_grad():
        head.weight.copy_(8 * signs)
        head.bias.copy_(-8 * signs.clamp(min=0).sum(dim=1))
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
    return Model("colours", module, tuple("rgbyc"), "", "", "", PLAIN)


@pytest.fixture
def folder(tmp_path):
    for k, colour in COLOURS.items():
        for n in range(2):
            picture(tmp_path / f"{k:04d}_{n}.png", colour)
    picture(tmp_path / "0003_red.png", COLOURS[0])  # not what its name says
    picture(tmp_path / "unlabelled.png", COLOURS[1])
    (tmp_path / "0001_cut.png").write_bytes(b"cut")
    return str(tmp_path)


def test_cells_are_of_classes_that_the_model_knows(folder):
    model = colour_model()
    with same_rng():
        made = photograph_grids(model, limit=None, path=folder)
    assert len(made) == 20, "ten known photographs, in two rounds"
    assert len(set(made.sample_ids)) == 20
    assert made.shape == (3, 12, 12)
    assert made.name == "photograph_grids"
    for i, name in enumerate(made.sample_ids):
        first, _, cells = name.partition("-in-")
        labels = [int(cell[:4]) for cell in cells.split("+")]
        assert len(set(labels)) == 4
        assert int(first[:4]) == made.labels[i]
        assert first.endswith("-2") == (i >= 10)
        x, mask = made.load(i), made.mask(i)
        assert int(mask.sum()) == 36
        for place, label in enumerate(labels):
            row, column = 6 * (place // 2), 6 * (place % 2)
            assert x[:, row, column].tolist() == [v / 255 for v in COLOURS[label]]
            assert bool(mask[row, column]) == (label == made.labels[i])


class Remembering(nn.Module):
    """Returns a dict, and keeps a table that it makes in its first call."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.table = module, None

    def forward(self, x):
        if self.table is None:
            self.table = torch.ones(5)
        return {"logits": self.module(x) * self.table}


def test_models_that_return_dicts_and_remember(folder):
    model = colour_model()
    plain = photograph_grids(model, limit=None, path=folder)
    own = Remembering(model.module).eval()
    made = photograph_grids(replace(model, module=own), limit=None, path=folder)
    assert made.sample_ids == plain.sample_ids
    assert not own.table.is_inference(), "gradients may go through it later"


def test_what_a_map_scores_is_known(folder):
    model = colour_model()
    data = photograph_grids(model, limit=8, path=folder)
    found = igbench.evaluate(
        model,
        data,
        methods=["input_x_gradient", "random"],
        metrics=["relevance_mass", "relevance_rank", "localisation_auc"],
        target="label",
    )
    # Every channel of a cell counts +8/144 x or -8/144 x, so that a cell of the class has a sum
    # of 8 for each of its colours, and others have what their colours share with it.
    for i, name in enumerate(data.sample_ids):
        own, cells = COLOURS[data.labels[i]], name.partition("-in-")[2].split("+")
        sums = [
            max(
                0,
                sum(
                    (1 if a else -1) * (b > 0)
                    for a, b in zip(own, COLOURS[int(c[:4])], strict=True)
                ),
            )
            for c in cells
        ]
        right = sum(v > 0 for v in own)
        rows = found.frame[found.frame.sample_id == name].set_index(["method", "metric"])["value"]
        assert rows["input_x_gradient", "relevance_mass"] == pytest.approx(right / sum(sums))
    chance = found.frame[found.frame.method == "random"].groupby("metric")["value"]
    # Shares of 144 independent values in 8 grids; five standard errors.
    for metric, level in (("relevance_mass", 1 / 4), ("relevance_rank", 1 / 4)):
        assert abs(chance.mean()[metric] - level) < 5 * 0.07 / 8**0.5
    assert abs(chance.mean()["localisation_auc"] - 1 / 2) < 5 * 0.06 / 8**0.5


def test_half_cells_have_the_same_photographs(folder):
    full = photograph_grids(colour_model(), limit=5, path=folder)
    half = photograph_grids(colour_model(), limit=5, path=folder, cells="half")
    assert half.sample_ids == full.sample_ids
    assert half.shape == (3, 6, 6)
    assert tuple(half.load(0).shape) == (3, 6, 6)
    assert int(half.mask(0).sum()) == 9
    copy = pickle.loads(pickle.dumps(half))
    assert torch.equal(copy.load(3), half.load(3))
    focus = photograph_grids(colour_model(), limit=5, path=folder, targets=2)
    assert all(int(focus.mask(i).sum()) == 72 for i in range(5))


def test_what_cannot_be_a_grid_is_refused(folder):
    model = colour_model()
    sized = nn.Sequential(nn.Flatten(), nn.Linear(108, 5)).eval()
    with torch.no_grad():  # the same function, for one size alone
        sized[1].weight.copy_(model.module[2].weight.repeat_interleave(36, dim=1) / 36)
        sized[1].bias.copy_(model.module[2].bias)
    fixed = replace(model, module=sized)
    assert len(photograph_grids(fixed, limit=3, path=folder, cells="half")) == 3
    with pytest.raises(InputError, match=r"takes no images of 12 pixels.*data\.cells=half"):
        photograph_grids(fixed, limit=3, path=folder)
    with pytest.raises(InputError, match=r"knows 0 photographs.*lower data\.confidence"):
        photograph_grids(model, limit=3, path=folder, confidence=0.9999999)
    with pytest.raises(InputError, match="at least 0 and below 1"):
        photograph_grids(model, limit=3, path=folder, confidence=50)
    with pytest.raises(InputError, match="unknown cells"):
        photograph_grids(model, limit=3, path=folder, cells="third")
    odd = replace(model, preprocess=replace(PLAIN, crop=7))
    with pytest.raises(InputError, match=r"7 pixels, which cannot be halved"):
        photograph_grids(odd, limit=3, path=folder, cells="half")
    with pytest.raises(InputError, match="takes no photographs"):
        photograph_grids(toy_model(preprocess=None), limit=3)
