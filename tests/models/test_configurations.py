from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest
import timm
import torch
import torchvision
import yaml

from igbench.config import build, compose

CONF = Path(__file__).parents[2] / "conf"
FILES = [
    *(f"model/{path.stem}" for path in sorted((CONF / "model").glob("*.yaml"))),
    *("data/photographs", "data/digits", "data/imagenet", "data/table_file"),
    *("data/next_token", "data/prompts"),
]


@pytest.mark.parametrize("file", FILES)
def test_configurations_give_every_argument_of_their_factory(file: str) -> None:
    arguments = yaml.safe_load((CONF / f"{file}.yaml").read_text())
    place, _, name = arguments.pop("_target_").rpartition(".")
    parameters = set(signature(getattr(import_module(place), name)).parameters)
    assert set(arguments) == parameters - {"model", "limit"}


def test_file_names_are_the_names_in_tables() -> None:
    for i in range(3):
        text = (CONF / "model" / f"efficientnet_lite{i}.yaml").read_text()
        assert yaml.safe_load(text)["variant"] == i
    for arch in ("resnet18", "resnet50"):
        assert yaml.safe_load((CONF / "model" / f"{arch}.yaml").read_text())["arch"] == arch


PHOTOS = ["model.resize=20", "model.crop=16", "model.mean=[0.5,0.5,0.5]", "model.std=[0.2,0.2,0.2]"]


@pytest.mark.parametrize(
    ("overrides", "source"),
    [
        (
            ["model=timm", "model.arch=resnet10t", "model.arguments={num_classes: 3}"],
            "timm resnet10t, state dict timm.pt",
        ),
        (
            ["model=torchvision", "model.arch=mnasnet0_5", "model.class_names=[a,b,c]"],
            "torchvision mnasnet0_5, state dict torchvision.pt",
        ),
        (
            [
                *("model=torch_module", "model.factory=timm.create_model", *PHOTOS),
                "model.arguments={model_name: resnet10t, num_classes: 3}",
            ],
            "factory timm.models._factory.create_model, state dict torch_module.pt",
        ),
    ],
)
def test_models_are_built_from_overrides(tmp_path: Path, overrides: list[str], source: str) -> None:
    name = source.rpartition(" ")[2]
    module = (
        torchvision.models.mnasnet0_5(num_classes=3)
        if "mnasnet" in source
        else timm.create_model("resnet10t", num_classes=3)
    )
    torch.save(module.state_dict(), tmp_path / name)
    config = compose.compose([*overrides, f"model.weights={tmp_path / name}"])
    model = build.construct(config["model"], "model")
    assert model.source == source
    assert len(model.class_names) == 3
