"""Path methods: the gradient integrated along any curve.  Which of them keeps which axiom?

"Insensitive" features are those that f does not depend on, "unmoved" ones have x_i = x'_i for the
batch's baseline x'; "symmetric": features that f and both ends treat alike get the same.

| method | sums to | insensitive: 0 | unmoved: 0 | linear in f | symmetric |
|---|---|---|---|---|---|
| `ig` | f(x) - f(x') | yes | yes | yes | yes |
| `ig_averaged` | f(x) - mean f(b) over baselines b | yes | no (1) | yes | yes |
| `expected_gradients` | f(x) - mean f(r) over references r (2) | yes | no (1) | yes | yes |
| `smooth_ig` | mean f(x + e) - f(x') over noise e | yes | no (1) | yes | no (2) |
| `guided_ig` | f(x) - f(x') | yes | yes | no (3) | yes |
| `blur_ig` | f(x) - f(blurred x) | yes | no (1) | yes | no (4) |
| `idgi` | f(x) - f(x'), exactly | yes | no | no | yes |
| `PathIG` | f(x) - f(start of the curve) | yes | yes (5) | yes | no (4) |

(1) What they average over, or start from, moves them.  (2) In expectation over the draws, yes.
(3) The path looks at f.  (4) Unless the curve treats the features alike.  (5) On a curve from x'
that is monotone in every feature.

Sums hold up to the error of the quadrature, except for `idgi`.  All are implementation invariant:
they look at values and gradients of f alone.  The metric `completeness` measures the sum against
the batch's own baseline, so for methods that start elsewhere it shows how far apart the two starts
are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from igbench.core.batch import Batch
from igbench.integration.monotone import Curve, Power, along
from igbench.schema import MethodSpec


def power_curve(batch: Batch) -> Curve:
    """The straight line at another pace, x' + a^2 (x - x'), hence Integrated Gradients."""
    return Power(batch.x, batch.baseline, 2.0)


@dataclass(frozen=True)
class PathIG:
    """The gradient integrated along curves of the caller's own (Friedman 2004).

    For example `PathIG(lambda b: Power(b.x, b.baseline, powers))`, or `Waypoints` through given
    points, see `igbench.integration.monotone`.

    Args:
        curve: Maps a batch to its curves; each may depend on its own sample alone.
        steps: Gradients for each sample.
        title: Human-readable name.
    """

    curve: Callable[[Batch], Curve] = power_curve
    steps: int = 50
    title: str = "Path integral"

    @property
    def spec(self) -> MethodSpec:
        """Global and signed: entries are contributions to f(x) - f(start of the curve)."""
        return MethodSpec(
            f"{self.title} ({self.steps} steps)",
            "Friedman 2004; Sundararajan, Taly, Yan 2017, section 4",
            kind="global",
            signed=True,
        )

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        return along(batch.score, self.curve(batch), batch.target, steps=self.steps)
