"""Language models: the scalar, its readouts, and what has no influence on it."""

from __future__ import annotations

import math

import pytest
import torch

from igbench import evaluate, methods, metrics
from igbench.core.score import Score
from igbench.core.tokens import DELETED, HIDDEN, marked
from igbench.data.prompts import Prompt
from igbench.errors import InputError
from tests.helpers import prompts
from tests.helpers.prompts import counts, data

ARE = Prompt("the cats", " are")
CONTRAST = Prompt("the cats", " are", foil=" is")


def row(prompt: Prompt, **arguments: object) -> torch.Tensor:
    return data(prompt, **arguments).load(0)[None].double()


def log_p(*sums: tuple[float, float, int]) -> float:
    """ln p of tokens for sums of evidence (is, are), the token 0 (is), 1 (are) or 2 (others)."""
    return sum(
        (z[k] if k < 2 else 0.0) - math.log(math.exp(z[0]) + math.exp(z[1]) + 6) for *z, k in sums
    )


def test_readouts_are_log_odds_probability_and_its_logarithm():
    model, x = counts().module, row(ARE)
    expected = log_p((0.5, 3.5, 1))
    found = {
        o: Score(model, o).evaluate(x, None).item() for o in ("log_probability", "probability")
    }
    assert found["log_probability"] == pytest.approx(expected, abs=1e-12)
    assert found["probability"] == pytest.approx(math.exp(expected), abs=1e-12)
    p = math.exp(expected)
    assert model(x).item() == pytest.approx(math.log(p / (1 - p)), abs=1e-12)


def test_tokens_of_a_continuation_are_added_up_under_teacher_forcing():
    prompt = Prompt("the cats", " are not here")
    steps = ((0.5, 3.5, 1), (0.5, 4.5, 2), (-0.5, 5.5, 2))
    model, mean = counts(), counts(mean=True).module
    score = Score(model.module, "log_probability")
    assert score.evaluate(row(prompt), None).item() == pytest.approx(log_p(*steps), abs=1e-12)
    assert model.module.decoder.calls == [(1, 5, 3)]  # one forward; the last token is not read
    assert Score(mean, "log_probability").evaluate(row(prompt), None).item() == pytest.approx(
        log_p(*steps) / 3, abs=1e-12
    )
    each = data(prompt, score="each")
    assert each.sample_ids == ("prompt-0:0", "prompt-0:1", "prompt-0:2")
    for t, step in enumerate(steps):
        found = score.evaluate(each.load(t)[None].double(), None).item()
        assert found == pytest.approx(log_p(step), abs=1e-12)


def test_log_odds_keep_their_digits_where_a_token_is_certain():
    x = row(ARE).float()
    x[0, 2, 1] = 60.0
    x.requires_grad_()
    found = counts().module(x)
    assert found.item() == pytest.approx(60.5 - math.log(math.exp(0.5) + 6), rel=1e-6)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert gradient[0, 2, 1].item() == pytest.approx(1.0, rel=1e-5)


def test_contrast_is_a_difference_of_logits():
    assert counts().module(row(CONTRAST)).item() == pytest.approx(3.0)
    found = evaluate(
        counts(), data(CONTRAST, unit="token"), baseline="mean_token",
        methods={"ig": methods.IntegratedGradients(n_steps=2),
                 "shapley": methods.ExactShapley(), "leave_one_out": methods.FeatureAblation()},
        metrics=["completeness"],
    )  # fmt: skip
    mean = prompts.ROWS.mean(dim=0)
    expected = [0.0 - float(mean[1] - mean[0]), 3.0 - float(mean[1] - mean[0])]
    for name in ("ig", "shapley", "leave_one_out"):
        assert found.results.maps[name]["prompt-0"].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("mark", [HIDDEN, DELETED])
def test_absent_tokens_have_no_influence_even_before_the_continuation(mark):
    model, x = counts().module, row(ARE)
    gone = torch.where(torch.arange(4)[:, None] == 2, marked(x[0], 2, mark), x[0])[None]
    shorter = Score(model, "log_probability").evaluate(gone, None).item()
    assert shorter == pytest.approx(log_p((0.5, 0.5, 1)), abs=1e-12)
    changed = gone.clone()
    changed[0, 2, :2] += 5
    assert torch.equal(model(gone), model(changed))


def test_first_token_and_continuation_never_move():
    found = data(ARE)
    assert found.groups(0)[:, 0].tolist() == [-1, 0, 1, -1]
    assert found.feature_names(0) == ("the", "cats")
    deletion = metrics.Deletion(step=1, occluder="delete")
    result = evaluate(counts(), found, methods=["ig"], metrics={"deletion": deletion},
                      baseline="mean_token", output="log_probability")  # fmt: skip
    last = [p.y for p in result.results.points if p.curve == "deletion"][-1]
    assert last == pytest.approx(
        math.log(1 / 8), abs=1e-6
    )  # <s> alone: all tokens are equally likely


def test_rows_do_not_depend_on_their_neighbours():
    model = counts().module
    found = data(ARE, Prompt("cat", " is not"), CONTRAST, Prompt("not the cat here", " are"))
    x = torch.stack([found.load(i) for i in range(4)]).double()
    x[3, 1, 2], x[3, 2, 2] = HIDDEN, DELETED
    together = model(x)
    alone = torch.cat([model(one[None]) for one in x])
    assert (together - alone).abs().max() < 1e-9
    assert (model(x.flip(0)).flip(0) - together).abs().max() < 1e-9


def test_a_text_without_a_scored_token_is_refused():
    x = row(ARE)
    x[..., 3] = 0
    with pytest.raises(InputError, match="asked for no token"):
        counts().module(x)
    x = row(ARE)
    x[0, :3, 2] = HIDDEN
    with pytest.raises(InputError, match="no visible token before"):
        counts().module(x)
