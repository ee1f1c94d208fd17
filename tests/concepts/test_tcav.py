"""TCAV: known answers, a null that holds its level, and nothing that depends on the batch."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from torch import nn

import igbench
from igbench.concepts import subjects, tcav
from igbench.concepts import vectors as vectors_
from igbench.concepts.activations import activations, derivatives, find_layer
from igbench.concepts.vectors import make_space, train, vector
from igbench.core import rng
from igbench.core.score import Score
from igbench.errors import InputError, NotDefinedError
from igbench.records import concepts as records
from tests.helpers.toy import same_rng

W = torch.tensor([[1.0, 2.0, -1.0, 0.5], [0.0, -1.0, 1.0, 2.0]], dtype=torch.float64)
"""Weights of the head: a row for each class."""


def noise(n: int, name: str, *shape: int) -> torch.Tensor:
    draws = rng.generator(0, "test", name)
    return torch.randn(n, *(shape or (4,)), generator=draws, dtype=torch.float64)


def head(weights: torch.Tensor = W) -> nn.Sequential:
    """Features that are the inputs, and a linear head."""
    net = nn.Sequential(nn.Identity(), nn.Linear(4, 2)).double().eval()
    net[1].weight.data.copy_(weights)
    return net


def vectors_of(net: nn.Module, concept: torch.Tensor, target: int) -> tcav.Vectors:
    score, pool, x = Score(net, "logit"), noise(60, "pool"), noise(5, "x")
    layer = find_layer(net, "0")
    slopes = derivatives(score, layer, x, torch.full((5,), target), "mean")
    acts = [activations(score, layer, p, "mean") for p in (concept, pool)]
    return tcav.concept_vectors("c", *acts, slopes, 15, sets=3, seed=0)


@pytest.mark.parametrize(("sign", "expected"), [(1, 1.0), (-1, 0.0)])
def test_linear_head(sign, expected):
    """A concept along +w_0 has the score 1, its negative 0, and the negated head turns both."""
    concept = noise(15, "concept") + sign * 4 * W[0]
    everything = slice(0, 5)
    found = vectors_of(head(), concept, 0)
    assert found.scores(everything).tolist() == [expected] * 3
    assert found.accuracy.min() >= 0.9
    turned = vectors_of(head(-W), concept, 0)
    assert turned.scores(everything).tolist() == [1 - expected] * 3
    np.testing.assert_allclose(turned.slopes, -found.slopes, rtol=1e-12)
    # The derivative along a unit vector is at most the length of the gradient, and close to it.
    length = float(W[0].norm())
    assert (np.abs(found.slopes) <= length * (1 + 1e-12)).all()
    assert (np.abs(found.slopes) > 0.75 * length).all()


def test_a_vector_is_the_normal_of_scikit_learns_classifier():
    pool, concept, gradients = (noise(n, k).numpy() for n, k in ((30, "p"), (12, "c"), (3, "g")))
    concept = concept + 0.5
    examples = np.concatenate([concept, pool])
    rows, others = np.arange(12), np.arange(12, 24)
    found = vector(make_space(examples, pool, gradients), rows, others)
    centre, scale = pool.mean(0), pool.std(0)
    chosen = np.concatenate([rows[:8], others[:8]])
    standard = (examples - centre) / scale
    plain = LogisticRegression(C=1.0, tol=1e-10, max_iter=10000)
    plain.fit(standard[chosen], np.arange(16) < 8)
    normal = plain.coef_[0] / scale
    np.testing.assert_allclose(found.slopes, gradients @ normal / np.linalg.norm(normal), atol=1e-5)
    tested = np.concatenate([rows[8:], others[8:]])
    assert found.accuracy == plain.score(standard[tested], np.arange(8) < 4)


def test_exchanging_the_sides_turns_a_vector_around():
    pool, gradients = noise(30, "p").numpy(), noise(3, "g").numpy()
    space, a, b = make_space(pool, pool, gradients), np.arange(12), np.arange(12, 24)
    found, turned = vector(space, a, b), vector(space, b, a)
    np.testing.assert_allclose(found.slopes, -turned.slopes, atol=1e-8)
    assert found.accuracy == turned.accuracy


def test_examples_that_are_all_equal_have_no_vector():
    weights, intercept = train(np.zeros((4, 4)), np.array([True, True, False, False]))
    assert weights.tolist() == [0.0] * 4
    assert intercept == 0.0
    same = np.ones((24, 2))
    found = vector(make_space(same, same, np.ones((1, 2))), np.arange(12), np.arange(12, 24))
    assert found.slopes.tolist() == [0.0]
    assert found.accuracy == 0.5


def difference_of_means(gram, positive, penalty=1.0):
    """A linear classifier that costs nothing."""
    weights = np.where(positive, 1.0, -1.0) / len(positive)
    return weights, 0.0


def test_arbitrary_pictures_are_significant_at_the_nominal_rate(monkeypatch):
    """60 sets of arbitrary pictures; a test of vectors as if independent rejects a third."""
    monkeypatch.setattr(vectors_, "train", difference_of_means)
    everything = slice(0, 6)
    p, welch = [], []
    for i in range(60):
        draws = rng.generator(0, "test", f"repetition {i}")
        concept, pool, gradients = (
            torch.randn(n, 12, generator=draws, dtype=torch.float64).numpy() for n in (15, 60, 6)
        )
        gradients = gradients + gradients[:1]
        null = tcav.random_vectors(pool, gradients, 15, sets=30, seed=i)
        found = tcav.concept_vectors("c", concept, pool, gradients, 15, sets=30, seed=i)
        line = tcav.summary(replace(found, accuracy=np.ones(30)), null, everything, 60)
        p.append(line.p_value)
        scores = found.scores(everything), null.scores(everything)[:: tcav.OPPONENTS]
        welch.append(float(stats.ttest_ind(*scores, equal_var=False).pvalue))
    assert sum(v < 0.05 for v in p) <= 6  # 0.97 of Binomial(60, 0.05)
    assert 20 <= sum(v < 0.5 for v in p) <= 40  # 0.99 of Binomial(60, 0.5)
    assert sum(v < 0.05 for v in welch) >= 20


class Net(nn.Module):
    """A small network with an in-place activation behind the layer that is looked at."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(1, 6, 3)
            self.act = nn.ReLU(inplace=True)
            self.mix = nn.Conv2d(6, 4, 3)
            self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(self.mix(self.act(self.conv(x))).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def net():
    return Net().double().eval()


def test_activations_and_derivatives_are_those_of_the_layer(net):
    x = noise(3, "x", 1, 6, 6)
    score, layer = Score(net, "logit", batch_size=2), find_layer(net, "conv")
    inner = net.conv(x).detach().requires_grad_()
    rest = net.fc(net.mix(inner.relu()).relu().mean((2, 3)))
    (expected,) = torch.autograd.grad(rest[:, 1].sum(), inner)
    one = torch.ones(3, dtype=torch.int64)
    for positions, a, g in (
        ("mean", inner.mean((2, 3)), expected.sum((2, 3))),
        ("all", inner.flatten(1), expected.flatten(1)),
    ):
        np.testing.assert_allclose(activations(score, layer, x, positions), a.detach(), atol=1e-12)
        np.testing.assert_allclose(derivatives(score, layer, x, one, positions), g, atol=1e-12)
    assert score.cost.backward == 6


def test_nothing_is_left_on_the_model(net):
    before = {k: v.clone() for k, v in net.state_dict().items()}
    score, x = Score(net, "logit"), noise(3, "x", 1, 6, 6)
    with same_rng():
        derivatives(score, net.conv, x, torch.zeros(3, dtype=torch.int64), "mean")
        with pytest.raises(InputError, match="expected"):
            derivatives(score, net.conv, x, torch.zeros(2, dtype=torch.int64), "mean")
    assert not any(m._forward_hooks for m in net.modules())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def pictures(kind: str, n: int = 12) -> torch.Tensor:
    """Stripes of two directions over noise."""
    x = 0.3 * noise(n, kind, 1, 8, 8)
    wave = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(4)
    return x + {"rows": wave[:, None], "columns": wave, "noise": 0 * wave}[kind]


@pytest.fixture(scope="module")
def scored(net):
    return igbench.tcav(
        net,
        (noise(5, "samples", 1, 8, 8), [0, 0, 1, 1, 1]),
        {"rows": pictures("rows"), "columns": pictures("columns")},
        random=noise(40, "pool", 1, 8, 8),
        layer="mix",
        target=[0, 1],
    )


def test_a_row_for_each_concept_and_class(net, scored):
    assert scored[["concept", "target"]].to_numpy().tolist() == [
        ["rows", "0"], ["rows", "1"], ["columns", "0"], ["columns", "1"],
    ]  # fmt: skip
    assert set(scored.n_sets) == {30}
    assert set(scored.n_pictures) == {12}
    assert set(scored.n_random) == {40}
    assert set(scored.layer) == {"mix"}
    ok = scored[scored.status == "ok"]
    assert len(ok) == 4
    assert ok.score.between(0, 1).all()
    assert (ok.p_holm >= ok.p_value).all()
    assert (ok.accuracy >= tcav.LEAST_ACCURACY).all()
    assert ((ok.accuracy_low <= ok.accuracy) & (ok.accuracy <= ok.accuracy_high)).all()
    # A magnitude of the critical size has p = 0.05.
    significant = ok.p_value <= 0.05
    assert (significant == (ok.magnitude.abs() >= ok.critical)).all()


def test_one_concept_does_not_depend_on_others_or_on_the_batch(net, scored, monkeypatch):
    with same_rng(), torch.inference_mode():
        alone = igbench.tcav(
            net,
            (noise(5, "samples", 1, 8, 8).numpy(), [0, 0, 1, 1, 1]),
            {"columns": pictures("columns")},
            random=noise(40, "pool", 1, 8, 8),
            layer="mix",
            target=1,
            batch_size=3,
        )
    numbers = ["score", "magnitude", "null_magnitude", "critical", "accuracy", "p_value"]
    np.testing.assert_allclose(
        alone[numbers].to_numpy()[0], scored[numbers].to_numpy()[3], rtol=1e-9
    )


def test_a_concept_that_no_direction_holds_is_undefined():
    vectors = tcav.Vectors(np.ones((30, 4)), np.full(30, 0.6))
    null = tcav.Vectors(np.tile([[1.0], [-1.0]], (75, 4)), np.full(150, 0.5))
    line = tcav.summary(vectors, null, slice(0, 4), 50)
    assert line.status == "undefined"
    assert "60% of held-out pictures, less than 70%" in line.reason
    assert math.isnan(line.score)
    assert math.isnan(line.p_value)
    zero = tcav.summary(
        replace(vectors, accuracy=np.ones(30)), tcav.Vectors(np.zeros((150, 4)), null.accuracy),
        slice(0, 4), 50,
    )  # fmt: skip
    assert "no derivative" in zero.reason
    both = records.corrected([line, replace(line, p_value=0.04), replace(line, p_value=0.01)])
    assert [p.p_holm for p in both][1:] == [0.04, 0.02]


def test_pictures_of_a_concept_are_never_random_ones():
    pool = noise(6, "pool")
    kept = tcav.random_pool(torch.cat([pool, pool[:1]]), {"c": pool[2:4].clone()})
    assert torch.equal(kept, pool[[0, 1, 4, 5]])


def test_equal_derivatives_are_reported(net, caplog):
    caplog.set_level(logging.WARNING)
    tcav._report_constant(np.array([[1.0, 2.0], [1.0, 2.0]]), [slice(0, 2)], "last")
    assert "'last'" in caplog.text
    caplog.clear()
    tcav._report_constant(np.array([[1.0, 2.0], [1.0, 2.1]]), [slice(0, 2)], "last")
    assert not caplog.text


def test_samples_of_a_class():
    net, x = head(), torch.eye(4, dtype=torch.float64)
    score = Score(net, "logit")
    predicted = net(x).argmax(1).tolist()
    (everything,) = subjects.choose(score, x, [None] * 4, ["prediction"])
    assert everything.target.tolist() == predicted
    labelled, guessed = subjects.choose(score, x, [1, 1, 0, 0], ["Dog", 0], ["cat", "dog"])
    assert (labelled.name, len(labelled.x), labelled.target.tolist()) == ("dog", 2, [1, 1])
    assert guessed.name == "cat"
    (rest,) = subjects.choose(score, x, [None] * 4, ["1"])
    assert len(rest.x) == predicted.count(1)
    for targets, message in (
        (["dgo"], "Did you mean 'dog'"),
        (["2"], "no class '2'"),
        (["dog", "1"], "twice"),
    ):
        with pytest.raises(InputError, match=message):
            subjects.choose(score, x, [1] * 4, targets, ["cat", "dog"])
    with pytest.raises(InputError, match=r"no sample is of class 'cat'.*dog \(4\)"):
        subjects.choose(score, x, [1] * 4, ["cat"], ["cat", "dog"])


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)
        self.pair = nn.LSTM(4, 4, batch_first=True)

    def forward(self, x):
        self.pair(x[:, None])
        return self.fc(self.fc(x))


