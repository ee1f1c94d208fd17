"""Class activation maps against pytorch-grad-cam, by rank: it clips and scales to [0, 1]."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import rankdata
from torch import nn

from igbench.core.batch import Batch
from igbench.core.score import Score
from igbench.methods import GradCam, GradCamPlusPlus, HiResCam, LayerCam, ScoreCam
from tests.helpers import closed_form as cf

theirs = pytest.importorskip("pytorch_grad_cam")
targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (GradCam, "GradCAM"),
        (GradCamPlusPlus, "GradCAMPlusPlus"),
        (HiResCam, "HiResCAM"),
        (LayerCam, "LayerCAM"),
        (ScoreCam, "ScoreCAM"),
    ],
)
def test_the_order_of_the_places_is_theirs(method, name):
    """At the resolution of the layer, 8 x 8 like the image; zeros are cut off on both sides."""
    net, x = cf.SmallNet(smooth=False), cf.images(1, dtype=torch.float32)
    net.features.append(nn.ReLU().eval())
    with torch.no_grad():
        net.head.weight.mul_(100)  # their 1e-6 in the denominator of Grad-CAM++ is next to g^2
    explainer = getattr(theirs, name)(model=net, target_layers=[net.features])
    expected = torch.from_numpy(explainer(x, [targets.ClassifierOutputTarget(2)])[0].copy())
    batch = Batch(Score(net), x, torch.zeros_like(x), torch.tensor([2]), ("a",))
    found = method("features")(batch).sum(dim=1)[0].relu()
    # Scaled to [0, 1] by its own extremes in float32: places within 1e-6 count as equal.
    low, high = found.min(), found.max()
    scaled = (found - low) / (high - low)
    torch.testing.assert_close(scaled, expected, rtol=0, atol=1e-5)
    ranks = [rankdata(v.flatten().double().numpy().round(5)) for v in (scaled, expected)]
    assert float(abs(ranks[0] - ranks[1]).max()) <= 2
