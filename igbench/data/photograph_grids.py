"""Grids of 2 x 2 photographs of different classes: the right quadrant is known without a mask."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Literal

import torch

from igbench.core.arguments import checked
from igbench.core.dataset import Data
from igbench.core.model import Model, Preprocess
from igbench.core.score import Score
from igbench.data import images
from igbench.data.mosaic import mosaic
from igbench.data.photographs import photographs
from igbench.errors import InputError, SampleError, check_choice, one_line

logger = logging.getLogger(__name__)


@checked
def photograph_grids(
    model: Model,
    *,
    limit: int | None,
    path: str | None = None,
    targets: Literal[1, 2] = 1,
    rounds: int = 2,
    cells: Literal["full", "half"] = "full",
    confidence: float = 0.5,
    seed: int = 0,
) -> Data:
    """Grids of photographs that the model knows, (3, 2 S, 2 S) with S the side of a cell.

    The grid pointing game of Boehle et al. 2021: images that the model classifies rightly and with
    confidence, one of the class that is explained beside three of three other classes, each at the
    size that the model takes.  With `targets=2`, two of the class beside two of one other: the
    mosaics of Arias-Duart et al. 2022 (Focus).  The photographs are judged alone, at the size of
    the model; see `igbench.data.mosaic.mosaic` for what is drawn, and its sample ids.

    Args:
        model: Must take photographs; with `cells="full"`, of twice its size too.
        limit: Number of grids; None for all.
        path: A folder of other photographs, see `igbench.data.photographs.photographs`; None for
            those of the package.
        targets: Cells of the class that is explained, 1 or 2.
        rounds: Number of grids that begin with the same photograph.
        cells: "full": each cell has the size of the model, and the grid twice that; for models
            that pool over positions.  "half": the grid has the size of the model, and each cell
            half of that; for models of one size.
        confidence: Smallest probability that the model gives to the class of a photograph; it must
            be the largest of all, too.
        seed: Of the draws.

    Raises:
        InputError: The model takes no photographs, knows too few of them, or takes no image of the
            size of a grid.
    """
    check_choice("cells", cells, ("full", "half"))
    if not 0 <= confidence < 1:
        raise InputError(f"confidence is {confidence}; it must be at least 0 and below 1.")
    preprocess = images.require_photographs(model, "photograph_grids")
    if cells == "half" and preprocess.crop % 2:
        raise InputError(
            f"model {model.name!r} takes images of {preprocess.crop} pixels, which cannot be "
            "halved; set data.cells=full."
        )
    found = _known(model, photographs(model, limit=None, path=path), confidence)
    if cells == "half":
        half = replace(model, preprocess=halved(preprocess))
        made = photographs(half, limit=None, path=path)
        found = _only(made, [made.sample_ids.index(name) for name in found.sample_ids])
    try:
        grids = mosaic(found, targets=targets, rounds=rounds, limit=limit, seed=seed)
    except InputError as error:
        raise InputError(
            f"model {model.name!r} knows {len(found)} photographs with a probability of at least "
            f"{confidence}, too few for grids ({one_line(error)}); set a lower data.confidence."
        ) from error
    if cells == "full":
        _check_size(model, grids)
    return replace(
        grids,
        name="photograph_grids",
        source=f"2 x 2 grids of {cells} cells, {targets} of the class, seed {seed}, of "
        f"{len(found)} photographs known with probability {confidence:g}: {found.source}",
    )


def halved(preprocess: Preprocess) -> Preprocess:
    """The same part of a photograph at half the size.

    >>> halved(Preprocess(256, 224, (0.5,), (0.5,)))
    Preprocess(resize=128, crop=112, mean=(0.5,), std=(0.5,), interpolation='bilinear')
    """
    crop = preprocess.crop // 2
    return replace(preprocess, resize=max(crop, preprocess.resize // 2), crop=crop)


def _known(model: Model, data: Data, confidence: float) -> Data:
    """The photographs that a model classifies rightly and with confidence."""
    score, chosen = Score(model.module), []
    for i, label in enumerate(data.labels):
        if label is None:
            continue
        try:
            x = data.load(i)[None]
        except SampleError as error:
            logger.warning("left out of the grids: %s", error)
            continue
        with torch.no_grad():
            probability = score.outputs(x)[0].softmax(dim=0)
        if int(probability.argmax()) == label and float(probability[label]) >= confidence:
            chosen.append(i)
    return _only(data, chosen)


def _only(data: Data, chosen: list[int]) -> Data:
    """Some samples of data of photographs."""
    paths = data.load.paths  # type: ignore[attr-defined]
    load = replace(data.load, paths=tuple(paths[i] for i in chosen))  # type: ignore[type-var]
    return replace(
        data,
        sample_ids=tuple(data.sample_ids[i] for i in chosen),
        labels=tuple(data.labels[i] for i in chosen),
        load=load,
        files=load.files,  # type: ignore[attr-defined]
    )


def _check_size(model: Model, grids: Data) -> None:
    """Raise unless the model takes an image of the size of a grid."""
    try:
        with torch.no_grad():
            Score(model.module).outputs(torch.zeros(1, *grids.shape))
    except Exception as error:  # whatever a network raises for a size that it was not made for
        raise InputError(
            f"model {model.name!r} takes no images of {grids.shape[1]} pixels, twice its own size "
            f"({one_line(error)}); set data.cells=half."
        ) from error
