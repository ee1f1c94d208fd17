"""Matrices of prompt tokens against scored tokens."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from igbench.report.token_matrix import figure, matrices


def records(**maps: list[float]) -> Any:
    samples = [
        {"sample_id": "a:0", "features": {"names": ["We", "go"], "gaps": ["", " ", " home"]}},
        {"sample_id": "a:1",
         "features": {"names": ["We", "go", "home"], "gaps": ["", " ", " ", " $1"]}},
        {"sample_id": "b:0", "features": {"names": ["x"], "gaps": ["", " y"]}},
        {"sample_id": "plain"},
    ]  # fmt: skip
    kept = {k.replace("_", ":"): np.array(v) for k, v in maps.items()}
    return SimpleNamespace(run=SimpleNamespace(samples=samples), maps={"ig": kept})


def test_rows_are_scored_tokens_and_later_tokens_are_not_there_yet():
    (found,) = matrices(records(a_0=[1, 2], a_1=[3, -4, 5], b_0=[1]), "ig")
    assert found.prompt == "a"
    assert found.rows == ("home", "$1")
    assert found.columns == ("We", "go", "home")
    assert np.isnan(found.values[0, 2])
    assert found.values[np.tril_indices(2, 1, 3)].tolist() == pytest.approx([1, 2, 3, -4, 5])


def test_prompts_without_their_first_row_are_left_out():
    assert matrices(records(a_1=[3, -4, 5]), "ig") == []
    assert matrices(records(a_0=[3, -4]), "none") == []


def test_the_scale_is_symmetric_and_texts_are_literal():
    (found,) = matrices(records(a_0=[1, 2], a_1=[3, -4, 5]), "ig")
    axes = figure(found, "ig").axes[0]
    assert axes.images[0].get_clim() == (-5, 5)
    assert [t.get_text() for t in axes.get_yticklabels()] == ["home", r"\$1"]
    assert figure(found, "saliency", signed=False).axes[0].images[0].get_clim() == (0, 5)
