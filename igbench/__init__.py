"""Benchmark feature attributions: completeness, faithfulness, robustness and cost.

`igbench.evaluate(model, data, methods=[...], metrics=[...])` scores attribution methods on a model,
`igbench.check` compares them with a baseline, for tests and CI, and `igbench.tcav` tests whether
concepts move its output.  `igbench.metrics` has every metric as a
function, `igbench.methods` every method, and
`igbench.captum` drop-in replacements for Captum's Integrated Gradients and metrics.

(PYTEST_DONT_REWRITE: pytest, which finds the fixture here, does not mind that it is imported.)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from igbench import baselines, captum, data, integration, methods, metrics, models
    from igbench.api import Evaluation, evaluate, tcav
    from igbench.core.dataset import Data
    from igbench.core.model import ArrayFunction, Model
    from igbench.core.packing import PackedModel, pack
    from igbench.errors import InputError
    from igbench.gate import check

__version__ = "0.1.0"
__all__ = [
    "ArrayFunction",
    "Data",
    "Evaluation",
    "InputError",
    "Model",
    "PackedModel",
    "__version__",
    "baselines",
    "captum",
    "check",
    "data",
    "evaluate",
    "integration",
    "methods",
    "metrics",
    "models",
    "pack",
    "tcav",
]

_HOMES = {
    "ArrayFunction": "igbench.core.model",
    "Data": "igbench.core.dataset",
    "Evaluation": "igbench.api",
    "InputError": "igbench.errors",
    "Model": "igbench.core.model",
    "PackedModel": "igbench.core.packing",
    "check": "igbench.gate",
    "evaluate": "igbench.api",
    "pack": "igbench.core.packing",
    "tcav": "igbench.api",
}


def __getattr__(name: str) -> Any:
    """Load public names when they are first used, so that `import igbench` stays light."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in __all__:
        return importlib.import_module(f"igbench.{name}")
    raise AttributeError(f"module 'igbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Public names, for tab completion."""
    return __all__
