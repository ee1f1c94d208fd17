"""The ways of strangers from their own model and data to numbers, as the how-tos have them."""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import igbench
import igbench.report
from igbench import metrics
from igbench.__main__ import main
from igbench.core.model import Preprocess
from igbench.errors import InputError
from igbench.methods import IntegratedGradients, explain
from igbench.records import store
from tests.helpers import faults
from tests.strangers.models import plain, rows

pytestmark = pytest.mark.usefixtures("cache")

CNN = """
import torch


def build(classes):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(16, classes),
    )
"""
STEPS = [
    "model.resize=10",
    "model.crop=8",
    "model.mean=[0.5,0.5,0.5]",
    "model.std=[0.25,0.25,0.25]",
]
CHOSEN = ["method=[ig,random]", "metric=[completeness,deletion]", "batch_size=16", "convergence=0"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a module of the user's and images of all kinds, as the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(igbench.report, "write_report", faults.sketch)
    (tmp_path / "my_cnn.py").write_text(CNN, encoding="utf-8")
    photographs(tmp_path / "photos")
    yield tmp_path
    for name in ("my_cnn", "my_resnet"):
        sys.modules.pop(name, None)


def photographs(root):
    """Two class folders: RGB, grey, palette, RGBA, 16 bits, a corrupt file and a text."""
    pixels = np.random.default_rng(0).integers(0, 255, (10, 10, 3), dtype=np.uint8)
    colour = Image.fromarray(pixels)
    for name in ("cats", "dogs"):
        (root / name).mkdir(parents=True)
    colour.save(root / "cats" / "colour.png")
    colour.convert("L").save(root / "cats" / "grey.png")
    colour.convert("P").save(root / "cats" / "palette.png")
    clear = colour.copy()
    clear.putalpha(0)
    clear.save(root / "dogs" / "clear.png")
    deep = np.linspace(0, 65535, 100).astype(np.uint16).reshape(10, 10)
    Image.fromarray(deep).save(root / "dogs" / "deep.png")
    (root / "dogs" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photograph")
    (root / "dogs" / "notes.txt").write_text("none, either")


def by_hand(root):
    """What the model gets, by sample id: resized by nothing, the centre 8 x 8, normalised."""
    found = {}
    for path in sorted(root.glob("*/*.png")):
        with Image.open(path) as image:
            pixels = np.asarray(image)
            colours = np.asarray(image.convert("RGB")).astype(float)
        if path.stem == "deep":
            values = np.repeat(np.round(pixels / 257)[..., None], 3, axis=2)
        elif path.stem == "clear":
            values = np.full((10, 10, 3), 255.0)
        else:
            values = colours
        x = torch.from_numpy(values[1:9, 1:9] / 255).float().permute(2, 0, 1)
        found[f"{path.parent.name}/{path.stem}"] = (x - 0.5) / 0.25
    return found


def expected(model, inputs):
    """Completeness and deletion of Integrated Gradients, by sample id."""
    ids, x = list(inputs), torch.stack(list(inputs.values()))
    target = model(x).argmax(dim=1)
    phi = explain(IntegratedGradients(), model, x, target=target, sample_ids=ids)
    named = {"target": target, "sample_ids": ids}
    return {
        metric.__name__: dict(zip(ids, metric(model, x, phi, **named).tolist(), strict=True))
        for metric in (metrics.completeness, metrics.deletion)
    }


def test_own_network_and_folder_of_mixed_images(place, caplog):
    """Command and call give the numbers of inputs that were made by hand."""
    words = ["experiment=custom", "name=pets", "model=torch_module", "model.factory=my_cnn.build"]
    words += ["model.arguments={classes: 2}", "model.class_names=[cats,dogs]", *STEPS, *CHOSEN]
    words += ["data=imagenet", "data.root=photos"]
    assert main(words) == 3  # finished, with failed cells
    said = " ".join(r.getMessage() for r in caplog.records)
    assert "1 .txt" in said
    assert "dogs/broken: cannot read image" in said
    (folder,) = (place / "results" / "pets").iterdir()
    of_command = store.scores(folder)
    import my_cnn

    model = my_cnn.build(2).eval()
    found = igbench.evaluate(
        model,
        "photos",
        methods=["ig", "random"],
        metrics=["completeness", "deletion"],
        preprocess=Preprocess(10, 8, (0.5,) * 3, (0.25,) * 3),
    )
    inputs = by_hand(place / "photos")
    known = expected(model, inputs)
    for frame in (of_command, found.frame.assign(sample_id=found.frame.sample_id.str[:-4])):
        broken = frame[frame.sample_id == "dogs/broken"]
        assert set(broken.status) == {"failed"}
        assert "cannot read image" in broken.reason.iloc[0]
        for name, values in known.items():
            fine = frame[(frame.method == "ig") & (frame.metric == name) & (frame.status == "ok")]
            got = dict(zip(fine.sample_id, fine.value, strict=True))
            assert got == pytest.approx(values, rel=1e-3, abs=1e-5), name
    labels = {s["sample_id"]: s["label"] for s in found.run.samples}
    assert labels["cats/grey.png"] == 0
    assert labels["dogs/deep.png"] == 1


def test_a_vision_transformer_by_name(place, capsys):
    import timm

    small = {"img_size": 32, "depth": 1, "embed_dim": 12, "num_heads": 2, "num_classes": 2}
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", pretrained=False, **small)
    nn.init.normal_(net.head.weight)  # so that outputs are no small numbers
    torch.save(net.state_dict(), "vit.pt")
    del small["num_classes"]  # the file says it
    words = ["experiment=custom", "name=vit", "model=timm", "model.arch=vit_tiny_patch16_224"]
    words += ["model.weights=vit.pt", f"model.arguments={small}".replace("'", "")]
    words += ["data=photographs", "data.path=photos/cats", *CHOSEN, "metric=[completeness]"]
    assert main(words) == 0, capsys.readouterr().err
    (folder,) = (place / "results" / "vit").iterdir()
    run = store.read_run(folder)
    ids = [s["sample_id"] for s in run.samples]
    assert sorted(ids) == ["colour", "grey", "palette"]
    config = timm.data.resolve_data_config({"input_size": (3, 32, 32)}, model=net)
    transform = timm.data.create_transform(**config, is_training=False)
    x = []
    for i in ids:
        with Image.open(f"photos/cats/{i}.png") as image:
            x.append(transform(image.convert("RGB")))
    with torch.no_grad():
        scores = net.eval()(torch.stack(x)).max(dim=1).values
    assert [s["score"] for s in run.samples] == pytest.approx(scores.tolist(), rel=1e-3)
    of_ig = store.scores(folder).query("method == 'ig' and metric == 'completeness'")
    assert of_ig.value.max() < 0.05


def test_a_residual_network_from_a_checkpoint_of_several_devices(place, capsys):
    (place / "my_resnet.py").write_text(
        "from torchvision.models.resnet import BasicBlock, ResNet\n\n\n"
        "def build():\n    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=2)\n",
        encoding="utf-8",
    )
    from torchvision.models.resnet import BasicBlock, ResNet

    torch.manual_seed(0)
    net = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=2).eval()
    torch.save({f"module.{k}": v for k, v in net.state_dict().items()}, "last.pth")
    words = ["experiment=custom", "name=resnet", "model=torch_module", *STEPS, *CHOSEN]
    words += ["model.factory=my_resnet.build", "model.weights=last.pth"]
    words += ["data=photographs", "data.path=photos/cats", "metric=[completeness]"]
    assert main(words) == 0
    assert "without the prefix 'module.'" in capsys.readouterr().out
    (folder,) = (place / "results" / "resnet").iterdir()
    samples = store.read_run(folder).samples
    inputs = by_hand(place / "photos")
    with torch.no_grad():
        scores = net(torch.stack([inputs[f"cats/{s['sample_id']}"] for s in samples]))
    assert [s["score"] for s in samples] == pytest.approx(scores.amax(dim=1).tolist(), rel=1e-4)


def test_a_black_box_is_a_function_of_arrays():
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(0)
    train = rng.normal(size=(60, 4))
    forest = RandomForestClassifier(5, random_state=0).fit(train, (train[:, 0] > 0).astype(int))
    x = train[:4]
    target = forest.predict(x)
    found = igbench.evaluate(
        forest.predict_proba,
        x,
        methods={"occlusion": "occlusion", "mine": x},
        metrics=["completeness", "deletion"],
        baseline=train.mean(axis=0),
    )
    assert [s["target"] for s in found.run.samples] == target.tolist()
    score = [s["score"] for s in found.run.samples]
    assert score == pytest.approx(forest.predict_proba(x)[np.arange(4), target])
    start = forest.predict_proba(train.mean(axis=0)[None])[0, target]
    change = np.array(score) - start
    mine = found.frame.query("method == 'mine' and metric == 'completeness'")
    some = change != 0  # elsewhere there is nothing to attribute
    assert mine.status.tolist() == np.where(some, "ok", "undefined").tolist()
    gap = np.abs(x.sum(axis=1) - change)[some] / np.abs(change[some])
    assert mine.value.to_numpy()[some] == pytest.approx(gap, rel=1e-4)
    with pytest.raises(InputError, match=r"no gradients, which ig cannot.*occlusion, random"):
        igbench.evaluate(forest.predict_proba, x, methods=["ig"], metrics=["completeness"])
    with pytest.raises(InputError, match="give its predict_proba"):
        igbench.evaluate(forest, x, methods=["occlusion"], metrics=["completeness"])


def test_a_regression_has_one_output_and_no_classes():
    model = nn.Linear(3, 1).eval()
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    exact = x * model.weight.detach()
    chosen = {"methods": {"ig": "ig", "exact": exact}, "metrics": ["completeness", "sensitivity_n"]}
    found = igbench.evaluate(model, x, **chosen)
    assert found.table()["completeness"].max() < 1e-4
    assert found.table()["sensitivity_n"].min() == pytest.approx(1.0, abs=1e-4)
    assert [s["score"] for s in found.run.samples] == pytest.approx(model(x)[:, 0].tolist())
    assert {(s["prediction"], s["probability"]) for s in found.run.samples} == {(None, None)}
    with pytest.raises(InputError, match=r"Leave the values of a regression out"):
        igbench.evaluate(model, (x, torch.rand(4)), **chosen)
    with pytest.raises(InputError, match=r"single output.*leave target out"):
        igbench.evaluate(model, x, **chosen, target=1)


class Both(nn.Module):
    """An image and a vector: two outputs."""

    def forward(self, image, vector):
        first = 2 * image.flatten(1).sum(1) + vector @ torch.tensor([1.0, -3.0])
        return torch.stack([first, vector.sum(dim=1)], dim=1)


def test_two_inputs_are_packed():
    image, vector = torch.rand(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0)).unbind()
    vector = vector.flatten(1)[:, :2]
    x, packing = igbench.pack((image, vector))
    model = igbench.PackedModel(Both().eval(), packing)
    exact = packing.pack((2 * image, vector * torch.tensor([1.0, -3.0])))
    found = igbench.evaluate(
        model,
        x,
        methods={"ig": "ig", "exact": exact},
        metrics=["completeness", "sensitivity_n"],
        target=0,
    )
    assert found.table()["completeness"].max() < 1e-4
    assert found.table()["sensitivity_n"].min() == pytest.approx(1.0, abs=1e-4)
    with pytest.raises(InputError, match=r"see igbench\.pack"):
        igbench.evaluate(Both().eval(), (image, vector), methods="ig", metrics="completeness")


