"""The page of a comparison, as `igbench compare --html FILE` writes it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from igbench.errors import InputError, printable

if TYPE_CHECKING:
    from igbench.records.compare import Comparison
    from igbench.schema import Records


def check(path: Path | None, top: int | None) -> None:
    """Check the options before anything is compared.

    Args:
        path: Where the page goes; None for no page.
        top: Samples of each method whose maps are drawn; None for the default.

    Raises:
        InputError: The path or `top` is unfit, or `top` is given without the path.
    """
    if path is None:
        if top is not None:
            raise InputError("--top chooses maps of the page; give --html FILE too.")
        return
    from igbench.report import changes

    changes.check(path, changes.TOP if top is None else top)


def write(
    base: Records, new: Records, comparison: Comparison, path: Path | None, top: int | None
) -> None:
    """Write the page, if one is asked for, and say where on standard error.

    Args:
        base: The run to compare with.
        new: The other run.
        comparison: Their comparison.
        path: Where to; None for no page.
        top: Samples of each method whose maps are drawn; None for the default.

    Raises:
        InputError: The page cannot be written.
    """
    if path is None:
        return
    from igbench.report import changes

    chosen = changes.TOP if top is None else top
    changes.write(base, new, comparison, path, top=chosen)
    sys.stderr.write(f"page: {printable(str(path))}\n")
