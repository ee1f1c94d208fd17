"""A run.json of a stranger is read as what it says, or refused in one line; it never breaks us."""

from __future__ import annotations

import json
import math
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from igbench.errors import InputError
from igbench.records import compare, stats, store
from igbench.report import html, render, tables
from igbench.schema import MethodSpec, MetricSpec, Run
from tests.helpers import strange


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return strange.write(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def content(folder: Path) -> Any:
    return json.loads((folder / store.RUN_FILE).read_text(encoding="utf-8"))


@pytest.fixture
def own(folder: Path, content: Any) -> Path:
    """The folder, with its run.json as it was."""
    strange.put(folder, content)
    return folder


def refused(folder: Path, *parts: str) -> None:
    with pytest.raises(InputError) as error:
        store.read(folder)
    message = str(error.value)
    assert message.isprintable(), "one line that steers no terminal"
    for part in parts:
        assert part in message


FIELDS = [f.name for f in fields(Run)]


@pytest.mark.parametrize("field", FIELDS)
def test_every_place_with_values_of_every_type(own: Path, content: Any, field: str) -> None:
    """Each is refused in one line that names the field, or read: nothing else is raised."""
    for place in [p for p in strange.places(content) if p[0] == field]:
        for value in strange.WRONG:
            strange.put(own, strange.changed(content, place, value))
            message = said(own)
            assert message.isprintable(), (place, value)
            assert not message or "run.json" in message, (place, value)


def said(folder: Path) -> str:
    """Why run.json is refused, "" where it is read."""
    try:
        store.read_run(folder)
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_another_type_is_refused_by_name(own: Path, content: Any, field: str) -> None:
    value = 7 if field != "schema_version" else "1"
    strange.put(own, content | {field: value})
    refused(own, "run.json", field.replace("_", " ") if field == "schema_version" else field)


@pytest.mark.parametrize("field", FIELDS)
def test_what_is_read_can_be_reported_and_compared(folder: Path, content: Any, field: str) -> None:
    strange.put(folder, content)
    base = store.read(folder)
    summary = stats.summarise(
        base.scores, base.run.metrics, methods=base.run.methods, resamples=100
    )
    for place in [p for p in strange.places(content) if p[0] == field]:
        strange.put(folder, strange.changed(content, place, {} if len(place) % 2 else "text"))
        try:
            new = replace(base, run=store.read_run(folder))
        except InputError:
            continue
        made = tables.tables(new, summary)
        for table in made:
            render.to_latex(table)
        html.page(new, summary, made, {}, None)
        if "srg" in new.run.metrics:
            assert compare.format_text(compare.compare(base, new, resamples=100))


SPECS = [("metrics", "srg", f.name) for f in fields(MetricSpec)]
SPECS += [("methods", "ig", f.name) for f in fields(MethodSpec)]


@pytest.mark.parametrize("place", SPECS, ids=lambda p: ".".join(p))
def test_fields_of_definitions(own: Path, content: Any, place: tuple[str, ...]) -> None:
    for value in (None, [], {}, {"a": 1}, {"$float": "nan"}):
        strange.put(own, strange.changed(content, place, value))
        refused(own, f"{'.'.join(place)} is ", "not ")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (("metrics", "srg", "direction"), ("direction is 'up'", "one of higher, lower, none")),
        (("methods", "ig", "role"), ("role is 'up'", "one of method, oracle, control, ceiling")),
        (("state",), ("state is 'up'", "one of finished, finished with failures")),
        (("samples", 0, "status"), ("samples[0].status is 'up'", "one of ok, undefined, failed")),
        (("created",), ("created is 'up'", "ISO 8601")),
        (("methods", "ig", "colour"), ("methods.ig.colour is no field",)),
        (("colour",), ("colour is no field",)),
    ],
)
def test_choices_and_unknown_keys(own: Path, content: Any, change: Any, parts: Any) -> None:
    strange.put(own, strange.changed(content, change, "up"))
    refused(own, "run.json", *parts)


@pytest.mark.parametrize(
    ("at", "name", "why"),
    [
        (("id",), "../up", "path separator"),
        (("experiment",), "/etc", "path separator"),
        (("experiment",), "a\0b", "cannot be printed"),
        (("experiment",), "x" * 300, "longer than 200 bytes"),
        (("id",), "con", "reserved"),
        (("methods",), "..\\up", "path separator"),
        (("metrics",), ".hidden", "begins with '.'"),
    ],
)
def test_names_that_leave_the_folder(
    own: Path, content: Any, at: tuple[str], name: str, why: str
) -> None:
    value = {name: next(iter(content[at[0]].values()))} if at[0].endswith("s") else name
    strange.put(own, strange.changed(content, at, value))
    refused(own, at[0], why)