def test_a_table_of_thirty_columns():
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer(as_frame=True)
    frame = (table.data - table.data.mean()) / table.data.std()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    some = frame.iloc[[3, 1, 4]]
    found = igbench.evaluate(
        model,
        (some, table.target[some.index]),
        methods=["ig", "occlusion"],
        metrics=["completeness", "deletion"],
        baseline=frame.mean(),
        target="label",
    )
    assert [s["sample_id"] for s in found.run.samples] == ["3", "1", "4"]
    assert [s["target"] for s in found.run.samples] == table.target[[3, 1, 4]].tolist()
    x = torch.tensor(some.to_numpy()).float()
    target = torch.tensor(table.target[[3, 1, 4]].to_numpy())
    phi = explain(IntegratedGradients(), model, x, target=target, sample_ids=["3", "1", "4"])
    score = metrics.deletion(model, x, phi, target=target, sample_ids=["3", "1", "4"])
    assert found.table().loc["ig", "deletion"] == pytest.approx(float(score.mean()), abs=1e-5)
    with pytest.raises(InputError, match=r"baseline=feature_mean needs samples.*train\.mean"):
        igbench.evaluate(model, some, methods="ig", metrics="deletion", baseline="feature_mean")
    with pytest.raises(InputError, match=r"columns that are not numbers: name"):
        igbench.evaluate(model, some.assign(name="a"), methods="ig", metrics="deletion")


