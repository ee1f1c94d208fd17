"""`igbench runs` lists what there is, names what is damaged, and deletes nothing but runs."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from igbench.__main__ import COMMANDS, USAGE, main
from igbench.records import baselines, store
from igbench.run import lock
from igbench.schema import Row
from tests.helpers import synthetic

IDS = [f"2026010{i}-030405-0a1b2c3{i}" for i in (1, 2, 3)]


def written(results: Path, number: int, **changes: object) -> Path:
    run = synthetic.make_run(
        run_id=IDS[number - 1],
        created=f"2026-01-0{number}T03:04:05+00:00",
        samples=2,
        versions={"captum": f"0.{6 + number}.0"},
    )
    run = replace(run, **changes)
    row = Row(run.id, run.experiment, "=net", "ig", "deletion", "photo-000", 0.25)
    return store.write(results / run.experiment / run.id, run, [row])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    results = tmp_path_factory.mktemp("made")
    written(results, 1)
    written(results, 2, state="finished")
    written(results, 3, experiment="other")
    return results


@pytest.fixture
def results(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "results"))


def runs(capsys, results, *words) -> tuple[int, str, str]:
    status = main(["runs", *map(str, words), "--results-dir", str(results)])
    found = capsys.readouterr()
    return status, found.out, found.err


def ids(capsys, results, *words) -> list[str]:
    status, out, err = runs(capsys, results, *words, "--format", "json")
    assert (status, err) == (0, "")
    return [row["id"] for row in json.loads(out)]


def test_all_columns_in_all_formats(results, capsys):
    _, out, _ = runs(capsys, results, "synthetic", "--format", "json")
    folder = results / "synthetic" / IDS[0]
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    first = json.loads(out)[0]
    assert first == {
        "id": IDS[0], "experiment": "synthetic", "created": "2026-01-01 03:04:05", "model": "=net",
        "data": "photos", "samples": 2, "methods": list(synthetic.METHODS),
        "state": "finished with failures", "igbench": "0.1.0", "torch": "2.14.1",
        "captum": "0.7.0", "git": "0123abc", "bytes": size,
    }  # fmt: skip
    _, out, _ = runs(capsys, results, "synthetic", "--format", "csv")
    row = next(csv.DictReader(io.StringIO(out)))
    assert (row["model"], row["methods"]) == ("'=net", " ".join(synthetic.METHODS))
    _, out, _ = runs(capsys, results, "--format", "markdown")
    assert out.count("\n") == 5
    assert "| 9 |" in out
    _, out, _ = runs(capsys, results)
    assert [line.split()[0] for line in out.splitlines()] == ["id", *IDS]


def test_filters_and_order(results, capsys):
    assert ids(capsys, results) == IDS
    assert ids(capsys, results, "other") == IDS[2:]
    assert ids(capsys, results, results / "synthetic") == IDS[:2]
    assert ids(capsys, results, "--where", "captum=0.8.0") == [IDS[1]]
    assert ids(capsys, results, "--where", "captum=0.*", "--where", "captum!=0.8.0") == [
        IDS[0], IDS[2]
    ]  # fmt: skip
    assert ids(capsys, results, "--where", "identity.methods.occlusion.window=16") == IDS
    assert ids(capsys, results, "--where", "methods=lime") == []
    assert ids(capsys, results, "--since", "2026-01-02") == IDS[1:]
    assert ids(capsys, results, "--since", "2026-01-02T05:00:00+02:00") == IDS[1:]
    assert ids(capsys, results, "--state", "finished") == [IDS[1]]
    assert ids(capsys, results, "--state", "failures") == [IDS[0], IDS[2]]
    assert ids(capsys, results, "--sort", "experiment") == [IDS[2], *IDS[:2]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent"], "no run of 'absent'"),
        (["--where", "captn=1"], "no run has the field 'captn' of --where"),
        (["--where", "captum"], "give field=value"),
        (["--since", "yesterday"], "is no date"),
        (["--state", "stopped"], "known: finished, failures"),
        (["--sort", "size"], "unknown --sort 'size'"),
        (["--format", "xml"], "unknown --format 'xml'"),
        (["a", "b"], "takes one name"),
        (["delete"], "name the runs"),
    ],
)
def test_what_cannot_be_understood_is_one_line(results, capsys, words, said):
    status, out, err = runs(capsys, results, *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err


def damage(folder: Path, how: str) -> None:
    target = folder / ("run.json" if how in ("json", "link", "newer") else "scores.parquet")
    content = target.read_bytes()
    if how == "link":
        target.rename(folder.parent / "elsewhere.json")
        target.symlink_to(folder.parent / "elsewhere.json")
    elif how == "missing":
        target.unlink()
    elif how == "newer":
        text = json.loads(content) | {"schema_version": 99}
        text = {k: v for k, v in text.items() if k not in ("files", "hash")}
        target.write_text(json.dumps(text))
    else:
        target.write_bytes(content[:-20])


@pytest.mark.parametrize("how", ["json", "link", "parquet", "missing", "newer"])
def test_a_damaged_run_is_named_and_skipped(results, capsys, caplog, how):
    damage(results / "synthetic" / IDS[0], how)
    status, out, _ = runs(capsys, results, "--format", "json")
    assert status == 0
    assert [row["id"] for row in json.loads(out)] == IDS[1:]
    (said,) = caplog.records
    assert said.getMessage().startswith("a damaged run is skipped: ")
    assert IDS[0] in said.getMessage()
    status, out, err = runs(capsys, results, "delete", IDS[0], "--yes")
    assert (status, out) == (2, "")
    assert IDS[0] in err
    assert (results / "synthetic" / IDS[0]).exists()


def test_a_run_that_is_a_link_is_skipped(results, capsys, caplog, tmp_path):
    (results / "synthetic" / IDS[0]).rename(tmp_path / IDS[0])
    (results / "synthetic" / IDS[0]).symlink_to(tmp_path / IDS[0], target_is_directory=True)
    _, out, _ = runs(capsys, results, "--format", "json")
    assert [row["id"] for row in json.loads(out)] == IDS[1:]
    assert "is a link" in caplog.text
    assert runs(capsys, results, "delete", IDS[0], "--yes")[0] == 2
    assert (tmp_path / IDS[0] / "run.json").exists()


def test_deleting_is_a_dry_run_without_yes(results, capsys):
    folder = results / "synthetic" / IDS[0]
    for name in (IDS[0], folder):
        status, out, err = runs(capsys, results, "delete", name)
        assert (status, err) == (0, "")
        assert out.startswith(f"would delete {folder} (")
        assert out.endswith("Nothing was deleted; add --yes.\n")
        assert store.read(folder)
    assert runs(capsys, results, "delete", folder, "--yes")[0] == 0
    assert [p.name for p in folder.parent.iterdir()] == [IDS[1]]


def test_only_runs_are_deleted(results, capsys, tmp_path):
    folder = results / "synthetic" / IDS[0]

    def refused(name: object, said: str) -> None:
        before = sorted(results.rglob("*"))
        status, out, err = runs(capsys, results, "delete", name, "--yes")
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert said in err
        assert sorted(results.rglob("*")) == before

    refused("synthetic", "it is no run but an experiment")
    refused(results / "synthetic", "it is no run but an experiment")
    refused(results, "is neither a run nor")
    refused(tmp_path / "absent" / "x", "is neither a run nor")
    refused(baselines.set_baseline(folder, "v1", results / "b"), "baseline remove v1")
    copied = Path(shutil.copytree(folder, results / "synthetic" / "copy"))
    refused(copied, f"the folder of another run, by its record {IDS[0]}")
    with lock.held(folder):
        refused(folder, "is locked by process")
    (folder / "plots").mkdir()
    (folder / "plots" / "metrics.svg").write_text("drawn")
    (folder / "plots" / "thesis.docx").write_text("mine")
    refused(folder, "thesis.docx, which igbench did not write")
    (folder / "plots" / "thesis.docx").unlink()
    (folder / "more").symlink_to(tmp_path, target_is_directory=True)
    refused(folder, "is a link")
    (folder / "more").unlink()
    assert runs(capsys, results, "delete", folder, "--yes")[0] == 0
    assert not folder.exists()


def test_baselines_on_the_command_line(results, capsys, tmp_path):
    root = tmp_path / "kept"
    where = ["--baselines-dir", str(root)]
    given = ["synthetic", "--results-dir", str(results), *where]
    assert main(["baseline", "list", *where]) == 0
    assert "holds no baselines" in capsys.readouterr().out
    assert main(["baseline", "set", *given]) == 0
    assert main(["baseline", "set", *given, "--name", "v1.2"]) == 0
    assert "left out: the wall time of each row" in capsys.readouterr().out
    assert main(["baseline", "set", *given]) == 2
    assert "give --force" in capsys.readouterr().err
    assert main(["baseline", "set", *given, "--force"]) == 0
    capsys.readouterr()
    assert main(["baseline", "list", *where, "--format", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["id"]) for row in listed] == [("synthetic", IDS[1]), ("v1.2", IDS[1])]
    assert main(["compare", str(root / "v1.2"), str(results / "synthetic" / IDS[1])]) == 0
    assert main(["baseline", "remove", "v1.2", *where]) == 0
    assert baselines.names(root) == ["synthetic"]


def test_the_commands_are_known():
    assert {"baseline", "runs"} <= set(COMMANDS)
    assert "igbench runs [EXPERIMENT]" in USAGE
    assert "igbench baseline set" in USAGE
