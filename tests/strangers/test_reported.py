"""Faults that users of other projects reported, on a small model of their kind, with right values.

One test for each report; docs/reported_faults.md has the same list.
"""

from __future__ import annotations

import copy
import gc
import random
import warnings
import weakref
from dataclasses import dataclass

import captum.attr
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import igbench
from igbench import metrics
from igbench.captum import IntegratedGradients as CaptumIG
from igbench.captum import LayerIntegratedGradients, NoiseTunnel, infidelity
from igbench.errors import InputError
from igbench.methods import CallableMethod, GradCamSigned, IntegratedGradients, SmoothIG, explain
from tests.strangers.models import plain, rows

IG = IntegratedGradients()
CHOSEN = {"methods": ["ig"], "metrics": ["completeness"]}


def scores(found: igbench.Evaluation, metric: str = "completeness") -> dict[str, list[float]]:
    """Values of a metric by method."""
    table = found.frame[found.frame.metric == metric]
    return {m: part.value.tolist() for m, part in table.groupby("method")}


def refused(message: str, *calls) -> None:
    """Each call raises an `InputError` of one line."""
    for call in calls:
        with pytest.raises(InputError, match=message) as error:
            call()
        assert "\n" not in str(error.value)


def linear(classes: int = 2, inputs: int = 4) -> nn.Linear:
    """Class k has the weights k + 1, k + 2, ..., and no bias."""
    layer = nn.Linear(inputs, classes, bias=False).eval()
    with torch.no_grad():
        layer.weight.copy_(torch.arange(classes)[:, None] + torch.arange(inputs) + 1.0)
    return layer


def hooks(model: nn.Module) -> int:
    """Number of hooks on all modules."""
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
        for m in model.modules()
    )


# -- numbers of other methods ------------------------------------------------------------------


@pytest.mark.parametrize("seen", [False, True])
def test_deep_lift_that_does_not_see_an_activation(seen):
    """Captum 1082: DeepLift is wrong where an activation is made in forward.

    f = relu(2 x - 1) at 1 and 0 is 1 and 0.  A rule that misses the ReLU gives its gradient, 2, so
    completeness is off by |2 - 1| / 1, and the map is refused; with the ReLU as a module it gives
    1, and so does our own rule, wherever the ReLU is.
    """

    class Bend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.relu = nn.Linear(1, 1), nn.ReLU()
            with torch.no_grad():
                self.inner.weight.fill_(2.0)
                self.inner.bias.fill_(-1.0)

        def forward(self, x: Tensor) -> Tensor:
            return (self.relu if seen else nn.ReLU())(self.inner(x))

    model = Bend().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Captum's, of its hooks
        methods = {"DeepLift": captum.attr.DeepLift(model), "own": "deep_lift", "exact": "ig_exact"}
        found = igbench.evaluate(
            model, torch.ones(2, 1), methods=methods, metrics=["completeness"], batch_size=8
        )
    assert scores(found)["own"] == pytest.approx([0.0, 0.0], abs=1e-6)
    rows = found.frame[(found.frame.method == "DeepLift") & (found.frame.metric == "completeness")]
    if not seen:
        assert set(rows.status) == {"undefined"}
        assert "use method deep_lift" in rows.reason.iloc[0]
    if seen:
        assert scores(found)["DeepLift"] == pytest.approx([0.0, 0.0], abs=1e-6)
        assert scores(found)["exact"] == pytest.approx([0.0, 0.0], abs=1e-6)


def test_a_baseline_that_is_not_zero_is_where_the_path_starts():
    """DeepExplain 23: points of the path were x times alpha, whatever the baseline.

    f = x_0 x_1 from (1, 1) to (3, 2): 2 times the integral of 1 + a, and 1 times that of 1 + 2 a.
    """
    x, start = torch.tensor([[3.0, 2.0]]), torch.tensor([[1.0, 1.0]])
    expected = torch.tensor([[3.0, 2.0]])
    ours = explain(IG, lambda x: x[:, 0] * x[:, 1], x, baselines=start)
    theirs = CaptumIG(lambda x: x[:, 0] * x[:, 1]).attribute(x, baselines=start)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(theirs, expected)


