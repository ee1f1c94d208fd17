"""Matrices of the tokens of a prompt against the tokens that follow it.

With score="each" of `igbench.data.prompts`, every token of a continuation is a sample of its own,
"ID:t".  Their maps are the rows of a matrix; with earlier tokens as features it is lower triangular
behind the columns of the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from igbench.errors import printable
from igbench.report import heatmaps, samples, styles
from igbench.schema import Records

SHOWN = 3
"""Prompts with a matrix in a report, at most."""
EMPTY = "#e6e6e6"
"""Colour of tokens that are not there yet."""


@dataclass(frozen=True, eq=False)
class TokenMatrix:
    """Attributions of prompt tokens and earlier tokens to each token of a continuation.

    Attributes:
        prompt: Identifier of the prompt.
        values: (T, G), NaN where a token is not there yet.
        rows: T scored tokens.
        columns: G features: those of the prompt, then the earlier tokens where they are features.
    """

    prompt: str
    values: np.ndarray
    rows: tuple[str, ...]
    columns: tuple[str, ...]


def matrices(records: Records, method: str) -> list[TokenMatrix]:
    """The matrices of a run for one method, in the order of the prompts.

    Prompts of which the run has kept the map of one token alone, or not the first, are left out.

    Args:
        records: A run over prompts with score="each".
        method: Name of the method.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for sample in records.run.samples:
        place = re.fullmatch(r"(.*):(\d+)", str(sample["sample_id"]))
        kept = sample["sample_id"] in records.maps.get(method, {}) and sample.get("features")
        if place and kept and int(place[2]) == len(groups.get(place[1], [])):
            groups.setdefault(place[1], []).append(sample)
    return [
        _matrix(prompt, tokens, records.maps[method])
        for prompt, tokens in groups.items()
        if len(tokens) > 1
    ]


def figures(records: Records) -> dict[str, Figure]:
    """Matrices of the first prompts for the first method of a run, by the names of their files.

    None where tokens are not samples of their own.

    Args:
        records: A run.
    """
    run = records.run
    chosen = next((m for m in styles.method_names(run) if records.maps.get(m)), None)
    found = matrices(records, chosen) if chosen else []
    return {
        f"token_matrix_{i + 1}": figure(one, str(chosen), signed=samples.signed(run, str(chosen)))
        for i, one in enumerate(found[:SHOWN])
    }


def _matrix(
    prompt: str, tokens: Sequence[Mapping[str, Any]], maps: Mapping[str, np.ndarray]
) -> TokenMatrix:
    names = tuple(tokens[-1]["features"]["names"])
    values = np.full((len(tokens), len(names)), np.nan)
    for row, sample in zip(values, tokens, strict=True):
        own = np.asarray(maps[sample["sample_id"]], dtype=float)
        row[: len(own)] = own
    texts = [_text(sample["features"]) for sample in tokens]
    before = [texts[0][: len(texts[0]) - len(_tail(tokens[0]))], *texts[:-1]]
    rows = tuple(text[len(b) :].strip() for text, b in zip(texts, before, strict=True))
    return TokenMatrix(prompt, values, rows, names)


def _text(features: Mapping[str, Any]) -> str:
    """The whole text of a sample: features and what stands between them."""
    names, gaps = features["names"], features.get("gaps") or [""] * (len(features["names"]) + 1)
    return str(gaps[0]) + "".join(n + g for n, g in zip(names, gaps[1:], strict=True))


def _tail(sample: Mapping[str, Any]) -> str:
    """What stands behind the last feature."""
    return str((sample["features"].get("gaps") or [""])[-1])


def figure(matrix: TokenMatrix, method: str, *, signed: bool = True) -> Figure:
    """Draw a matrix: scored tokens in rows, features in columns.

    Signed maps are red where they raise the score and blue where they lower it, with symmetric
    limits; magnitudes are violet.  Tokens that are not there yet are grey.

    Args:
        matrix: The matrix.
        method: Name of the method, for the title.
        signed: Whether the map has a sign.
    """
    count, width = matrix.values.shape
    limit = float(np.nanmax(np.abs(matrix.values))) or 1.0
    with styles.style():
        made = styles.canvas(min(12.0, 1.8 + 0.42 * width), 1.6 + 0.32 * count)
        axes = made.subplots()
        axes.set_facecolor(EMPTY)
        shown = axes.imshow(
            matrix.values, cmap=heatmaps.SIGNED if signed else heatmaps.UNSIGNED, aspect="auto",
            vmin=-limit if signed else 0.0, vmax=limit,
        )  # fmt: skip
        axes.set_xticks(range(width), [_shown(c) for c in matrix.columns], rotation=60, ha="right",
                        rotation_mode="anchor")  # fmt: skip
        axes.set_yticks(range(count), [_shown(r) for r in matrix.rows])
        axes.tick_params(length=0)
        axes.set_xlabel("prompt, and tokens before")
        axes.set_ylabel("scored token")
        axes.set_title(_shown(f"{matrix.prompt}: {styles.label(method)}", 60))
        made.colorbar(shown, ax=axes, label="attribution; limit = largest |a|")
    return made


def _shown(text: str, most: int = 20) -> str:
    """A text as matplotlib draws it: printable, short, without its mathematics."""
    own = printable(text)
    return (own if len(own) <= most else own[: most - 1] + "…").replace("$", r"\$")
