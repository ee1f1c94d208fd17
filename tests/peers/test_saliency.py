"""Our growth of regions against that of the library saliency, on given segments."""

from __future__ import annotations

import numpy as np
import pytest

from igbench.surrogates.regions import grow, regions

saliency = pytest.importorskip("saliency.core")


@pytest.mark.parametrize("least", [1, 50])
def test_the_map_is_that_of_the_library(least):
    g = np.random.default_rng(3)
    image = np.zeros((48, 48, 3))
    image[10:30, 5:40] = g.random(3)
    image[20:44, 20:30] = g.random(3)
    masks = regions(image.transpose(2, 0, 1) + 0.02 * g.normal(size=(3, 48, 48)))
    base = g.normal(size=(48, 48)) + image.mean(axis=2)
    settings = saliency.XRAIParameters()
    settings.experimental_params["min_pixel_diff"] = least
    theirs = saliency.XRAI().GetMask(
        image,
        call_model_function=None,
        base_attribution=np.repeat(base[..., None], 3, axis=2),  # it takes the largest channel
        segments=list(masks),
        extra_parameters=settings,
    )
    found = grow(base, masks, least)
    assert float(found.sum()) == pytest.approx(float(base.sum()))
    assert found == pytest.approx(theirs, rel=1e-9, abs=1e-12)
