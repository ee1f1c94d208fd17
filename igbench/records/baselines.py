"""Keep runs as baselines: small references that can be committed, and that read like any run.

A baseline is a folder `baselines/NAME/` with the scores and counts of a run to the last bit, its
summary, and a record with hashes.  Left out, and listed in `environment.baseline` of the record,
are curves, maps, features of samples, texts of more than 1,000 characters, the wall time of each
row, and what other runs could reuse.  The costs of methods stay, seconds among them: they are rows
like any score, and no verdict depends on them.
"""

from __future__ import annotations

import logging
import math
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from igbench.errors import InputError, suggestion
from igbench.files import check_name, refuse_link
from igbench.records import checked, integrity, owned, store
from igbench.records.settings import own_settings
from igbench.records.shorten import LONGEST, long_texts, shorten
from igbench.schema import Point, Records, Run

log = logging.getLogger(__name__)

ROOT = Path("baselines")
"""Folder of the baselines of a project, in its own folder."""
LARGE = 2**20
"""Bytes above which a baseline is reported as large."""
NOTE = "baseline"
"""Entry of the environment of a run that is a baseline: its name, and what was left out."""

_NO_PART = ("identity", "reuse")
"""Entries of the environment by which runs are found again or reused: a baseline is neither."""


@own_settings()
def set_baseline(run_folder: Path, name: str, root: Path = ROOT, *, replace: bool = False) -> Path:
    """Keep a run as a baseline; the folder appears complete or not at all.

    Runs with failures or with random weights are kept with a warning.

    Args:
        run_folder: Folder of the run.
        name: Name of the baseline, such as that of a release.
        root: Folder of all baselines.
        replace: Whether a baseline of this name is replaced.

    Returns:
        The folder of the baseline.

    Raises:
        InputError: The run cannot be read, the name cannot be that of a folder, or a baseline of
            this name exists and is not to be replaced.
    """
    place = _place(name, root)
    if place.exists() and not replace:
        raise InputError(f"the baseline {place} exists; choose another --name, or give --force.")
    if place.exists():
        _check_ours(place)
    records = store.read(run_folder)
    _warn(records.run, name)
    files = integrity.open_run(run_folder)
    content = store.encode(_slim(records, name, integrity.digest(files.record)).as_dict())
    new = place.with_name(f".{name}.{secrets.token_hex(4)}.new") if place.exists() else place
    store.write_folder(new, lambda folder: store.fill(folder, content, _files(files)))
    if new != place:
        _swap(new, place)
    _warn_large(place)
    return place


def find(name: str, root: Path = ROOT) -> Path:
    """The folder of a baseline.

    Raises:
        InputError: There is none of this name, or its folder is a link.
    """
    place = _place(name, root)
    if (place / store.RUN_FILE).is_file():
        return place
    known = names(root)
    have = f"baselines there: {', '.join(known)}" if known else "there are no baselines"
    raise InputError(
        f"no baseline {name!r} in {root} ({have}); keep a run with igbench baseline set RUN "
        f"--name {name}.{suggestion(name, known)}"
    )


def names(root: Path = ROOT) -> list[str]:
    """Names of the baselines in a folder, sorted; links are none."""
    places = (p.parent for p in Path(root).glob(f"*/{store.RUN_FILE}"))
    return sorted(p.name for p in places if not p.name.startswith(".") and not p.is_symlink())


def remove(name: str, root: Path = ROOT) -> Path:
    """Delete a baseline, and return where it was.

    Raises:
        InputError: There is none of this name, or something else is in its folder.
    """
    place = find(name, root)
    _check_ours(place)
    owned.delete(place)
    return place


def note(run: Run) -> Mapping[str, Any]:
    """What the record of a baseline says of itself; empty for any other run."""
    return run.environment.get(NOTE) or {}


def _place(name: str, root: Path) -> Path:
    place = Path(root) / check_name("baseline", name)
    refuse_link(place)
    return place


