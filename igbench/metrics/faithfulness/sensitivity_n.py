"""Sensitivity-n: correlation of summed attributions with output changes, over sizes of sets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core import perturb
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.content import content
from igbench.core.features import Features
from igbench.errors import InputError
from igbench.metrics.base import BaseMetric
from igbench.metrics.faithfulness.pearson import changes_of, error_of, flat, pearson
from igbench.metrics.sequential import (
    AUTO,
    DRAWS_AXES,
    Growing,
    Look,
    Stopped,
    check_bound,
    described,
    grown,
    ladder,
    stops,
    until,
)
from igbench.metrics.units import patches

FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class SensitivityN(BaseMetric):
    """Sensitivity-n: mean over n of the correlation of sum phi_S with f(x) - f(x_S -> x').

    For each n, the Pearson correlation over random sets S of n features between the sum of the
    contributions in S and the change of f when the features in S go to the baseline x'.  1 for
    every n is perfect; n = 1 is agreement with occlusion; n = G is completeness (a single set, so
    no correlation exists).

    The D sets of one sample are the first n features of D random orders, so that sets of different
    size are nested; each is uniform among sets of its size, and all methods use the same sets.  The
    standard error is the jackknife's over the D orders, each left out for all n at once.  Output
    changes that differ by rounding alone count as equal.

    Higher is better, in [-1, 1].  Undefined where for some n all sums or all output changes are
    equal.  Cost: 1 + D model rows for each sample and n (281 by default), shared by all methods.

    With subsets="auto", D is the least of 16, 32, 64, ... at which the standard error of a sample's
    score is at most `error`, in units of the correlation; or `most`, and then the error on the
    record may be larger.  The score is that of this fixed D.  An undefined one goes on, as more
    sets may tell its sums apart, unless the map is flat or n = G.  Model rows are evaluated as far
    as the method goes that needs most, so that "auto" bounds the error, and saves rows where all
    maps are good or few are scored.  See `igbench.metrics.sequential`.

    This is a measure of faithfulness.  The largest change of the *attribution* when up to n
    features change is another metric, `MaxSensitivityN`.

    Source: Ancona et al. 2018, section 4.

    Args:
        n: Sizes of the sets: whole numbers, or fractions of G below 1.
        subsets: Number D of sets for each n; "all" enumerates them, "auto" takes as many as
            `error` needs.
        features: Unit of the sets, see `igbench.core.features.resolve`.  None: 14 patches along the
            short side of images, otherwise the unit of the data (elements by default).
        error: Bound of the standard error with "auto".
        most: Largest number of sets for each n with "auto".

    Raises:
        InputError: A size that is not above zero, above 1 and not whole, or above G; fewer than 3
            sets; more than 20,000 sets to enumerate.

    Example:
        The changes are 3, 2, 1; the map has 3, 1, 2.  Sets of 2 are complements of sets of 1.

        >>> import torch
        >>> from igbench.metrics import sensitivity_n
        >>> x = torch.ones(1, 3, dtype=torch.float64)
        >>> f = lambda x: x @ x.new_tensor([3.0, 2.0, 1.0])
        >>> phi = x.new_tensor([[3.0, 1.0, 2.0]])
        >>> sensitivity_n(f, x, phi, n=(1, 2), subsets="all").round(decimals=6).tolist()
        [0.5]
    """

    foldable = True
    name = "sensitivity_n"
    curve_axes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "sensitivity_n": (
            "size of the sets as a fraction n / G of the features, above 0 and at most 1",
            "Pearson correlation of sums of contributions and changes of the output, -1 to 1",
        ),
        "sensitivity_n_draws": DRAWS_AXES,
    }
    family = "faithfulness"
    explains = "Do contributions of sets of features predict what removing the sets does?"
    direction = "higher"
    reference = "Ancona et al. 2018, section 4"
    needs = "global signed"
    range = (-1, 1)
    undefined = "for some n all sums or all output changes are equal (n = G, flat map)"
    image_defaults: ClassVar[Mapping[str, Any]] = {"features": patches(14)}

    n: float | Sequence[float] = FRACTIONS
    subsets: int | Literal["all", "auto"] = 40
    features: str | Tensor | None = None
    error: float = 0.05
    most: int = 256

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        sets = described(self.subsets, self.error, self.most)
        return f"Sensitivity-n, Ancona 2018, faithfulness ({sets} subsets)"

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = tuple(self.n) if isinstance(self.n, Sequence) else (self.n,)
        sizes = feature_units.check_shares(sizes, "set sizes n")
        check_bound(self.error, self.most, least=3)
        if not isinstance(self.subsets, str) and self.subsets < 3:
            raise InputError(f"a correlation needs at least 3 subsets, got {self.subsets}.")
        object.__setattr__(self, "n", sizes)

    @property
    def sharing_key(self) -> object:
        """Metrics with the same set sizes, number of sets and features share an observation."""
        most = self.subsets == AUTO and self.most
        return (SensitivityN, self.n, self.subsets, content(self.features), most)

    def at_most(self) -> SensitivityN:
        """The same metric with the largest number of sets that it may take."""
        return replace(self, subsets=self.most) if self.subsets == AUTO else self

    def observe(self, batch: Batch) -> list[Tensor] | Growing:
        """Changes f(x) - f(x with S removed), for each n (N, D) float64; with "auto", outputs.

        Raises:
            InputError: A size above G, or more than 20,000 sets to enumerate.
        """
        features = self.features_of(batch)
        clean = batch.score.evaluate(batch.x, batch.target).double()
        if self.subsets == AUTO:

            def evaluate(i: int, part: slice) -> Tensor:
                return torch.stack(self._outputs(batch, i, self._masks(batch, i, features, part)))

            return grown(clean, evaluate, self.most)
        changes = [
            changes_of(
                clean[i], self._outputs(batch, i, self._masks(batch, i, features)), batch.x.dtype
            )
            for i in range(len(batch))
        ]
        return [torch.stack(column) for column in zip(*changes, strict=True)]

    def _outputs(self, batch: Batch, i: int, groups: Sequence[Tensor]) -> list[Tensor]:
        """Outputs of one sample without some sets, for each n (D,) float64."""
        masks = torch.cat(list(groups))
        build = perturb.removals(batch.x[i], batch.baseline[i], masks, self.features_of(batch))
        out = batch.score.evaluate_draws(
            len(masks), batch.target_of(i), build, device=batch.x.device
        ).double()
        return list(out.split([len(g) for g in groups]))

    def _sizes(self, count: int) -> list[int]:
        assert isinstance(self.n, tuple)
        return sorted(set(feature_units.counts_of(self.n, count, "n")))

    def _masks(
        self, batch: Batch, i: int, features: Features, part: slice | None = None
    ) -> list[Tensor]:
        """For each n, (D, G) sets of one sample: all, or some draws of "auto"."""
        sizes = self._sizes(features.count)
        if self.subsets == "all":
            return [perturb.all_subsets(features.count, n) for n in sizes]
        key = (batch.metric_seed, "sensitivity_n", batch.sample_ids[i])
        if part is not None:  # one order after the other comes from one stream
            ranks = perturb.ranks(features.count, part.stop, *key)[part]
        else:
            assert not isinstance(self.subsets, str)
            ranks = perturb.ranks(features.count, self.subsets, *key)
        return [ranks < n for n in sizes]

    def measure(
        self,
        batch: Batch,
        attributions: Mapping[str, Attribution],
        observation: list[Tensor] | Growing,
    ) -> dict[str, Measurement]:
        """Correlations of every attribution, as a mean and as a curve over n."""
        features = self.features_of(batch)
        sizes = self._sizes(features.count)
        grouped = torch.stack(
            [feature_units.total(a.values, features) for a in attributions.values()]
        )  # (M, N, G)
        if isinstance(observation, Growing):
            stopped = [
                self._sequential(batch, i, grouped[:, i], observation) for i in range(len(batch))
            ]
            return {
                name: self._stopped(stopped, m, sizes, features.count)
                for m, name in enumerate(attributions)
            }
        found, errors = [], []
        for i in range(len(batch)):
            masks = self._masks(batch, i, features)
            pairs = [
                # Moved as bytes: a change of dtype on the way would be the host's work.
                (grouped[:, i] @ m.to(grouped.device).to(grouped.dtype).T, change[i])
                for m, change in zip(masks, observation, strict=True)
            ]
            found.append(torch.stack([pearson(a, b, batch.x.dtype) for a, b in pairs]))
            if self.subsets != "all":
                errors.append(error_of(pairs))
        table = torch.stack(found)  # (N, n, M)
        return {
            name: self._summary(
                table[:, :, m],
                torch.stack([e[m] for e in errors]) if errors else None,
                sizes,
                features.count,
            )
            for m, name in enumerate(attributions)
        }

    def _sequential(self, batch: Batch, i: int, maps: Tensor, growing: Growing) -> Stopped:
        """Correlations of maps (M, G) of one sample over as many sets as their errors need."""
        features = self.features_of(batch)

        def drawn(part: slice, numbers: Tensor) -> tuple[Tensor, Tensor]:
            masks = self._masks(batch, i, features, part)
            return (
                torch.stack([maps[numbers] @ m.to(maps).T for m in masks], dim=1),
                growing.outputs(i, part),
            )  # (M, n, D) and (n, D)

        def look(sums: Tensor, outputs: Tensor) -> Look:
            changes = changes_of(growing.clean[i], list(outputs), batch.x.dtype)
            pairs = list(zip(sums.unbind(dim=1), changes, strict=True))
            r = torch.stack([pearson(a, b, batch.x.dtype) for a, b in pairs], dim=1)
            error = error_of(pairs).where(r.isfinite().all(dim=1), math.nan)
            return Look(r, error, stops(error, error.new_tensor(self.error)))

        whole = self._sizes(features.count)[-1] == features.count
        return until(ladder(self.most), drawn, look, flat(maps) | whole)

    def _stopped(
        self, stopped: Sequence[Stopped], m: int, sizes: list[int], count: int
    ) -> Measurement:
        """The measurement of one method, from those of all methods by sample."""
        r, error, trace = (
            torch.stack([part[m] for part in parts])
            for parts in zip(*((s.values, s.error, s.trace) for s in stopped), strict=True)
        )
        found = self._summary(r, error, sizes, count)
        draws = {"sensitivity_n_draws": (ladder(self.most), trace)}
        return replace(found, curves={**found.curves, **draws})

    def _summary(
        self, r: Tensor, error: Tensor | None, sizes: list[int], count: int
    ) -> Measurement:
        if error is not None:
            error = error.where(r.isfinite().all(dim=1), math.nan)
        undefined = [n for n, bad in zip(sizes, r.isnan().any(dim=0).tolist(), strict=True) if bad]
        return Measurement(
            r.mean(dim=1),
            error,
            f"no variance over the subsets at n = {', '.join(map(str, undefined))} of {count}",
            {"sensitivity_n": ([n / count for n in sizes], r)},
        )
