"""Cases for metrics of complexity, robustness, axioms, randomisation and localisation."""

from __future__ import annotations

import math

import torch

from igbench.certify.cases import FLOAT32, Case
from igbench.certify.models import (
    NETWORK,
    by_weights,
    classes,
    count_relus,
    entropy,
    gradient_times_input,
    linear,
    minus_baseline,
    quadratic,
    readout,
    row,
    scaled,
    spot,
)

W = (1.0, 2.0, 3.0)
ONES, FOUR = row(1, 1, 1), row(1, 1, 1, 1)
F = linear(1, 2, 3, 4)
BALL = {"radius": 0.02, "draws": 16, "ball": "linf", "noise": "extremes"}
ROOT = math.sqrt(14)
IN_ORDER, SWAPPED = row(1, 2, 3, 4), row(1, 2, 4, 3)
LIKE = 1 - 6 * 2 / 60
"""Spearman's correlation of two orders of four with two neighbours swapped."""
PLAIN_IMAGE = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]], dtype=torch.float64)
PLACE = spot(5, 0, 0)
SUM = readout(torch.ones(1, 5, 5))
SUM_SMALL = readout(torch.ones(1, 2, 2))


def at(*places: tuple[int, int], side: int) -> dict[str, object]:
    """The argument `masks` that marks some pixels."""
    mask = torch.zeros(side, side, dtype=torch.bool)
    for place in places:
        mask[place] = True
    return {"masks": lambda sample_id: mask}


