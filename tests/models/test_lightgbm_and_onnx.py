"""Models of LightGBM and in ONNX files, with known answers."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from igbench.errors import InputError
from igbench.models.lightgbm_model import lightgbm_model
from igbench.models.onnx_model import onnx_model

X = torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]])


def test_margins_of_boosted_trees(tmp_path):
    lightgbm = pytest.importorskip("lightgbm")
    rows = np.random.default_rng(0).normal(size=(60, 3))
    data = lightgbm.Dataset(rows, (rows[:, 0] > 0).astype(int), feature_name=["a", "b", "c"])
    chosen = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}
    booster = lightgbm.train(chosen, data, num_boost_round=2)
    booster.save_model(tmp_path / "model.txt")
    model = lightgbm_model(path=str(tmp_path / "model.txt"), class_names=["no", "yes"])
    assert (model.columns, model.class_names) == (("a", "b", "c"), ("yes",))
    assert model.label_names == ("no", "yes")
    truth = booster.predict(rows[:5], raw_score=True)
    assert model.module(torch.tensor(rows[:5])).tolist() == truth.tolist()
    for content, message in ((b"pickle", "is no text of LightGBM"), (b"tree\nx", "cannot be read")):
        (tmp_path / "broken.txt").write_bytes(content)
        with pytest.raises(InputError, match=message):
            lightgbm_model(path=str(tmp_path / "broken.txt"))


def test_an_onnx_file_runs_as_it_is(tmp_path):
    pytest.importorskip("onnxruntime")
    file = tmp_path / "linear.onnx"
    weights = np.array([[1.0, 0.0], [-2.0, 0.0], [0.5, 1.0]], dtype=np.float32)
    file.write_bytes(linear(weights))
    model = onnx_model(path=str(file))
    assert model.class_names == ("0", "1")
    assert model.source == "ONNX, file linear.onnx; output y"
    assert not model.differentiable
    assert model.module(X).tolist() == (X @ torch.tensor(weights)).tolist()
    assert model.module(X.double()).dtype == torch.float64
    for again in (copy.deepcopy(model.module), pickle.loads(pickle.dumps(model.module))):
        assert torch.equal(again(X), model.module(X))
    with pytest.raises(InputError, match=r"has the outputs y tensor\(float\); choose one"):
        onnx_model(path=str(file), output="z")
    with pytest.raises(InputError, match="does not run on two rows of shape \\(4,\\)"):
        onnx_model(path=str(file), input_shape=[4])
    file.write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot be run"):
        onnx_model(path=str(file))
    with pytest.raises(InputError, match="is a pickle"):
        onnx_model(path=str(Path("model.joblib")))


def linear(weights: np.ndarray) -> bytes:
    """An ONNX file of y = x W, in the wire format of protocol buffers."""

    def number(value: int) -> bytes:
        low = bytes([value & 127 | (128 if value > 127 else 0)])
        return low + (number(value >> 7) if value > 127 else b"")

    def whole(field: int, value: int) -> bytes:
        return number(field << 3) + number(value)

    def part(field: int, *content: bytes | str) -> bytes:
        joined = b"".join(c.encode() if isinstance(c, str) else c for c in content)
        return number(field << 3 | 2) + number(len(joined)) + joined

    def value(name: str, size: int) -> bytes:
        axes = part(2, part(1, part(2, "N")), part(1, whole(1, size)))
        return part(1, name) + part(2, part(1, whole(1, 1), axes))

    rows, columns = weights.shape
    graph = [
        part(1, part(1, "x"), part(1, "w"), part(2, "y"), part(4, "MatMul")),
        part(2, "linear"),
        part(5, whole(1, rows), whole(1, columns), whole(2, 1), part(8, "w"),
             part(9, weights.tobytes())),
        part(11, value("x", rows)),
        part(12, value("y", columns)),
    ]  # fmt: skip
    return whole(1, 8) + part(7, *graph) + part(8, whole(2, 13))