def test_unsuitable_layers():
    net, x = Twice().eval(), torch.ones(3, 4)
    score, zero = Score(net), torch.zeros(3, dtype=torch.int64)
    for name, message in (("fc", "2 times"), ("unused", "0 times"), ("pair", "returns tuple")):
        with pytest.raises(InputError, match=message):
            activations(score, find_layer(net, name), x, "mean")
    with pytest.raises(InputError, match="Did you mean 'unused'"):
        find_layer(net, "unusd")
    with pytest.raises(InputError, match="set layer=NAME"):
        find_layer(net, "")
    with pytest.raises(NotDefinedError, match="torch module"):
        find_layer(len, "fc")
    dead = nn.Sequential(nn.Identity(), nn.Linear(4, 2)).eval()
    dead.forward = lambda x: dead[1](dead[0](x).detach())
    with pytest.raises(InputError, match="no gradient by this layer"):
        derivatives(Score(dead), dead[0], x, zero, "mean")


def test_too_few_of_anything():
    for counts, pool, message in (
        ({}, 50, "no concept"),
        ({"a": 9}, 50, "'a' has 9 pictures; at least 10"),
        ({"a": 10}, 19, "19 random pictures"),
    ):
        with pytest.raises(InputError, match=message):
            tcav.check_pictures(counts, pool)
    x, pool = noise(2, "x"), noise(20, "p")
    one = [tcav.Subjects("c", x, torch.zeros(2, dtype=torch.int64))]
    for changed, message in (({"sets": 29}, "at least 30"), ({"positions": "max"}, "positions")):
        with pytest.raises(InputError, match=message):
            tcav.concept_scores(Score(head()), "0", one, {"c": pool}, pool, **changed)
    with pytest.raises(InputError, match="shape"):
        igbench.tcav(head(), x, {"c": noise(10, "c", 5)}, layer="0")
