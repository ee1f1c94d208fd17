"""A file of skops and a table, by one command, as a user would do it."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from igbench.__main__ import main
from igbench.records import store

ROWS = np.random.default_rng(0).normal(size=(12, 3))
WORDS = ["experiment=black_box", "method=[kernel_shap,random]", "metric=[completeness]", "limit=2"]


@pytest.mark.slow
def test_a_model_and_a_table_from_files(tmp_path, monkeypatch, capsys):
    skops = pytest.importorskip("skops.io")
    pd = pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    names = ["a", "b", "c"]
    classes = np.where(ROWS[:, 0] > 0, "yes", "no")
    fitted = LogisticRegression().fit(pd.DataFrame(ROWS, columns=names), classes)
    skops.dump(fitted, "model.skops")
    with open("rows.csv", "w", newline="") as stream:  # noqa: PTH123
        writer = csv.writer(stream)
        writer.writerow(["kind", *names[::-1]])
        writer.writerows([k, *row[::-1]] for k, row in zip(classes, ROWS.tolist(), strict=True))
    files = ["model.path=model.skops", "data.path=rows.csv"]
    assert main([*WORDS, *files, "data.label=kind"]) == 0
    (run,) = (tmp_path / "results" / "black_box").glob("*/run.json")
    records = store.read(run.parent)
    found = records.scores.set_index(["method", "metric"])["value"]
    assert found["kernel_shap", "completeness"].max() < 1e-12
    samples = {s["sample_id"]: s for s in records.run.samples}
    for name, sample in samples.items():
        row = int(name.removeprefix("row-")) - 1
        truth = fitted.decision_function(pd.DataFrame(ROWS[[row]], columns=names))[0]
        assert sample["score"] == pytest.approx(truth, rel=1e-12)
        assert sample["label"] == int(classes[row] == "yes")
        assert sample["target_name"] == "yes"
    assert main([*WORDS, *files, "method=[ig]"]) == 2
    said = capsys.readouterr().err
    assert "the model has no gradients, which ig cannot do without" in said
    assert main([*WORDS, "model.path=model.pkl", "data.path=rows.csv"]) == 2
    assert "is a pickle, which runs code of its own" in capsys.readouterr().err
