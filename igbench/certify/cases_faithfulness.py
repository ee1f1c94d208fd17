"""Cases for metrics of faithfulness: completeness, infidelity, correlations, removal."""

from __future__ import annotations

import math

import torch

from igbench.certify.cases import FLOAT32, Case
from igbench.certify.models import (
    interior,
    linear,
    mixed,
    product,
    quadratic,
    ramp,
    readout,
    row,
    scaled,
    sigmoid,
    spot,
)

ONES = row(1, 1, 1)
W = (1.0, 2.0, 3.0)
IG_OF_MIXED = row(2 / 3, 1 / 3, 2)
"""Integrated Gradients of `mixed` at (1, 1, 1): of x1^2 x2, x1 gets 2/3 and x2 gets 1/3."""
SUMS = linear(1, -2, 3, 0.5)
AT = row(1, 2, -1, 4)
EXACT_MAP = row(1, -4, -3, 2)
F, PHI = linear(3, 2, 1), row(3, 2, 1)
ELEMENT = {"features": "element"}
PLAIN = {"features": "element", "scalar": "score", "occluder": "baseline"}
STEPS = {**PLAIN, "step": 1}
TOPS = {**PLAIN, "fractions": (1, 2)}
ROAD = {"features": "pixel", "scalar": "score", "noise": 0.0}
IMAGE_W = torch.linspace(-1, 2, 144, dtype=torch.float64).view(1, 12, 12)
IMAGE = torch.linspace(2, 1, 144, dtype=torch.float64).view(1, 1, 12, 12)
COUNT = torch.arange(25, dtype=torch.float64).view(1, 5, 5)

