"""Test with concept activation vectors: read folders of pictures, score, write and print."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from igbench.config import compose, folders, words
from igbench.errors import InputError, check_choice, check_whole, printable, suggestion

if TYPE_CHECKING:
    from torch import Tensor

    from igbench.concepts.activations import Positions
    from igbench.core.dataset import Data
    from igbench.schema import ConceptScore

log = logging.getLogger(__name__)

OWN = ("concept", "random", "layer", "target", "sets", "positions")
"""Keys of this command alone."""

TAKEN = (
    "experiment", "model", "data", "limit", "seed", "device", "dtype", "batch_size", "results_dir",
    "name", "output",
)  # fmt: skip
"""Keys of a run that decide something here."""

BATCH_SIZE = 32
"""Rows in one call where batch_size=auto: too few calls to be worth a measurement."""


@dataclass(frozen=True)
class Request:
    """What the words of a command ask for.

    Attributes:
        concepts: Folder of each concept, by name.
        overrides: Words for the configuration.
        random: Folder of random pictures; None for the data of the experiment.
        layer: Name of a layer; "" for the one that the model names.
        targets: Classes, or "prediction".
        sets: Number of random sets.
        positions: "mean" or "all".
    """

    concepts: Mapping[str, Path]
    overrides: tuple[str, ...]
    random: Path | None = None
    layer: str = ""
    targets: tuple[str, ...] = ("prediction",)
    sets: int = 30
    positions: Positions = "mean"


def request(given: Sequence[str]) -> Request:
    """Read the words of a command; looks at folders, and imports nothing that is slow.

    Args:
        given: key=value, where concept= and target= may be repeated.

    Raises:
        InputError: A word that cannot be used, a folder that is missing or empty.
    """
    words.check([w for w in given if w.partition("=")[0] not in ("concept", "random", "target")])
    own: dict[str, list[str]] = {key: [] for key in OWN}
    overrides = []
    for word in given:
        key, _, value = word.partition("=")
        if key in own:
            if not value.strip():
                raise InputError(f"{word!r} has no value; write {key}=VALUE.")
            own[key].append(value)
        else:
            _check_key(word, key)
            overrides.append(word)
    for key in ("random", "layer", "sets", "positions"):
        if len(own[key]) > 1:
            raise InputError(f"{key}= is given {len(own[key])} times; give it once.")
    concepts = _concepts(own["concept"])
    return Request(
        concepts=concepts,
        overrides=tuple(overrides),
        random=_folder("random", own["random"][0]) if own["random"] else None,
        layer=(own["layer"] or [""])[0],
        targets=tuple(own["target"] or ["prediction"]),
        sets=_sets((own["sets"] or ["30"])[0]),
        positions=_positions((own["positions"] or ["mean"])[0]),
    )


def _check_key(word: str, key: str) -> None:
    """Raise on a key that nothing here would read."""
    top = key.lstrip("+~").partition(".")[0]
    if top in TAKEN:
        return
    if top in (*words.keys(), "experiment"):
        raise InputError(
            f"{word!r} takes no part in tcav, so it would change nothing; leave it out. Known: "
            f"{', '.join((*OWN, *TAKEN))}."
        )
    known = (*OWN, *TAKEN)
    raise InputError(f"unknown key {key!r}; known: {', '.join(known)}.{suggestion(top, known)}")


def _concepts(given: Sequence[str]) -> dict[str, Path]:
    if not given:
        raise InputError("no concept is given; write concept=DIR, a folder with pictures of it.")
    found: dict[str, Path] = {}
    for text in given:
        folder = _folder("concept", text)
        if folder.name in found:
            raise InputError(
                f"two concepts are called {folder.name!r}, after their folders; rename one of them."
            )
        found[folder.name] = folder
    return found


def _folder(key: str, text: str) -> Path:
    folder = Path(text).expanduser().absolute()
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{key}={text}: this folder {what}; set {key}=DIR to one with pictures.")
    if not any(folder.iterdir()):
        raise InputError(f"{key}={text}: this folder is empty; set {key}=DIR to one with pictures.")
    return folder


def _sets(text: str) -> int:
    if not text.isdecimal() or int(text) < 30:
        raise InputError(f"sets={text} must be a whole number of at least 30.")
    return int(text)


def _positions(text: str) -> Positions:
    check_choice("positions", text, ("mean", "all"))
    return "all" if text == "all" else "mean"


def run(console: Console, asked: Request, *, markdown: bool = False) -> Path:
    """Score the concepts, write the folder of results, print the table; returns the folder.

    Args:
        console: Where to print.
        asked: From `request`.
        markdown: Print Markdown, on a terminal too.

    Raises:
        InputError: Something cannot be used; nothing is written.
    """
    from igbench.cli import printing, tables
    from igbench.records import concepts as records
    from igbench.records import store
    from igbench.report import concepts as report
    from igbench.run.progress import duration

    started, clock = datetime.now(UTC), time.perf_counter()
    config = compose.compose(list(asked.overrides))
    store.writable(Path(config["results_dir"]))
    lines, settings = _scored(config, asked)
    lines = records.corrected(lines)
    folder = Path(config["results_dir"]) / "tcav" / str(config["name"]) / store.new_id(started)
    settings |= {
        "created": started.isoformat(timespec="seconds"),
        "seconds": time.perf_counter() - clock,
        "command": _command(asked),
    }
    records.write(folder, lines, settings, lambda place: report.write(lines, place))
    tables.show(console, report.table(lines), markdown=markdown)
    took = duration(time.perf_counter() - clock)
    printing.say(console, f"\nFinished in {took}. Figure: {printable(str(folder / 'tcav.png'))}")
    return folder


def _command(asked: Request) -> str:
    own = [f"concept={p}" for p in asked.concepts.values()]
    own += [f"random={asked.random}"] if asked.random else []
    own += [f"layer={asked.layer}"] if asked.layer else []
    own += [f"target={t}" for t in asked.targets]
    own += [f"sets={asked.sets}", f"positions={asked.positions}"]
    return shlex.join(
        ["python", "-m", "igbench", "tcav", *folders.options(), *asked.overrides, *own]
    )


def _scored(config: Mapping[str, Any], asked: Request) -> tuple[list[ConceptScore], dict[str, Any]]:
    """Scores, and what decided them."""
    from igbench.concepts import subjects, tcav
    from igbench.concepts.activations import find_layer
    from igbench.config import build
    from igbench.core import callers
    from igbench.core.score import Score
    from igbench.data import images, pictures
    from igbench.evaluation.look import look
    from igbench.records import store
    from igbench.run import provenance

    files = {
        images.printable(name): pictures.listed(folder, "concept")
        for name, folder in asked.concepts.items()
    }
    others = pictures.listed(asked.random, "random") if asked.random else None
    least = 2 * tcav.LEAST_PICTURES
    tcav.check_pictures(
        {n: len(p) for n, p in files.items()}, least if others is None else len(others)
    )
    device = build.pick_device(config["device"])
    model, data = build.model_and_data(config, device)
    pictures.check_images(data, model.preprocess)
    layer = asked.layer or model.cam_layer
    find_layer(model.module, layer)
    rows = BATCH_SIZE if config["batch_size"] == "auto" else config["batch_size"]
    check_whole("batch_size", rows, least=1)
    check_whole("seed", config["seed"])
    score = Score(model.module, config["output"], rows, channels_last=model.channels_last)
    dtype = build.DTYPES[config["dtype"]]
    x, labels = _samples(data)
    x = x.to(device, dtype)
    with callers.own_modes():
        look(score, x, {})
        chosen = subjects.choose(score, x, labels, asked.targets, model.class_names)
        loaded = {
            n: pictures.load(paths, data, model.preprocess).to(device, dtype)
            for n, paths in files.items()
        }
        drawn = (
            _of_data(x, data)
            if others is None
            else pictures.load(others, data, model.preprocess).to(device, dtype)
        )
        pool = tcav.random_pool(drawn, loaded)
        if len(pool) < len(drawn):
            log.warning(
                "%d of %d random pictures are left out, because they are pictures of a concept, or "
                "there twice",
                len(drawn) - len(pool),
                len(drawn),
            )
        lines = tcav.concept_scores(
            score, layer, chosen, loaded, pool, sets=asked.sets,
            positions=asked.positions, seed=config["seed"],
        )  # fmt: skip
    settings = {
        "model": model.name,
        "weights": model.weights_hash,
        "model_source": model.source,
        "data": data.name,
        "samples": store.canonical_hash(list(data.sample_ids)),
        "layer": layer,
        "device": provenance.describe_device(device),
    }
    return lines, settings | _settings(config, asked, loaded, pool)


def _settings(
    config: Mapping[str, Any], asked: Request, concepts: Mapping[str, Tensor], pool: Tensor
) -> dict[str, Any]:
    """What was asked for, the content of the pictures, and the versions of the code."""
    from igbench.concepts import tcav
    from igbench.data import images
    from igbench.run import provenance

    return {
        "experiment": str(config["name"]),
        "positions": asked.positions,
        "sets": asked.sets,
        "seed": config["seed"],
        "output": config["output"],
        "dtype": config["dtype"],
        "concepts": {
            name: {"folder": images.printable(str(folder)), "pictures": tcav.digest(pictures)}
            for (name, pictures), folder in zip(
                concepts.items(), asked.concepts.values(), strict=True
            )
        },
        "random": {
            "folder": images.printable(str(asked.random)) if asked.random else "",
            "pictures": tcav.digest(pool),
        },
        "versions": provenance.versions(),
        "git": provenance.git_revision(),
    }


def _samples(data: Data) -> tuple[Tensor, list[int | None]]:
    """All samples that can be loaded, with their labels; a line says how many cannot."""
    import torch

    from igbench.evaluation import loading

    found = [
        (i, x)
        for i, x in loading.some(data, loading.Loading(), len(data))
        if tuple(x.shape) == data.shape
    ]
    if not found:
        raise InputError(f"no sample of the data {data.name!r} can be loaded.")
    if len(found) < len(data):
        log.warning("%d of %d samples cannot be loaded", len(data) - len(found), len(data))
    return torch.stack([x for _, x in found]), [data.labels[i] for i, _ in found]


def _of_data(x: Tensor, data: Data) -> Tensor:
    """Samples, and the reference pool where there is one, as random pictures."""
    import torch

    return torch.cat([x, data.reference().to(x)]) if data.reference else x
