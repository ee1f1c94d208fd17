"""Versions of the installed packages that decide the rows of a run."""

from __future__ import annotations

import os
from importlib import metadata

from igbench import __version__

PACKAGES = (
    "igbench",
    "torch",
    "torchvision",
    "captum",
    "quantus",
    "timm",
    "numpy",
    "scipy",
    "pandas",
    "scikit-image",
    "hydra-core",
)

RECORDED = "IGBENCH_RECORDED_PACKAGES"
"""Environment variable with further packages, with spaces between, whose versions are recorded."""


def versions() -> dict[str, str]:
    """Installed versions of `PACKAGES` and of those that `RECORDED` names, or "not installed"."""
    found = {}
    for name in dict.fromkeys([*PACKAGES, *os.environ.get(RECORDED, "").split()]):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found | {"igbench": __version__}  # of the code that runs, which may not be installed
