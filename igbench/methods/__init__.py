"""Attribution methods: frozen dataclasses that map a `Batch` to a map, and `explain`.

    explain(IntegratedGradients(n_steps=50), model, x, target=3)

What the entries of complete methods sum to, and which axioms these keep.  "Insensitive"
features are those that f does not depend on, "unmoved" ones have x_i = x'_i for the batch's
baseline x'; "symmetric": features that f and both ends treat alike get the same.

| method | sums to | insensitive: 0 | unmoved: 0 | linear in f | symmetric |
|---|---|---|---|---|---|
| `ig` | f(x) - f(x') | yes | yes | yes | yes |
| `ig_averaged` | f(x) - mean f(b) over baselines b | yes | no (1) | yes | yes |
| `expected_gradients` | f(x) - mean f(r) over references r (2) | yes | no (1) | yes | yes |
| `gradient_shap` | mean f(x + e) - f(x') over noise e (2) | yes | yes (8) | yes | no (2) |
| `smooth_ig` | mean f(x + e) - f(x') over noise e | yes | no (1) | yes | no (2) |
| `guided_ig` | f(x) - f(x') | yes | yes | no (3) | yes |
| `blur_ig` | f(x) - f(blurred x) | yes | no (1) | yes | no (4) |
| `idgi` | f(x) - f(x'), exactly | yes | no | no | yes |
| `deep_lift` | f(x) - f(x') | no (7) | yes | no (7) | no (7) |
| `deep_shap` | f(x) - mean f(r) over references r | no (7) | no (1) | no (7) | no (7) |
| `xrai` | as `ig_averaged` over black and white | no (9) | no (9) | no | yes |
| `PathIG` | f(x) - f(start of the curve) | yes | yes (5) | yes | no (4) |
| `exact_shapley` | f(x) - f(x'), exactly | yes | yes | yes | yes |
| `kernel_shap` | f(x) - f(x'), exactly | no (2) | yes | yes (6) | no (2) |
| `shapley_sampling` | f(x) - f(x'), exactly | yes | yes | yes (6) | no (2) |
| `tree_shap` | f(x) - f(x'), exactly | yes | yes | yes | yes |

(1) What they average over, or start from, moves them.  (2) In expectation over the draws, yes.
(3) The path depends on f.  (4) Unless the curve treats the features alike.  (5) On a curve from x'
that is monotone in every feature.  (6) With the same coalitions, so for equal numbers of features.
(7) The rule follows the layers: it is linear in the last one alone, and what other layers cancel,
or treat alike by other ways, does not get 0, or the same.  (8) Without noise, as by default.
(9) Pixels of a region share its sum.

Sums hold up to the error of the quadrature, and to rounding for `idgi`, `deep_lift`, `deep_shap`
and the Shapley values.  All but `deep_lift` and `deep_shap` are implementation invariant: they use
values and gradients of f alone.  The metric `completeness` measures the sum against the batch's own
baseline, so for methods that start elsewhere it shows how far apart the two starts are.
"""

from igbench.methods.attention import AttentionRollout, Chefer, CpLrp
from igbench.methods.base import BaseMethod, explain
from igbench.methods.best_found import BestFound
from igbench.methods.blur_ig import BlurIG
from igbench.methods.cam import (
    GradCam,
    GradCamPlusPlus,
    GradCamSigned,
    GuidedGradCam,
    HiResCam,
    LayerCam,
    ScoreCam,
)
from igbench.methods.captum import Captum
from igbench.methods.controls import Edges, Length, Position, Random, Rare
from igbench.methods.custom import CallableMethod
from igbench.methods.deep_lift import DeepLift, DeepShap
from igbench.methods.dig import DiscretizedIG
from igbench.methods.expected_gradients import ExpectedGradients
from igbench.methods.feature_ablation import FeatureAblation
from igbench.methods.gradient import InputXGradient, Saliency
from igbench.methods.gradient_shap import GradientShap
from igbench.methods.guided_backprop import Deconvolution, GuidedBackprop
from igbench.methods.guided_ig import GuidedIG
from igbench.methods.idgi import IDGI
from igbench.methods.ig_adaptive import AdaptiveIntegratedGradients
from igbench.methods.ig_averaged import AveragedIG
from igbench.methods.ig_exact import ExactIntegratedGradients
from igbench.methods.integrated_gradients import IntegratedGradients
from igbench.methods.lime import Lime
from igbench.methods.lrp import LRP
from igbench.methods.occlusion import Occlusion
from igbench.methods.path_ig import PathIG
from igbench.methods.rise import Rise
from igbench.methods.shap import Shap
from igbench.methods.shapley import ExactShapley, KernelShap, ShapleySampling
from igbench.methods.sig import SequentialIG
from igbench.methods.smooth_ig import SmoothIG
from igbench.methods.smoothgrad import SmoothGrad, SmoothGradSquared, VarGrad
from igbench.methods.tree_shap import TreeShap
from igbench.methods.xrai import Xrai

__all__ = [
    "IDGI",
    "LRP",
    "AdaptiveIntegratedGradients",
    "AttentionRollout",
    "AveragedIG",
    "BaseMethod",
    "BestFound",
    "BlurIG",
    "CallableMethod",
    "Captum",
    "Chefer",
    "CpLrp",
    "Deconvolution",
    "DeepLift",
    "DeepShap",
    "DiscretizedIG",
    "Edges",
    "ExactIntegratedGradients",
    "ExactShapley",
    "ExpectedGradients",
    "FeatureAblation",
    "GradCam",
    "GradCamPlusPlus",
    "GradCamSigned",
    "GradientShap",
    "GuidedBackprop",
    "GuidedGradCam",
    "GuidedIG",
    "HiResCam",
    "InputXGradient",
    "IntegratedGradients",
    "KernelShap",
    "LayerCam",
    "Length",
    "Lime",
    "Occlusion",
    "PathIG",
    "Position",
    "Random",
    "Rare",
    "Rise",
    "Saliency",
    "ScoreCam",
    "SequentialIG",
    "Shap",
    "ShapleySampling",
    "SmoothGrad",
    "SmoothGradSquared",
    "SmoothIG",
    "TreeShap",
    "VarGrad",
    "Xrai",
    "explain",
]
