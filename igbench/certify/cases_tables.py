"""Cases for metrics of tables: prediction gaps, agreement with coefficients, relative stability."""

from __future__ import annotations

import math

from torch import nn

from igbench.certify.cases import Case
from igbench.certify.models import linear, quadratic, row, scaled

GAP = 0.1 * math.sqrt(2 / math.pi)
"""Mean size of noise of the standard deviation 0.1."""
ONE = {"fractions": (1,), "draws": 20_000, "scalar": "score", "features": "element"}
TWO = {"fractions": (2,), "features": "element"}
F, PHI = linear(3, -2, 1, 0.5), row(2, 2.5, -1, 0.1)
FOUR = row(1, 1, 1, 1)
HIDDEN = nn.Sequential(nn.ReLU(), nn.Linear(2, 1)).double().eval()

# fmt: off
TABLE_CASES: tuple[Case, ...] = (
    Case("pgi", "linear (3, -2, 1), noise on the first: 0.1 sqrt(2/pi) 3",
         linear(3, -2, 1), row(1, 1, 1), row(3, -2, 1), 3 * GAP, ONE, drawn=True),
    Case("pgu", "the same, noise on the others: 0.1 sqrt(2/pi) sqrt 5",
         linear(3, -2, 1), row(1, 1, 1), row(3, -2, 1), math.sqrt(5) * GAP, ONE, drawn=True),
    Case("feature_agreement", "linear, both have the features 1 and 2 on top: 1",
         F, FOUR, PHI, 1, TWO),
    Case("feature_agreement", "contributions w (x - x') = (0, -2, 3, 0.5), top 2, one common: 1/2",
         F, row(1, 1, 3, 1), PHI, 0.5, TWO, baseline=row(1, 0, 0, 0)),
    Case("feature_agreement", "the same map as a local one, against w: 1",
         F, row(1, 1, 3, 1), PHI, 1, TWO, baseline=row(1, 0, 0, 0), kind="local"),
    Case("rank_agreement", "linear, the first two have changed places: 0", F, FOUR, PHI, 0, TWO),
    Case("sign_agreement", "linear, one of the first two has its sign: 1/2",
         F, FOUR, PHI, 0.5, TWO),
    Case("signed_rank_agreement", "linear, the first two have changed places: 0",
         F, FOUR, PHI, 0, TWO),
    Case("signed_rank_agreement", "linear, in order, the second of the wrong sign: 1/2",
         F, FOUR, row(4, 3, 1, 0), 0.5, TWO),
    Case("rank_correlation", "linear, two neighbours of four swapped: 1 - 6 * 2 / 60",
         F, FOUR, PHI, 0.8, {"features": "element"}),
    Case("rank_correlation", "given coefficients in place of the model's, dense ranks: 1",
         quadratic(1, 2, 3, 4), FOUR, PHI, 1,
         {"features": "element", "coefficients": (4.0, 9.0, 2.0, -1.0)}),
    Case("pairwise_rank_agreement", "linear, five of six pairs in order: 5/6",
         F, FOUR, PHI, 5 / 6, {"features": "element"}),
    Case("ris", "phi = 2 x moves as the input: 1",
         quadratic(2, 2, 2), row(1, 2, 3), scaled(2, 2, 2), 1, kind="local"),
    Case("ris", "phi = w x by elements moves as the input: 1",
         linear(3, -2, 1), row(1, 2, 3), scaled(3, -2, 1), 1, {"form": "elementwise"}),
    Case("ris", "the gradient of a linear model: 0",
         linear(3, -2, 1), row(1, 1, 1), row(3, -2, 1), 0, kind="local"),
    Case("ros", "phi = 3 x of one feature moves as f = 3 x: 1", linear(3), row(2), scaled(3), 1),
    Case("ros", "by elements, not divided by f: |delta / x| / |3 delta| = 1 / 6",
         linear(3), row(2), scaled(3), 1 / 6, {"form": "elementwise"}),
    Case("rrs", "phi = 3 x moves as the hidden layer relu(x): 1",
         HIDDEN, row(1, 2), scaled(3, 3), 1),
)
# fmt: on
