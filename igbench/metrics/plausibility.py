"""Plausibility: how well the top of a map agrees with the words, or the pixels, that people marked.

ERASER's metrics for rationales.  Like all localisation metrics they ask whether model and map
together agree with people, and not whether the map is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage
from torch import Tensor

from igbench.core.batch import Batch
from igbench.errors import InputError
from igbench.metrics.localisation import Masked, positions


@dataclass(frozen=True)
class Top(Masked):
    """Base of the metrics of the top k features, whose number is that of the marks.

    Args:
        part: "positive" or "absolute" relevance.
        data: Data whose `mask` holds the annotated regions; in an experiment its own.
        masks: Instead of `data`, N masks (H, W) or (G,), None where there is none; or a function
            from a sample id to its mask.
        k: Number of features that are chosen: "marked", as many as are marked in the sample; "mean"
            of that over the marked samples of `data`, rounded, as in ERASER; or a whole number.

    Raises:
        InputError: Unknown part, data without masks, a mask of another size than the samples, a
            number k that is not above zero, or "mean" without `data`.
    """

    k: int | Literal["marked", "mean"] = "marked"

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"{self.label} (top {self.k}, {self.part} part)"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.k, str) and self.k < 1:
            raise InputError(f"k is {self.k}; it must be a whole number above zero.")

    def count(self, mask: Tensor) -> int:
        """Number of features that are chosen of a sample, at most all.

        Raises:
            InputError: "mean" without data.
        """
        if self.k == "marked":
            return int(mask.sum())
        if self.k != "mean":
            return min(int(self.k), len(mask))
        if self.data is None or self.data.mask is None:
            raise InputError("k='mean' needs data with masks; give data, k='marked' or a number.")
        marks = [self.data.mask(i) for i in range(len(self.data))]
        sizes = [int(m.sum()) for m in marks if m is not None and bool(m.any())]
        return min(max(1, round(sum(sizes) / len(sizes))), len(mask))


@dataclass(frozen=True)
class TokenF1(Top):
    """Token F1: harmonic mean of precision and recall of the top k features against the marks.

    2 |top k and marked| / (k + |marked|).  Where only some of several tied features are among the
    top k, they count equally: the value is the expectation over their orders.  With k = "marked" it
    is `RelevanceRank`.

    Higher is better, in [0, 1].  Undefined where the sample has no mask, the mask is empty, or the
    map has no relevance.  Cost: no model rows.

    Source: DeYoung et al. 2020 (ERASER), section 5.1.

    Args:
        part: "positive" or "absolute" relevance.
        data: Data whose `mask` holds the annotated regions; in an experiment its own.
        masks: Instead of `data`, N masks (H, W) or (G,), None where there is none; or a function
            from a sample id to its mask.
        k: Number of features that are chosen: "marked", as many as are marked in the sample; "mean"
            of that over the marked samples of `data`, rounded, as in ERASER; or a whole number.

    Raises:
        InputError: Unknown part, data without masks, a mask of another size than the samples, a
            number k that is not above zero, or "mean" without `data`.

    Example:
        The top three have one of the two marks: 2 / (3 + 2).

        >>> import torch
        >>> from igbench.metrics import token_f1
        >>> x = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
        >>> mask = torch.tensor([[False, True, False, True]])
        >>> token_f1(lambda x: x.sum(dim=1), x, x, masks=mask, k=3).tolist()
        [0.4]
    """

    name = "token_f1"
    explains = "Are the most important words those that people marked?"
    reference = "DeYoung et al. 2020, section 5.1"
    label = "Token F1"

    def of(self, relevance: Tensor, mask: Tensor, batch: Batch, i: int) -> float:
        """F1 of one sample."""
        many = self.count(mask)
        least = relevance.topk(many).values[-1]
        above, tied = relevance > least, relevance == least
        share = (many - int(above.sum())) / int(tied.sum())
        hits = int(mask[above].sum()) + share * int(mask[tied].sum())
        return 2 * hits / (many + int(mask.sum()))


@dataclass(frozen=True)
class IouF1(Top):
    """IOU F1: harmonic mean of the shares of spans that find their match, by intersection / union.

    A span is a run of neighbouring features, or a connected region of pixels.  A span of the map
    and one of the marks match where they share at least `overlap` of their union; precision is the
    share of spans of the map that have a match, recall that of the marks.  (ERASER's code counts
    matches of the map in both, so that two halves of a span give a recall of 2.)  The map chooses
    its top k features that are above zero, and those tied with the last of them.

    Higher is better, in [0, 1].  Undefined where the sample has no mask, the mask is empty, or the
    map has no relevance.  Cost: no model rows.

    Source: DeYoung et al. 2020 (ERASER), section 5.1.

    Args:
        part: "positive" or "absolute" relevance.
        data: Data whose `mask` holds the annotated regions; in an experiment its own.
        masks: Instead of `data`, N masks (H, W) or (G,), None where there is none; or a function
            from a sample id to its mask.
        k: Number of features that are chosen: "marked", as many as are marked in the sample; "mean"
            of that over the marked samples of `data`, rounded, as in ERASER; or a whole number.
        overlap: Least intersection over union of a match.

    Raises:
        InputError: Unknown part, data without masks, a mask of another size than the samples, a
            number k that is not above zero, or "mean" without `data`.
        InputError: `overlap` is not above 0 and at most 1.

    Example:
        Spans 1-2 and 5 of the map, 1-2-3 and 5 of the marks: 2/3 and 1 are both matches.

        >>> import torch
        >>> from igbench.metrics import iou_f1
        >>> x = torch.tensor([[0.0, 5.0, 4.0, 0.0, 0.0, 3.0]])
        >>> mask = torch.tensor([[False, True, True, True, False, True]])
        >>> iou_f1(lambda x: x.sum(dim=1), x, x, masks=mask).tolist()
        [1.0]
    """

    name = "iou_f1"
    explains = "Are the spans of important words those that people marked?"
    reference = "DeYoung et al. 2020, section 5.1"
    label = "IOU F1"

    overlap: float = 0.5

    @property
    def title(self) -> str:
        """Title, with the parameters that define the number."""
        return f"IOU F1 (at least {self.overlap:g}, top {self.k}, {self.part} part)"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.overlap <= 1:
            raise InputError(f"overlap is {self.overlap}; it must be above 0 and at most 1.")

    def of(self, relevance: Tensor, mask: Tensor, batch: Batch, i: int) -> float:
        """F1 of the spans of one sample."""
        least = relevance.topk(self.count(mask)).values[-1]
        shape = positions(batch)
        chosen, marked = (
            spans(v.view(shape).cpu().numpy())
            for v in ((relevance >= least) & (relevance > 0), mask)
        )
        table = np.array(
            [[(a & b).sum() / (a | b).sum() >= self.overlap for b in marked] for a in chosen]
        )
        precision, recall = table.any(axis=1).mean(), table.any(axis=0).mean()
        total = float(precision + recall)
        return 2 * float(precision * recall) / total if total > 0 else 0.0


def spans(marks: np.ndarray) -> Sequence[np.ndarray]:
    """The connected parts of booleans, each as booleans of the same shape.

    Example:
        >>> [s.nonzero()[0].tolist() for s in spans(np.array([True, True, False, True]))]
        [[0, 1], [3]]
    """
    labels, count = ndimage.label(marks)
    return [labels == number for number in range(1, count + 1)]


@dataclass(frozen=True)
class Auprc(Masked):
    """AUPRC: area under the curve of precision over recall of the marks, by the trapezoid rule.

    Features are taken in falling order of relevance, tied ones together.  Straight lines between
    the points are optimistic (Davis and Goadrich 2006): see `AveragePrecision`.  A constant map has
    the mean of 1 and the share of the marks.

    Higher is better, in [0, 1].  Undefined where the sample has no mask, the mask is empty, or the
    map has no relevance.  Cost: no model rows.

    Source: DeYoung et al. 2020 (ERASER), section 5.1, by scikit-learn.

    Args:
        part: "positive" or "absolute" relevance.
        data: Data whose `mask` holds the annotated regions; in an experiment its own.
        masks: Instead of `data`, N masks (H, W) or (G,), None where there is none; or a function
            from a sample id to its mask.

    Raises:
        InputError: Unknown part, data without masks, or a mask of another size than the samples.

    Example:
        Recall, precision: (0, 1), (.5, 1), (.5, .5), (1, 2/3).

        >>> import torch
        >>> from igbench.metrics import auprc
        >>> x = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
        >>> mask = torch.tensor([[True, False, True, False]])
        >>> auprc(lambda x: x.sum(dim=1), x, x, masks=mask).round(decimals=6).tolist()
        [0.791667]
    """

    name = "auprc"
    explains = "How precise is the map about what people marked, at every length?"
    reference = "DeYoung et al. 2020, section 5.1"
    label = "AUPRC"

    def of(self, relevance: Tensor, mask: Tensor, batch: Batch, i: int) -> float:
        """Area of one sample."""
        from sklearn.metrics import auc, precision_recall_curve  # slow to import

        precision, recall, _ = precision_recall_curve(mask.cpu().numpy(), relevance.cpu().numpy())
        return min(1.0, float(auc(recall, precision)))  # rounding of a sum


@dataclass(frozen=True)
class AveragePrecision(Masked):
    """Average precision: sum over thresholds of the gain in recall times the precision there.

    The area under the curve of precision over recall, by steps, without the optimism of straight
    lines of `Auprc`.  Features are taken in falling order of relevance, tied ones together; a
    constant map has the share of the marks.

    Higher is better, in [0, 1].  Undefined where the sample has no mask, the mask is empty, or the
    map has no relevance.  Cost: no model rows.

    Source: DeYoung et al. 2020 (ERASER), section 5.1, by scikit-learn.

    Args:
        part: "positive" or "absolute" relevance.
        data: Data whose `mask` holds the annotated regions; in an experiment its own.
        masks: Instead of `data`, N masks (H, W) or (G,), None where there is none; or a function
            from a sample id to its mask.

    Raises:
        InputError: Unknown part, data without masks, or a mask of another size than the samples.

    Example:
        The marks are first and third: (1 + 2/3) / 2.

        >>> import torch
        >>> from igbench.metrics import average_precision
        >>> x = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
        >>> mask = torch.tensor([[True, False, True, False]])
        >>> average_precision(lambda x: x.sum(dim=1), x, x, masks=mask).round(decimals=6).tolist()
        [0.833333]
    """

    name = "average_precision"
    explains = "Do the words that people marked come first?"
    reference = "DeYoung et al. 2020, section 5.1"
    label = "Average precision"

    def of(self, relevance: Tensor, mask: Tensor, batch: Batch, i: int) -> float:
        """Average precision of one sample."""
        from sklearn.metrics import average_precision_score  # slow to import

        found = average_precision_score(mask.cpu().numpy(), relevance.cpu().numpy())
        return min(1.0, float(found))  # rounding of a sum
