"""Raw outputs of models as one tensor, and the element of them that is explained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import igbench
import igbench.metrics
from igbench.core.outputs import as_target, logits, select
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.integration.integrate import input_gradient, integrated_gradients

W = torch.tensor([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]], dtype=torch.float64)
X = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 2.0]], dtype=torch.float64)


@dataclass
class ModelOutput:
    """As the outputs of Hugging Face transformers: attributes, the loss among them."""

    logits: Tensor
    loss: Tensor | None = None


class Returns(nn.Module):
    """A linear model whose outputs (N, 2) come in some wrapping."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(x @ W.T)


WRAPPINGS = {
    "tensor": lambda z: z,
    "ModelOutput": lambda z: ModelOutput(z, z.sum()),
    "dict of logits": lambda z: {"hidden": 2 * z, "logits": z},
    "dict of out": lambda z: {"out": z, "aux": 2 * z},
    "dict of one": lambda z: {"scores": z, "name": "linear"},
    "tuple": lambda z: (z, 2 * z),
    "list": lambda z: [None, z],
}


@pytest.mark.parametrize("name", WRAPPINGS)
def test_every_wrapping_gives_the_same_numbers(name):
    model, target = Returns(WRAPPINGS[name]).eval(), torch.tensor([0, 1])
    score = Score(model)
    assert score(X, target).tolist() == [6.0, -0.5]
    assert torch.equal(input_gradient(score, X, target), W)
    found = igbench.metrics.completeness(model, X, X * W, target=target)
    assert found.value.tolist() == [0.0, 0.0]
    frame = igbench.evaluate(model, X, methods=["ig"], metrics=["completeness"]).frame
    assert frame[frame.metric == "completeness"]["value"].max() < 1e-12


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (torch.zeros(3, 2), r"is Tensor \(3, 2\) for 2 rows"),
        (torch.tensor(1.0), r"is Tensor \(\) for 2 rows"),
        ({"a": torch.zeros(2), "b": torch.zeros(2)}, r"is dict with 'a': Tensor \(2,\), 'b'"),
        ((1.0, "x"), "is tuple of float, str for 2 rows"),
        (None, "is NoneType for 2 rows; expected a tensor .* Wrap the model"),
    ],
)
def test_the_message_names_what_came_and_what_to_do(raw, what):
    with pytest.raises(InputError, match=what):
        logits(raw, 2)


class Steps(nn.Module):
    """(N, 3) to (N, 2, 3): output k at step t is w_kt x_t."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, None] * W


def test_an_index_selects_among_several_axes():
    score = Score(Steps().eval())
    index = torch.tensor([[0, 1], [1, 2]])
    assert score(X, index).tolist() == [-4.0, -2.0]
    assert (
        score.evaluate_draws(3, index[:1], lambda d: X[:1].expand(len(d), 3)).tolist() == [-4] * 3
    )
    phi = integrated_gradients(score, X, 0 * X, index)
    assert phi[0].tolist() == pytest.approx([0, -4, 0])
    assert phi[1].tolist() == pytest.approx([0, 0, -2])
    tuples = [(0, 1), (1, 2)]
    for metric in ("completeness", "infidelity", "deletion", "max_sensitivity"):
        function = getattr(igbench.metrics, metric)
        options = {"explain": lambda x, t: x * 0 + 1} if metric == "max_sensitivity" else {}
        one = function(Steps().eval(), X, phi, target=index, **options)
        other = function(Steps().eval(), X, phi, target=tuples, **options)
        assert torch.equal(one.value, other.value)
    assert igbench.metrics.completeness(Steps().eval(), X, phi, target=tuples).value.max() < 1e-12


def test_probability_of_several_axes_is_refused():
    with pytest.raises(InputError, match=r"which axis .* \(2, 2, 3\) holds the classes"):
        Score(Steps().eval(), "probability")(X, torch.tensor([[0, 1], [1, 2]]))
    with pytest.raises(InputError, match=r"outputs of shape \(2, 3\) for a sample.*; wrap it to"):
        igbench.evaluate(Steps().eval(), X, methods=["random"], metrics=["completeness"])


@pytest.mark.parametrize(
    ("target", "what"),
    [
        (None, r"outputs of shape \(2,\) for each row; give target="),
        (torch.tensor([[0, 1], [1, 1]]), r"expected \(2,\): 1 for each row"),
        (torch.tensor([0]), r"target has shape \(1,\)"),
    ],
)
def test_targets_that_do_not_fit(target, what):
    with pytest.raises(InputError, match=what):
        select(X @ W.T, target, "logit")


def test_targets_in_all_forms():
    cpu = torch.device("cpu")
    assert as_target(1, 2, cpu).tolist() == [1, 1]
    assert as_target([0, 1], 2, cpu).tolist() == [0, 1]
    assert as_target((0, 2), 2, cpu).tolist() == [[0, 2], [0, 2]]
    for number in (np.int64(1), np.array(1), torch.tensor(1), torch.tensor([0, 3]).argmax()):
        assert as_target(number, 2, cpu).tolist() == [1, 1]
    with pytest.raises(InputError, match=r"target has shape \(3,\), expected \(2,\)"):
        as_target(torch.zeros(3), 2, cpu)
    for number in (1.0, np.float32(1), torch.tensor(1.0), True, np.True_, torch.tensor(True)):
        with pytest.raises(InputError, match=r"target has dtype (float32|float64|bool); expected"):
            as_target(number, 2, cpu)


def test_single_outputs_as_before():
    z = torch.tensor([0.0, 2.0])
    assert torch.equal(select(z[:, None], None, "probability"), z.sigmoid())
    assert torch.equal(select(z, None, "log_probability"), nn.functional.logsigmoid(z))
