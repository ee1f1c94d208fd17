"""Factories and parts as users may write them: some that work, and some that cannot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from igbench.core.batch import Batch
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.methods.base import BaseMethod
from igbench.metrics import Completeness
from igbench.schema import MethodSpec


class Calls(list[str]):
    """What was done with the parts below."""


CALLS = Calls()


class Net(nn.Module):
    """Two outputs of four numbers."""

    def forward(self, x: Tensor) -> Tensor:
        """The sum and the sum of squares."""
        CALLS.append("model")
        return torch.stack([x.flatten(1).sum(1), (x.flatten(1) ** 2).sum(1)], dim=1)


def model(*, depth: int = 1) -> Model:
    """A model that counts its calls."""
    return Model("net", Net().eval(), (), "", "", "made")


def data(*, limit: int | None, **_: Any) -> Data:
    """Two samples of four numbers."""
    return Data(
        name="ramp",
        kind="table",
        shape=(4,),
        sample_ids=("a", "b"),
        labels=(0, 1),
        load=lambda i: torch.arange(1.0, 5.0) + i,
        features="element",
        display=None,
        black=(0.0,),
        reference=None,
        source="made",
    )


def twice() -> Data:
    """Data with two samples of one name."""
    return replace(data(limit=None), sample_ids=("a", "a"))


def nothing() -> None:
    """No part at all."""


def raising() -> Model:
    """A factory that fails."""
    raise RuntimeError("two\nlines")


def leaving() -> Model:
    """A factory that ends the process."""
    raise SystemExit(5)


NUMBER = 3
"""Nothing that can be called."""


class Bare:
    """A method without a definition."""

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        return batch.x


@dataclass(frozen=True)
class Method(BaseMethod):
    """A method whose definition may be anything."""

    kind: Any = "global"
    signed: Any = True
    role: Any = "method"
    label: Any = "mine"
    reference: Any = "mine"

    @property
    def spec(self) -> MethodSpec:
        """The definition, as it is."""
        return MethodSpec(self.label, self.reference, self.kind, self.signed, self.role)

    def __call__(self, batch: Batch) -> Tensor:
        """Attribute, (N, *F)."""
        CALLS.append("method")
        return batch.x


@dataclass(frozen=True)
class Metric(Completeness):
    """A metric whose definition may be anything."""

    title: Any = "mine"
    direction: Any = "lower"
    range: Any = (0, 1)
    needs: Any = "any"
    version: Any = 1  # type: ignore[misc]
    family: Any = "axiomatic"
    min_effect: Any = 0.01
    reference: Any = "mine"


class Unscored:
    """A metric without `measure`."""

    spec = Metric().spec
