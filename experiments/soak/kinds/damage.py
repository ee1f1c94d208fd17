"""Files with a flipped bit, cut, emptied, lost, doubled or exchanged."""

from __future__ import annotations

import random
from pathlib import Path

from experiments.soak.kinds import common

NAME = "a file with a flipped bit, cut, emptied, lost, doubled or exchanged"
HOWS = ("flip", "flip", "flip", "cut", "empty", "lose", "double", "exchange")


def attempt(rng: random.Random, folder: Path) -> common.Outcome:
    """Damage a file of a run that is finished or stopped, and repeat the command."""
    start, how = rng.choice(["half", "whole"]), rng.choice(HOWS)
    results = common.copy(folder, start)
    files = sorted(p for p in results.rglob("*") if p.is_file() and "report" not in p.name)
    path, other = rng.sample(files, 2)
    damage(rng, path, other, how)
    return common.finish(results, f"{how} {path.relative_to(results)} of {start}")


def damage(rng: random.Random, path: Path, other: Path, how: str) -> None:
    """Damage a file; the other one is what it may be exchanged with."""
    content = path.read_bytes()
    if how == "lose":
        path.unlink()
    elif how == "exchange":
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
    elif how == "flip" and content:
        changed = bytearray(content)
        changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
    else:
        cut = content[: rng.randrange(len(content) + 1)]
        path.write_bytes({"cut": cut, "double": content * 2}.get(how, b""))
