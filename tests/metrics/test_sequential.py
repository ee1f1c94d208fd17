"""Draws that stop at a bound of the standard error: the rule, the sequence, and what they cost."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import igbench
from igbench.core import perturb, rng
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.evaluation import cost, loop
from igbench.metrics import infidelity
from igbench.metrics.faithfulness.correlation import FaithfulnessCorrelation
from igbench.metrics.faithfulness.infidelity import Infidelity
from igbench.metrics.faithfulness.pearson import flat, pearson
from igbench.metrics.faithfulness.sensitivity_n import SensitivityN
from igbench.metrics.faithfulness.soft import SoftComprehensiveness, SoftSufficiency
from igbench.metrics.sequential import Look, grown, in_blocks, ladder, stops, until
from tests.evaluation.test_loop import experiment
from tests.helpers import closed_form as cf
from tests.helpers.scalars import EXACT, KINDS, at, scored

W = torch.tensor([1.0, 2, -3, 4, 0.5, 1, -1, 2], dtype=torch.float64)
X = torch.randn(3, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
GUESSES = torch.randn(3, 3, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
MAPS = {"noise": GUESSES[0], "near": X * W + 0.3 * GUESSES[1], "far": GUESSES[2], "best": X * W}
IMAGES = cf.images(3)


def curved(x: Tensor) -> Tensor:
    return (x * W).sum(1) + x.prod(1).exp()


def waves(x: Tensor) -> Tensor:
    return (x.flatten(1).sin() * torch.linspace(-1, 2, 192).to(x)).sum(dim=1)


SQUARES = {"x": IMAGES, "noise": cf.images(3, seed=3), "flat": IMAGES * 0 + 1}
METRICS: dict[str, Any] = {
    "squares": Infidelity("square", draws="auto", error=0.3, most=128),
    "subsets": Infidelity("subset", draws="auto", error=0.2, most=100),
    "gaussian": Infidelity("gaussian", draws="auto", error=0.2, most=64, normalize=False),
    "sensitivity_n": SensitivityN((2, 4, 6), "auto", error=0.1, most=100),
    "faithfulness_correlation": FaithfulnessCorrelation(3, "auto", error=0.1, most=64),
    "soft": SoftSufficiency("auto", normalise=False, occluder="baseline", error=0.1, most=48),
}


def problem(name: str, rows: int = 32) -> tuple[Batch, dict[str, Attribution]]:
    maps = SQUARES if name == "squares" else MAPS
    kind = "local" if name == "gaussian" else "global"
    b = (
        at(waves, IMAGES, features="pixel", rows=rows)
        if name == "squares"
        else at(curved, X, rows=rows)
    )
    return b, {m: Attribution(v, KINDS[kind]) for m, v in maps.items()}


def run(
    name: str, batch: Batch, maps: dict[str, Attribution], metric: Any = None
) -> dict[str, Measurement]:
    own = metric or METRICS[name]
    return own.measure(batch, maps, own.observe(batch))


def trace(found: Measurement) -> tuple[list[int], Tensor]:
    """Rungs, and standard errors by sample and rung."""
    (curve,) = (c for name, c in found.curves.items() if name.endswith("_draws"))
    return [int(x) for x in curve[0]], curve[1]


def draws(found: Measurement) -> list[int]:
    """How many draws each sample took."""
    rungs, errors = trace(found)
    return [rungs[max(0, int(row.isfinite().sum()) - 1)] for row in errors]


# ----------------------------------------------------------------------------------- the rule


@pytest.mark.parametrize(
    ("error", "bound", "done"),
    [
        (0.05, 0.05, True),
        (0.050001, 0.05, False),
        (0.0, 0.0, True),
        (1e-12, 0.0, False),
        (math.nan, 1.0, False),
        (math.inf, 1.0, False),
        (1.0, math.nan, False),
    ],
)
def test_a_score_stops_within_its_bound(error, bound, done):
    assert stops(torch.tensor([error]), torch.tensor(bound)).tolist() == [done]


def test_rungs_double_from_sixteen_up_to_the_most():
    assert ladder(256) == [16, 32, 64, 128, 256]
    assert ladder(17) == [16, 17]
    assert ladder(3) == [3]


def test_each_map_has_the_draws_up_to_its_own_rung():
    """Errors 1 / sqrt(D), bounds at 16, 30 and below all; the last one is settled."""
    looked = []

    def look(predictions: Tensor, outputs: Tensor) -> Look:
        count = len(outputs)
        looked.append((count, predictions[:, 0].tolist()))
        bounds = torch.tensor([1.0, 1 / math.sqrt(30), 0.0, 0.0])[predictions[:, 0].long()]
        values = predictions.new_full((len(predictions), 1), count)
        errors = predictions.new_full((len(predictions),), count**-0.5)
        return Look(values, errors, stops(errors, bounds))

    asked = []

    def drawn(part: slice, numbers: Tensor) -> tuple[Tensor, Tensor]:
        asked.append((part.start, part.stop, numbers.tolist()))
        each = numbers[:, None].float().expand(len(numbers), part.stop - part.start)
        return each, torch.arange(part.start, part.stop)

    found = until([16, 32, 40], drawn, look, torch.tensor([False, False, False, True]))
    assert asked == [(0, 16, [0, 1, 2, 3]), (16, 32, [1, 2]), (32, 40, [2])]
    assert looked == [(16, [0, 1, 2, 3]), (32, [1, 2]), (40, [2])]
    assert found.values[:, 0].tolist() == [16, 32, 40, 16]
    assert found.error.tolist() == pytest.approx([16**-0.5, 32**-0.5, 40**-0.5, 16**-0.5])
    assert found.trace.isfinite().tolist() == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
        [True, False, False],
    ]


@pytest.mark.parametrize("wrong", [{"error": 0.0}, {"error": -1.0}, {"most": 1}])
@pytest.mark.parametrize(
    "cls", [Infidelity, SensitivityN, FaithfulnessCorrelation, SoftComprehensiveness]
)
def test_bounds_are_checked(cls, wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        cls(**wrong)
    with pytest.raises(InputError, match="auto"):
        cls(**{"subsets" if hasattr(cls, "subsets") else "draws": "some"})


# ------------------------------------------------------------------------------- the sequence

MADE = {
    "uniform": lambda count, g: torch.rand((count, 5), generator=g, dtype=torch.float32),
    "normal": lambda count, g: torch.randn((count, 5), generator=g, dtype=torch.float64),
    "squares": lambda count, g: perturb.squares((3, 9, 9), count, (1, 4), g),
}


@pytest.mark.parametrize("kind", MADE)
def test_more_draws_begin_with_the_fewer(kind):
    key = (0, "test", "cat")
    many = in_blocks(MADE[kind], slice(0, 256), *key)
    for count in (3, 16, 32, 100, 128):
        assert torch.equal(in_blocks(MADE[kind], slice(0, count), *key), many[:count])
    assert torch.equal(in_blocks(MADE[kind], slice(64, 100), *key), many[64:100])
    assert len(many.flatten(1).unique(dim=0)) > 100, "blocks differ"


@pytest.mark.parametrize("kind", ["normal", "squares"])
def test_one_generator_for_all_draws_would_not_do(kind):
    few, many = (MADE[kind](n, rng.generator(0, "test", "cat")) for n in (9, 18))
    assert not torch.equal(few, many[:9])


def test_random_orders_come_one_after_the_other():
    few, many = (perturb.ranks(30, n, 0, "test", "cat") for n in (16, 256))
    assert torch.equal(few, many[:16])


# ------------------------------------------------------------------------------ the same score


@pytest.mark.parametrize("name", METRICS)
def test_a_score_depends_on_nothing_but_its_sample_and_map(name):
    """Not on other methods, the rows of a call, other samples or their order."""
    batch, maps = problem(name)
    together = run(name, batch, maps)
    assert len({d for m in together.values() for d in draws(m)}) > 1, "not all stop at one rung"
    if "draws" in vars(METRICS[name]) and name != "soft":
        assert len({tuple(draws(m)) for m in together.values()}) == 1, "the map has no say"
    for rows in (5, 500):
        again = run(name, *problem(name, rows))
        for m in maps:
            same(again[m], together[m])
    backwards = batch.select(torch.tensor([2, 1, 0]))
    turned = {m: replace(a, values=a.values.flip(0)) for m, a in maps.items()}
    found = run(name, backwards, turned)
    for m, a in maps.items():
        same(found[m], together[m], order=[2, 1, 0])
        same(run(name, batch, {m: a})[m], together[m])
        for i in range(3):
            one = batch.select(slice(i, i + 1))
            alone = run(name, one, {m: replace(a, values=a.values[i : i + 1])})
            same(alone[m], together[m], order=[i])


def same(found: Measurement, wanted: Measurement, order: list[int] | None = None) -> None:
    """The same draws, and scores to within rounding of sums in another order."""
    order = order or [0, 1, 2]
    assert draws(found) == [draws(wanted)[i] for i in order]
    torch.testing.assert_close(
        found.value, wanted.value[order], rtol=1e-10, atol=1e-12, equal_nan=True
    )
    assert found.std_error is not None
    assert wanted.std_error is not None
    torch.testing.assert_close(
        found.std_error, wanted.std_error[order], rtol=1e-10, atol=1e-12, equal_nan=True
    )


@pytest.mark.parametrize("name", ["sensitivity_n", "faithfulness_correlation", "soft"])
def test_scores_of_draws_in_one_stream_are_those_of_the_fixed_number(name):
    batch, maps = problem(name)
    found = run(name, batch, maps)
    for m, a in maps.items():
        for i, count in enumerate(draws(found[m])):
            own = {"draws" if name == "soft" else "subsets": count}
            fixed = scored(replace(METRICS[name], **own), batch, a.values)
            assert float(fixed.value[i]) == pytest.approx(float(found[m].value[i]), **EXACT)
            assert float(fixed.std_error[i]) == pytest.approx(float(found[m].std_error[i]), **EXACT)


def test_infidelity_by_hand():
    """Mean squared error over the first draws of the blocks, and its error, at its own rung."""
    own = replace(METRICS["subsets"], normalize=False)
    batch, maps = problem("subsets")
    found = run("subsets", batch, maps, own)
    for m, a in maps.items():
        for i, count in enumerate(draws(found[m])):
            coins = [
                torch.rand((16, 8), generator=rng.generator(0, "infidelity", f"s{i}", b)) < 0.5
                for b in range(math.ceil(count / 16))
            ]
            gone = torch.cat(coins)[:count].double()
            change = curved(X[i : i + 1]) - curved(X[i] * (1 - gone))
            squared = (gone @ a.values[i] - change) ** 2
            assert float(found[m].value[i]) == pytest.approx(float(squared.mean()), **EXACT)
            error = float(squared.std() / math.sqrt(count))
            assert float(found[m].std_error[i]) == pytest.approx(error, rel=1e-12)
            rungs, errors = trace(found[m])
            power = change**2
            within = [
                power[:d].std() / d**0.5 <= 0.2 * power[:d].mean() for d in rungs if d <= count
            ]
            assert within == [False] * (len(within) - 1) + [count < 100 or within[-1]]
            assert float(errors[i, rungs.index(count)]) == pytest.approx(error, rel=1e-12)


@pytest.mark.parametrize("name", ["sensitivity_n", "faithfulness_correlation"])
def test_it_stops_at_the_first_rung_within_the_bound_or_at_the_last(name):
    batch, maps = problem(name)
    last = set()
    for m in run(name, batch, maps, replace(METRICS[name], most=24)).values():
        rungs, errors = trace(m)
        for row, count, error in zip(errors, draws(m), m.std_error, strict=True):
            at_rung = rungs.index(count)
            assert (row[:at_rung] > 0.1).all()
            assert float(row[at_rung]) == float(error)
            assert error <= 0.1 or count == rungs[-1]
            last.add((count == rungs[-1], bool(error <= 0.1)))
    assert {(False, True), (True, False)} <= last, "both ways to stop"


# --------------------------------------------------------------------------------- no endless draws


def rows(batch: Batch, name: str, maps: dict[str, Attribution], metric: Any = None) -> int:
    """Model rows of a metric."""
    before = batch.score.cost.forward
    run(name, batch, maps, metric)
    return batch.score.cost.forward - before


def test_scores_without_spread_stop_at_the_first_rung():
    batch = at(lambda x: (x * W).sum(1), X)
    best = {"best": Attribution(X * W, KINDS["global"])}
    for name, each in (("sensitivity_n", 3), ("faithfulness_correlation", 1)):
        assert rows(batch, name, best) == 3 * (1 + 16 * each)
    constant = at(lambda x: 0 * x.sum(1) + 2, X)
    found = run("subsets", constant, best)["best"]  # the best scale is 0
    assert (found.value.tolist(), found.std_error.tolist()) == ([0, 0, 0], [0, 0, 0])
    assert draws(found) == [16, 16, 16]


@pytest.mark.parametrize("value", [1.0, math.nan, math.inf])
def test_maps_that_say_nothing_cost_the_first_rung_alone(value):
    batch, _ = problem("sensitivity_n")
    nothing = {"nothing": Attribution(torch.full_like(X, value), KINDS["global"])}
    assert rows(batch, "sensitivity_n", nothing) == 3 * (1 + 3 * 16)
    found = run("sensitivity_n", batch, nothing)["nothing"]
    assert found.value.isnan().all()
    assert found.std_error.isnan().all()
    if not math.isfinite(value):
        assert run("subsets", batch, nothing)["nothing"].value.isfinite().sum() == 0


def test_all_features_at_once_define_no_correlation_with_any_number_of_sets():
    batch, maps = problem("sensitivity_n")
    whole = SensitivityN((2, 8), "auto")
    assert rows(batch, "", maps, whole) == 3 * (1 + 2 * 16)


def test_more_sets_are_drawn_where_few_tell_nothing_apart():
    """One of 64 features alone counts, and 16 sets of 2 miss it: undefined there, not with more."""
    x = torch.ones(1, 64, dtype=torch.float64)
    batch = at(lambda x: x @ torch.linspace(1, 2, 64).to(x), x)
    phi = torch.zeros_like(x)
    few = perturb.ranks(64, 16, 0, "sensitivity_n", "s0") < 2
    phi[0, int((~few.any(dim=0)).nonzero()[0])] = 1.0
    assert scored(SensitivityN(2, 16), batch, phi).value.isnan().all()
    own = SensitivityN(2, "auto", most=256)
    assert scored(own, batch, phi).value.isfinite().all()
    constant = at(lambda x: 0 * x.sum(dim=1), x)
    assert scored(own, constant, phi).value.isnan().all(), "and the most ends it"
    assert constant.score.cost.forward == 1 + 256


def test_flat_to_rounding():
    maps = torch.full((3, 3), 0.1, dtype=torch.float64)
    maps[1, 1] += 2e-17
    maps[2, 2] += 1e-9
    assert flat(maps).tolist() == [True, True, False]
    sums = maps @ torch.tensor([[1.0, 1, 0], [0, 1, 1], [1, 0, 1]], dtype=torch.float64).T
    assert pearson(sums, torch.arange(3.0).double(), torch.float64).isnan().tolist() == [
        True, True, False,
    ]  # fmt: skip


# --------------------------------------------------------------------------------------- the cost


def test_rows_are_evaluated_as_far_as_any_method_goes_and_once():
    batch, maps = problem("subsets")
    found = run("subsets", batch, maps)
    furthest = [max(draws(m)[i] for m in found.values()) for i in range(3)]
    assert rows(batch, "subsets", maps) == 3 + sum(furthest)
    own, other = METRICS["subsets"], replace(METRICS["subsets"], error=1e-9, normalize=False)
    assert own.sharing_key == other.sharing_key
    assert own.sharing_key != replace(own, most=50).sharing_key
    assert own.sharing_key != replace(own, draws=100).sharing_key
    observed, before = own.observe(batch), batch.score.cost.forward
    own.measure(batch, maps, observed)
    other.measure(batch, maps, observed)
    assert batch.score.cost.forward - before == 3 * (100 - 16)


def test_soft_metrics_pay_for_each_map_its_own_draws():
    batch, maps = problem("soft")
    found = run("soft", batch, maps)
    assert rows(batch, "soft", maps) == 3 * 2 + sum(sum(draws(m)) for m in found.values())
    for m in found.values():
        span = curved(X) - curved(0 * X)
        for count, error, unit in zip(draws(m), m.std_error, span.abs(), strict=True):
            assert error <= 0.1 * unit or count == 48
    flat_map = {"flat": Attribution(torch.ones_like(X), KINDS["global"])}
    assert rows(batch, "soft", flat_map) == 3 * 2
    lost = at(lambda x: -x.square().sum(1), X)  # removing everything raises the output
    share = SoftComprehensiveness("auto", occluder="baseline", most=48)
    assert rows(lost, "", {"noise": maps["noise"]}, share) == 3 * (2 + 16)


def test_soft_metrics_draw_for_all_maps_at_once(monkeypatch):
    """Each number of draws is a call for all maps that go on, and its dice are thrown once."""
    thrown, calls = [], []
    own = SoftSufficiency._dice
    monkeypatch.setattr(
        SoftSufficiency, "_dice", lambda self, b, i, d: thrown.append((i, d)) or own(self, b, i, d)
    )
    batch, maps = problem("soft")
    model = batch.score.model
    counted = Score(lambda x: calls.append(len(x)) or model(x), batch_size=1000)
    batch, metric = replace(batch, score=counted), replace(METRICS["soft"], error=0.06)
    observed = metric.observe(batch)
    calls.clear()
    found = metric.measure(batch, maps, observed)
    furthest = [max(draws(m)[i] for m in found.values()) for i in range(3)]
    assert thrown == [(i, d) for i in range(3) for d in range(furthest[i])]
    going = [
        [sum(draws(m)[i] >= rung for m in found.values()) for rung in (16, 32, 48)]
        for i in range(3)
    ]
    assert calls == [16 * maps_left for sample in going for maps_left in sample if maps_left]
    assert going[2] == [4, 1, 0], "a map goes on alone"


def test_outputs_are_kept():
    calls = []

    def evaluate(i: int, part: slice) -> Tensor:
        calls.append((i, part.start, part.stop))
        return torch.zeros(part.stop - part.start)

    found = grown(torch.zeros(2), evaluate, 40)
    assert calls == [(0, 0, 16), (1, 0, 16)]
    for _ in range(2):
        assert len(found.outputs(1, slice(16, 32))) == 16
    assert calls[2:] == [(1, 16, 32)]


def test_the_estimate_of_a_run_is_the_most_that_it_may_take():
    metrics: dict[str, Any] = {
        "infidelity": Infidelity(draws="auto", most=40),
        "sensitivity_n": SensitivityN((2, 5), "auto", most=20),
    }
    e = experiment(metrics=metrics)
    guess, stages = cost.estimate(e), loop.run(e).stages
    assert guess.stages["metric infidelity"] == (41, 0)
    assert guess.stages["metric sensitivity_n"] == (41, 0)
    for stage in ("metric infidelity", "metric sensitivity_n"):
        taken = stages[stage]["forward"] / len(e.data)
        assert 17 <= taken <= 41


def test_a_run_says_how_it_stopped():
    found = igbench.evaluate(
        cf.small_net(torch.float32),
        cf.images(2).float(),
        methods=["input_x_gradient", "random"],
        metrics={"infidelity": Infidelity(draws="auto", error=0.3, most=64)},
        target=0,
    )
    spec = found.run.metrics["infidelity"]
    assert spec.title == ("Infidelity, Yeh 2019 (square x auto, error 0.3, at most 64, best scale)")
    points = found.records.curves
    assert set(points["curve"]) == {"infidelity_draws"}
    scores = found.records.scores
    scores = scores[scores["metric"] == "infidelity"].set_index(["method", "sample_id"])
    last = points.sort_values("x").groupby(["method", "sample_id"], observed=True).last()
    assert len(last) == 4
    for key, row in last.iterrows():
        assert scores.loc[key, "std_error"] == pytest.approx(row["y"], rel=1e-12)


@pytest.mark.slow
def test_the_bias_of_stopping_is_less_than_the_standard_error():
    """Of infidelity, whose expectation is known from all subsets, over 400 seeds."""
    x, phi = X[:1], MAPS["noise"][:1]
    common: dict[str, Any] = {"perturbation": "subset", "normalize": False}
    exact = float(infidelity(curved, x, phi, draws="all", **common))
    own = Infidelity(draws="auto", error=0.2, **common)
    found = [scored(own, at(curved, x, seed=seed), phi) for seed in range(400)]
    values = torch.stack([m.value[0] for m in found])
    error = float(torch.stack([m.std_error[0] for m in found]).square().mean().sqrt())
    bias = float(values.mean()) - exact
    assert len({draws(m)[0] for m in found}) > 1
    assert abs(bias) < 0.5 * error
    assert float((values - exact).square().mean().sqrt()) < 1.5 * error
