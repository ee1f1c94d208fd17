"""Regenerate the picture and the table of scores of README.md, and the figures of that experiment.

`python docs/readme.py` takes the newest run of `imagenet_lite` in results/, or makes one, which
takes some 17 minutes on two CPU cores; `python docs/readme.py RUN` takes that run.  Numbers are
those of the committed records in experiments/imagenet_lite/reference; only the maps, which are not
committed, come from the run, which must be comparable with them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import generate

from igbench.errors import InputError
from igbench.records import compare, stats, store
from igbench.report import heatmaps, plots, styles

README = generate.ROOT / "README.md"
EXPERIMENT = generate.RUN.parent
SCREEN = 150
"""Dots per inch of a page on a screen, where pictures of 300 have more bytes than a reader sees."""
MOST_LINES = 120
"""Lines of README.md, at most."""


def main(words: Sequence[str] | None = None) -> int:
    """Write the figures and the table; the exit status is 2 where that is not possible."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", nargs="?", help="folder of a run of imagenet_lite")
    parser.add_argument("--results-dir", type=Path, default=generate.ROOT / "results")
    given = parser.parse_args(words)
    try:
        for path in write(run_folder(given.run, given.results_dir)):
            sys.stdout.write(f"{path}\n")
    except InputError as error:
        sys.stderr.write(f"readme: {error}\n")
        return 2
    return 0


def run_folder(name: str | None, results_dir: Path) -> Path:
    """The run whose maps are shown; made where there is none yet."""
    if name is None and not store.runs(results_dir / EXPERIMENT.name):
        words = [f"experiment={EXPERIMENT.name}", f"results_dir={results_dir}"]
        subprocess.run([sys.executable, "-m", "igbench", *words], check=True, cwd=generate.ROOT)
    return store.resolve(name or EXPERIMENT.name, results_dir)


def write(folder: Path, into: Path = EXPERIMENT, readme: Path = README) -> list[Path]:
    """Draw all figures of the experiment and fill the table of README.md.

    Args:
        folder: The run with the maps.
        into: Where the figures go.
        readme: The page with the table.

    Returns:
        The paths of what was written.

    Raises:
        InputError: The run has other samples or weights than the reference, or no maps, or the page
            would be too long.
    """
    reference, own = store.read(generate.RUN), store.read(folder)
    may_differ = ("libraries", "device", "precision")
    differing = compare.compare(reference, own, across=may_differ).incomparable
    if differing:
        raise InputError(f"{folder} is not comparable with the reference: {'; '.join(differing)}.")
    grid = heatmaps.grid(own)
    if grid is None:
        raise InputError(f"{folder} has no maps of images; run the experiment with keep_maps=8.")
    text = generate.filled(readme.read_text(encoding="utf-8"))
    if len(text.splitlines()) > MOST_LINES:
        raise InputError(f"{readme.name} has more than {MOST_LINES} lines; shorten it first.")
    run = reference.run
    summary = stats.summarise(reference.scores, run.metrics, methods=run.methods)
    written = [into / "heatmaps.png"]
    _png(grid, written[-1])
    for name, figure in plots.figures(reference, summary).items():
        if (EXPERIMENT / f"{name}.png").exists():  # those that its page shows
            written.append(into / f"{name}.png")
            _png(figure, written[-1])
    readme.write_text(text, encoding="utf-8")
    return [*written, readme]


def _png(figure: plots.Figure, path: Path) -> None:
    """Write a figure as PNG alone."""
    styles.save(figure, path.with_suffix(""), ("png",), dpi=SCREEN)


if __name__ == "__main__":
    sys.exit(main())
