"""Models with several inputs: packed, explained by any method, and maps as tuples again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import igbench
import igbench.metrics
from igbench.core.batch import Batch
from igbench.core.model import ArrayFunction
from igbench.core.packing import PackedModel, Packing, pack
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.methods import IntegratedGradients

G = torch.Generator().manual_seed(0)
IMAGE = torch.randn(3, 2, 4, 4, generator=G, dtype=torch.float64)
TABLE = torch.randn(3, 5, generator=G, dtype=torch.float64)
W = (torch.randn(2, 4, 4, generator=G).double(), torch.randn(5, generator=G).double())


class TwoInputs(nn.Module):
    """f(image, table) = w_1 . image + w_2 . table, as class 1 of two."""

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        assert image.shape[1:] == (2, 4, 4)
        f = (image * W[0]).flatten(1).sum(dim=1) + table @ W[1]
        return torch.stack([-f, f], dim=1)


def test_the_map_of_a_linear_model_is_known_for_each_input():
    x, packing = pack((IMAGE, TABLE))
    baselines = (torch.ones_like(IMAGE), 2 * torch.ones_like(TABLE))
    target = torch.ones(3, dtype=torch.long)
    batch = Batch(
        Score(PackedModel(TwoInputs().eval(), packing)),
        x,
        packing.pack(baselines),
        target,
        ("a", "b", "c"),
    )
    phi = IntegratedGradients()(batch)
    of_image, of_table = packing.unpack(phi)
    torch.testing.assert_close(of_image, W[0] * (IMAGE - 1))
    torch.testing.assert_close(of_table, W[1] * (TABLE - 2))
    for metric, best in (("completeness", 0), ("sensitivity_n", 1), ("infidelity", 0)):
        found = getattr(igbench.metrics, metric)(
            batch.score.model, x, phi, target=target, baselines=batch.baseline
        )
        assert found.value.tolist() == pytest.approx([best] * 3, abs=1e-9)


def test_packing_and_unpacking_are_inverse_and_change_nothing():
    copies = IMAGE.clone(), TABLE.clone()
    x, packing = pack((IMAGE, TABLE))
    x += 1
    assert torch.equal(IMAGE, copies[0])
    assert torch.equal(packing.pack(packing.unpack(x)), x)
    assert packing.owner.tolist() == [0] * 32 + [1] * 5


def test_evaluate_takes_packed_inputs():
    x, packing = pack((IMAGE, TABLE))
    model = PackedModel(TwoInputs().eval(), packing)
    found = igbench.evaluate(
        model, (x, torch.ones(3).long()), methods=["ig"], metrics=["completeness"], target="label"
    )
    values = found.frame[found.frame.metric == "completeness"]["value"]
    assert len(values) == 3
    assert values.max() < 1e-12


def test_inputs_are_features_if_wanted():
    x, packing = pack((IMAGE, TABLE))
    model = PackedModel(TwoInputs().eval(), packing)
    phi = x * packing.pack((W[0].expand_as(IMAGE), W[1].expand_as(TABLE)))
    found = igbench.metrics.sparseness(model, x, phi, features=packing.owner)
    sums = torch.stack([v.flatten(1).sum(dim=1).abs() for v in packing.unpack(phi)])
    expected = (sums[0] - sums[1]).abs() / sums.sum(dim=0) / 2  # Gini index of two numbers
    torch.testing.assert_close(found.value, expected)


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        ((TABLE, torch.zeros(3, 2, dtype=torch.long)), "torch.int64; .* Explain the embeddings"),
        ((torch.zeros(3, 2, dtype=torch.long),), "Explain the embeddings"),
        ((TABLE, TABLE.float()), "one floating-point dtype"),
        ((TABLE, IMAGE[:2]), r"expected one length N"),
    ],
)
def test_inputs_that_cannot_be_packed(inputs, what):
    with pytest.raises(InputError, match=what):
        pack(inputs)


def test_other_shapes_do_not_fit_a_layout():
    with pytest.raises(InputError, match=r"expected one length N for all, and .*\[\(4,\)\]"):
        Packing(((4,),)).pack((TABLE,))


def test_a_packed_function_of_arrays_has_no_gradients_either():
    assert not PackedModel(ArrayFunction(len), Packing(((1,),))).differentiable
