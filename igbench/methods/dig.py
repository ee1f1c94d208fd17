"""Discretised Integrated Gradients: a path through embeddings of real words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from igbench.core.batch import Batch
from igbench.core.tokens import HIDDEN, TokenModel
from igbench.errors import NotDefinedError, check_choice, check_whole
from igbench.integration.polyline import Rule, Strategy, polyline_gradients, through_words
from igbench.methods.base import BaseMethod


@dataclass(frozen=True)
class DiscretizedIG(BaseMethod):
    """Integrated Gradients along a path that goes from word to word, for models of texts.

    phi = sum over k of grad f(middle of p_k and p_{k+1}) (p_{k+1} - p_k), elementwise, over the
    corners p_0 = x' to p_K = x.  Each token has a path of its own through the embeddings of words,
    see `igbench.integration.polyline.through_words`, and all tokens move together.  Entries sum to
    f(x) - f(x') up to the error of the rule; the authors take the gradient at one end of each
    piece, which misses half of the curvature.  Cost: `anchors` + 1 gradients for each sample.

    Args:
        anchors: Words between a token and the baseline.
        neighbours: Nearest words among which the next anchor is chosen.
        strategy: "greedy" (the word nearest to where the path goes) or "maxcount" (the word with
            the most dimensions between here and the baseline).
        rule: "midpoint" or "trapezoid".

    Source: Sanyal and Ren 2021, "Discretized Integrated Gradients for Explaining Language Models"
    (EMNLP).
    """

    anchors: int = 30
    neighbours: int = 500
    strategy: Strategy = "greedy"
    rule: Rule = "midpoint"

    label = "Discretised IG ({strategy}, {anchors} words, {rule})"
    reference = "Sanyal, Ren 2021"
    looks_inside = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("anchors", self.anchors, least=1)
        check_whole("neighbours", self.neighbours, least=1)
        check_choice("strategy", self.strategy, ("greedy", "maxcount"))
        check_choice("rule", self.rule, ("midpoint", "trapezoid"))

    def check_fit(self, model: object, shape: tuple[int, ...]) -> None:
        """Raise if the model has no word embeddings."""
        _table(model)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F); raises `NotDefinedError` where the model has no word embeddings."""
        table = _table(batch.score.model).detach().to(batch.x)
        return torch.stack([self._of_one(batch, i, table) for i in range(len(batch))])

    def _of_one(self, batch: Batch, i: int, table: Tensor) -> Tensor:
        x, baseline, width = batch.x[i], batch.baseline[i], table.shape[1]
        if bool(((x - baseline)[:, width].abs() > HIDDEN / 2).any()):  # noise is far below
            raise NotDefinedError(
                "dig moves word embeddings alone, and the baseline hides or deletes tokens; choose "
                "a baseline of embeddings, for example baseline=mask."
            )
        moving = (x != baseline)[:, :width].any(dim=1).nonzero()[:, 0]
        if not len(moving):
            return torch.zeros_like(x)
        paths = through_words(
            table,
            x[moving, :width],
            baseline[moving, :width],
            anchors=self.anchors,
            neighbours=self.neighbours,
            strategy=self.strategy,
        )
        corners = x.expand(len(paths), *x.shape).clone()
        corners[:, moving, :width] = paths.flip(0)
        found = polyline_gradients(batch.score, corners, batch.target_of(i), self.rule)
        return found.to(x)


def _table(model: object) -> Tensor:
    """The word embeddings of a model, (V, E)."""
    try:
        if isinstance(model, TokenModel):
            return model.table
    except NotImplementedError:
        pass
    raise NotDefinedError(
        "dig needs a model of texts with a table of word embeddings; choose model=text_sentiment, "
        "or another method, for example ig."
    )
