"""The explainers of the library shap as methods; one YAML file each."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from igbench.core import rng
from igbench.core.batch import Batch
from igbench.core.outputs import repeat_target
from igbench.core.score import Score
from igbench.errors import (
    InputError,
    NotDefinedError,
    check_choice,
    check_references,
    check_whole,
)
from igbench.methods.base import BaseMethod
from igbench.methods.coalitions import Game, game
from igbench.methods.custom import one_by_one
from igbench.schema import MethodSpec

TITLES = {
    "gradient": "shap.GradientExplainer",
    "deep": "shap.DeepExplainer",
    "kernel": "shap.KernelExplainer",
    "partition": "Owen values (shap.PartitionExplainer)",
}
SOURCES = {
    "gradient": "Lundberg, Lee 2017; Erion et al. 2021",
    "deep": "Lundberg, Lee 2017, section 4",
    "kernel": "Lundberg, Lee 2017, theorem 2",
    "partition": "Owen 1977; shap",
}
DRAWS = {"gradient": 200, "kernel": 0, "partition": 500}
"""Defaults of shap: of the kernel 2 n + 2048, of the others for each sample."""


@dataclass(frozen=True)
class Shap(BaseMethod):
    """An explainer of shap, called on one sample at a time: `pip install 'igbench[shap]'`.

    - "gradient": GradientExplainer, `draws` gradients between references and x;
    - "deep": DeepExplainer, DeepLIFT by hooks on modules, for models whose activations shap knows;
    - "kernel": KernelExplainer on the features, with all of them kept (l1_reg=False);
    - "partition": PartitionExplainer, Owen values over a tree of the features: halves along the
      longest side, again and again.

    The first two are here as oracles: what they do to layers that they do not know, they do without
    a word, so look at the metric `completeness`.  All explain `batch.score`; the reference is the
    baseline of the batch, or for the first two, with `references`, the mean over samples of the
    data.  What shap draws from global generators is keyed by sample, and the generators are
    restored; so are the modules that it hooks.  Entries sum to f(x) - f(x') (gradient: in
    expectation).  Cost: `draws` gradients; 2 rows and their gradients for each reference; 2 n +
    2048 rows for n features, at most 2^n; at most `draws` rows, about n^2 for all Owen values.

    Args:
        explainer: "gradient", "deep", "kernel" or "partition".
        draws: Draws, or evaluations; None for the default of shap: 200, 2 n + 2048 and 500.
        features: For "kernel" and "partition", the players, see `igbench.core.players.players`.
        references: For "gradient" and "deep", samples of the data to start from in place of the
            baseline; 0 for the baseline.
        pool: Returns (R, *F) references.  An experiment gives the data's own pool.

    Raises:
        InputError: An unknown explainer, or arguments that it does not take.
        NotDefinedError: shap is not installed, a model that "deep" cannot hook, or data without a
            pool where `references` asks for one.

    Source: Lundberg and Lee 2017, "A unified approach to interpreting model predictions".
    """

    explainer: Literal["gradient", "deep", "kernel", "partition"]
    draws: int | None = None
    features: str | Tensor | None = None
    references: int = 0
    pool: Callable[[], Tensor] | None = None

    label = "shap"
    reference = "Lundberg, Lee 2017"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("explainer", self.explainer, tuple(TITLES))
        check_whole("references", self.references)
        if self.draws is not None:
            check_whole("draws", self.draws, least=1)
        layers = self.explainer in ("gradient", "deep")
        refused = {
            "features": layers and self.features is not None,
            "references": not layers and self.references,
            "draws": self.explainer == "deep" and self.draws is not None,
        }
        for name, wrong in refused.items():
            if wrong:
                raise InputError(f"explainer={self.explainer} takes no {name}; leave it out.")

    @property
    def spec(self) -> MethodSpec:
        """As configured; the two that look inside the model are oracles."""
        inside = self.explainer in ("gradient", "deep")
        many = "" if self.draws is None else f" ({self.draws} draws)"
        return replace(
            super().spec,
            title=f"{TITLES[self.explainer]}{many}",
            reference=SOURCES[self.explainer],
            role="oracle" if inside else "method",
            needs_gradient=inside,
        )

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        shap = library()
        explained = {
            "gradient": self._gradient,
            "deep": self._deep,
            "kernel": self._kernel,
            "partition": self._partition,
        }[self.explainer]
        purpose = f"shap.{self.explainer}"
        return one_by_one(batch, purpose, lambda x, i: explained(shap, batch, i).to(x))

    def _gradient(self, shap: Any, batch: Batch, i: int) -> Tensor:
        explainer = shap.GradientExplainer(
            Scalar(batch.score, batch.target_of(i), batch.x.dtype),
            self._background(batch, i),
            batch_size=batch.score.batch_size,
        )
        found = explainer.shap_values(
            batch.x[i : i + 1].detach().clone(),
            nsamples=self.draws or DRAWS["gradient"],
            rseed=rng.key(batch.seed, "shap.gradient", batch.sample_ids[i]) % 2**31,
        )
        return torch.from_numpy(np.asarray(found)).view_as(batch.x[i : i + 1])

    def _deep(self, shap: Any, batch: Batch, i: int) -> Tensor:
        model = batch.score.model
        if not isinstance(model, nn.Module):
            raise NotDefinedError(
                "shap.DeepExplainer hooks modules, so the model must be a torch module, not a "
                "function; use shap_gradient."
            )
        if batch.score.output != "logit":
            raise NotDefinedError(
                f"shap.DeepExplainer has no rule for the {batch.score.output}, whose softmax takes "
                "all classes together; use output=logit."
            )
        with restored(model):
            explainer = shap.DeepExplainer(
                Scalar(batch.score, batch.target_of(i), batch.x.dtype),
                self._background(batch, i),
            )
            x = batch.x[i : i + 1].detach().clone()
            found = explainer.shap_values(x, check_additivity=False)
        return torch.from_numpy(np.asarray(found)).view_as(x)

    def _background(self, batch: Batch, i: int) -> Tensor:
        """References (R, *F), see `background`."""
        return background(batch, i, self.references, self.pool, "shap references")

    def _kernel(self, shap: Any, batch: Batch, i: int) -> Tensor:
        own = game(self.features, batch, i)

        def values(function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
            explainer = shap.KernelExplainer(function, np.zeros((1, own.count)))
            many = {"nsamples": self.draws} if self.draws else {}
            found: np.ndarray = explainer.shap_values(
                np.ones((1, own.count)), l1_reg=False, silent=True, **many
            )
            return found

        return on_players(own, values)

    def _partition(self, shap: Any, batch: Batch, i: int) -> Tensor:
        own = game(self.features, batch, i)

        def values(function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
            explainer = shap.PartitionExplainer(function, Masker(own.count, halves(own)))
            found = explainer(
                np.ones((1, own.count)), max_evals=self.draws or DRAWS["partition"], silent=True
            )
            return np.asarray(found.values)

        return on_players(own, values)


class Scalar(nn.Module):
    """The score of one target as a module with one output, (N, *F) to (N, 1).

    Args:
        score: f.
        target: (1,) class index, or None.
        dtype: That of the inputs, which shap converts to torch's default.
    """

    def __init__(self, score: Score, target: Tensor | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.score, self.target, self.dtype = score, target, dtype
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        """The score of every row, (N, 1)."""
        found: Tensor = self.score(x.to(self.dtype), repeat_target(self.target, len(x)))
        return found[:, None]


class Masker:
    """The masker of a game for PartitionExplainer: a coalition is its own sample.

    Args:
        count: n.
        clustering: (n - 1, 4) the tree, as in scipy.
    """

    immutable_outputs = True

    def __init__(self, count: int, clustering: np.ndarray) -> None:
        self.shape, self.clustering = (1, count), clustering

    def __call__(self, mask: np.ndarray, x: np.ndarray) -> tuple[np.ndarray]:
        """The coalition as one row of zeros and ones."""
        return (np.asarray(mask, dtype=np.float64)[None],)


def background(
    batch: Batch, i: int, references: int, pool: Callable[[], Tensor] | None, purpose: str
) -> Tensor:
    """References of one sample, (R, *F): its baseline, or samples drawn from a pool.

    Args:
        batch: Samples.
        i: Position of the sample.
        references: R; 0 for the baseline.
        pool: Returns (P, *F) samples that are never evaluated; None where there are none.
        purpose: Of the draw.

    Raises:
        NotDefinedError: References are asked for, and there is no pool.
    """
    if not references:
        return batch.baseline[i : i + 1].detach().clone()
    if pool is None:
        raise NotDefinedError(
            f"references={references} needs samples that are never evaluated, and the "
            "data keep none; set references=0 for the baseline, or a smaller limit."
        )
    rows = pool().to(batch.x)
    check_references(rows, batch.x)
    g = rng.generator(batch.seed, purpose, batch.sample_ids[i])
    return rows[torch.randperm(len(rows), generator=g)[:references].to(rows.device)]


def library() -> Any:
    """The module shap.

    Raises:
        NotDefinedError: It is not installed.
    """
    try:
        return importlib.import_module("shap")
    except ImportError as error:
        raise NotDefinedError(
            "the library shap is not installed; run: pip install 'igbench[shap]'."
        ) from error


def on_players(
    own: Game, values: Callable[[Callable[[np.ndarray], np.ndarray]], np.ndarray]
) -> Tensor:
    """Map (1, *F) of values (n,) of the game of one sample.

    Args:
        own: The game.
        values: Maps a function of coalitions (D, n), zeros and ones, to values of n players.
    """
    if own.count < 2:  # nothing, or one player who gets all
        both = own.value(torch.tensor([[False] * own.count, [True] * own.count]))
        return own.spread(both.diff()[: own.count])[None]

    def function(masks: np.ndarray) -> np.ndarray:
        return own.value(torch.from_numpy(np.asarray(masks) > 0.5)).numpy()

    found = torch.from_numpy(np.asarray(values(function), dtype=np.float64))
    return own.spread(found.reshape(own.count))[None]


def halves(own: Game) -> np.ndarray:
    """A tree over the players of a sample, (n - 1, 4) in scipy's form.

    Players are split in two halves along the axis on which their centres lie furthest apart, and so
    on; children come before their parents.
    """
    shape = own.features.index.shape
    places = torch.cartesian_prod(*(torch.arange(float(n)) for n in shape)).view(-1, len(shape))
    index = own.features.index.reshape(-1)
    centres = torch.stack([places[index == k].mean(dim=0) for k in own.live.tolist()]).numpy()
    rows: list[list[float]] = []

    def split(members: np.ndarray) -> int:
        if len(members) == 1:
            return int(members[0])
        own_centres = centres[members]
        along = int(np.ptp(own_centres, axis=0).argmax())
        ordered = members[np.argsort(own_centres[:, along], kind="stable")]
        middle = (len(ordered) + 1) // 2
        left, right = split(ordered[:middle]), split(ordered[middle:])
        rows.append([left, right, len(members), len(members)])
        return len(centres) + len(rows) - 1

    split(np.arange(len(centres)))
    return np.array(rows, dtype=np.float64)


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Give modules back their hooks, attributes and gradients, whatever happens within."""
    modules = [
        (m, {k: v.copy() if k[:1] == "_" and isinstance(v, dict) else v for k, v in own.items()})
        for m in model.modules()
        for own in [vars(m)]
    ]
    gradients = [(p, p.grad) for p in model.parameters()]
    try:
        yield
    finally:
        for module, attributes in modules:
            vars(module).clear()
            vars(module).update(attributes)
        for parameter, gradient in gradients:
            parameter.grad = gradient
