"""Units of the features that metrics perturb: names, defaults, and patches of an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor


def describe_unit(features: str | Tensor) -> str:
    """The name of a unit for the record; that of a tensor of feature numbers is its count."""
    return f"custom:{int(features.max()) + 1}" if isinstance(features, Tensor) else features


def default_features(shape: Sequence[int]) -> str:
    """Default unit of the features: pixels of images (C, H, W), otherwise elements.

    Example:
        >>> default_features((3, 224, 224)), default_features((10,))
        ('pixel', 'element')
    """
    return "pixel" if len(shape) == 3 else "element"


def patches(across: int) -> Callable[[Sequence[int]], str]:
    """Square patches, so many along the short side of an image; pixels where these are as large.

    Args:
        across: Number of patches along the short side.

    Returns:
        A function from the shape (C, H, W) to the unit.

    Example:
        >>> patches(14)((3, 224, 224)), patches(14)((1, 8, 8))
        ('patch:16', 'pixel')
    """

    def unit(shape: Sequence[int]) -> str:
        side = max(1, round(min(shape[1:]) / across))
        return "pixel" if side == 1 else f"patch:{side}"

    return unit
