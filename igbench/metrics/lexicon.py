"""Agreement of maps of texts with the ratings that people gave to words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import torch
from torch import Tensor

from igbench.core import features as feature_units
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.dataset import Data
from igbench.data import lexicon
from igbench.errors import InputError, NotDefinedError, check_choice, check_whole
from igbench.metrics.base import BaseMetric
from igbench.metrics.localisation import units
from igbench.metrics.similarity import on_grid, rank_correlation

RatingsOf = Callable[[str], Tensor | None]


@dataclass(frozen=True)
class LexiconAgreement(BaseMetric):
    """Lexicon agreement: share of words whose contributions have the sign of their ratings.

    Ratings are those of the lexicon of VADER (Hutto and Gilbert 2014), by ten people each, positive
    where a word is; they count the other way where the negative class is explained.

    - "sign": share of the rated words whose attribution has the sign of the rating; an attribution
      of zero counts half, and a random map has 1/2.  In [0, 1];
    - "rank": Spearman's correlation of attributions and ratings over all words; a word without a
      rating counts as 0.  In [-1, 1].

    The metric measures the agreement of model and map together with people, not faithfulness.  A
    lexicon knows no negation: "not good" is rated as "good".

    Higher is better.  Undefined where no word is rated, where attributions or ratings are flat
    ("rank"), and where another class is explained.  Cost: no model rows.

    Source: defined here.

    Args:
        statistic: "sign" or "rank".
        positive: Class whose evidence is positive words; a single output counts as this class.
        negative: Class whose evidence is negative words.
        data: Texts; in an experiment its own.
        ratings: Instead of `data`, a rating for each feature of N samples, (G,) each, NaN where
            there is none; or a function from a sample id to these.

    Raises:
        InputError: An unknown statistic, equal classes, no lexicon, or ratings of another number
            than the features.
        NotDefinedError: The data have no words.

    Example:
        Two of three rated words have the right sign.

        >>> import torch
        >>> from igbench.metrics import lexicon_agreement
        >>> x = torch.tensor([[2.0, -1.0, 0.5, 3.0]])
        >>> people = [torch.tensor([1.9, -2.5, -0.4, torch.nan])]
        >>> found = lexicon_agreement(lambda x: x.sum(dim=1), x, x, ratings=people)
        >>> found.round(decimals=4).tolist()
        [0.6667]
    """

    name = "lexicon_agreement"
    family = "agreement"
    explains = "Do words count for a class as people rate them?"
    direction = "higher"
    reference = "defined here; ratings of Hutto, Gilbert 2014"
    needs = "signed"
    undefined = "no word is rated, the map is flat, or another class is explained"

    statistic: Literal["sign", "rank"] = "sign"
    positive: int = 1
    negative: int = 0
    data: Data | None = field(default=None, repr=False, compare=False)
    ratings: RatingsOf | Sequence[Tensor | None] | None = field(
        default=None, repr=False, compare=False
    )

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest possible value."""
        return (0, 1) if self.statistic == "sign" else (-1, 1)

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"Agreement with VADER's lexicon ({self.statistic})"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("statistic", self.statistic, ("sign", "rank"))
        check_whole("positive", self.positive)
        check_whole("negative", self.negative)
        if self.positive == self.negative:
            raise InputError(f"positive and negative are both class {self.positive}.")
        if self.ratings is not None and not callable(self.ratings):
            wrong = [r for r in self.ratings if not isinstance(r, Tensor | None)]
            if wrong:
                raise InputError(
                    f"ratings hold a {type(wrong[0]).__name__}; give a tensor (G,) for each "
                    "sample, None where there is none."
                )

    def for_samples(self, sample_ids: Sequence[str]) -> Self:
        """The same metric for N samples, with ratings given in their order.

        Raises:
            InputError: There are not as many ratings as samples.
        """
        if self.ratings is None or callable(self.ratings):
            return self
        if len(self.ratings) != len(sample_ids):
            raise InputError(
                f"there are ratings of {len(self.ratings)} samples for {len(sample_ids)} samples."
            )
        return replace(self, ratings=dict(zip(sample_ids, self.ratings, strict=True)).get)

    @property
    def sharing_key(self) -> object:
        """Metrics of the same data share the ratings."""
        return (LexiconAgreement, self.positive, self.negative, id(self.data), id(self.ratings))

    def observe(self, batch: Batch) -> list[Tensor | None]:
        """Rating of each feature for the explained class, (G,) float64 each; None for none.

        Raises:
            InputError: Ratings of another number than the features.
        """
        count, found = units(batch).count, []
        for i, sample_id in enumerate(batch.sample_ids):
            own, sign = self._of(sample_id), self._sign(batch, i)
            if own is not None and tuple(own.shape) != (count,):
                raise InputError(
                    f"sample {sample_id!r} has ratings of shape {tuple(own.shape)}, and {count} "
                    "features; give one for each."
                )
            known = own is not None and sign and bool(own.isfinite().any())
            found.append(sign * own.double() if own is not None and known else None)
        return found

    def _of(self, sample_id: str) -> Tensor | None:
        if callable(self.ratings):
            return self.ratings(sample_id)
        if self.data is None or self.data.feature_names is None:
            raise NotDefinedError(
                "lexicon_agreement looks up words; give data of texts, or ratings= to the function."
            )
        words = self.data.feature_names(self.data.sample_ids.index(sample_id))
        return lexicon.ratings(words)

    def _sign(self, batch: Batch, i: int) -> int:
        """1 where the positive class is explained, -1 for the negative one, 0 for another."""
        target = batch.target_of(i)
        if target is None:
            return 1
        return {self.positive: 1, self.negative: -1}.get(int(target.flatten()[0]), 0)

    def measure(
        self,
        batch: Batch,
        attributions: Mapping[str, Attribution],
        observation: list[Tensor | None],
    ) -> dict[str, Measurement]:
        """Agreement of every attribution."""
        features = units(batch)
        result = {}
        for name, attribution in attributions.items():
            sums = feature_units.total(attribution.values, features).cpu()
            found = [
                math.nan if rated is None or not bool(phi.isfinite().all()) else self.of(phi, rated)
                for phi, rated in zip(sums, observation, strict=True)
            ]
            value = torch.tensor(found, dtype=torch.float64, device=batch.x.device)
            result[name] = Measurement(value, reason=self.undefined)
        return result

    def of(self, phi: Tensor, rated: Tensor) -> float:
        """Agreement of one sample.

        Args:
            phi: (G,) attributions.
            rated: (G,) ratings, NaN where there is none.
        """
        rated = rated.cpu()
        if self.statistic == "rank":
            return float(rank_correlation(on_grid(phi[None], 1e-6), rated.nan_to_num(0)[None]))
        known = rated.isfinite() & (rated != 0)
        right = (phi.sign() * rated.sign())[known]
        return float(((1 + right) / 2).mean())
