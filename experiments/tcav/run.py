"""Ask EfficientNet-Lite0 for stripes, dots and blue; write tcav.png and table.md here.

python experiments/tcav/run.py
"""

from __future__ import annotations

import colorsys
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from igbench.__main__ import main as igbench
from igbench.core import rng

HERE = Path(__file__).parent
SIDE, PICTURES, POOL = 224, 40, 120
CLASSES = ("hammer", "dam", "palace", "solar dish", "castle", "coral reef")
"""Those with at least three photographs in the package."""
WORDS = ("experiment=imagenet_lite", "limit=null", "layer=blocks.4")


def coordinates(draw: Callable[[int], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Two axes, turned at random and scaled to a random period of 12 to 48 pixels."""
    angle, period, *phase = draw(4)
    turn, scale = np.pi * angle, 12 + 36 * period
    y, x = np.mgrid[:SIDE, :SIDE] / scale
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    return u + phase[0], v + phase[1]


def stripes(draw: Callable[[int], np.ndarray]) -> np.ndarray:
    """Parallel bars."""
    u, _ = coordinates(draw)
    return np.sin(2 * np.pi * u) > 0


def dots(draw: Callable[[int], np.ndarray]) -> np.ndarray:
    """Discs on a lattice, each moved a little."""
    u, v = coordinates(draw)
    row, column = np.floor(u).astype(int) % 32, np.floor(v).astype(int) % 32
    moved = 0.3 * draw(2 * 32 * 32).reshape(2, 32, 32)
    du, dv = u % 1 - 0.35 - moved[0, row, column], v % 1 - 0.35 - moved[1, row, column]
    return du**2 + dv**2 < 0.3**2


def blobs(draw: Callable[[int], np.ndarray]) -> np.ndarray:
    """Noise of a random grain, cut at its median: the same two colours without a pattern."""
    noise = draw(SIDE * SIDE).reshape(SIDE, SIDE)
    smooth = ndimage.gaussian_filter(noise, 2 + 8 * draw(1)[0], mode="wrap")
    return smooth > np.median(smooth)


def any_colours(draw: Callable[[int], np.ndarray]) -> np.ndarray:
    """Two colours."""
    return draw(6).reshape(2, 3)


def blues(draw: Callable[[int], np.ndarray]) -> np.ndarray:
    """Two blues, from cyan to violet."""
    hue, saturation, value = draw(6).reshape(3, 2)
    colours = zip(0.52 + 0.16 * hue, 0.5 + 0.5 * saturation, 0.4 + 0.6 * value, strict=True)
    return np.array([colorsys.hsv_to_rgb(*c) for c in colours])


def write(
    folder: Path,
    name: str,
    count: int,
    shape: Callable[..., np.ndarray],
    colours: Callable[..., np.ndarray] = any_colours,
) -> Path:
    """Write pictures of a shape in two colours each."""
    place = folder / name
    place.mkdir()
    for i in range(count):
        keyed = rng.generator(0, "experiments/tcav", name, i)

        def draw(n: int, keyed: torch.Generator = keyed) -> np.ndarray:
            return torch.rand(n, generator=keyed, dtype=torch.float64).numpy()

        two = (255 * colours(draw)).astype(np.uint8)
        Image.fromarray(two[shape(draw).astype(int)]).save(place / f"{i:03d}.png")
    return place


def main() -> None:
    """Draw pictures, score them, and keep the figure and the table."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        drawn = [
            write(folder, "stripes", PICTURES, stripes),
            write(folder, "dots", PICTURES, dots),
            write(folder, "blue", PICTURES, blobs, blues),
            write(folder, "blobs", PICTURES, blobs),
        ]
        words = [f"concept={place}" for place in drawn]
        words += [f"random={write(folder, 'random', POOL, blobs)}"]
        words += [f"target={name}" for name in CLASSES]
        assert igbench(["tcav", *WORDS, *words, f"results_dir={folder / 'results'}"]) == 0
        (found,) = (folder / "results" / "tcav" / "imagenet_lite").iterdir()
        shutil.copy(found / "tcav.png", HERE / "tcav.png")
        text = (found / "tcav.md").read_text(encoding="utf-8")
        (HERE / "table.md").write_text(text.rpartition("![Scores]")[0].strip() + "\n")


if __name__ == "__main__":
    main()
