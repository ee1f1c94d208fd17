"""Any model, container, type and place: the caller unharmed, the same numbers, or one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import igbench
from igbench import metrics
from igbench.errors import InputError
from igbench.methods import IntegratedGradients, explain
from tests.strangers import models
from tests.strangers.models import plain, rows
from tests.strangers.test_unharmed import same, snapshot, states

MODELS = {
    "plain": plain,
    "in place": models.InPlace,
    "clamped": models.Clamped,
    "cached": models.Cached,
    "remembering": models.Remembering,
    "counting": models.Counting,
    "function": lambda: (lambda net: lambda x: net(x))(plain()),
    "scripted": lambda: torch.jit.script(plain()),
    "frozen weights": lambda: plain().requires_grad_(False),
    "dropping": models.Dropping,
    "centred": models.Centred,
    "training": lambda: plain().train(),
    "too narrow": lambda: nn.Linear(5, 3).eval(),
    "nothing": lambda: None,
    "meta": lambda: plain().to("meta"),
}
FORMS = {
    "tensor": lambda x: x,
    "array": lambda x: x.numpy(),
    "lists": lambda x: x.tolist(),
    "frame": lambda x: pd.DataFrame(x.float().numpy()),
    "transposed": lambda x: x.T.contiguous().T,
    "reversed": lambda x: x.numpy()[::-1],
    "graph": lambda x: x.clone().requires_grad_() if x.is_floating_point() else x,
    "dictionary": lambda x: {"x": x},
    "pair": lambda x: (x, list(range(len(x)))),
    "flat": lambda x: x[:, 0],
    "empty": lambda x: x[:0],
    "text": lambda x: "abc",
}
TYPES = [torch.float32, torch.float64, torch.float16, torch.int64, torch.bool, torch.complex64]
MODES = [torch.enable_grad, torch.no_grad, torch.inference_mode]
TARGETS = ["prediction", 0, 2, 3, "label", "lable", 1.5, None, [0, 1, 2]]

KNOWN = igbench.evaluate(
    plain(), rows(3), methods=["input_x_gradient"], metrics=["completeness", "deletion"]
)


def content(value: Any) -> Any:
    """A copy of what a caller would see."""
    if isinstance(value, Tensor):
        return (value.dtype, value.requires_grad, value.detach().clone().tolist())
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.tolist())
    if isinstance(value, pd.DataFrame):
        return value.to_dict()
    if isinstance(value, dict):
        return {k: content(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [content(v) for v in value]
    return value


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    kind=st.sampled_from(sorted(MODELS)),
    form=st.sampled_from(sorted(FORMS)),
    dtype=st.sampled_from(TYPES),
    mode=st.sampled_from(MODES),
    target=st.sampled_from(TARGETS),
    batch_size=st.sampled_from([1, 2, 32]),
    call=st.sampled_from(["evaluate", "function", "explain"]),
)
@pytest.mark.filterwarnings("ignore")
def test_unharmed_and_right_or_one_line(kind, form, dtype, mode, target, batch_size, call):
    model = MODELS[kind]()
    data = FORMS[form](rows(3).to(dtype))
    before = snapshot(model) if isinstance(model, nn.Module) and kind != "meta" else None
    kept, process = content(data), states()
    found, line = None, ""
    try:
        with mode():
            found = _called(call, model, data, target, batch_size)
    except InputError as error:
        line = str(error)
    assert "\n" not in line
    assert len(line) < 700
    assert states() == process
    assert content(data) == kept
    if before is not None:
        assert same(before, snapshot(model))
    if found is None:
        assert not _plainly_fine(kind, form, dtype, target, call)
        return
    right = form == "tensor" and target == "prediction" and call == "evaluate"
    if right and dtype in (torch.float32, torch.float64) and kind not in ("dropping", "centred"):
        for name in ("completeness", "deletion"):
            value = found.table().loc["input_x_gradient", name]
            expected = KNOWN.table().loc["input_x_gradient", name]
            assert value == pytest.approx(expected, rel=1e-4, abs=1e-5)


def _called(call: str, model: Any, data: Any, target: Any, batch_size: int) -> Any:
    if call == "evaluate":
        found = igbench.evaluate(
            model,
            data,
            methods=["input_x_gradient"],
            metrics=["completeness", "deletion"],
            target=target,
            batch_size=batch_size,
        )
        assert (found.frame.status != "failed").all()
        return found
    target = 0 if isinstance(target, str) else target
    if call == "explain":
        return explain(
            IntegratedGradients(n_steps=4), model, data, target=target, batch_size=batch_size
        )
    found = metrics.deletion(model, data, data, target=target)
    assert len(found.value) == 3
    return found


def _plainly_fine(kind: str, form: str, dtype: torch.dtype, target: Any, call: str) -> bool:
    """Whether nothing about a call is wrong."""
    models_ = {"plain", "in place", "clamped", "cached", "remembering", "counting", "scripted"}
    forms = {"tensor", "array", "lists", "transposed", "reversed", "graph"}
    return (
        kind in models_
        and form in forms
        and dtype in (torch.float32, torch.float64)
        and target in ("prediction", 0, 2)
    )
