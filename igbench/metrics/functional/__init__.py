"""Metrics as plain functions, by the question they ask; see `common` for their arguments."""

from igbench.metrics.functional.axioms import (
    convergence_error,
    dummy,
    implementation_invariance,
    input_invariance,
    linearity,
)
from igbench.metrics.functional.common import measure
from igbench.metrics.functional.contributions import (
    completeness,
    faithfulness_correlation,
    faithfulness_estimate,
    infidelity,
    monotonicity_correlation,
    sensitivity_n,
)
from igbench.metrics.functional.looking import (
    complexity,
    effective_complexity,
    pointing_game,
    relevance_mass,
    relevance_rank,
    sparseness,
)
from igbench.metrics.functional.moving import (
    avg_sensitivity,
    baseline_sensitivity,
    local_lipschitz,
    max_sensitivity,
    max_sensitivity_n,
)
from igbench.metrics.functional.randomising import efficient_mprt, mprt, random_logit, smooth_mprt
from igbench.metrics.functional.removing import (
    aopc,
    comprehensiveness,
    deletion,
    insertion,
    pixel_flipping,
    road,
    srg,
    sufficiency,
)
from igbench.metrics.functional.revealing import aic, sic

__all__ = [
    "aic",
    "aopc",
    "avg_sensitivity",
    "baseline_sensitivity",
    "completeness",
    "complexity",
    "comprehensiveness",
    "convergence_error",
    "deletion",
    "dummy",
    "effective_complexity",
    "efficient_mprt",
    "faithfulness_correlation",
    "faithfulness_estimate",
    "implementation_invariance",
    "infidelity",
    "input_invariance",
    "insertion",
    "linearity",
    "local_lipschitz",
    "max_sensitivity",
    "max_sensitivity_n",
    "measure",
    "monotonicity_correlation",
    "mprt",
    "pixel_flipping",
    "pointing_game",
    "random_logit",
    "relevance_mass",
    "relevance_rank",
    "road",
    "sensitivity_n",
    "sic",
    "smooth_mprt",
    "sparseness",
    "srg",
    "sufficiency",
]
