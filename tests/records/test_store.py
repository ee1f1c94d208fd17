"""Do records survive the disk, and are damaged or foreign folders refused in one clear line?"""

import json
import math
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from igbench.errors import InputError
from igbench.records import compare, stats, store
from igbench.schema import SCHEMA_VERSION, Point, Row
from tests.helpers import synthetic


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = synthetic.make_run()
    maps = {"ig": {"photo-000": np.arange(6.0).reshape(2, 3)}, "occlusion": {"a": np.zeros(2)}}
    place = tmp_path_factory.mktemp("results") / run.experiment / run.id
    return store.write(place, run, synthetic.make_rows(), synthetic.make_points(), maps)


def one_line(error: pytest.ExceptionInfo[InputError], *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def small(tmp_path: Path, **changes: object) -> Path:
    """A run with one row, cheap to write."""
    run = replace(synthetic.make_run(samples=1), **changes)
    row = Row(run.id, run.experiment, "m", "ig", "deletion", "s", 0.25)
    return store.write(tmp_path / run.experiment / run.id, run, [row])


def test_round_trip_is_exact(folder: Path) -> None:
    got = store.read(folder)
    rows, points = synthetic.make_rows(), synthetic.make_points()
    assert got.run == synthetic.make_run()
    assert got.folder == str(folder)
    assert list(got.scores.columns) == list(Row._fields)
    assert list(got.curves.columns) == list(Point._fields)
    for frame, wanted in ((got.scores, rows), (got.curves, points)):
        assert len(frame) == len(wanted)
        for line, row in zip(frame.itertuples(index=False, name=None), wanted, strict=True):
            # repr separates NaN from everything else and tells floats apart to the last bit
            assert [repr(v) for v in line] == [repr(v) for v in row]
    assert np.isnan(got.scores["value"]).any()
    assert got.maps["ig"]["photo-000"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert set(got.maps) == {"ig", "occlusion"}


def test_records_in_memory_equal_those_from_disk(folder: Path) -> None:
    here = store.records(synthetic.make_run(), synthetic.make_rows(), synthetic.make_points())
    there = store.read(folder)
    pd.testing.assert_frame_equal(here.scores, there.scores, check_exact=True)
    pd.testing.assert_frame_equal(here.curves, there.curves, check_exact=True)


def test_non_finite_values_survive_in_rows_and_in_the_description(tmp_path: Path) -> None:
    run = replace(
        synthetic.make_run(samples=1),
        totals={"a": math.inf, "b": [-math.inf, None, math.nan], "c": np.float32(0.5)},
    )
    row = Row(run.id, run.experiment, "m", "ig", "completeness", "s", math.inf, seconds=1)
    got = store.read(store.write(tmp_path / "e" / "r", run, [row]))
    assert got.run.totals["a"] == math.inf
    assert got.run.totals["b"][:2] == [-math.inf, None]
    assert math.isnan(got.run.totals["b"][2])
    assert got.run.totals["c"] == 0.5
    assert got.run.metrics["completeness"].high == math.inf
    assert got.scores["value"].tolist() == [math.inf]
    assert got.scores["seconds"].tolist() == [1.0]


def test_json_is_strict_and_also_in_the_parquet_files(folder: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"not strict JSON: {constant}")

    text = (folder / "run.json").read_text(encoding="utf-8")
    content = json.loads(text, parse_constant=refuse)
    assert content["schema_version"] == SCHEMA_VERSION
    assert list(content)[-2:] == ["files", "hash"]  # no file can hold the hash of itself
    del content["files"], content["hash"]
    for name in ("scores.parquet", "curves.parquet"):
        metadata = pq.read_schema(folder / name).metadata
        assert json.loads(metadata[store.METADATA_KEY]) == content
        assert pq.ParquetFile(folder / name).metadata.row_group(0).column(0).compression == "ZSTD"


def test_summary_file_is_the_summary(folder: Path) -> None:
    got = store.read(folder)
    wanted = stats.summarise(got.scores, got.run.metrics, methods=got.run.methods)
    from_disk = pd.read_csv(folder / "summary.csv", keep_default_na=True)
    assert list(from_disk.columns) == list(stats.SUMMARY_COLUMNS)
    assert from_disk["mean"].to_numpy() == pytest.approx(wanted["mean"].to_numpy(), nan_ok=True)
    assert from_disk["best"].tolist() == wanted["best"].tolist()

    pd.testing.assert_frame_equal(store.read_summary(folder), wanted)
    assert store.read_run(folder) == got.run


def test_summary_files_without_shares_are_read(folder: Path, tmp_path: Path) -> None:
    older = pd.read_csv(folder / "summary.csv").drop(columns=["share", "share_low", "share_high"])
    older.to_csv(tmp_path / "summary.csv", index=False)
    pd.testing.assert_frame_equal(store.read_summary(tmp_path), store.read_summary(folder))


def test_former_names_are_translated(tmp_path: Path) -> None:
    before = small(
        tmp_path / "before",
        identity={"rows": 4, "samples_at_once": 8, "dtype": "float32"},
        environment={"engine": {"name": "Serial()"}, "git": ""},
    )
    after = small(
        tmp_path / "after", identity={"batch_size": 4, "shard_size": 8, "dtype": "float32"}
    )
    old, new = store.read(before), store.read(after)
    assert old.run.identity == new.run.identity
    assert old.run.environment == {"executor": {"name": "Serial()"}, "git": ""}
    assert compare.compare(old, new, resamples=100).differences == []


def test_a_run_without_rows_or_maps(tmp_path: Path) -> None:
    got = store.read(store.write(tmp_path / "e" / "r", synthetic.make_run(), []))
    assert (len(got.scores), len(got.curves), got.maps) == (0, 0, {})
    assert list(got.scores.columns) == list(Row._fields)
    assert not (tmp_path / "e" / "r" / "attributions").exists()


def test_maps_in_other_memory_orders_are_saved_by_value(tmp_path: Path) -> None:
    array = np.arange(12.0).reshape(3, 4).T[::2]
    place = store.write(
        tmp_path / "e" / "r", synthetic.make_run(), [], [], {"m": {"t": array, "s": np.array(2.0)}}
    )
    got = store.read(place).maps["m"]
    assert got["t"].tolist() == array.tolist()
    assert got["s"].shape == ()


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    run = replace(synthetic.make_run(), totals={"not plain": object()})
    with pytest.raises(TypeError, match="object"):
        store.write(tmp_path / "e" / "r", run, [])
    with pytest.raises(InputError, match="separator"):
        store.write(tmp_path / "e" / "r", synthetic.make_run(), [], [], {"../m": {}})
    assert list((tmp_path / "e").iterdir()) == []


def test_nothing_is_visible_before_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, list[Path]]] = []
    place = tmp_path / "e" / "r"
    real = stats.summarise

    def spy(*args: object, **named: object) -> pd.DataFrame:
        seen.append((place.exists(), store.runs(tmp_path / "e")))
        return real(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(stats, "summarise", spy)
    store.write(place, synthetic.make_run(), synthetic.make_rows(samples=2))
    assert seen == [(False, [])]
    assert store.runs(tmp_path / "e") == [place]


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    place = small(tmp_path)
    before = (place / "scores.parquet").read_bytes()
    with pytest.raises(InputError) as error:
        small(tmp_path)
    one_line(error, "exists; a run is never", str(place))
    assert (place / "scores.parquet").read_bytes() == before


def test_read_refuses_what_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        store.read(tmp_path / "absent")
    one_line(error, "absent", "not a folder")
    with pytest.raises(InputError) as error:
        store.read(tmp_path)
    one_line(error, "run.json", "not a run")


@pytest.mark.parametrize("name", ["scores.parquet", "curves.parquet", "run.json"])
def test_read_refuses_a_truncated_file(tmp_path: Path, name: str) -> None:
    place = small(tmp_path)
    whole = (place / name).read_bytes()
    (place / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError) as error:
        store.read(place)
    one_line(error, name, "damaged")


def test_read_refuses_a_missing_table_and_damaged_maps(tmp_path: Path) -> None:
    place = small(tmp_path)
    (place / "attributions").mkdir()
    (place / "attributions" / "ig.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError) as error:
        store.read(place)
    one_line(error, "ig.safetensors", "damaged")
    (place / "scores.parquet").unlink()
    with pytest.raises(InputError) as error:
        store.read(place)
    one_line(error, "scores.parquet", "missing")


@pytest.mark.parametrize(
    ("version", "advice"),
    [(SCHEMA_VERSION + 1, "upgrade igbench"), (0, "run the experiment again"), (None, "again")],
)
def test_schema_version_is_guarded_both_ways(
    tmp_path: Path, version: int | None, advice: str
) -> None:
    place = small(tmp_path)
    content = json.loads((place / "run.json").read_text(encoding="utf-8"))
    content["schema_version"] = version
    (place / "run.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError) as error:
        store.read(place)
    one_line(error, "schema version", str(version), advice)


def test_read_refuses_unknown_and_absent_fields(tmp_path: Path) -> None:
    place = small(tmp_path)
    content = json.loads((place / "run.json").read_text(encoding="utf-8"))
    for changed in ({**content, "surplus": 1}, {k: content[k] for k in content if k != "config"}):
        (place / "run.json").write_text(json.dumps(changed), encoding="utf-8")
        with pytest.raises(InputError, match=r"run\.json is damaged"):
            store.read(place)


def test_writable_accepts_folders_that_do_not_exist_yet_and_leaves_no_trace(tmp_path: Path) -> None:
    store.writable(tmp_path)
    store.writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_writable_refuses_a_path_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "deeper" / "still"):
        with pytest.raises(InputError) as error:
            store.writable(place)
        one_line(error, "is a file", "results_dir=")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs procfs, which takes no files")
def test_writable_refuses_where_the_system_refuses_even_root() -> None:
    with pytest.raises(InputError) as error:
        store.writable(Path("/proc/igbench"))
    one_line(error, "cannot write", "/proc")


@pytest.mark.skipif(os.geteuid() == 0, reason="permission bits do not stop root")
def test_writable_refuses_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        store.writable(tmp_path / "results")
    tmp_path.chmod(0o700)


def test_write_asks_writable_first(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        store.write(tmp_path / "file" / "e" / "r", synthetic.make_run(), [])


def test_new_id_is_utc_time_and_random() -> None:
    tokyo = timezone(timedelta(hours=9))
    first = store.new_id(datetime(2026, 11, 22, 7, 14, 5, tzinfo=tokyo))
    second = store.new_id(datetime(2026, 11, 21, 22, 14, 5, tzinfo=UTC))
    stamp, suffix = first[:15], first[16:]
    assert stamp == second[:15] == "20261121-221405"
    assert len(suffix) == 8
    int(suffix, 16)
    assert first != second
    with pytest.raises(ValueError, match="time zone"):
        store.new_id(datetime(2026, 11, 21))  # noqa: DTZ001


def test_canonical_hash() -> None:
    # printf '{"a":[1,2.5,null],"b":"é"}' | sha256sum
    wanted = "41a039b5a690a0e490a416507920c9993f5d12a59eb496d685026408ea22b407"
    assert store.canonical_hash({"b": "é", "a": (1, 2.5, None)}) == wanted
    assert store.canonical_hash({"a": [1, 2.5, None], "b": "é"}) == wanted
    assert store.canonical_hash({"a": [2.5, 1, None], "b": "é"}) != wanted
    assert store.canonical_hash(math.inf) != store.canonical_hash(math.nan)
    with pytest.raises(TypeError, match="set"):
        store.canonical_hash({1, 2})
    with pytest.raises(TypeError, match="keys"):
        store.canonical_hash({1: 2})


def test_encode_and_decode_are_inverse() -> None:
    value = {"a": [1, 2.0, True, None, "inf", math.inf, -math.inf], "b": {"float": "inf"}}
    assert store.decode(json.loads(json.dumps(store.encode(value), allow_nan=False))) == value


def test_latest_and_resolve(tmp_path: Path) -> None:
    old = small(tmp_path, id="20260101-000000-ffffffff")
    new = small(tmp_path, id="20260102-000000-00000000")
    other = small(tmp_path, experiment="digits", id="20260103-000000-00000000")
    hidden = tmp_path / "synthetic" / ".20270101-000000-00000000.1234.partial"
    hidden.mkdir()
    (hidden / "run.json").write_text("{}", encoding="utf-8")

    assert store.runs(tmp_path / "synthetic") == [old, new]
    assert store.latest(tmp_path, "synthetic") == new
    assert store.resolve(old, tmp_path) == old
    assert store.resolve(str(tmp_path / "synthetic"), Path("elsewhere")) == new
    assert store.resolve("digits", tmp_path) == other
    assert store.resolve(old.name, tmp_path) == old


def test_runs_of_the_same_second_sort_by_writing_time(tmp_path: Path) -> None:
    first = small(tmp_path, id="20260101-000000-ffffffff")
    second = small(tmp_path, id="20260101-000000-00000000")
    os.utime(first / "run.json", ns=(10**9, 10**9))
    os.utime(second / "run.json", ns=(2 * 10**9, 2 * 10**9))
    assert store.latest(tmp_path, "synthetic") == second


def test_latest_and_resolve_name_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        store.latest(tmp_path, "digits")
    one_line(error, "holds no runs")
    small(tmp_path)
    with pytest.raises(InputError) as error:
        store.resolve("syntetic", tmp_path)
    one_line(error, "Did you mean 'synthetic'?")
    with pytest.raises(InputError) as error:
        store.resolve(tmp_path / "nowhere", tmp_path)
    one_line(error, "neither a run nor a folder of runs")
