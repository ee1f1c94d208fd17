"""Prompts from a table: those that ship with igbench, or a file of the user's."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Literal

from igbench import files
from igbench.core.arguments import checked
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.data.prompts import Prompt, prompts_data
from igbench.data.texts import PromptUnit
from igbench.errors import InputError, check_positive, one_line

FILE = Path(__file__).parent / "sentences" / "prompts.tsv"
"""Twenty prompts with a fact or an agreement, the word that fits, and one that does not."""

COLUMNS = ("id", "prompt", "continuation", "foil")
MOST = 10**7
"""Bytes of the longest file."""


@checked
def prompts(
    model: Model,
    *,
    limit: int | None,
    file: str | None = None,
    contrast: bool = True,
    unit: PromptUnit = "word",
    score: Literal["all", "first", "each"] = "first",
    given: bool = False,
) -> Data:
    """Prompts with the word that follows and a foil: facts and agreements in English.

    Args:
        model: A language model.
        limit: Number of prompts; None for all.
        file: Table of tab-separated values with the columns id, prompt, continuation and foil; the
            continuation follows the prompt behind a space, and an empty foil stands for none.
            None for the twenty prompts that ship with igbench.
        contrast: Score the difference of the logits of continuation and foil (the output "logit");
            otherwise the continuation alone, and foils have no meaning.
        unit: What one feature is: a "token" of the model, or a "word" with all of its tokens.
        score: Which tokens of the continuation are scored: the "first" alone, "all" together, or
            "each" as a sample of its own.
        given: With score="each", whether earlier tokens of the continuation are features too.

    Raises:
        InputError: The model is no language model, or the file is no such table.
    """
    if limit is not None:
        check_positive("limit", limit)
    if unit == "segment":
        raise InputError("data.unit=segment needs prompts with segments; use token or word here.")
    path = FILE if file is None else Path(file).expanduser()
    found = _read(path)[:limit]
    if not contrast:
        found = [(sample_id, replace(prompt, foil="")) for sample_id, prompt in found]
    return prompts_data(
        "prompts",
        model,
        [prompt for _, prompt in found],
        sample_ids=[sample_id for sample_id, _ in found],
        source="prompts of igbench" if file is None else f"prompts in {path.name}",
        unit=unit,
        score=score,
        given=given,
    )


def _read(path: Path) -> list[tuple[str, Prompt]]:
    """Identifiers and prompts of a table.

    Raises:
        InputError: It cannot be read, has other columns, or two rows with an identifier.
    """
    try:
        text = files.text(path, MOST)
    except (OSError, ValueError) as error:
        raise InputError(f"data.file={path} cannot be read: {one_line(error)}.") from error
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    if tuple(table.fieldnames or ()) != COLUMNS:
        raise InputError(
            f"data.file={path} begins with {', '.join(table.fieldnames or ())!r}; expected the "
            f"columns {', '.join(COLUMNS)}, with tabs between them."
        )
    found = []
    for number, row in enumerate(table, start=2):
        if None in row.values() or None in row or not row["prompt"] or not row["continuation"]:
            raise InputError(
                f"line {number} of data.file={path} has not four values, a prompt and a "
                "continuation among them, with tabs between them."
            )
        foil = f" {row['foil']}" if row["foil"] else ""
        found.append((row["id"], Prompt(row["prompt"], f" {row['continuation']}", foil)))
    ids = [sample_id for sample_id, _ in found]
    if len(set(ids)) < len(ids) or not all(ids):
        raise InputError(f"data.file={path} has rows without an id, or two with the same.")
    return found
