"""Links, pipes, folders and files of strangers in the place of files and folders of a run."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

from experiments.soak.kinds import common

NAME = "a stranger's link, pipe, folder or file in the place of one of a run"
HOWS = ("link", "link to a folder", "loop", "dangling link", "folder", "pipe", "zeros", "words")
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1e308,
    "x" * 5000,
    [],
    {},
    [[[]]],
    {"_target_": "os.system"},
)


def attempt(rng: random.Random, folder: Path) -> common.Outcome:
    """Put it there, ask everything that reads runs, and look after the files of others."""
    start, how = rng.choice(["half", "whole"]), rng.choice(HOWS)
    results, outside = common.copy(folder, start), folder / "outside"
    shutil.copytree(folder.parent / "whole", outside)
    for name in ("a.tmp", "a.md", "a.png", "shards"):
        (outside / name).write_text("mine")
    path = rng.choice(sorted(results.rglob("*")))
    what, before = f"{how} for {path.relative_to(results)} of {start}", digest(outside)
    put(rng, path, outside, how)
    commands = ([["report", str(p)] for p in results.glob("*/2*")] + [["table", str(results)]])[:1]
    found = [
        common.start(words, folder / f"asked-{i}.log").result() for i, words in enumerate(commands)
    ]
    outcome = common.finish(results, what)
    if digest(outside) != before:
        return common.Outcome(common.FOLLOWED, what)
    for result in found:
        if result not in (common.EQUAL, common.REFUSED):
            return common.Outcome(result, f"{what}, {commands[0][0]}")
    return outcome


def put(rng: random.Random, path: Path, outside: Path, how: str) -> None:
    """Replace a file or folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    files = sorted(p for p in outside.rglob("*") if p.is_file())
    folders = sorted(p for p in outside.rglob("*") if p.is_dir())
    targets = {
        "link": rng.choice(files),
        "link to a folder": rng.choice([outside, *folders]),
        "loop": path.parent,
        "dangling link": outside / "nothing",
    }
    if how in targets:
        path.symlink_to(targets[how])
    elif how == "folder":
        (path / "more").mkdir(parents=True)
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "zeros":
        with path.open("wb") as file:
            file.truncate(50_000_000)
    else:
        path.write_text(json.dumps(rng.choice(VALUES)))


def digest(folder: Path) -> str:
    """Hash of the names and the content of all files."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        whole.update(os.fsencode(path.relative_to(folder)))
        whole.update(path.read_bytes() if path.is_file() else b"")
    return whole.hexdigest()
