"""Models, data, methods in whatever form people have them: the same numbers."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import igbench
from igbench import metrics
from igbench.core.model import Preprocess, function_hash
from igbench.errors import InputError
from igbench.methods import CallableMethod, Captum, IntegratedGradients, explain
from tests.helpers import closed_form as cf
from tests.strangers.models import plain, rows, weights

NAMES = ["completeness", "deletion", "sensitivity_n"]


def table(model, data, **options):
    """Means of three metrics."""
    chosen = {"methods": ["ig", "input_x_gradient"], "metrics": NAMES} | options
    return igbench.evaluate(model, data, **chosen).table()[NAMES]


class Pairs(Dataset):
    """Four rows with a label each."""

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return rows()[i], i % 3


class Alone(Pairs):
    """Four rows without labels."""

    def __getitem__(self, i):
        return rows()[i]


class Dictionaries(Pairs):
    """Four rows as dictionaries."""

    def __getitem__(self, i):
        return {"pixel_values": rows()[i], "labels": i % 3}


LABELS = [0, 1, 2, 0]
CONTAINERS = {
    "numpy": lambda: rows().numpy(),
    "float64": lambda: rows().double(),
    "float64 array": lambda: rows().double().numpy(),
    "lists": lambda: rows().tolist(),
    "list of tensors": lambda: list(rows()),
    "frame": lambda: pd.DataFrame(rows().numpy(), columns=list("abcdef")),
    "big endian": lambda: rows().numpy().astype(">f4"),
    "not contiguous": lambda: rows().T.contiguous().T,
    "with a graph": lambda: rows().requires_grad_(),
    "labels": lambda: (rows(), LABELS),
    "label arrays": lambda: (rows().numpy(), np.array(LABELS)),
    "label column": lambda: (rows(), torch.tensor(LABELS)[:, None]),
    "data set": Pairs,
    "data set without labels": Alone,
    "data set of dictionaries": Dictionaries,
    "tensor data set": lambda: TensorDataset(rows(), torch.tensor(LABELS)),
    "loader": lambda: DataLoader(Pairs(), batch_size=3),
    "loader without labels": lambda: DataLoader(Alone(), batch_size=3),
    "loader of dictionaries": lambda: DataLoader(Dictionaries(), batch_size=3),
}


@pytest.fixture(scope="module")
def expected():
    return table(plain(), rows())


@pytest.mark.parametrize("kind", CONTAINERS)
def test_containers(kind, expected):
    model, state = plain(), torch.get_rng_state()
    found = table(model, CONTAINERS[kind]())
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-6)
    if "loader" in kind:
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "kind", ["labels", "label arrays", "data set", "loader", "tensor data set"]
)
def test_labels_are_explained(kind):
    found = igbench.evaluate(
        plain(), CONTAINERS[kind](), methods=["ig"], metrics=["completeness"], target="label"
    )
    assert [s["target"] for s in found.run.samples] == LABELS


def test_names_of_rows_come_from_the_frame():
    frame = pd.DataFrame(rows().numpy(), index=["ann", "bob", "cat", "dan"])
    found = igbench.evaluate(plain(), frame, methods=["random"], metrics=["sparseness"])
    assert [s["sample_id"] for s in found.run.samples] == ["ann", "bob", "cat", "dan"]


def test_a_loader_that_shuffles_is_refused():
    with pytest.raises(InputError, match="shuffles"):
        table(plain(), DataLoader(Pairs(), shuffle=True))


def test_the_first_samples():
    found = igbench.evaluate(
        plain(),
        DataLoader(Pairs(), batch_size=1),
        methods=["ig"],
        metrics=["completeness"],
        limit=2,
    )
    assert len(found.run.samples) == 2


# -- outputs and models ----------------------------------------------------------------------

Reply = namedtuple("Reply", "logits loss")
OUTPUTS = {
    "tuple": lambda out: (out, {"attention": None}),
    "dictionary": lambda out: {"logits": out},
    "object": lambda out: Reply(out, None),
    "list": lambda out: [out],
}


class Returning(nn.Module):
    """The plain model with its outputs in a wrapper."""

    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = plain(), wrap
        self.eval()

    def forward(self, x):
        return self.wrap(self.net(x))


@pytest.mark.parametrize("kind", OUTPUTS)
def test_outputs_in_a_wrapper(kind, expected):
    assert table(Returning(OUTPUTS[kind]), rows()).equals(expected)


def test_functions(expected):
    net = plain()
    assert table(lambda x: net(x), rows()).equals(expected)

    def arrays(x):
        assert isinstance(x, np.ndarray)
        return net(torch.from_numpy(x)).detach().numpy()

    found = table(arrays, rows(), methods={"mine": rows().numpy()})
    assert found.equals(table(net, rows(), methods={"mine": rows()}))
    with pytest.raises(InputError, match="no gradients, which ig cannot do without"):
        table(arrays, rows(), methods=["ig"])


def test_functions_have_different_hashes():
    one, two = (lambda x: x + 1), (lambda x: x + 2)
    assert function_hash(one) != function_hash(two)
    assert function_hash(one) == function_hash(one)


class Regression(nn.Module):
    """1000 + the sum of an image: a regression."""

    def forward(self, x):
        return 1000 + x.flatten(1).sum(dim=1)


def images(n: int = 2):
    return torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(4))


def test_a_regression_is_no_probability():
    x, model = images(), Regression().eval()
    found = igbench.evaluate(
        model, x, methods=["ig"], metrics=["deletion", "insertion", "completeness", "road"]
    )
    assert (found.frame.status == "ok").all()
    # the output falls in a line from 1000 + sum to 1000, most of it first
    curve = found.table().loc["ig", "deletion"]
    assert 1000 < curve < 1000 + x.flatten(1).sum(1).mean()
    assert found.run.metrics["deletion"].scalar == "score"
    assert found.run.metrics["road"].scalar == "score"
    assert [s["score"] for s in found.run.samples] == pytest.approx(model(x).tolist(), rel=1e-6)
    assert {s["probability"] for s in found.run.samples} == {None}
    plainly = metrics.deletion(model, x, x)
    assert plainly.value.mean() == pytest.approx(curve, rel=1e-6)


def test_a_binary_logit_is_a_probability_where_people_say_so():
    x, model = images(), nn.Sequential(nn.Flatten(), nn.Linear(108, 1)).eval()
    labels = [0, 1]
    found = igbench.evaluate(
        model,
        (x, labels),
        methods=["ig"],
        metrics=["completeness", "deletion"],
        output="probability",
        target="label",
    )
    score = [s["score"] for s in found.run.samples]
    assert score == pytest.approx(model(x)[:, 0].tolist(), rel=1e-5)
    assert [s["label"] for s in found.run.samples] == labels
    assert 0 < found.table().loc["ig", "deletion"] < 1
    with pytest.raises(InputError, match=r"label 2 is not one of .* labels 0 and 1, or none"):
        igbench.evaluate(model, (x, [0, 2]), methods=["ig"], metrics=["completeness"])


# -- methods ---------------------------------------------------------------------------------


class FakeShap:
    """A stand-in for an explainer of shap, exact for a linear model."""

    def __init__(self, w, mean):
        self.w, self.mean = w, mean

    def shap_values(self, x):
        assert isinstance(x, np.ndarray)
        return (x - self.mean)[..., None] * self.w.T[None]


def linear():
    model = nn.Linear(6, 3, bias=False).eval()
    with torch.no_grad():
        model.weight.copy_(weights())
    return model


def test_methods_of_all_kinds_together():
    from captum.attr import InputXGradient, NoiseTunnel, Saliency

    model, x = linear(), rows()
    target = model(x).argmax(dim=1)
    exact = x * weights()[target]
    found = igbench.evaluate(
        model,
        x,
        methods={
            "named": "ig",
            "maps": exact,
            "array": exact.numpy(),
            "captum": InputXGradient(model),
            "saliency": Saliency(model),
            "tunnel": NoiseTunnel(InputXGradient(model)),
            "shap": FakeShap(weights().numpy(), 0.0),
            "function": lambda x, t: x * weights()[t],
            "method": CallableMethod(lambda x, t: x, kind="local"),
        },
        metrics=["completeness", "sensitivity_n", "avg_sensitivity", "deletion"],
    )
    frame = found.table()
    for name in ("named", "maps", "array", "captum", "shap", "function"):
        assert frame.loc[name, "completeness"] < 1e-5, name
        assert frame.loc[name, "sensitivity_n"] == pytest.approx(1, abs=1e-5)
    kinds = {n: (m.kind, m.signed) for n, m in found.run.methods.items()}
    assert kinds["saliency"] == ("local", False)
    assert kinds["tunnel"] == ("global", True)
    assert found.run.methods["tunnel"].title == "captum.attr.NoiseTunnel(InputXGradient)"
    again = found.frame[(found.frame.metric == "avg_sensitivity") & (found.frame.method == "maps")]
    assert set(again.status) == {"undefined"}
    assert "needs the method" in again.reason.iloc[0]


def test_classes_of_captum_explain_the_model_at_hand():
    from captum.attr import InputXGradient, LayerActivation, Occlusion, Saliency

    given = {"product": InputXGradient, "saliency": Saliency, "windows": Occlusion}
    found = igbench.evaluate(linear(), rows(), methods=given, metrics=["completeness"])
    specs = found.run.methods
    assert specs["product"].title == "captum.attr.InputXGradient"
    assert (specs["saliency"].kind, specs["saliency"].signed) == ("local", False)
    assert not specs["windows"].needs_gradient
    assert found.table().loc["product", "completeness"] < 1e-5
    assert found.table().loc["windows", "completeness"] < 1e-5
    for cls in (LayerActivation, CallableMethod):
        with pytest.raises(InputError, match=f"is the class {cls.__name__}; give an object"):
            table(linear(), rows(), methods={"class": cls})


def test_a_class_of_captum_of_unknown_kind_asks_which():
    with pytest.raises(InputError, match="kind=global or kind=local") as caught:
        Captum("LayerActivation")
    assert "\n" not in str(caught.value)
    assert Captum("LayerActivation", kind="local").signed


def test_explainers_start_from_the_baseline_of_the_evaluation():
    from captum.attr import IntegratedGradients as Captums

    model, x = plain(), rows()
    chosen = {"metrics": ["completeness"], "baseline": 0.3}
    found = igbench.evaluate(model, x, methods={"captum": Captums(model)}, **chosen).table()
    assert found.loc["captum", "completeness"] < 1e-3


def test_layers_of_captum_are_refused():
    from captum.attr import LayerActivation

    model = plain()
    with pytest.raises(InputError, match=r"captum.attr.LayerActivation, whose maps may not"):
        table(model, rows(), methods={"layer": LayerActivation(model, model[0])})


def test_one_method_and_one_metric_by_name():
    found = igbench.evaluate(plain(), rows(), methods="ig", metrics="completeness")
    assert list(found.table().index) == ["ig"]


# -- choices ---------------------------------------------------------------------------------


def test_targets():
    model, x = plain(), rows()
    for target in (1, [1, 1, 1, 1], torch.tensor([1] * 4), np.ones(4, dtype=int)):
        found = igbench.evaluate(model, x, methods="ig", metrics="completeness", target=target)
        assert [s["target"] for s in found.run.samples] == [1] * 4
        assert [s["score"] for s in found.run.samples] == pytest.approx(
            model(x)[:, 1].tolist(), rel=1e-5
        )


@pytest.mark.parametrize("baseline", [0.3, torch.full((6,), 0.3), np.full((4, 6), 0.3)])
def test_baselines(baseline):
    model, x = linear(), rows()
    found = igbench.evaluate(model, x, methods="ig", metrics="deletion", baseline=baseline)
    target = model(x).argmax(dim=1)
    phi = explain(IntegratedGradients(), model, x, target=target, baselines=0.3)
    assert torch.allclose(phi, (x - 0.3) * weights()[target], atol=1e-6)
    score = metrics.deletion(model, x, phi, target=target, baselines=0.3)
    assert found.table().loc["ig", "deletion"] == pytest.approx(float(score.mean()), abs=1e-6)


def test_features_are_those_that_are_asked_for():
    net, x = cf.small_net(), cf.images(2)
    target = net(x).argmax(dim=1)
    halves = torch.arange(64).view(1, 8, 8).expand(3, 8, 8) // 32
    for features in ("patch:4", "pixel", halves):
        found = igbench.evaluate(
            net, x, methods="input_x_gradient", metrics=["deletion", "sensitivity_n"],
            features=features,
        )  # fmt: skip
        leaf = x.clone().requires_grad_()
        gradient = torch.autograd.grad(net(leaf).gather(1, target[:, None]).sum(), leaf)[0]
        for name in ("deletion", "sensitivity_n"):
            score = getattr(metrics, name)(
                net, x, x * gradient, target=target, features=features,
                sample_ids=[s["sample_id"] for s in found.run.samples],
            )  # fmt: skip
            values = found.frame[found.frame.metric == name].value
            assert values.tolist() == pytest.approx(score.tolist(), nan_ok=True), (name, features)


def test_the_layer_of_grad_cam():
    net, x = cf.small_net(), cf.images(2)
    found = igbench.evaluate(net, x, methods="grad_cam", metrics="sparseness", layer="features.2")
    assert (found.frame.status == "ok").all()
    assert "features.2" in found.run.methods["grad_cam"].title
    with pytest.raises(InputError, match=r"no layer 'feature'.*'features'"):
        igbench.evaluate(net, x, methods="grad_cam", metrics="sparseness", layer="feature")


# -- folders ---------------------------------------------------------------------------------


def folder(root):
    for k, name in enumerate(("cats", "dogs")):
        (root / name).mkdir()
        for i in range(2):
            Image.new("RGB", (12, 10), (40 * k + 10, 90 * i, 200)).save(root / name / f"{i}.png")
    return root


def test_a_folder_of_images(tmp_path):
    net = cf.small_net(dtype=torch.float32)
    preprocess = Preprocess(8, 8, (0.5,) * 3, (0.25,) * 3)
    found = igbench.evaluate(
        net, folder(tmp_path), methods=["ig"], metrics=["completeness"], preprocess=preprocess
    )
    assert {s["sample_id"]: s["label"] for s in found.run.samples} == {
        "cats/0.png": 0, "cats/1.png": 0, "dogs/0.png": 1, "dogs/1.png": 1,
    }  # fmt: skip

    def own(image):
        return torch.from_numpy(np.asarray(image.resize((8, 8))).copy()).permute(2, 0, 1) / 255

    found = igbench.evaluate(
        net, str(tmp_path), methods=["ig"], metrics=["completeness"], preprocess=own, limit=3
    )
    assert len(found.run.samples) == 3
    with pytest.raises(InputError, match="need preprocess="):
        igbench.evaluate(net, tmp_path, methods=["ig"], metrics=["completeness"])


# -- what one sees ---------------------------------------------------------------------------


def test_the_evaluation_in_a_few_lines():
    found = igbench.evaluate(plain(), rows(), methods=["ig"], metrics=["completeness"])
    text = repr(found)
    assert len(text.splitlines()) == 2
    assert "4 samples; methods ig; metrics completeness; 20 ok." in text


def test_public_names():
    assert {"evaluate", "metrics", "methods", "ArrayFunction", "pack"} <= set(dir(igbench))
    assert igbench.ArrayFunction.__name__ == "ArrayFunction"
    for name in dir(igbench):
        getattr(igbench, name)


def test_progress(capsys):
    igbench.evaluate(plain(), rows(), methods=["ig"], metrics=["completeness"])
    assert capsys.readouterr().err == ""
    igbench.evaluate(plain(), rows(), methods=["ig"], metrics=["completeness"], progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "100%" in captured.err


def test_information_curves_need_a_probability():
    x, model = cf.images(2, dtype=torch.float32), Regression().eval()
    data = igbench.Data(
        "given", "image", (3, 8, 8), ("a", "b"), (None, None), lambda i: x[i], "pixel", None,
        (0.0,), None, "a tensor", white=(1.0,),
    )  # fmt: skip
    found = igbench.evaluate(model, data, methods=["ig"], metrics=["sic", "aic"])
    scores = found.frame[found.frame.metric.isin(["sic", "aic"])]
    assert set(scores.status) == {"undefined"}
    assert "single output" in scores.reason.iloc[0]


class Augmented(Pairs):
    """Rows with noise from the global generator, as augmentations have it; labels cost."""

    def __init__(self):
        self.loaded = []

    def __getitem__(self, i):
        self.loaded.append(i)
        return rows()[i] + torch.randn(6), i % 3


def test_items_that_draw_are_the_same_at_every_load():
    model, state = plain(), torch.get_rng_state()
    first, second = table(model, Augmented()), table(model, Augmented())
    assert first.equals(second)
    assert torch.equal(torch.get_rng_state(), state)


def test_labels_are_loaded_only_where_they_are_explained():
    data = Augmented()
    igbench.evaluate(plain(), data, methods=["random"], metrics=["sparseness"])
    assert max(data.loaded.count(i) for i in range(3, 4)) == 1


def test_the_rest_is_a_pool_for_baselines():
    x = rows(8)
    found = igbench.evaluate(
        linear(), (x, [0] * 8), methods=["ig"], metrics=["completeness"], limit=3,
        baseline="feature_mean",
    )  # fmt: skip
    assert len(found.run.samples) == 3
    phi = explain(
        IntegratedGradients(), linear(), x[:3], target=linear()(x[:3]).argmax(1),
        baselines=x[3:].mean(dim=0),
    )  # fmt: skip
    start = linear()(x[3:].mean(dim=0, keepdim=True)).detach()
    expected = [s["score"] - float(start[0, s["target"]]) for s in found.run.samples]
    assert phi.sum(dim=1).tolist() == pytest.approx(expected, abs=1e-5)
    assert found.table().loc["ig", "completeness"] < 1e-5
    with pytest.raises(InputError, match="needs samples that are never evaluated"):
        igbench.evaluate(
            linear(), x, methods=["ig"], metrics=["completeness"], baseline="feature_mean"
        )


def test_preprocessing_that_fails_says_so(tmp_path):
    def broken(image):
        return 1 / 0

    given = {"methods": ["ig"], "metrics": ["completeness"]}
    with pytest.raises(InputError, match=r"preprocess= raised ZeroDivisionError for '\w+\.png'"):
        igbench.evaluate(cf.small_net(), folder(tmp_path), preprocess=broken, **given)
    with pytest.raises(InputError, match="it returned a list"):
        igbench.evaluate(cf.small_net(), tmp_path, preprocess=lambda image: [], **given)
