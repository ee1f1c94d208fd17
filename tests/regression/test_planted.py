"""Does `igbench compare` give the verdicts that a maintainer expects, on runs of a tiny model?"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from experiments.regression import planted
from experiments.regression.setting import Setting, written
from igbench.core.model import Model
from igbench.data.given import given
from igbench.metrics import Completeness, Deletion
from igbench.models.weights import state_hash
from igbench.records import store
from igbench.run import provenance

SAMPLES = 24
SLOW = ("instead of 20", "instead of 64", "never to", "accepted", "to fail")
"""Parts of the names of changes that only slow runs plant."""
OF_DIGITS = ("320 samples", "right-hand")
"""The same of changes whose verdict depends on a trained model, which the tiny one is not."""
MISSED = "maps of 1 of 24 samples shuffled"
"""A change of few samples, which the test of means cannot tell from chance."""


@cache
def tiny() -> Setting:
    """Images of 4 x 4 pixels and a network with bends, so that rules of integration differ."""
    g = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 3)).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g))
    x = torch.rand((planted.MANY, 1, 4, 4), generator=g)
    model = Model("tiny", module, ("a", "b", "c"), "", state_hash(module), "drawn")
    metrics = {"completeness": Completeness(), "deletion": Deletion(step=2)}
    return Setting(
        "tiny", model, lambda n: replace(given(x, model=module, limit=n), white=(1.0,)),
        SAMPLES, metrics, steps=8, own_steps=4, batch_size=512,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def one_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of one revision, whatever happens to the checkout meanwhile."""
    monkeypatch.setattr(provenance, "git_revision", lambda: "")


@cache
def changes() -> dict[str, planted.Plant]:
    return {plant.name: plant for plant in planted.plants(tiny())}


def names() -> list[object]:
    return [
        pytest.param(name, marks=pytest.mark.slow) if any(s in name for s in SLOW) else name
        for name in changes()
        if not any(s in name for s in OF_DIGITS)
    ]


@pytest.mark.parametrize("name", names())
def test_a_planted_change_has_the_right_verdict(name: str, tmp_path: Path) -> None:
    found = planted.look(changes()[name], tmp_path / "runs")
    if name == MISSED:
        assert found.exit_code == 0
        assert not found.right
    else:
        assert found.right, (found.exit_code, found.counts, found.said)


def test_a_verdict_that_is_not_expected_is_not_right(tmp_path: Path) -> None:
    same = changes()["the same once more"]
    assert not planted.look(replace(same, expected=1), tmp_path / "a").right
    assert not planted.look(replace(same, cell="ig/deletion regressed"), tmp_path / "b").right
    table = planted.table([planted.look(replace(same, expected=1), tmp_path / "c")], tiny())
    assert "0 of 1 verdicts are as expected" in table
    assert "**no**" in table


def test_runs_are_written_as_they_are(tmp_path: Path) -> None:
    records = changes()["the same once more"].base()
    read = store.read(written(records, tmp_path / "run"))
    assert read.scores.equals(records.scores)
    assert read.run == records.run
