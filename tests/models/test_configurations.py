from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest
import yaml

CONF = Path(__file__).parents[2] / "conf"
FILES = [
    *(f"model/{path.stem}" for path in sorted((CONF / "model").glob("*.yaml"))),
    *("data/photographs", "data/digits", "data/imagenet"),
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