# fmt: off
FAITHFULNESS_CASES: tuple[Case, ...] = (
    Case("completeness", "3 linear terms, one contribution 0.6 too large: 0.6 / 6",
         linear(*W), ONES, row(1, 2, 3.6), 0.1),
    Case("completeness", "x1 x2 from (1, -1) to (3, 2), IG (1, 6): exact",
         product, row(3, 2), row(1, 6), 0, baseline=row(1, -1)),
    Case("convergence_error", "3 linear terms, one contribution 0.6 too large: 0.6 / 6",
         linear(*W), ONES, row(1, 2, 3.6), 0.1, {"n_reference": 16}),
    Case("infidelity", "linear image, squares, twice the contributions, best scale: 0",
         readout(IMAGE_W), IMAGE, 2 * IMAGE_W * IMAGE, 0),
    Case("infidelity", "x1 x2 at (2, 3), IG (3, 3), all subsets: 3^2 / 2",
         product, row(2, 3), row(3, 3), 4.5,
         {"perturbation": "subset", "draws": "all", "normalize": False}),
    Case("infidelity", "x'Ax / 2, gradient, Gaussian: s^4 / 4 ((tr A)^2 + 2 tr A^2)",
         quadratic(*W), row(1, -1, 0.5), scaled(*W), 0.1**4 / 4 * (6**2 + 2 * 14),
         {"perturbation": "gaussian", "draws": 20_000, "scale": 0.1, "normalize": False},
         kind="local", drawn=True),
    Case("sensitivity_n", "linear, 7 times the contributions, n = 1, 2, 3 of 4: 1",
         SUMS, AT, 7 * EXACT_MAP, 1, {**ELEMENT, "n": (1, 2, 3), "subsets": "all"}),
    Case("sensitivity_n", "x1^2 x2 + 2 x3 at 1, IG, n = 1, 2: 9 / sqrt 84",
         mixed, ONES, IG_OF_MIXED, 9 / math.sqrt(84),
         {**ELEMENT, "n": (1, 2), "subsets": "all"}),
    Case("faithfulness_correlation", "linear, contributions of the wrong sign: -1",
         SUMS, AT, -EXACT_MAP, -1, {**ELEMENT, "n": 2}),
    Case("faithfulness_correlation", "x1^2 x2 + 2 x3 at 1, IG, n = 2: 9 / sqrt 84",
         mixed, ONES, IG_OF_MIXED, 9 / math.sqrt(84), {**ELEMENT, "n": 2, "subsets": "all"}),
    Case("quantus_faithfulness_correlation", "linear, exact contributions: 1",
         SUMS, AT, EXACT_MAP, 1, {"fractions": {"subset_size": 0.5}}, tolerance=FLOAT32),
    Case("faithfulness_estimate", "x1^2 x2 + 2 x3 at 1, IG: 9 / sqrt 84",
         mixed, ONES, IG_OF_MIXED, 9 / math.sqrt(84), ELEMENT),
    Case("monotonicity_correlation", "4 linear terms, two neighbours swapped: 1 - 6 * 2 / 60",
         linear(1, 2, 3, 4), row(1, 1, 1, 1), row(1, 2, 4, 3), 0.8,
         {**ELEMENT, "fill": "baseline"}),
    Case("monotonicity_correlation", "linear, random values: effects rank as w^2: 1",
         linear(0.01, 1, 100), row(0, 1, 0.5), row(0.1, -0.2, 0.3), 1, ELEMENT),
    Case("deletion", "3x1 + 2x2 + x3 at 1: (1/3) sum c_j (j - 1/2)", F, ONES, PHI, 7 / 3, STEPS),
    Case("deletion", "the same as a probability: (s(6)/2 + s(3) + s(1) + s(0)/2) / 3",
         F, ONES, PHI, (sigmoid(6) / 2 + sigmoid(3) + sigmoid(1) + sigmoid(0) / 2) / 3,
         {**ELEMENT, "step": 1, "scalar": "probability"}),
    Case("insertion", "3x1 + 2x2 + x3 at 1: 6 - 7/3", F, ONES, PHI, 11 / 3, STEPS),
    Case("srg", "3x1 + 2x2 + x3 at 1: 11/3 - 7/3", F, ONES, PHI, 4 / 3, STEPS),
    Case("srg", "the same in the wrong order: -4/3", F, ONES, -PHI, -4 / 3, STEPS),
    Case("pixel_flipping", "3x1 + 2x2 + x3 at 1: mean of 6, 3, 1, 0", F, ONES, PHI, 2.5, STEPS),
    Case("aopc", "3x1 + 2x2 + x3 at 1: mean of 0, 3, 5, 6", F, ONES, PHI, 3.5, STEPS),
    Case("abpc", "3x1 + 2x2 + x3 at 1: mean of 0, 2, 2, 0", F, ONES, PHI, 1, STEPS),
    Case("comprehensiveness", "3x1 + 2x2 + x3 at 1, without the top 1 and 2: mean of 3, 5",
         F, ONES, PHI, 4, TOPS),
    Case("sufficiency", "3x1 + 2x2 + x3 at 1, with the top 1 and 2 alone: mean of 3, 1",
         F, ONES, PHI, 2, TOPS),
    Case("naopc", "3x1 + 2x2 + x3 at 1, order 2, 1, 3: (13 - 10) / (14 - 10)",
         F, ONES, row(2, 3, 1), 0.75, ELEMENT),
    Case("difference_from_exact", "x1 x2 at (2, 3), Shapley (3, 3), map (6, 6): 6 / 6",
         product, row(2, 3), row(6, 6), 1, ELEMENT),
    Case("difference_from_exact", "x1^2 x2 at (2, 3), Shapley (6, 6), IG (8, 4): 4 / 12",
         lambda x: x[:, 0] ** 2 * x[:, 1], row(2, 3), row(8, 4), 1 / 3, ELEMENT),
    Case("log_odds", "3x1 + 2x2 + x3 at 1, without the first: ln s(3) - ln s(6)",
         F, ONES, PHI, math.log(sigmoid(3) / sigmoid(6)), {"features": "element", "share": 1}),
    Case("tau_loo", "3x1 + 2x2 + x3 at 1, map (3, 1, 2): 2 of 3 pairs in order, 1/3",
         F, ONES, row(3, 1, 2), 1 / 3, ELEMENT),
    Case("soft_comprehensiveness", "3x1 + x2 at 1: the first goes for certain, 3 / 4",
         linear(3, 1), row(1, 1), row(3, 1), 0.75, ELEMENT),
    Case("soft_comprehensiveness", "3x1 + 2x2 + x3 at 1, a = (1, .5, 0): 3 + 2 / 2",
         F, ONES, PHI, 4, {**ELEMENT, "normalise": False, "draws": 1000}, drawn=True),
    Case("soft_sufficiency", "3x1 + x2 at 1: the first stays for certain, 3 / 4",
         linear(3, 1), row(1, 1), row(3, 1), 0.75, ELEMENT),
    Case("soft_sufficiency", "3x1 + 2x2 + x3 at 1, a = (1, .5, 0): 1 + 2 / 2",
         F, ONES, PHI, 2, {**ELEMENT, "normalise": False, "draws": 1000}, drawn=True),
    Case("road", "a spot, which its neighbours do not tell: (1 - 0) / 2",
         readout(spot(5, 2, 2)[0]), spot(5, 2, 2), spot(5, 2, 2), 0.5,
         {**ROAD, "fractions": (1,)}),
    Case("road", "a ramp, inner pixels imputed exactly: f itself",
         readout(COUNT), ramp(5), interior(5), float((COUNT * ramp(5)[0]).sum()),
         {**ROAD, "order": "morf", "fractions": (4, 9)}),
)
# fmt: on