def test_a_batch_in_the_form_of_quantus():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    x = np.random.default_rng(0).random((3, 1, 4, 4), dtype=np.float32)
    y = np.array([0, 2, 1])
    a = x * model[1].weight.detach().numpy()[y].reshape(x.shape)
    table = metrics.score_arrays(model, x, y, a, ["completeness", "sensitivity_n"])
    assert table["completeness"].max() < 1e-4
    assert table["sensitivity_n"].to_numpy() == pytest.approx(np.ones(3), abs=1e-4)


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SETTINGS = {
    "anomaly detection": torch.autograd.detect_anomaly,
    "deterministic algorithms": deterministic,
    "numpy errors": lambda: np.errstate(all="raise"),
    "pandas options": lambda: pd.option_context("display.precision", 1, "mode.copy_on_write", True),
    "warnings": lambda: warnings.catch_warnings(action="ignore"),
    "no gradients": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu"),
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection", "ignore:.*copy.on.write")
@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_have_no_influence(setting):
    chosen = {"methods": ["ig", "gradient_shap", "random"], "metrics": ["infidelity", "deletion"]}
    expected = igbench.evaluate(plain(), rows(), **chosen).table()[chosen["metrics"]]
    model, x = plain(), rows()
    with SETTINGS[setting]():
        found = igbench.evaluate(model, x, **chosen).table()[chosen["metrics"]]
    assert found.equals(expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("feature_mean", r"needs samples that are never evaluated.*train\.mean\(axis=0\)"),
        ("counterfactual", "needs samples that are never evaluated"),
        ("uniform_noise", "needs samples that are never evaluated"),
        ("blur", r"needs samples with pixels, these have shape \(3,\)"),
        ("white", "does not define white"),
    ],
)
def test_a_baseline_that_no_sample_has_is_refused_before_any_work(name, message):
    called = []
    with pytest.raises(InputError, match=message):
        igbench.evaluate(
            nn.Linear(3, 2).eval(),
            torch.ones(2, 3),
            methods={"mine": lambda x, target: called.append(x)},
            metrics="deletion",
            baseline=name,
        )
    assert not called


def test_a_file_is_no_folder_of_images(tmp_path):
    (tmp_path / "one.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"one\.png' is a file; set data=DIR to the folder that"):
        igbench.evaluate(
            nn.Flatten().eval(),
            tmp_path / "one.png",
            methods="ig",
            metrics="deletion",
            preprocess=Preprocess(8, 8, (0.5,) * 3, (0.5,) * 3),
        )
