"""The notebook of the documentation works as it is, in a kernel of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="pip install 'igbench[test]'")
nbclient = pytest.importorskip("nbclient", reason="pip install 'igbench[test]'")
pytest.importorskip("ipykernel", reason="pip install 'igbench[test]'")

NOTEBOOK = Path(__file__).parents[2] / "docs" / "howto" / "notebook.ipynb"


def outputs(cell, kind):
    return [o for o in cell.outputs if o.output_type == kind]


def test_the_notebook_runs_and_shows_what_it_says(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[2]))
    monkeypatch.setenv("PYTHONWARNINGS", "error::UserWarning")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not c.get("outputs") and c.get("execution_count") is None for c in notebook.cells)
    slow = "[m for m in ('torchvision', 'torch._dynamo', 'captum', 'timm') if m in sys.modules]"
    notebook.cells.append(nbformat.v4.new_code_cell(f"import sys\nprint({slow})"))
    client = nbclient.NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        extra_arguments=["--log-level=40"],
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    first, second, third, last = (c for c in notebook.cells if c.cell_type == "code")
    assert not any(o.get("name") == "stderr" for c in notebook.cells for o in c.get("outputs", ()))
    (progress,) = outputs(first, "display_data")
    assert progress["data"]["text/plain"].startswith("100% after")
    (shown,) = outputs(first, "execute_result")
    assert shown["data"]["text/html"].startswith("<table><thead><tr><th>method</th>")
    for word in ("<th>ig</th>", "<th>random</th>", "<th>mine</th>", "<th>sensitivity_n</th>"):
        assert word in shown["data"]["text/html"]
    assert "<Evaluation 'evaluate': 4 samples" in shown["data"]["text/plain"]
    assert outputs(second, "execute_result")
    (line,) = outputs(third, "stream")
    assert line["text"].startswith("unknown method 'igg'")
    assert line["text"].count("\n") == 1
    assert outputs(last, "stream")[0]["text"] == "[]\n", "imports that take seconds for nothing"
    assert list(tmp_path.iterdir()) == []