@pytest.mark.parametrize("steps", [2, 25, 50, 101])
def test_sums_do_not_depend_on_steps_or_on_how_they_are_cut(steps):
    """PAIR saliency 23: the sum of Integrated Gradients was divided by the steps twice.

    And TensorFlow docs 2039: of the gradients of all chunks the last chunk was kept.  Of x^3 each
    feature gets its own cube; Gauss's rule of two points is exact for it.
    """
    x = torch.tensor([[1.0, 2.0]])
    for rows_a_call in (1, 3, steps, 500):
        method = IntegratedGradients(n_steps=steps)
        found = explain(method, lambda x: (x**3).sum(1), x, batch_size=rows_a_call)
        torch.testing.assert_close(found, x**3)
        found = CaptumIG(lambda x: (x**3).sum(1)).attribute(
            x, n_steps=steps, internal_batch_size=rows_a_call
        )
        torch.testing.assert_close(found, x**3)


def test_a_sampling_method_gives_the_same_map_twice():
    """LIME 309: explaining one row twice gives different features, whatever the seed."""
    model, x = plain(), rows()
    first = explain(SmoothIG(), model, x, target=0)
    torch.rand(3)  # whatever the global generator has given since
    assert torch.equal(explain(SmoothIG(), model, x, target=0), first)
    alone = explain(SmoothIG(), model, x[2:3], target=0, sample_ids=["2"])
    torch.testing.assert_close(alone, first[2:3])


class Camera(nn.Module):
    """Global average pooling and a linear head, whose Grad-CAM sums to the output."""

    def __init__(self, pack=lambda out: out) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.conv, self.head, self.pack = nn.Conv2d(1, 2, 1, bias=False), linear(3, 2), pack
        with torch.no_grad():
            self.conv.weight.copy_(torch.randn(2, 1, 1, 1, generator=g))
        self.eval()

    def forward(self, x: Tensor):
        return self.pack(self.head(self.conv(x).mean(dim=(2, 3))))


def images(n: int = 3) -> Tensor:
    """(N, 1, 4, 4) positive images."""
    return torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1)) + 0.1


def test_each_image_of_a_batch_has_its_own_cam():
    """pytorch-grad-cam 322 (one map for a batch), 144 (alike within a batch)."""
    model, x, target = Camera(), images(), [0, 2, 1]
    found = explain(GradCamSigned("conv"), model, x, target=target)
    assert found.shape == x.shape
    expected = model(x)[torch.arange(3), target]
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), expected.detach())
    for i, k in enumerate(target):
        alone = explain(GradCamSigned("conv"), model, x[i : i + 1], target=k)
        torch.testing.assert_close(found[i : i + 1], alone)


def test_hooks_go_away_also_when_the_model_fails():
    """pytorch-grad-cam 132: objects in a loop leave their hooks, and memory grows."""

    class Failing(Camera):
        def forward(self, x: Tensor):
            out = super().forward(x)
            if torch.is_grad_enabled():
                raise RuntimeError("no gradients today")
            return out

    model = Camera()
    explain(GradCamSigned("conv"), model, images(), target=0)
    LayerIntegratedGradients(model, model.conv).attribute(images(), target=0)
    assert hooks(model) == 0
    model = Failing()
    with pytest.raises(RuntimeError, match="no gradients today"):
        explain(GradCamSigned("conv"), model, images(), target=0)
    with pytest.raises(RuntimeError, match="no gradients today"):
        LayerIntegratedGradients(model, model.conv).attribute(images(), target=0)
    assert hooks(model) == 0


@pytest.mark.parametrize("functional", [False, True])
def test_activations_are_those_of_the_layer_not_of_what_works_in_place_after_it(functional):
    """Captum 156, pytorch-grad-cam 147: a ReLU in place after the layer changes what was kept."""

    class Overwriting(nn.Module):
        def __init__(self, inplace: bool) -> None:
            super().__init__()
            self.conv, self.relu = copy.deepcopy(Camera().conv), nn.ReLU(inplace)
            self.head, self.inplace = linear(3, 2), inplace
            self.eval()

        def forward(self, x: Tensor) -> Tensor:
            z = self.conv(x)
            z = nn.functional.relu(z, self.inplace) if functional else self.relu(z)
            return self.head(z.mean(dim=(2, 3)))

    x = images() - 0.5
    found = explain(GradCamSigned("conv"), Overwriting(True), x, target=1)
    torch.testing.assert_close(
        found, explain(GradCamSigned("conv"), Overwriting(False), x, target=1)
    )
    model = Overwriting(True)
    refused(
        "an operation in place overwrites what leaves the layer.*inplace=False",
        lambda: LayerIntegratedGradients(model, model.conv).attribute(x, target=1),
    )


