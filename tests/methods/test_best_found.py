"""The ceiling of removal metrics: known optima, bounds by brute force, cost, refusals."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import perturb
from igbench.core.batch import Attribution, Batch
from igbench.core.score import Score
from igbench.errors import InputError, NotDefinedError
from igbench.methods import BestFound, IntegratedGradients, Random, explain
from igbench.methods.best_found import as_map, greedy
from igbench.metrics import Deletion, Insertion, SymmetricRelevanceGain
from igbench.schema import MethodSpec

F64 = torch.float64
SPEC = MethodSpec("map", "", "local", signed=False)
METRICS = {"deletion": Deletion, "insertion": Insertion, "srg": SymmetricRelevanceGain}


def sets(*, without: Tensor, only: Tensor, criterion: str) -> Tensor:
    return {"deletion": -without, "insertion": only, "srg": only - without}[criterion]


def game(count: int, seed: int, criterion: str):
    """What beginnings of an order are worth in a random game of few features."""
    values = torch.randn(2**count, generator=torch.Generator().manual_seed(seed), dtype=F64)
    bits = 2 ** torch.arange(count)

    def worth(first: Tensor) -> Tensor:
        v = [values[(kept.long() * bits).sum(dim=1)] for kept in (~first, first)]
        return sets(without=v[0], only=v[1], criterion=criterion)

    return worth


def total(worth, order: list[int]) -> float:
    """The sum that the search maximises, of one order."""
    first = torch.zeros(len(order), len(order), dtype=torch.bool)
    for k in range(len(order)):
        first[k, order[: k + 1]] = True
    return float(worth(first).sum())


def batch_of(f, x: Tensor, **changed) -> Batch:
    names = tuple(f"s{i}" for i in range(len(x)))
    return replace(Batch(Score(f, batch_size=5), x, torch.zeros_like(x), None, names), **changed)


def scored(metric, batch: Batch, **maps: Tensor) -> dict[str, Tensor]:
    found = metric.score(batch, {k: Attribution(v, SPEC) for k, v in maps.items()})
    return {k: m.value for k, m in found.items()}


@pytest.mark.parametrize("criterion", METRICS)
def test_an_additive_model_is_ordered_by_its_contributions(criterion):
    w = torch.tensor([0.5, -1.0, 3.0, 0.0, 2.0, -0.25, 1.0], dtype=F64)
    phi = explain(BestFound(criterion), lambda x: x @ w, torch.ones(1, 7, dtype=F64))
    assert torch.equal(phi[0].argsort(descending=True), w.argsort(descending=True))
    assert phi[0].sort().values.tolist() == pytest.approx([(k + 1) / 7 for k in range(7)])


@pytest.mark.parametrize("criterion", METRICS)
@pytest.mark.parametrize("count", [2, 4, 5])
def test_no_order_of_few_features_is_better_than_the_best_of_all(criterion, count):
    for seed in range(5):
        worth = game(count, seed, criterion)
        found = greedy(worth, count).tolist()
        assert sorted(found) == list(range(count))
        every = [total(worth, list(o)) for o in itertools.permutations(range(count))]
        assert min(every) <= total(worth, found) <= max(every) + 1e-12
        assert total(worth, found) > sum(every) / len(every), "better than a random order"


def test_features_that_matter_only_together_are_missed():
    """f = x_0 x_1 + 0.1 x_2: to insert 0 and 1 first is best, but alone neither shows anything."""

    def worth(first: Tensor) -> Tensor:
        kept = first.double()
        return kept[:, 0] * kept[:, 1] + 0.1 * kept[:, 2] + 0.01 * kept[:, 3]

    order = greedy(worth, 4).tolist()
    every = [total(worth, list(o)) for o in itertools.permutations(range(4))]
    assert order[0] == 2
    assert total(worth, order) < max(every)


@pytest.mark.parametrize("criterion", METRICS)
def test_random_then_a_method_then_the_ceiling_on_disjoint_patches(criterion):
    """The mean over patches of a linear model, with noise inside that a method cannot see."""
    g = torch.Generator().manual_seed(1)
    w = torch.randn(16, generator=g, dtype=F64)
    unit = feature_units.resolve("patch:2", (1, 8, 8))
    x = torch.rand(3, 1, 8, 8, generator=g, dtype=F64)
    batch = batch_of(lambda z: feature_units.total(z, unit) @ w, x, features="patch:2")
    metric = METRICS[criterion](1, occluder="zero", scalar="score", features="patch:2")
    maps = {
        "random": Random()(batch),
        "noisy": IntegratedGradients()(batch) + 0.5 * Random()(replace(batch, seed=1)),
        "exact": IntegratedGradients()(batch),
        "ceiling": BestFound(criterion, features="patch:2", occluder="zero")(batch),
    }
    sign = -1 if criterion == "deletion" else 1
    merit = {k: sign * v for k, v in scored(metric, batch, **maps).items()}
    assert float(merit["random"].mean()) < float(merit["noisy"].mean())
    assert bool((merit["noisy"] <= merit["ceiling"] + 1e-12).all())
    torch.testing.assert_close(merit["exact"], merit["ceiling"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("criterion", METRICS)
def test_the_sum_that_is_maximised_is_the_metric_in_steps_of_one_feature(criterion):
    """Over all orders, the sum and the metric differ by a constant of the sample and a factor."""
    w = torch.randn(5, 8, generator=torch.Generator().manual_seed(3), dtype=F64)
    v = torch.randn(8, generator=torch.Generator().manual_seed(4), dtype=F64)

    def f(x: Tensor) -> Tensor:
        return torch.tanh(x @ w) @ v

    x = torch.ones(1, 5, dtype=F64)
    batch = batch_of(f, x)
    unit = feature_units.resolve("element", (5,))
    worth = BestFound(criterion)._worth(batch, 0, batch.baseline[0], unit)
    orders = list(itertools.permutations(range(5)))
    maps = {str(o): as_map(torch.tensor(o), unit)[None] for o in orders}
    found = scored(METRICS[criterion](1, occluder="baseline"), batch, **maps)
    merit = torch.stack([found[str(o)][0] for o in orders]) * (-1 if criterion == "deletion" else 1)
    sums = torch.tensor([total(worth, list(o)) for o in orders], dtype=F64) / 5
    torch.testing.assert_close(merit - merit[0], sums - sums[0], rtol=1e-10, atol=1e-10)


def test_the_map_has_no_ties_in_pixels_and_elements():
    unit = feature_units.resolve("patch:2", (3, 5, 4))
    order = torch.randperm(unit.count, generator=torch.Generator().manual_seed(0))
    values = as_map(order, unit)
    assert len(values.unique()) == values.numel()
    assert (float(values.min()), float(values.max())) == (1 / 60, 1.0)
    of_pixels = values.sum(dim=0).flatten().argsort(descending=True)
    ranked = unit.index[0].flatten()[of_pixels]
    assert torch.equal(torch.unique_consecutive(ranked), order), "pixels go patch by patch"


def test_the_map_of_a_photograph_has_no_ties_in_single_precision():
    unit = feature_units.resolve("patch:32", (3, 224, 224))
    values = as_map(torch.arange(49), unit).float()
    assert len(values.unique()) == values.numel()
    pixels = feature_units.total(values[None], feature_units.resolve("pixel", (3, 224, 224)))
    assert len(pixels.unique()) == 224 * 224


@pytest.mark.parametrize(("criterion", "factor"), [("srg", 2), ("deletion", 1), ("insertion", 1)])
def test_its_cost_is_on_record(criterion, factor):
    batch = batch_of(lambda x: x.sum(dim=1), torch.rand(3, 6, dtype=F64))
    BestFound(criterion)(batch)
    assert batch.score.cost.forward == 3 * factor * (6 * 7 // 2 - 1)
    assert batch.score.cost.backward == 0


def test_removal_is_that_of_the_metrics_by_default():
    """The defaults of images and of other samples, and the readout of a single output."""
    image = batch_of(lambda x: x.flatten(1)[:, :2], torch.rand(1, 1, 4, 4), target=torch.zeros(1))
    vector = batch_of(lambda x: x[:, :2], torch.rand(1, 4), target=torch.zeros(1).long())
    for criterion, metric in METRICS.items():
        method = BestFound(criterion)
        assert method._occluder(image) == metric().for_shape((1, 4, 4)).occluder
        assert method._occluder(vector) == metric().for_shape((4,)).occluder
    asked: list[str | None] = []
    with pytest.MonkeyPatch.context() as patch:
        plain = perturb.tracked
        patch.setattr(perturb, "tracked", lambda s, name: asked.append(name) or plain(s, name))
        fill, unit = image.baseline[0], feature_units.resolve("pixel", (1, 4, 4))
        BestFound()._worth(image, 0, fill, unit)
        BestFound()._worth(replace(image, target=None), 0, fill, unit)
        BestFound()._worth(vector, 0, fill, unit)
        BestFound(scalar="logit")._worth(image, 0, fill, unit)
    assert asked == ["probability", "score", "score", "logit"]


def test_patches_fit_the_image_and_numbers_of_the_batch_come_first():
    sides = {224: "patch:32", 64: "patch:9", 28: "patch:4", 8: "patch:1"}
    for side, unit in sides.items():
        assert BestFound()._unit(batch_of(lambda x: x, torch.zeros(1, 3, side, side))) == unit
    x = torch.ones(1, 4, dtype=F64)
    batch = batch_of(
        lambda z: z @ z.new_tensor([1.0, 1, 3, 3]), x, features=torch.tensor([0, 0, 1, 1])
    )
    assert BestFound()(batch)[0].tolist() == [0.5, 0.25, 1.0, 0.75]


def test_too_many_features_and_wrong_arguments_are_refused_in_one_line():
    with pytest.raises(NotDefinedError, match="300 features; set features=patch:P"):
        explain(BestFound(), lambda x: x.sum(dim=1), torch.ones(1, 300))
    for wrong in ({"criterion": "road"}, {"occluder": "grey"}, {"max_features": 1}):
        with pytest.raises(InputError):
            BestFound(**wrong)
