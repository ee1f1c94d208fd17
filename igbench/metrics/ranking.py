"""Whether a map ranks features."""

from __future__ import annotations

import torch
from torch import Tensor


def ranks_something(values: Tensor) -> bool:
    """Whether values (G,) are finite and not all equal, so that they define a ranking."""
    return bool(torch.isfinite(values).all()) and bool((values != values[0]).any())
