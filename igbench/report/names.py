"""Readable names of methods, metrics, models and data in tables."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from igbench.report import styles
from igbench.schema import MetricSpec, Run

_WORDS = {
    "resnet": "ResNet", "efficientnet": "EfficientNet", "vit": "ViT", "minilm": "MiniLM",
    "smollm2": "SmolLM2", "gpt": "GPT", "gpt2": "GPT-2", "bert": "BERT", "mlp": "MLP", "cnn": "CNN",
    "lightgbm": "LightGBM", "mobilenet": "MobileNet", "densenet": "DenseNet", "vgg": "VGG",
    "convnext": "ConvNeXt", "imagenet": "ImageNet", "onnx": "ONNX", "mnist": "MNIST",
    "lite": "Lite",
}  # fmt: skip
"""Words in names of models and data as the field writes them."""
_NUMBERED = re.compile(r"([a-z]+?)(\d+)")
_VIT = re.compile(r"vit_([a-z])_(\d+)")
_SIMPLE = re.compile(r"[a-z][a-z0-9_]*")


def method(name: str, among: Collection[str] = ()) -> str:
    """Title of a method, with its identifier where another method has the same title.

    >>> method("grad_cam"), method("a_b", ["a_b", "a__b"])
    ('Grad-CAM', 'A b [a_b]')
    """
    title = styles.name_text(name)
    alike = any(other != name and styles.name_text(other) == title for other in among)
    return f"{title} [{name}]".strip() if alike or not title else title


def metric(name: str, specs: Mapping[str, MetricSpec]) -> str:
    """Short title of a metric with its direction, such as "SRG ↑"."""
    return f"{method(name, specs)} {specs[name].arrow}".strip()


def model(name: str) -> str:
    """Readable name of a model or of data; what is not made of known and plain words stays.

    >>> model("digits_resnet"), model("efficientnet_lite0"), model("resnet50 (random weights)")
    ('Digits ResNet', 'EfficientNet-Lite0', 'ResNet-50 (random weights)')
    >>> model("vit_b_16"), model("breast_cancer"), model("squeezenet1_1")
    ('ViT-B/16', 'Breast cancer', 'squeezenet1_1')
    """
    head, bracket, rest = name.partition(" (")
    found = _VIT.fullmatch(head)
    if found:
        return f"ViT-{found[1].upper()}/{found[2]}{bracket}{rest}"
    words = [_word(w) for w in head.split("_") if w]
    if not _SIMPLE.fullmatch(head) or any(w.islower() and not w.isalpha() for w in words):
        return name
    shown = " ".join(words).replace(" Lite", "-Lite")
    return f"{shown[:1].upper()}{shown[1:]}{bracket}{rest}"


def _word(word: str) -> str:
    if word in _WORDS:
        return _WORDS[word]
    found = _NUMBERED.fullmatch(word)
    if found and found[1] in _WORDS:
        dash = "" if found[1] == "lite" else "-"
        return f"{_WORDS[found[1]]}{dash}{found[2]}"
    return word


def data(run: Run) -> str:
    """Readable short name of the data of a run; "" if there is none on record.

    It is the last part of what makes them: "imagenet" of "igbench.data.imagenet.imagenet".
    """
    given: Any = run.config.get("data")
    found = given.get("name") or given.get("_target_") if isinstance(given, Mapping) else given
    return model(found.rpartition(".")[2]) if isinstance(found, str) else ""
