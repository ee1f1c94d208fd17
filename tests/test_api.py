"""The Python interface."""

from __future__ import annotations

import pytest
import torch

import igbench
from igbench.errors import InputError
from igbench.methods.captum import Captum
from igbench.methods.custom import CallableMethod
from igbench.records import store
from tests.helpers import closed_form as cf


def test_names_and_functions_side_by_side(tmp_path):
    from captum.attr import InputXGradient

    net = cf.small_net()
    explainer = InputXGradient(net)
    given = CallableMethod(
        lambda x, t: explainer.attribute(x, target=t), kind="global", title="mine"
    )
    adapted = Captum("InputXGradient", "Input x gradient", "", "global", signed=True)
    found = igbench.evaluate(
        net,
        (cf.images(4), torch.tensor([0, 1, 2, 3])),
        methods={"mine": given, "ixg": adapted},
        metrics=["completeness", "deletion"],
        target="label",
    )
    frame = found.frame
    assert set(frame["method"]) == {"mine", "ixg"}
    values = frame[frame.metric == "deletion"].pivot_table(
        index="sample_id", columns="method", values="value"
    )
    assert (values["mine"] == values["ixg"]).all()
    assert [s["target"] for s in found.run.samples] == [0, 1, 2, 3]
    assert "completeness" in found.table().columns
    assert "<table" in found._repr_html_()
    page = found.save(tmp_path)
    assert page.is_file()
    assert len(store.read(page.parent).scores) == len(frame)


def test_same_numbers_as_the_plain_function():
    net, x = cf.small_net(), cf.images(3)
    target = net(x).argmax(dim=1)
    found = igbench.evaluate(net, x, methods=["input_x_gradient"], metrics=["completeness"])
    leaf = x.clone().requires_grad_()
    score = net(leaf).gather(1, target[:, None]).sum()
    phi = leaf.detach() * torch.autograd.grad(score, leaf)[0]
    expected = igbench.metrics.completeness(net, x, phi, target=target)
    frame = found.frame
    values = frame[frame.metric == "completeness"]["value"].to_numpy()
    assert values == pytest.approx(expected.numpy(), rel=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["igg"]}, "unknown method 'igg'.*'ig'"),
        ({"metrics": ["srgg"]}, "unknown metric 'srgg'.*'srg'"),
        ({"methods": {"f": object()}}, "'f' is a object; give a name of conf/method, a method"),
        ({"metrics": {"f": lambda x: x}}, "'f' is a function; give a name of conf/metric"),
        ({"methods": []}, "no method is chosen"),
        ({"data": torch.zeros(0, 3, 8, 8)}, "no samples"),
    ],
)
def test_bad_arguments(options, message):
    arguments = {"data": cf.images(2), "methods": ["random"], "metrics": ["srg"]} | options
    with pytest.raises(InputError, match=message):
        igbench.evaluate(cf.small_net(), arguments.pop("data"), **arguments)


def test_training_mode_is_refused():
    with pytest.raises(InputError, match="training mode"):
        igbench.evaluate(cf.small_net().train(), cf.images(2), methods=["random"], metrics=["srg"])


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        _ = igbench.evalute


def test_public_names_are_listed_and_can_be_had():
    assert dir(igbench) == sorted(igbench.__all__)
    assert {"evaluate", "Evaluation", "metrics", "methods", "baselines", "captum"} <= {
        *dir(igbench)
    }
    for name in igbench.__all__:
        assert getattr(igbench, name) is not None
