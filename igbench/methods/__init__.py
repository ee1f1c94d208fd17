"""Attribution methods; each is a small frozen dataclass that maps a batch to a map."""

from igbench.methods.blur_ig import BlurIG
from igbench.methods.captum import Captum
from igbench.methods.controls import Edges, Random
from igbench.methods.custom import CallableMethod
from igbench.methods.expected_gradients import ExpectedGradients
from igbench.methods.grad_cam import GradCam
from igbench.methods.guided_ig import GuidedIG
from igbench.methods.idgi import IDGI
from igbench.methods.ig_adaptive import AdaptiveIntegratedGradients
from igbench.methods.ig_averaged import AveragedIG
from igbench.methods.ig_exact import ExactIntegratedGradients
from igbench.methods.integrated_gradients import IntegratedGradients
from igbench.methods.path_ig import PathIG
from igbench.methods.smooth_ig import SmoothIG

__all__ = [
    "IDGI",
    "AdaptiveIntegratedGradients",
    "AveragedIG",
    "BlurIG",
    "CallableMethod",
    "Captum",
    "Edges",
    "ExactIntegratedGradients",
    "ExpectedGradients",
    "GradCam",
    "GuidedIG",
    "IntegratedGradients",
    "PathIG",
    "Random",
    "SmoothIG",
]