def text_with(content: Any, extra: str) -> str:
    """The content with one more member at its end, as text."""
    return json.dumps(content)[:-1] + f", {extra}}}"


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ('"id": "other"', "the key 'id' occurs twice"),
        ('"x": NaN', "NaN is no number of JSON"),
        ('"x": -Infinity', "-Infinity is no number of JSON"),
        ('"x": 1e999', "the number 1e999 is too large"),
        (f'"x": {10**40}', "more than 64 bits"),
        (f'"x": {"9" * 5000}', "damaged"),
        (f'"x": {"[" * 200}{"]" * 200}', "nested deeper than 100"),
        (f'"x": {"[" * 10**5}{"]" * 10**5}', "nested deeper than 100"),
        ('"x": {"$float": "huge"}', "tagged 'huge', not nan, inf or -inf"),
        ('"x": "' + "a" * 5 + '", "x": 1', "occurs twice"),
    ],
)
def test_json_that_others_would_read_otherwise(
    own: Path, content: Any, extra: str, why: str
) -> None:
    strange.put(own, text_with(content, extra))
    refused(own, "run.json is damaged", why)


@pytest.mark.parametrize("whole", ["[]", "7", "null", '"text"', "", "{"])
def test_json_that_is_no_record(own: Path, whole: str) -> None:
    strange.put(own, whole)
    refused(own, "run.json is damaged")


def test_bytes_that_are_no_text_and_files_that_are_too_large(own: Path) -> None:
    path = own / store.RUN_FILE
    path.write_bytes(path.read_bytes().replace(b"made here", b"made \xff\xfe"))
    refused(own, "run.json is damaged", "utf-8")
    os.truncate(path, 2**28 + 1)  # a sparse file: nothing of it is read
    refused(own, "run.json has 268,435,457 bytes")


def test_a_sample_twice_and_a_text_without_end(own: Path, content: Any) -> None:
    strange.put(own, content | {"samples": [content["samples"][0]] * 2})
    refused(own, "samples[1].sample_id is 'photo-000', for the second time")
    strange.put(own, strange.changed(content, ("samples", 0, "reason"), "a" * 200_000))
    refused(own, "samples[0].reason has 200,000 characters")


# -- tables and maps -------------------------------------------------------------------------


def rewrite(folder: Path, name: str, change: Any) -> None:
    pq.write_table(change(pq.read_table(folder / name)), folder / name)


def column(name: str, values: Any) -> Any:
    return lambda t: t.set_column(t.column_names.index(name), name, pa.array(values(len(t))))


@pytest.mark.parametrize(
    ("name", "change", "parts"),
    [
        ("scores", column("value", lambda n: ["a"] * n), ("value is of type string", "double")),
        ("scores", column("n_forward", lambda n: [0.5] * n), ("n_forward is of type double",)),
        ("scores", column("status", lambda n: ["great"] * n), ("a status is 'great'", "failed")),
        ("scores", column("method", lambda n: pa.array([None] * n, pa.string())), ("missing",)),
        ("scores", column("metric", lambda n: [["a"]] * n), ("metric is of type list",)),
        ("scores", lambda t: t.append_column("more", t["run"]), ("'more' is no column",)),
        ("scores", lambda t: t.append_column("run", t["run"]), ("run is there 2 times",)),
        ("scores", lambda t: t.drop_columns("seconds"), ("seconds is there 0 times",)),
        ("curves", column("x", lambda n: [math.inf] * n), ("column x", "infinite")),
        ("curves", column("y", lambda n: [1] * n), ("y is of type int64",)),
    ],
)
def test_columns(tmp_path: Path, name: str, change: Any, parts: tuple[str, ...]) -> None:
    folder = strange.write(tmp_path)
    rewrite(folder, f"{name}.parquet", change)
    refused(folder, f"{name}.parquet is damaged", *parts)


def test_an_index_in_the_metadata_of_a_table_hides_no_column(tmp_path: Path) -> None:
    folder = strange.write(tmp_path)
    whole = store.read(folder).scores
    metadata = pa.Table.from_pandas(whole.set_index("value")).schema.metadata
    rewrite(folder, "scores.parquet", lambda t: t.replace_schema_metadata(metadata))
    assert list(store.read(folder).scores.columns) == list(whole.columns)


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("n_failed", "n_lost", "n_failed is missing"),
        (",0,0,", ",many,0,", "n_undefined holds other values than whole numbers"),
        ("False", "perhaps", "holds other values than True or False"),
        ("mean", "mean,more", "'more' is no column"),
    ],
)
def test_columns_of_the_summary(tmp_path: Path, old: str, new: str, part: str) -> None:
    folder = strange.write(tmp_path)
    path = folder / store.SUMMARY_FILE
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=rf"summary\.csv is damaged \(.*{part}"):
        store.read_summary(folder)


PICTURE = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("inputs", "ig", "part"),
    [
        (PICTURE.astype(float), np.zeros((4, 4)), "float64 of shape (4, 4, 3), not uint8"),
        (PICTURE[..., 0], np.zeros((4, 4)), "uint8 of shape (4, 4), not uint8 of (H, W, 3)"),
        (PICTURE, np.zeros(16), "of shape (16,), not of (H, W)"),
        (PICTURE, np.zeros((0, 4)), "of shape (0, 4), not of (H, W)"),
        (PICTURE, np.zeros((4, 4), bool), "of type bool, not numbers"),
    ],
)
def test_maps(tmp_path: Path, inputs: np.ndarray, ig: np.ndarray, part: str) -> None:
    run = strange.run()
    maps = {"inputs": {"photo-000": inputs}, "ig": {"photo-000": ig}}
    folder = store.write(tmp_path / "e" / "r", run, strange.rows(run), [], maps)
    refused(folder, ".safetensors is damaged", part)