# fmt: off
OTHER_CASES: tuple[Case, ...] = (
    Case("sparseness", "(0, 0, 0, 1): 1 - 1/4", F, FOUR, row(0, 0, 0, 1), 0.75),
    Case("sparseness", "(-4, 1, -2, 3): sum (2i - 5) i / 40", F, FOUR, row(-4, 1, -2, 3), 0.25),
    Case("quantus_sparseness", "(-4, 1, -2, 3): sum (2i - 5) i / 40",
         F, FOUR, row(-4, 1, -2, 3), 0.25, tolerance=FLOAT32),
    Case("complexity", "(-4, 1, -2, 3): entropy of tenths",
         F, FOUR, row(-4, 1, -2, 3), entropy(4, 1, 2, 3)),
    Case("complexity", "equal magnitudes: ln 4", F, FOUR, row(2, -2, 2, 2), math.log(4)),
    Case("effective_complexity", "(-4, 1, 2, 0.4): three above a tenth of 4",
         F, FOUR, row(-4, 1, 2, 0.4), 3),
    Case("max_sensitivity", "phi = diag(1, 2, 3) x at 1, corners of a cube: r",
         quadratic(*W), ONES, scaled(*W), 0.02, BALL, kind="local"),
    Case("avg_sensitivity", "the same: every corner is as far, so r too",
         quadratic(*W), ONES, scaled(*W), 0.02, BALL, kind="local"),
    Case("local_lipschitz", "the same: |A delta| / |delta| = sqrt(14 / 3)",
         quadratic(*W), ONES, scaled(*W), math.sqrt(14 / 3), BALL, kind="local"),
    Case("max_sensitivity_n", "the same, n = 1, 2, 3: r (3 + sqrt 13 + sqrt 14) / (3 sqrt 14)",
         quadratic(*W), ONES, scaled(*W), 0.02 * (3 + math.sqrt(13) + ROOT) / (3 * ROOT),
         {"n": (1, 2, 3), "radius": 0.02, "draws": 200, "noise": "extremes"}, kind="local"),
    Case("max_sensitivity_n", "the same, one feature removed: 3 / sqrt 14",
         quadratic(*W), ONES, scaled(*W), 3 / ROOT, {"n": 1, "mode": "ablate", "draws": 200},
         kind="local"),
    Case("seed_variance", "a gradient, which draws nothing: 0", F, FOUR, gradient_times_input, 0),
    Case("difference_from_ig", "(1, 2, 3) beside (1, 2, 5): 2 / 8",
         linear(*W), ONES, row(1, 2, 3), 0.25, beside={"ig": row(1, 2, 5)}),
    Case("baseline_sensitivity", "x - x' at (1, 2, 3, 6), zero and mean 3: 1 - (1 - 6 * 8 / 60)",
         SUM_SMALL, PLAIN_IMAGE, minus_baseline, 0.8, {"among": ("zero", "channel_mean")}),
    Case("dummy", "linear, input x gradient, half planted: 0", F, FOUR, gradient_times_input, 0,
         {"features": "element"}),
    Case("dummy", "equal contributions whatever the model, half planted: 1/2", F, FOUR, FOUR, 0.5,
         {"features": "element"}),
    Case("dummy", "x1 + 2x3, contributions (1, 1, 1, 1), found: 2 / 4",
         linear(1, 0, 2, 0), FOUR, FOUR, 0.5, {"features": "element", "mode": "detect"}),
    Case("linearity", "quadratic, input x gradient: 0",
         quadratic(1, 2, 3, 4), FOUR, gradient_times_input, 0),
    Case("linearity", "a map that ignores the model: 1/2", F, FOUR, IN_ORDER, 0.5),
    Case("input_invariance", "linear at 2, input x gradient, shift 1: 1/2",
         linear(*W), 2 * ONES, gradient_times_input, 0.5, {"shift": 1.0}),
    Case("implementation_invariance", "network, input x gradient: 0",
         NETWORK, IN_ORDER, gradient_times_input, 0),
    Case("implementation_invariance", "x (1 + number of ReLU modules): |x - 2x| / |2x|",
         NETWORK, IN_ORDER, count_relus, 0.5),
    Case("mprt", "a map that ignores the weights: 1", NETWORK, FOUR, IN_ORDER, 1),
    Case("mprt", "two neighbours swapped once the last layer is random, at once: 0.8",
         NETWORK, FOUR, by_weights(IN_ORDER, SWAPPED), LIKE, {"order": "top_down", "stages": 2}),
    Case("smooth_mprt", "the same from the first layer: mean of 1 and 0.8",
         NETWORK, row(1, 2, 3, 5), by_weights(IN_ORDER, SWAPPED), (1 + LIKE) / 2,
         {"order": "bottom_up", "stages": 2}),
    Case("efficient_mprt", "from one value of four to four different ones: (ln 4 - H) / H",
         NETWORK, FOUR, by_weights(row(0, 0, 0, 1), IN_ORDER),
         (math.log(4) - entropy(3, 1)) / entropy(3, 1)),
    Case("random_logit", "two linear classes, two neighbours swapped: 0.8",
         classes((1, 2, 3, 4), (1, 2, 4, 3)), FOUR, gradient_times_input, LIKE, target=0),
    Case("relevance_mass", "(1, 2, 3, 4), the last two marked: 7 / 10",
         SUM_SMALL, PLAIN_IMAGE, IN_ORDER.view(1, 1, 2, 2), 0.7, at((1, 0), (1, 1), side=2)),
    Case("relevance_rank", "(1, 2, 3, 4), the second and the last marked: 1 / 2",
         SUM_SMALL, PLAIN_IMAGE, IN_ORDER.view(1, 1, 2, 2), 0.5, at((0, 1), (1, 1), side=2)),
    Case("localisation_auc", "(1, 2, 3, 4), the second and the last marked: 3 of 4 pairs",
         SUM_SMALL, PLAIN_IMAGE, IN_ORDER.view(1, 1, 2, 2), 0.75, at((0, 1), (1, 1), side=2)),
    Case("lexicon_agreement", "(2, -1, .5) rated (1.9, -2.5, -.4): 2 of 3 signs",
         linear(1, 1, 1), row(1, 1, 1), row(2, -1, 0.5), 2 / 3,
         {"ratings": lambda sample: torch.tensor([1.9, -2.5, -0.4])}),
    Case("token_f1", "(1, 2, 3, 4), the second and the last marked: 1 / 2",
         SUM_SMALL, PLAIN_IMAGE, IN_ORDER.view(1, 1, 2, 2), 0.5, at((0, 1), (1, 1), side=2)),
    Case("iou_f1", "(1, 2, 3, 4), top 3-4, 2-4 marked: a third of the union, no match",
         SUM_SMALL, PLAIN_IMAGE, IN_ORDER.view(1, 1, 2, 2), 0, at((0, 1), (1, 1), side=2)),
    Case("iou_f1", "the same, a third is enough",
         SUM_SMALL, PLAIN_IMAGE, IN_ORDER.view(1, 1, 2, 2), 1,
         {**at((0, 1), (1, 1), side=2), "overlap": 0.33}),
    Case("auprc", "(1, 2, 3, 4), 2 and 4 marked: 1/2 + (1/2 + 2/3) / 4",
         SUM_SMALL, PLAIN_IMAGE, IN_ORDER.view(1, 1, 2, 2), 19 / 24, at((0, 1), (1, 1), side=2)),
    Case("average_precision", "(1, 2, 3, 4), 2 and 4 marked: (1 + 2/3) / 2",
         SUM_SMALL, PLAIN_IMAGE, IN_ORDER.view(1, 1, 2, 2), 5 / 6, at((0, 1), (1, 1), side=2)),
    Case("pointing_game", "3 down and 4 across, tolerance 5: a hit",
         SUM, PLACE, PLACE, 1, {**at((3, 4), side=5), "tolerance": 5}),
    Case("pointing_game", "the same, tolerance 4.9: a miss",
         SUM, PLACE, PLACE, 0, {**at((3, 4), side=5), "tolerance": 4.9}),
)
# fmt: on
