"""How complete, faithful, stable and costly is Integrated Gradients on this model?

`igbench.evaluate(model, data, methods=[...], metrics=[...])` scores attribution methods;
`igbench.metrics` has every metric as a plain function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Evaluation", "__version__", "evaluate"]

if TYPE_CHECKING:
    from igbench.api import Evaluation, evaluate


def __getattr__(name: str) -> Any:
    """Load the public names when they are first used: `import igbench` itself stays light."""
    if name in ("Evaluation", "evaluate"):
        from igbench import api

        return getattr(api, name)
    raise AttributeError(f"module 'igbench' has no attribute {name!r}")
