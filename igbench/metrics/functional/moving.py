"""Does a map stay when the input or the baseline moves a little?  As functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack

from torch import Tensor

from igbench.metrics.avg_sensitivity import AvgSensitivity
from igbench.metrics.baseline_sensitivity import NAMES, BaselineSensitivity
from igbench.metrics.functional.common import Common, Forward, Maps, Scores, measure
from igbench.metrics.local_lipschitz import LocalLipschitz
from igbench.metrics.max_sensitivity import MaxSensitivity
from igbench.metrics.max_sensitivity_n import MaxSensitivityN
from igbench.sources import Data


def max_sensitivity(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    radius: float = 0.02,
    draws: int = 10,
    ball: Literal["linf", "l2"] = "linf",
    noise: Literal["uniform", "extremes"] = "uniform",
    **common: Unpack[Common],
) -> Scores:
    """Largest change of the map in a ball around the input; needs `explain`; see the class."""
    return measure(
        MaxSensitivity(radius=radius, draws=draws, ball=ball, noise=noise),
        forward,
        inputs,
        attributions,
        **common,
    )


def avg_sensitivity(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    radius: float = 0.02,
    draws: int = 10,
    ball: Literal["linf", "l2"] = "linf",
    noise: Literal["uniform", "extremes"] = "uniform",
    **common: Unpack[Common],
) -> Scores:
    """Mean change of the map in a ball around the input; needs `explain`; see `AvgSensitivity`."""
    return measure(
        AvgSensitivity(radius=radius, draws=draws, ball=ball, noise=noise),
        forward,
        inputs,
        attributions,
        **common,
    )


def max_sensitivity_n(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    n: float | Sequence[float] = (0.01, 0.1, 0.5),
    mode: Literal["noise", "ablate"] = "noise",
    radius: float = 0.02,
    draws: int = 10,
    **common: Unpack[Common],
) -> Scores:
    """Largest change of the map when at most n features move; needs `explain`; see the class."""
    return measure(
        MaxSensitivityN(n=n, mode=mode, radius=radius, draws=draws),
        forward,
        inputs,
        attributions,
        **common,
    )


def local_lipschitz(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    radius: float = 0.02,
    draws: int = 10,
    ball: Literal["linf", "l2"] = "linf",
    noise: Literal["uniform", "extremes"] = "uniform",
    **common: Unpack[Common],
) -> Scores:
    """Largest ratio of change of map to change of input; needs `explain`; see the class."""
    return measure(
        LocalLipschitz(radius=radius, draws=draws, ball=ball, noise=noise),
        forward,
        inputs,
        attributions,
        **common,
    )


def baseline_sensitivity(
    forward: Forward,
    inputs: Tensor,
    attributions: Maps,
    *,
    statistic: Literal["rank", "spread", "blind"] = "rank",
    among: Sequence[str] = NAMES,
    data: Data | None = None,
    repeats: int = 2,
    **common: Unpack[Common],
) -> Scores:
    """How much maps of the baselines `among` differ; needs `method`; see the class."""
    return measure(
        BaselineSensitivity(statistic=statistic, baselines=among, data=data, repeats=repeats),
        forward,
        inputs,
        attributions,
        **common,
    )