def test_a_cam_that_is_negative_everywhere():
    """torch-cam 208, pytorch-grad-cam 107: NaN from scaling a map that its ReLU made zero.

    Grad-CAM has no ReLU here: the map of f = -mean(x) is -x / 16.  A map of zeros has no ranking.
    """

    class Negative(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()
            self.eval()

        def forward(self, x: Tensor) -> Tensor:
            return -self.layer(x).mean(dim=(1, 2, 3))

    x = images()
    found = explain(GradCamSigned("layer", mode="nearest"), Negative(), x)
    torch.testing.assert_close(found, -x / 16)
    score = metrics.insertion(Negative(), x, torch.zeros_like(x))
    assert score.value.isnan().all()
    assert "flat" in score.reasons[0]
    assert metrics.completeness(Negative(), x, torch.zeros_like(x)).tolist() == [1.0] * 3


@dataclass
class ImageClassifierOutput:
    """What models of Hugging Face return."""

    logits: Tensor
    loss: None = None


@pytest.mark.parametrize("pack", [ImageClassifierOutput, lambda out: (out, out[:, :1])])
def test_outputs_that_are_objects_or_tuples(pack):
    """pytorch-grad-cam 481, 386, 216: an output object, or 'tuple', has no attribute 'cpu'."""
    x, methods = images(), {"cam": GradCamSigned("conv"), "ig": "ig"}
    found = igbench.evaluate(Camera(pack), x, methods=methods, metrics=["completeness"])
    expected = igbench.evaluate(Camera(), x, methods=methods, metrics=["completeness"])
    assert scores(found) == scores(expected)
    assert max(scores(found)["cam"]) < 1e-5
    refused(
        "forward_func returned (ImageClassifierOutput|tuple of Tensor)",
        lambda: CaptumIG(Camera(pack)).attribute(x, target=0),
        lambda: infidelity(Camera(pack), lambda x: (x, 0 * x), x, x, target=0),
    )


# -- targets and outputs -----------------------------------------------------------------------


def test_a_class_of_a_model_with_one_output():
    """Captum 352, 455, 475, LIME 156: target=1 of a binary classifier with one sigmoid."""
    model = nn.Sequential(linear(1), nn.Sigmoid()).eval()
    x = rows(inputs=4) / 10
    refused(
        "single output, so there is no output 1",
        lambda: igbench.evaluate(model, x, **CHOSEN, target=1),
        lambda: explain(IG, model, x, target=1),
        lambda: metrics.deletion(model, x, x, target=1),
    )
    refused(
        "target 1 is not one of forward_func's 1 outputs, 0 to 0; leave target out",
        lambda: CaptumIG(model).attribute(x, target=1),
        lambda: infidelity(model, lambda x: (x, 0 * x), x, x, target=1),
        lambda: NoiseTunnel(CaptumIG(model)).attribute(x, target=1),
    )
    found = scores(igbench.evaluate(model, (x, [1, 0, 1, 0]), **CHOSEN))["ig"]
    assert found == pytest.approx([0.0] * 4, abs=1e-5)


def test_a_target_does_not_pick_one_of_many_axes():
    """alibi 627: of outputs (400, 400, 3) a target of 123 silently picked a row of pixels."""

    class Pixels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = linear(2, 3)
            self.eval()

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

    model, x = Pixels(), torch.ones(2, 5, 3)
    refused(
        r"outputs of shape \(5, 2\) for a sample, of which none is the class",
        lambda: igbench.evaluate(model, x, **CHOSEN),
        lambda: igbench.evaluate(model, x, **CHOSEN, target=1),
    )
    refused("expected .*2 for each row", lambda: explain(IG, model, x, target=1))
    found = explain(IG, model, x, target=(3, 1))  # weights 2, 3, 4 at position 3
    expected = torch.zeros(2, 5, 3)
    expected[:, 3] = torch.tensor([2.0, 3.0, 4.0])
    torch.testing.assert_close(found, expected)


def test_the_class_as_argmax_returns_it():
    """Captum 1052, Quantus 93: targets that are numbers or arrays of NumPy are refused."""
    x = rows(inputs=4)
    expected = explain(IG, linear(), x, target=1)
    torch.testing.assert_close(expected, x * linear().weight[1].detach())
    for one in (np.int64(1), np.array(1), torch.tensor([0, 5]).argmax(), np.ones(4, dtype=int)):
        assert torch.equal(explain(IG, linear(), x, target=one), expected)
        found = igbench.evaluate(linear(), x, **CHOSEN, target=one)
        assert {s["target"] for s in found.run.samples} == {1}
        assert metrics.completeness(linear(), x, expected, target=one).value.max() < 1e-5
    refused("target has dtype", lambda: explain(IG, linear(), x, target=np.float64(1)))


def test_infidelity_without_a_target():
    """Captum 614: 'size of tensor a (20) must match' (20000) without a target for 1000 classes.

    With one, the exact weights of a linear model have an infidelity of 0, and 1 more than the first
    of them predicts 0.1 more at steps of 0.1: a square of 0.01.
    """
    x = rows(inputs=4)

    def perturb(x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full_like(x, 0.1), x - 0.1

    exact = linear().weight[1].detach().expand_as(x)
    refused("Give target=, the output", lambda: infidelity(linear(), perturb, x, exact))
    found = infidelity(linear(), perturb, x, exact, target=1)
    assert found.tolist() == pytest.approx([0.0] * 4, abs=1e-9)
    off = exact + torch.tensor([1.0, 0.0, 0.0, 0.0])
    found = infidelity(linear(), perturb, x, off, target=1)
    assert found.tolist() == pytest.approx([0.01] * 4, rel=1e-3)


def test_models_with_a_flat_output():
    """shap 2801: 'tuple index out of range' for a model that returns (N,)."""
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0])
    x = rows(inputs=4)
    for model in (lambda x: x @ weight, lambda x: (x @ weight)[:, None]):
        torch.testing.assert_close(explain(IG, model, x), x * weight)
        assert max(scores(igbench.evaluate(model, x, **CHOSEN))["ig"]) < 1e-5


