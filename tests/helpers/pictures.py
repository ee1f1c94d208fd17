"""Pictures that take no time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from igbench.files import write_whole
from igbench.schema import Records

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"></svg>'


def pixel(figure: Figure, *, dpi: int = 300) -> Image.Image:
    """A picture of one pixel in place of that of `igbench.report.styles.pixels`."""
    return Image.new("RGB", (1, 1))


def placeholder(
    figure: Figure, stem: Path, kinds: Sequence[str] = ("png", "pdf", "svg"), *, dpi: int = 300
) -> list[Path]:
    """Write pictures of one pixel under the names that `igbench.report.styles.save` gives."""
    drawn = io.BytesIO()
    pixel(figure).save(drawn, format="png")
    made = {"png": drawn.getvalue(), "pdf": b"%PDF-1.4\n%%EOF\n", "svg": SVG}
    paths = {kind: stem.with_name(f"{stem.name}.{kind}") for kind in kinds}
    for kind, path in paths.items():
        write_whole(path, made[kind])
    return list(paths.values())


def one_figure(records: Records, summary: pd.DataFrame) -> dict[str, Figure]:
    """An empty figure in place of those of a run."""
    return {"metrics": Figure()}
