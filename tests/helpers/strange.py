"""Runs as a stranger may have made them: every place of run.json with values of other types."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from igbench.records import integrity, store
from igbench.schema import COSTS, Point, Row, Run
from tests.helpers import synthetic

Place = tuple[str | int, ...]

WRONG: tuple[Any, ...] = (
    None, True, 7, -1.5, 10**30, "text", "", "../up", "\x1b]0;title\x07", [], {}, [[1]],
    {"a": {"b": [1]}}, {"$float": "nan"}, {"$float": "x"}, {"$float": ["nan"]},
)  # fmt: skip
"""Values of any type."""


def run() -> Run:
    """The description of a small run that has every part that a reader looks at."""
    made = synthetic.make_run(samples=2)
    case = {
        "metric": "srg", "case": "linear", "note": "", "expected": 1.0, "obtained": 1.0,
        "tolerance": 1e-6, "ok": True,
    }  # fmt: skip
    test = {"metric": "srg", "random": 0.0, "input": 0.1, "truth": 0.9, "higher": True, "ok": True}
    return replace(
        made,
        metrics={"srg": made.metrics["srg"], "seconds": COSTS["seconds"]},
        methods={"ig": made.methods["ig"], "random": made.methods["random"]},
        config={"seed": 0, "limit": 2, "command": "igbench limit=2", "model": {"a": [1, None]}},
        environment={
            "identity": "ab" * 32,
            "model_source": "made here",
            "reuse": {"foundation": "cd", "metrics": {"srg": "ef"}, "curves": {"srg_lif": ["srg"]}},
            "certificates": {"cases": [case], "ordering": [test], "without": {"own": "no case"}},
            "precision": {"forwards": "float32", "compile": ""},
            "parameters": {"methods": {"ig": {"n_steps": 50}}, "metrics": {"srg": {"n": 4}}},
            "threads": 2,
        },
        comparability={**made.comparability, "metric_versions": {"srg": "1-ab", "seconds": 1}},
        samples=[
            {
                **s, "target_name": "cat", "probability": 0.5, "prediction": 1, "reason": "",
                "features": {"names": ["a"], "values": [1.5], "gaps": ["", ""],
                             "series": [[1.0]], "groups": [[0]]},
            }
            for s in made.samples
        ],
        totals={
            "seconds": 2.5, "peak_memory": 60.0, "rows_in_a_call": 4, "status": {"ok": 8},
            "stages": {"method ig": {"forward": 4.0, "backward": 4.0, "seconds": 0.5}},
        },
    )  # fmt: skip


def rows(of: Run) -> list[Row]:
    """A score for each method, metric and sample."""
    return [
        Row(of.id, of.experiment, "m", method, metric, s["sample_id"], i + 0.1 * k)
        for k, method in enumerate(of.methods)
        for metric in of.metrics
        for i, s in enumerate(of.samples)
    ]


def points(of: Run) -> list[Point]:
    """A curve of each sample."""
    return [
        Point(of.id, of.experiment, "m", "ig", "srg_lif", s["sample_id"], x, 1 - x)
        for s in of.samples
        for x in (0.0, 0.5, 1.0)
    ]


def write(results_dir: Path) -> Path:
    """The folder of the run, without hashes: who changes the files of a run can write them too."""
    made = run()
    folder = store.write(store.place(results_dir, made), made, rows(made), points(made))
    content = json.loads((folder / store.RUN_FILE).read_bytes())
    put(folder, {k: v for k, v in content.items() if k not in integrity.FIELDS})
    return folder


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Every place in nested values, of lists only the first."""
    if at:
        yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*at, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*at, 0))


def changed(content: dict[str, Any], place: Place, value: Any) -> dict[str, Any]:
    """A copy with another value at a place."""
    found = copy.deepcopy(content)
    inner: Any = found
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return found


def put(folder: Path, content: Any) -> Path:
    """Write a content as run.json of a folder."""
    path = folder / store.RUN_FILE
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path