def test_a_function_of_the_first_row():
    """Captum 311: a forward function that ends in `softmax(z)[0][0].unsqueeze(-1)`.

    With steps as rows its gradient is that of the first step alone; Captum returns it, 1/n of it
    with n steps in a call, and says nothing.
    """
    layer, x = linear(2, 2), torch.tensor([[0.1, 0.2]])

    def first(x: Tensor) -> Tensor:
        return torch.softmax(layer(x), dim=1)[0][0].unsqueeze(-1)

    half = captum.attr.IntegratedGradients(first).attribute(x, internal_batch_size=2)
    whole = CaptumIG(first).attribute(x, internal_batch_size=1)
    torch.testing.assert_close(2 * half, whole, rtol=0.1, atol=0)  # what was reported
    right = CaptumIG(lambda x: torch.softmax(layer(x), dim=1)).attribute(x, target=0)
    torch.testing.assert_close(whole, right)
    refused(
        r"forward_func returned Tensor \(1,\) for \d+ rows.*internal_batch_size=1",
        lambda: CaptumIG(first).attribute(x),
        lambda: CaptumIG(first).attribute(x, internal_batch_size=2),
        lambda: LayerIntegratedGradients(first, layer).attribute(x),
        lambda: NoiseTunnel(CaptumIG(first)).attribute(x),
    )
    refused(r"output is Tensor \(1,\) for 2 rows", lambda: explain(IG, first, x))


def test_a_model_that_takes_one_row():
    """Captum 466: steps of the path end up in an axis of a model that assumes a batch of one."""

    class Single(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(1, -1) @ torch.tensor([1.0, 2.0, 3.0, 4.0])

    model, x = Single().eval(), rows(inputs=4)
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0])
    with pytest.raises(InputError, match="cannot be called with 2 rows"):
        igbench.evaluate(model, x, **CHOSEN)
    found = scores(igbench.evaluate(model, x, **CHOSEN, batch_size=1))["ig"]
    assert found == pytest.approx([0.0] * 4, abs=1e-5)
    alone = CaptumIG(model).attribute(x, internal_batch_size=1)
    torch.testing.assert_close(alone, x * weight)