def _swap(new: Path, place: Path) -> None:
    """Put a new baseline in the place of an earlier one, which stays where that fails."""
    old = place.with_name(f".{place.name}.{secrets.token_hex(4)}.old")
    try:
        place.rename(old)
        try:
            new.rename(place)
        except OSError:
            old.rename(place)
            raise
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        raise InputError(f"cannot replace {place}: {error.strerror}.") from error
    shutil.rmtree(old, ignore_errors=True)


def _check_ours(place: Path) -> None:
    """Raise unless a folder is a baseline, or the remains of one; a run is never touched."""
    try:
        ours = bool(note(store.read_run(place)))
    except InputError:  # damaged: its files tell
        ours = bool(list(place.iterdir())) and not (place / integrity.MAPS_FOLDER).exists()
    others = owned.strangers(place)
    if not ours or others:
        what = f"it holds {others[0]}" if others else "its record says that it is none"
        raise InputError(f"{place} is no baseline ({what}); it is left as it is.")


def _files(files: integrity.RunFiles) -> Iterator[tuple[str, bytes]]:
    scores = store.read_table(files, store.SCORES_FILE).replace_schema_metadata(None)
    place = scores.schema.get_field_index("seconds")
    unknown = pa.array([math.nan] * len(scores), pa.float64())
    yield store.SCORES_FILE, store.parquet(scores.set_column(place, "seconds", unknown))
    yield store.CURVES_FILE, store.parquet(store.table(Point, []))
    yield store.SUMMARY_FILE, files.read(store.SUMMARY_FILE, checked.MOST_BYTES)


def _slim(records: Records, name: str, record: str) -> Run:
    """The run as a baseline describes it, with a note of what was left out."""
    whole = records.run.as_dict()
    ids = [s["sample_id"] for s in whole["samples"]]
    samples = [{k: v for k, v in s.items() if k != "features"} for s in whole["samples"]]
    environment = {k: v for k, v in whole["environment"].items() if k not in _NO_PART}
    before = note(records.run).get("left_out", [])
    parts = {"config": whole["config"], "identity": whole["identity"], "environment": environment}
    parts["totals"], parts["samples"] = whole["totals"], samples
    cut = [place for part, value in parts.items() for place in long_texts(value, part)]
    left_out = [*before, *_left_out(records, cut)]
    short = shorten(parts)
    short["samples"] = [
        {**s, "sample_id": own} for s, own in zip(short["samples"], ids, strict=True)
    ]
    short["environment"][NOTE] = {
        "name": name, "run_json": record, "left_out": list(dict.fromkeys(left_out))
    }  # fmt: skip
    return Run(**{**vars(records.run), **short})


def _left_out(records: Records, cut: list[str]) -> list[str]:
    run = records.run
    featured = sum("features" in s for s in run.samples)
    reused = [k for k in _NO_PART if k in run.environment]
    found = {
        f"files of maps: {len(records.maps)}": len(records.maps),
        f"points of curves: {len(records.curves):,}": len(records.curves),
        f"features of samples: {featured:,}": featured,
        "the wall time of each row (column seconds)": len(records.scores),
        f"environment.{' and environment.'.join(reused)}": len(reused),
        f"texts after {LONGEST:,} characters: {', '.join(cut)}": len(cut),
    }
    return [text for text, count in found.items() if count]


def _warn(run: Run, name: str) -> None:
    if run.state != "finished":
        counts = run.totals.get("status") or {}
        failed = f": {counts['failed']} cells failed" if counts.get("failed") else ""
        log.warning("baseline %s keeps a run that finished with failures%s", name, failed)
    if run.random_weights:
        log.warning(
            "baseline %s keeps a run of a model with random weights, whose scores say nothing of a "
            "trained one", name,
        )  # fmt: skip


def _warn_large(place: Path) -> None:
    size = sum(path.stat().st_size for path in place.iterdir())
    if size > LARGE:
        log.warning(
            "baseline %s has %.1f MiB; a run of fewer samples, methods or metrics makes a smaller "
            "one", place.name, size / 2**20,
        )  # fmt: skip
