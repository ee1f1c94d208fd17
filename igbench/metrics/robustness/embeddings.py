"""Changes of texts in the space of word embeddings: the unit of noise, and nearby tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from igbench.core.active import Elements, Restricted
from igbench.core.batch import Batch
from igbench.core.tokens import TokenModel, is_visible
from igbench.errors import NotDefinedError


def model_of(batch: Batch) -> TokenModel:
    """The model of texts of a batch.

    Raises:
        NotDefinedError: The model is another one.
    """
    model = batch.score.model
    if not isinstance(model, TokenModel):
        raise NotDefinedError(
            "a radius in norms of embeddings, and synonyms, need a model of texts with word "
            "embeddings; use scale=input, and noise=uniform or extremes."
        )
    return model


def table_of(batch: Batch) -> Tensor:
    """All word embeddings (V, E) of the model of a batch.

    Raises:
        NotDefinedError: The model has none.
    """
    try:
        return model_of(batch).table.detach().to(batch.x)
    except NotImplementedError as error:
        raise NotDefinedError(
            "the model of texts has no table of word embeddings (TokenModel.table); use "
            "scale=input, and noise=uniform or extremes."
        ) from error


def median_norm(batch: Batch) -> float:
    """Median Euclidean norm of the word embeddings of the model.

    Raises:
        NotDefinedError: The model has none.
    """
    norms = table_of(batch).double().norm(dim=1).sort().values
    middle = len(norms) // 2
    return float((norms[middle] + norms[-middle - 1]) / 2)


def swaps(batch: Batch, i: int, draws: int, neighbours: int, g: torch.Generator) -> Tensor:
    """Changes of one sample in which one token becomes another that is near, (D, *F).

    Each draw takes a token that takes part and is present, and one of the `neighbours` nearest
    embeddings that differ from its own, by Euclidean distance, all with equal odds.

    Args:
        batch: Texts, whole or restricted to their active elements.
        i: Position of the sample.
        draws: D.
        neighbours: Number of nearest embeddings.
        g: Generator of the draws.

    Raises:
        NotDefinedError: The model has no word embeddings, or no token can change.
    """
    table, width = table_of(batch), model_of(batch).width
    part = batch.score.part if isinstance(batch.score, Restricted) else None
    own = part or Elements(batch.x[i], torch.arange(batch.x[i].numel(), device=batch.x.device))
    free = torch.zeros_like(own.x, dtype=torch.bool).flatten()
    free[own.index] = True
    at = free.view(own.x.shape)[:, :width].all(dim=1) & is_visible(own.x[:, width])
    rows = at.nonzero()[:, 0]
    if not len(rows):
        raise NotDefinedError(f"no token of the text {batch.sample_ids[i]!r} can be swapped.")
    near = nearest(table, own.x[rows, :width].to(table), neighbours)
    token = torch.randint(len(rows), (draws,), generator=g)
    other = torch.randint(near.shape[1], (draws,), generator=g)
    changes = torch.zeros(draws, *own.x.shape, dtype=batch.x.dtype, device=batch.x.device)
    place = rows[token.to(rows.device)]
    chosen = table[near[token.to(near.device), other.to(near.device)]]
    numbers = torch.arange(draws, device=place.device)
    changes[numbers, place, :width] = chosen - own.x[place, :width].to(chosen)
    return changes if part is None else part.gather(changes)


def nearest(table: Tensor, rows: Tensor, count: int) -> Tensor:
    """The nearest rows of a table that differ from each row, (T, E) to (T, count) numbers.

    There are fewer where the table has not as many.

    Args:
        table: (V, E).
        rows: (T, E).
        count: Number of neighbours.

    >>> nearest(torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[1.0]]), 2).tolist()
    [[0, 2]]
    """
    exact = "donot_use_mm_for_euclid_dist"  # which finds equal rows at a distance of 0
    distance = torch.cdist(rows.double(), table.double(), compute_mode=exact)
    distance = distance.where(distance > 0, torch.inf)
    least = min(count, int(distance.isfinite().sum(dim=1).amin()))
    return distance.argsort(dim=1, stable=True)[:, :least]