def test_a_function_that_does_not_use_its_argument():
    """Captum 978: attributions are zero, for forward reads a tensor of the enclosing function.

    And Captum 1063: gradients are None for some of several inputs.
    """
    model, outside = linear(), torch.ones(1, 4)

    def forgetful(x: Tensor) -> Tensor:
        return model(outside).expand(len(x), 2)

    x = rows(inputs=4)
    refused(
        "no gradient (by its inputs|with respect to its input)",
        lambda: igbench.evaluate(forgetful, x, **CHOSEN),
        lambda: explain(IG, forgetful, x, target=0),
    )
    refused(
        "output does not depend on each of its inputs",
        lambda: CaptumIG(forgetful).attribute(x, target=0),
        lambda: CaptumIG(lambda x, y: model(y)).attribute((x, x), target=0),
    )


def test_one_layer_for_two_inputs():
    """Captum 956: the embedding of a query and an article of other length, by one module.

    Captum puts the activations of the last call into both, and returns maps of the last alone.
    """

    class Match(nn.Module):
        def __init__(self, copies: bool) -> None:
            super().__init__()
            self.embed = nn.Embedding(10, 3)
            with torch.no_grad():
                g = torch.Generator().manual_seed(0)
                self.embed.weight.copy_(torch.randn(10, 3, generator=g))
            self.other = copy.deepcopy(self.embed) if copies else self.embed
            self.eval()

        def forward(self, query: Tensor, article: Tensor) -> Tensor:
            one, two = self.embed(query).mean(dim=1), self.other(article).mean(dim=1)
            return torch.cosine_similarity(one, two, dim=1)

    query, article = torch.tensor([[1, 2, 3]]), torch.tensor([[4, 5, 6, 7]])
    start = (torch.full_like(query, 8), torch.full_like(article, 9))
    shared, apart = Match(copies=False), Match(copies=True)
    refused(
        "the layer is called 2 times in one pass.*copy.deepcopy",
        lambda: LayerIntegratedGradients(shared, shared.embed).attribute((query, article), start),
        lambda: LayerIntegratedGradients(shared, shared.embed).attribute(
            (query, query), start[:1] * 2
        ),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Captum's, on several layers
        explainer = LayerIntegratedGradients(apart, [apart.embed, apart.other])
    of_query, of_article = explainer.attribute((query, article), start, n_steps=200)
    assert of_query.shape == (1, 3, 3)
    assert of_article.shape == (1, 4, 3)
    change = shared(query, article) - shared(*start)
    torch.testing.assert_close(
        of_query.sum() + of_article.sum(), change[0].detach(), atol=1e-4, rtol=0
    )


# -- inputs ------------------------------------------------------------------------------------


def test_one_sample_without_an_axis_of_samples():
    """Captum 698: a vector, of which the model takes entries, 'invalid index of a 0-dim tensor'."""

    class Toy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(torch.relu(x[0]) - 1 - torch.relu(x[1]))

    x = torch.tensor([3.0, 1.0])
    refused(
        r"has shape \(2,\), expected \(N, \*F\).*x\[None\]",
        lambda: igbench.evaluate(Toy().eval(), x, **CHOSEN),
        lambda: explain(IG, Toy().eval(), x),
        lambda: metrics.completeness(Toy().eval(), x, x),
    )
    refused(r"forward_func returned Tensor \(\) for", lambda: CaptumIG(Toy()).attribute(x))
    refused("cannot be called with a single row", lambda: explain(IG, Toy().eval(), x[None]))
    found = CaptumIG(lambda x: torch.relu(torch.relu(x[:, 0]) - 1 - torch.relu(x[:, 1])))
    expected = torch.tensor([[1.5, -0.5]])  # the paper's, page 10
    torch.testing.assert_close(found.attribute(x[None], n_steps=500), expected, atol=0.01, rtol=0)


def test_token_ids():
    """Captum 771, shap 1671: noise, or a gradient, for integers."""
    model, ids = nn.Sequential(nn.Embedding(9, 2), nn.Flatten()).eval(), torch.ones(2, 4).long()
    refused(
        "dtype int64; attributions need floating-point inputs.*embeddings",
        lambda: igbench.evaluate(model, ids, **CHOSEN),
        lambda: explain(IG, model, ids, target=0),
    )
    refused(
        "torch.int64, to which no noise can be added",
        lambda: NoiseTunnel(CaptumIG(model)).attribute(ids, target=0),
    )
    phi = LayerIntegratedGradients(model, model[0]).attribute(ids, baselines=0, target=3)
    expected = torch.zeros(2, 4, 2)  # output 3 is the second entry of the second token
    expected[:, 1, 1] = model[0].weight[1, 1] - model[0].weight[0, 1]
    torch.testing.assert_close(phi, expected)


def test_columns_of_categories():
    """shap 1279, 2530: a category column becomes an object array, 'ufunc isnan not supported'."""
    frame = pd.DataFrame({"größe": [1.0, 2.0], "b": [0.0, 1.0], "region": [0, 1], "d": [3, 4]})
    categories = frame.astype({"region": "category"})
    refused(
        "columns that are not numbers: region; encode or drop",
        lambda: igbench.evaluate(linear(), categories, **CHOSEN),
        lambda: explain(IG, linear(), categories, target=0),
    )
    found = explain(IG, linear(), frame, target=0)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0, 0, 12], [2.0, 2, 3, 16]]))


