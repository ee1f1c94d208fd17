"""Drop-in replacements for Captum's Integrated Gradients and metrics.

`from igbench.captum import IntegratedGradients, infidelity, sensitivity_max` replaces the same
names of `captum.attr` and `captum.metrics`: same signatures, same meaning, and values that agree
with Captum's up to rounding.  Differences are listed in each docstring.
"""

from igbench.captum.infidelity import infidelity, infidelity_perturb_func_decorator
from igbench.captum.integrated_gradients import IntegratedGradients
from igbench.captum.sensitivity import sensitivity_max

__all__ = [
    "IntegratedGradients",
    "infidelity",
    "infidelity_perturb_func_decorator",
    "sensitivity_max",
]
