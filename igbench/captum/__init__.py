"""What does one import to replace Captum's Integrated Gradients and metrics by ours?

`from igbench.captum import IntegratedGradients, infidelity, sensitivity_max` takes the place of the
same names of `captum.attr` and `captum.metrics`: same signatures, same meaning, and the values
agree with Captum's up to rounding.  What differs is listed where it belongs, in each docstring.
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