def test_baselines_that_do_not_fit():
    """Captum 1920: one baseline for two inputs, three for two, two rows for three."""
    x = rows(3, 4)

    def product(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum(dim=1)

    refused("1 baselines for 2 inputs", lambda: CaptumIG(product).attribute((x, x), (x,)))
    refused("3 baselines for 2 inputs", lambda: CaptumIG(product).attribute((x, x), (x, x, x)))
    for shape in ((2, 1), (4,), (2, 4), (3, 1)):
        refused(
            "baseline 0 has shape", lambda s=shape: CaptumIG(linear()).attribute(x, torch.zeros(s))
        )
    refused(
        "does not broadcast",
        lambda: igbench.evaluate(linear(), x, **CHOSEN, baseline=torch.zeros(2, 4)),
        lambda: explain(IG, linear(), x, target=0, baselines=torch.zeros(2, 4)),
        lambda: metrics.deletion(linear(), x, x, target=0, baselines=torch.zeros(2, 1)),
    )
    each = explain(IG, linear(), x, target=0, baselines=x / 2)  # one for each sample
    torch.testing.assert_close(each, x / 2 * linear().weight[0].detach())


def test_feature_masks_that_do_not_fit():
    """Captum 1922: groups 0 and 0.5, numbers below zero, a mask for one of two inputs."""
    x = rows(3, 4)
    for mask, message in (
        (torch.tensor([0, 0.5, 1, 1]), "expected integers"),
        (torch.tensor([0, -1, 1, 1]), "must be 0..G-1 with none left out"),
        (torch.tensor([0, 2, 2, 3]), "must be 0..G-1 with none left out"),
        (torch.tensor([0, 1]), "expected integers of shape"),
    ):
        refused(
            message,
            lambda m=mask: metrics.deletion(linear(), x, x, target=0, features=m),
            lambda m=mask: igbench.evaluate(linear(), x, **CHOSEN, features=m),
        )


# -- what belongs to the caller ----------------------------------------------------------------


def test_a_part_of_the_model_in_training_mode():
    """TransformerLens 1787: a nested dropout in training mode makes effects of noise."""
    model = nn.Sequential(linear(4, 4), nn.Dropout(0.5), linear(2, 4)).eval()
    model[1].train()
    x = rows(inputs=4)
    refused(
        r"the model is in training mode \(1\)",
        lambda: igbench.evaluate(model, x, **CHOSEN),
        lambda: explain(IG, model, x, target=0),
        lambda: metrics.completeness(model, x, x, target=0),
    )
    assert model[1].training
    model[1].eval()
    assert max(scores(igbench.evaluate(model, x, **CHOSEN))["ig"]) < 1e-5


def test_batch_norm_is_as_it_was():
    """zennit 204: parameters of batch norm changed between passes that explain and that train."""
    model = nn.Sequential(linear(4, 4), nn.BatchNorm1d(4), linear(2, 4))
    x = rows(inputs=4)
    model(x)  # moves the statistics away from 0 and 1
    before = copy.deepcopy(model.state_dict())
    refused("in training mode", lambda: igbench.evaluate(model, x, **CHOSEN))
    assert model.training
    model.eval()
    igbench.evaluate(model, x, methods=["ig", "smooth_ig"], metrics=["completeness", "mprt"])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    model.train()(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_global_generators_are_as_they_were():
    """shap 4619: the state of numpy's generator was 'restored' by a seed; alibi 926: seeds set."""

    def states() -> tuple[object, ...]:
        numpy = np.random.get_state()  # noqa: NPY002
        return random.getstate(), numpy[1].tobytes(), numpy[2], torch.get_rng_state().tolist()

    model = plain()
    before = states()
    igbench.evaluate(
        model,
        rows(),
        methods=["ig", "smooth_ig", "random"],
        metrics=["infidelity", "max_sensitivity", "sensitivity_n"],
    )
    assert states() == before


def test_no_graph_or_activation_is_kept():
    """Captum 866, transformers-interpret 78, zennit 11: memory grows from request to request."""
    alive: list[weakref.ref] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = linear(4, 4), linear(2, 4)
            self.eval()

        def forward(self, x: Tensor) -> Tensor:
            hidden = torch.tanh(self.first(x))
            alive.append(weakref.ref(hidden))
            return self.second(hidden)

    model, x = Watched(), rows(inputs=4)
    found = igbench.evaluate(model, x, methods=["ig", "smooth_ig"], metrics=["completeness"])
    maps = [
        explain(IG, model, x, target=0),
        CaptumIG(model).attribute(x, target=0),
        *LayerIntegratedGradients(model, model.first).attribute(
            x, target=0, return_convergence_delta=True
        ),
    ]
    gc.collect()
    assert found is not None
    assert not any(phi.requires_grad for phi in maps)
    assert len(alive) > 20
    assert [ref for ref in alive if ref() is not None] == []


# -- metrics -----------------------------------------------------------------------------------


def test_sufficiency_keeps_what_the_map_ranks_highest():
    """ferret 27: tokens of the top were masked, and not all others.

    f = 5 + 3 + 2 + 1 of ones; of the top quarter alone 5 is left, without it 6.
    """

    def f(x: Tensor) -> Tensor:
        return x @ torch.tensor([5.0, 3.0, 2.0, 1.0])

    x, phi = torch.ones(1, 4), torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    assert metrics.sufficiency(f, x, phi, fractions=(0.25,)).tolist() == [6.0]
    assert metrics.comprehensiveness(f, x, phi, fractions=(0.25,)).tolist() == [5.0]


def test_relevance_of_a_signed_map_in_a_mask():
    """Quantus 338: negative relevance made positive, or more in the mask than in all, and NaN.

    The mask holds 5 and 4, the rest -4 and -3: 9 of 9 positive, 9 of 16 in magnitude; the signed
    sum of the image is 2.
    """
    x = torch.ones(1, 1, 2, 2)
    phi = torch.tensor([[[[5.0, 4.0], [-4.0, -3.0]]]])
    mask = torch.tensor([[[True, True], [False, False]]])

    def f(x: Tensor) -> Tensor:
        return x.sum(dim=(1, 2, 3))

    assert metrics.relevance_mass(f, x, phi, masks=mask).tolist() == [1.0]
    assert metrics.relevance_mass(f, x, phi, masks=mask, part="absolute").tolist() == [9 / 16]
    assert metrics.relevance_mass(f, x, -phi, masks=mask).tolist() == [0.0]


def test_input_invariance_moves_the_model_too():
    """Quantus 169: inputs were shifted, and the model did not undo it, so nothing was invariant.

    Of f = sum w x^2 the gradient stays at the shifted point of the shifted model; gradient times
    input of f = sum w x grows by w: |w|_1 / |w x|_1 = 3 / 7.
    """
    weight, x = torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 3.0]])

    def gradient(batch) -> Tensor:
        z = batch.x.clone().requires_grad_()
        return torch.autograd.grad(batch.score(z, None).sum(), z)[0]

    local = CallableMethod(gradient, kind="local", per_batch=True)
    product = CallableMethod(lambda b: b.x * gradient(b), kind="global", per_batch=True)
    stays = metrics.input_invariance(
        lambda x: x**2 @ weight, x, 2 * x * weight, method=local, kind="local"
    )
    moves = metrics.input_invariance(lambda x: x @ weight, x, x * weight, method=product)
    assert stays.tolist() == pytest.approx([0.0], abs=1e-6)
    assert moves.tolist() == pytest.approx([3 / 7], abs=1e-6)


def test_maps_of_another_precision():
    """PyTorch Geometric 8699: masks in float64 for a model in float32."""
    x = rows(inputs=4)
    phi = x.double() * linear().weight[1].double().detach()
    for maps in (phi, phi.numpy(), phi.float(), phi.numpy().astype(">f8")):
        for inputs in (x, x.double(), x.numpy(), x.double().numpy()):
            found = metrics.completeness(linear(), inputs, maps, target=1)
            assert found.tolist() == pytest.approx([0.0] * 4, abs=1e-5)
