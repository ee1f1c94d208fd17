"""Forms of the table of scores: choices, captions from the record, ranks, plain numbers in CSV."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from igbench.errors import InputError
from igbench.records.stats import summarise
from igbench.report import across, captions, names, ranking, render, tables
from igbench.report.table import Cell, Table, TableOptions
from igbench.schema import Family, Records, Run
from tests.helpers.synthetic import make_records

COMPACT = TableOptions(form="compact")


@cache
def made() -> tuple[Records, pd.DataFrame]:
    records = make_records()
    run = records.run
    return records, summarise(records.scores, run.metrics, methods=run.methods, resamples=50)


def table(**options: Any) -> Table:
    records, summary = made()
    return tables.scores_table(records.run, summary, TableOptions(**options), records.scores)


def read_csv(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), keep_default_na=True)


# -- choices --------------------------------------------------------------------------------------


def test_the_compact_form_has_the_headline_and_two_more_with_a_digit_less() -> None:
    compact, wide = table(form="compact"), table()
    assert compact.column_keys == ("srg", "completeness", "infidelity")
    assert compact.name == "scores_compact"
    assert compact.cells[0][0].text == "0.40 ± 0.03"
    assert wide.cells[0][wide.column_keys.index("srg")].text == "0.403 ± 0.033"


def test_the_compact_form_prefers_other_families() -> None:
    records, summary = made()
    faithful = ("srg", "infidelity", "deletion", "insertion", "sensitivity_n")
    families: dict[str, Family] = dict.fromkeys(faithful, "faithfulness")
    metrics = {
        m: replace(s, family=families.get(m, "axiomatic")) for m, s in records.run.metrics.items()
    }
    run = replace(records.run, metrics=metrics)
    assert tables.chosen_metrics(run, summary, COMPACT) == ["srg", "completeness", "infidelity"]
    less = {m: metrics[m] for m in ("insertion", "srg", "deletion", "completeness")}
    run = replace(run, metrics=less)
    assert tables.chosen_metrics(run, summary, COMPACT) == ["srg", "completeness", "insertion"]


def test_chosen_metrics_and_methods_in_the_given_order() -> None:
    chosen = table(
        form="compact", metrics=("deletion", "srg"), methods=("grad_cam", "ig", "random")
    )
    assert chosen.column_keys == ("deletion", "srg")
    assert [key["method"] for key in chosen.keys] == ["ig", "grad_cam", "random"]
    with pytest.raises(InputError, match=r"unknown metric 'sgr'.*'srg'"):
        table(metrics=("sgr",))
    with pytest.raises(InputError, match=r"unknown method 'gi'"):
        table(methods=("gi",))


def test_leaving_methods_out_changes_no_mark() -> None:
    whole, part = table(), table(methods=("ig", "saliency", "grad_cam"))
    marks = {
        (key["method"], metric): (cell.best, cell.second, cell.tied)
        for key, line in zip(whole.keys, whole.cells, strict=True)
        for metric, cell in zip(whole.column_keys, line, strict=True)
    }
    for key, line in zip(part.keys, part.cells, strict=True):
        for metric, cell in zip(part.column_keys, line, strict=True):
            assert (cell.best, cell.second, cell.tied) == marks[key["method"], metric]


# -- marks and ranks ------------------------------------------------------------------------------


def test_second_best_is_the_next_mean_whatever_ties_for_the_first() -> None:
    records, _ = made()
    lines = [
        {"method": m, "metric": "srg", "mean": mean, "best": best}
        for m, mean, best in (
            ("ig", 0.5, True), ("saliency", 0.5, True), ("occlusion", 0.4, False),
            ("grad_cam", math.nan, False), ("random", 0.45, False),
        )
    ]  # fmt: skip
    assert ranking.second_best(records.run, lines) == {"occlusion"}
    assert ranking.second_best(records.run, [line | {"best": False} for line in lines]) == set()


def test_mean_ranks_are_those_of_the_samples_that_all_have() -> None:
    records, _ = made()
    found = table(metrics=("srg",), ranks=True)
    assert found.columns[-1] == "Rank, SRG ↓"
    rows = records.scores[records.scores["metric"] == "srg"]
    wide = rows.pivot(index="sample_id", columns="method", values="value")
    competing = ["ig", "gradient_shap", "saliency", "input_x_gradient", "occlusion", "grad_cam"]
    kept = wide[competing].dropna()
    assert len(kept) == 23, "occlusion fails on one"
    expected = dict(
        zip(competing, np.mean([rankdata(-row) for row in kept.to_numpy()], axis=0), strict=True)
    )
    for key, line in zip(found.keys, found.cells, strict=True):
        if key["method"] in expected:
            assert line[-1].value == pytest.approx(expected[key["method"]])
            assert line[-1].numbers["n"] == 23
            assert line[-1].note == "n = 23"
        else:
            assert line[-1].text == "–"
    assert "Rank: mean over the samples" in found.caption
    assert "Rank: " not in table().caption
    with pytest.raises(ValueError, match="give scores="):
        tables.scores_table(records.run, made()[1], TableOptions(ranks=True))


# -- captions -------------------------------------------------------------------------------------


def with_facts() -> Run:
    records, _ = made()
    parameters = {
        "srg": {"occluder": "zero"}, "deletion": {"occluder": "zero"},
        "insertion": {"occluder": "blur"}, "infidelity": {"draws": 4},
    }  # fmt: skip
    return replace(
        records.run,
        environment={
            "model_source": "trained here", "data_source": "our photographs",
            "parameters": {"metrics": parameters},
        },
        comparability=records.run.comparability | {"target": "prediction", "output": "logit"},
    )  # fmt: skip


def test_the_caption_says_what_is_on_record() -> None:
    _, summary = made()
    caption = tables.scores_table(with_facts(), summary).caption
    for fact in (
        "Attribution methods on Synthetic net: mean ± half the width of its 95 % bootstrap "
        "interval over n = 24 samples",
        "Model: trained here. Data: our photographs. Target: the predicted class. Output: logit.",
        "Scalar: score (Completeness gap, Infidelity, Sensitivity-n, Difference from IG), "
        "probability (Deletion, Insertion, SRG).",
        "Occluder: zero (Deletion, SRG), blur (Insertion).",
        "Seed: 0. Versions: igbench 0.1.0, torch 2.14.1.",
        "Of 1,512 values, 294 are undefined and 7 failed.",
        "Oracles and controls are shown, not ranked.",
    ):
        assert fact in caption


def test_the_caption_invents_nothing() -> None:
    _, summary = made()
    bare = replace(with_facts(), environment={}, comparability={}, identity={}, config={})
    caption = tables.scores_table(bare, summary).caption
    for head in ("Model:", "Data:", "Target:", "Output:", "Occluder:", "Seed:", "Versions:"):
        assert head not in caption
    odd = replace(bare, comparability={"seed": [1], "target": {"a": 1}}, identity={"versions": 3})
    assert tables.scores_table(odd, summary).caption == caption


def test_names_that_look_alike_keep_their_identifiers() -> None:
    assert names.method("a_b", ["a_b", "a__b"]) == "A b [a_b]"
    assert names.method("a__b", ["a_b", "a__b"]) == "A b [a__b]"
    assert names.method("___") == "[___]"


# -- CSV ------------------------------------------------------------------------------------------


def test_csv_has_plain_numbers_and_counts() -> None:
    _, summary = made()
    found = read_csv(render.to_csv(table())).set_index("method")
    assert list(found["title"])[:2] == ["IG", "GradientSHAP"]
    for line in summary.to_dict("records"):
        if line["metric"] not in table().column_keys:
            continue
        own = found.loc[line["method"]]
        for name in ("mean", "low", "high", "n", "n_undefined", "n_failed"):
            assert own[f"{line['metric']}_{name}"] == pytest.approx(line[name], nan_ok=True)
    assert found.loc["occlusion", "srg_mark"] == "best"
    assert found.loc["grad_cam", "srg_mark"] == "second tied"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "\t=", "＝"])
def test_csv_texts_are_no_formulas(start: str) -> None:
    evil = f'{start}HYPERLINK("http://x","y")'
    made = Table("t", "c", ("method", evil), (evil,), ((Cell(evil, evil),),), numeric=False)
    keyed = replace(made, keys=({"method": evil},), column_keys=(evil,))
    for one in (made, keyed):
        rows = list(csv.reader(io.StringIO(render.to_csv(one))))
        assert len(rows) == 2
        for cell in (c for row in rows for c in row if "HYPERLINK" in c):
            assert cell[0] == "'" or cell.startswith("\\t=")


def test_csv_keeps_negative_numbers_and_infinities() -> None:
    cell = Cell("-0.5", value=-0.5, numbers={"mean": -0.5, "low": -math.inf, "high": math.nan})
    text = render.to_csv(Table("t", "c", ("method", "m"), ("r",), ((cell,),)))
    assert text == "method,m_mean,m_low,m_high\nr,-0.5,-inf,\n"


def test_one_row_is_one_line_whatever_a_name_holds() -> None:
    made = Table("t", "c", ("method", "m"), ('a\n"b",\r\x1bc\u202e',), ((Cell("1"),),))
    rows = list(csv.reader(io.StringIO(render.to_csv(made))))
    assert rows == [["method", "m"], ['a "b", \\x1bc\\u202e', "1"]]


# -- several runs ---------------------------------------------------------------------------------


def of_runs() -> list[tuple[Run, pd.DataFrame]]:
    records, summary = made()
    found = []
    for model, data in (("resnet50", "imagenet"), ("vit_b_16", "photos"), ("vit_b_16", "imagenet")):
        run = replace(records.run, config={"data": {"_target_": f"igbench.data.x.{data}"}})
        found.append((run, summary.assign(model=model)))
    return found


def test_models_stand_under_their_data() -> None:
    (found,) = across.tables(of_runs(), ["srg"])
    assert found.heads == (
        ("ImageNet", "ResNet-50"),
        ("ImageNet", "ViT-B/16"),
        ("Photos", "ViT-B/16"),
    )
    assert found.columns[1:] == ("ResNet-50, ImageNet", "ViT-B/16, ImageNet", "ViT-B/16, Photos")
    assert found.column_keys == ("ImageNet ResNet-50", "ImageNet ViT-B/16", "Photos ViT-B/16")


def test_the_compact_form_and_ranks_of_several_runs() -> None:
    options = TableOptions(form="compact", methods=("ig", "occlusion", "random"), ranks=True)
    (found,) = across.tables(of_runs(), ["srg"], options)
    assert found.name == "models_srg_compact"
    assert [line[-1].text for line in found.cells] == ["2.00", "1.00", "–"]
    assert found.cells[0][0].text == "0.40 ± 0.03"
    assert "Of 216 values, 0 are undefined and 3 failed." in found.caption


def test_reading_and_marks_are_said_once() -> None:
    caption = table().caption
    assert caption.count(captions.TEST) == 1
    assert caption.count("Bold: best") == 1
