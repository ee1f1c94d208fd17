"""Every method at its defaults, on samples of every shape: a map, or one line that says why not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

import igbench
from igbench.config import build, compose
from igbench.core.packing import PackedModel, Packing
from igbench.errors import InputError
from igbench.methods import Edges, GradCam, explain
from tests.helpers.contract import MISSING, TREES

SHAPES = {
    "table": (30,),
    "vector": (3,),
    "series": (2, 16),
    "grey": (1, 8, 8),
    "colour": (3, 16, 16),
    "video": (1, 2, 4, 4),
    "packed": (11,),
}
CAMS = (
    "grad_cam", "grad_cam_plus_plus", "grad_cam_signed", "guided_grad_cam", "hires_cam",
    "layer_cam", "score_cam",
)  # fmt: skip
ATTENTION = ("attention_rollout", "chefer", "cp_lrp")
IMAGES_ALONE = {"blur_ig", "edges", "rise", "xrai", *CAMS, *ATTENTION}
NEEDS = {
    "deep_shap": "needs samples that are never evaluated",
    "expected_gradients": "needs samples that are never evaluated",
    "ig_averaged": "does not define white",
    "xrai": "does not define white",
    "dig": "needs a model of texts",
    "rare": "how frequent a word is",
    "length": "needs features with names",
    "leave_one_out": "occluder 'delete' does not fit",
    **dict.fromkeys(CAMS, "the name of one of its layers"),
    **dict.fromkeys(ATTENTION, "needs a vision transformer"),
    **dict.fromkeys(TREES, "needs an estimator of trees"),
    **dict.fromkeys(MISSING, "pip install"),
}
"""What plain tensors lack, and what a method says where it is missing."""
EMPTY_WHERE_LINEAR = {"deconvolution", "guided_backprop", "vargrad"}
"""Methods whose map is zero, so that it has no sparseness, where no kink of the network is near, or
where all weights of the last layer are negative."""
FITS = {"exact_shapley": ({"vector", "packed"}, "coalitions")}
"""Methods of some shapes alone, and what they say of others."""
NAMES = compose.choices("method")


def configured_method(name: str) -> dict[str, Any]:
    """The node of a file in conf/method."""
    text = (compose.FOLDER / "method" / f"{name}.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text)[name])


def net(shape: tuple[int, ...]) -> nn.Module:
    """A small network of four classes, with weights from a fixed seed."""
    d, g = torch.Size(shape).numel(), torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(d, 6), nn.ReLU(), nn.Linear(6, 4))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(2 * torch.randn(p.shape, generator=g) / p.shape[-1] ** 0.5)
    return model.eval()


def model_of(kind: str) -> nn.Module:
    own = net(SHAPES[kind])
    if kind != "packed":
        return own
    packing = Packing(((2, 3), (5,)))
    return PackedModel(lambda a, b: own(torch.cat([a.flatten(1), b], dim=1)), packing)


def inputs(kind: str) -> Tensor:
    return torch.rand(2, *SHAPES[kind], generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("kind", SHAPES)
def test_one_map_by_name_and_by_class_or_a_reason_in_words(kind):
    x, model = inputs(kind), model_of(kind)
    found = igbench.evaluate(model, x, methods=NAMES, metrics=["complexity", "sparseness"]).frame
    with torch.no_grad():
        target = model(x).argmax(dim=1)
    for name in NAMES:
        rows = found[(found["method"] == name) & (found["metric"] == "sparseness")]
        fits, missing = FITS.get(name, (set(SHAPES), NEEDS.get(name, "")))
        if name in IMAGES_ALONE and kind not in ("grey", "colour"):
            fits, missing = {"grey", "colour"}, "images"
        node = configured_method(name)
        method: Any = build.construct(node | ({"layer": ""} if "layer" in node else {}), name)

        def again(method: Any = method) -> Tensor:
            ids = ("sample-00000", "sample-00001")
            return explain(method, model, x, target=target, sample_ids=ids)

        if name in NEEDS or kind not in fits:
            assert set(rows["status"]) == {"undefined"}, (name, rows["reason"].tolist())
            (reason,) = set(rows["reason"])
            assert missing in reason
            if name not in ("ig_averaged", "xrai"):  # from Python they ask for the data
                with pytest.raises(InputError, match=missing):
                    again()
            continue
        phi = again()
        empty = ~phi.flatten(1).any(dim=1) if name in EMPTY_WHERE_LINEAR else torch.zeros(len(x))
        expected = ["undefined" if e else "ok" for e in empty.tolist()]
        assert rows["status"].tolist() == expected, (name, rows["reason"].tolist())
        gini = igbench.metrics.sparseness(model, x, phi, target=target)
        torch.testing.assert_close(
            gini.value,
            torch.tensor(rows["value"].to_numpy(dtype=float)),
            rtol=1e-9,
            atol=1e-12,
            equal_nan=name in EMPTY_WHERE_LINEAR,
        )


def test_the_costs_of_a_method_without_meaning_stay_on_the_record():
    found = igbench.evaluate(
        model_of("table"), inputs("table"), methods=["edges", "random"], metrics=["sparseness"]
    )
    rows = found.frame
    status = {
        (m, k): set(g["status"]) for (m, k), g in rows.groupby(["method", "metric"], sort=False)
    }
    assert status["edges", "sparseness"] == {"undefined"}
    assert status["random", "sparseness"] == {"ok"}
    assert found.run.state == "finished"


def test_occlusion_of_a_vector_is_the_change_without_each_element():
    """f = 2 x_0 + x_1: removing one changes f by its product."""
    method = build.construct(configured_method("occlusion"), "occlusion")
    maps = explain(method, lambda z: z @ z.new_tensor([2.0, 1.0]), torch.tensor([[3.0, 5.0]]))
    assert maps.tolist() == [[6.0, 5.0]]


def test_occlusion_of_a_series_covers_all_channels_of_some_steps():
    """Windows of two of 14 steps, moved by one, averaged where they overlap; f is the sum.

    Of 2 at step 0, its own window of 2 elements gives each 1, and that of steps 0 and 1 a half.
    """
    method = build.construct(configured_method("occlusion"), "occlusion")
    x = torch.zeros(1, 2, 14)
    x[0, :, 0] = 1.0
    maps = explain(method, lambda z: z.sum(dim=(1, 2)), x)
    assert maps[0, 0].tolist() == maps[0, 1].tolist()
    assert maps[0, 0].tolist() == [0.75, 0.25] + [0.0] * 12


def test_controls_of_images_refuse_tables_in_one_line():
    for method in (Edges(), GradCam("0")):
        with pytest.raises(InputError, match="images, not inputs of shape") as caught:
            explain(method, net((30,)), inputs("table"), target=0)
        assert "\n" not in str(caught.value)
