"""Drop-in replacements for Captum's Integrated Gradients, averages over noise, and metrics.

`from igbench.captum import IntegratedGradients, infidelity, sensitivity_max` (and likewise
`LayerIntegratedGradients` and `NoiseTunnel`) replaces the same names of `captum.attr` and
`captum.metrics`: same signatures, same meaning, and values that agree with Captum's up to rounding.
Differences are listed in each docstring.
"""

from igbench.captum.infidelity import infidelity, infidelity_perturb_func_decorator
from igbench.captum.integrated_gradients import IntegratedGradients
from igbench.captum.layer_integrated_gradients import LayerIntegratedGradients
from igbench.captum.noise_tunnel import NoiseTunnel
from igbench.captum.sensitivity import sensitivity_max

__all__ = [
    "IntegratedGradients",
    "LayerIntegratedGradients",
    "NoiseTunnel",
    "infidelity",
    "infidelity_perturb_func_decorator",
    "sensitivity_max",
]
