"""What may differ between two runs, what must not, and what makes cells another question."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from igbench.errors import InputError
from igbench.records import compare as gate
from igbench.records.shorten import shorten
from igbench.schema import MethodSpec, MetricSpec, Records, Verdict
from tests.helpers.two_runs import BASE, UP, N, make, noisy, with_run

CELL = ("ig", "up")
SAME = make({CELL: BASE})


def compared(new: Records, *across: str, base: Records = SAME) -> gate.Comparison:
    return gate.compare(base, new, across=across, resamples=99)


def versions(**packages: str) -> dict[str, object]:
    return {"versions": {**SAME.run.identity["versions"], **packages}}


@pytest.mark.parametrize(
    ("fields", "name", "word", "groups"),
    [
        ({"comparability": {"target": "label"}}, "target", "target", ()),
        ({"comparability": {"seed": 1}}, "seed", "seed", ()),
        ({"comparability": {"output": "probability"}}, "output", "scalar", ()),
        ({"config": {"data": {"name": "others"}}}, "data.name", "data", ()),
        ({"comparability": {"weights": "b" * 64}}, "weights", "model", ("all",)),
        ({"identity": versions(captum="1")}, "versions.captum", "captum", ("all", "libraries")),
        ({"identity": versions(numpy="9")}, "versions.numpy", "numpy", ("all", "libraries")),
        ({"identity": versions(igbench="2")}, "versions.igbench", "igbench", ("all", "libraries")),
        ({"environment": {"git": "ffff"}}, "git", "igbench", ("all", "libraries")),
        ({"identity": {"device": "cuda"}}, "device", "device", ("all",)),
        ({"identity": {"dtype": "float64"}}, "dtype", "precision", ("all",)),
        ({"identity": {"precision": "bf16"}}, "precision", "precision", ("all",)),
        ({"identity": {"compile": "inductor"}}, "compile", "precision", ("all",)),
        ({"identity": {"weather": "rain"}}, "weather", "weather", ()),
    ],
)
def test_what_moves_the_numbers_must_be_named(
    fields: dict[str, object], name: str, word: str, groups: tuple[str, ...]
) -> None:
    new = with_run(SAME, **fields)
    for others in ((), {"torch", "metrics", "precision"} - {word}):
        found = compared(new, *others)
        assert (found.exit_code, found.changes) == (2, [])
        (text,) = found.incomparable
        assert text.startswith(f"{name}: ")
        assert text.endswith(f"(--across {word} allows it)")
    for one in ("all", "libraries"):
        assert (compared(new, one).exit_code == 0) is (one in groups)
    allowed = compared(new, word)
    assert (allowed.exit_code, allowed.incomparable) == (0, [])
    assert allowed.differences[0].startswith(f"{name}: ")
    assert [d.word for d in allowed.found] == [word]


@pytest.mark.parametrize(
    "fields",
    [
        {"identity": versions(pandas="9")},
        {"identity": {"batch_size": 9}},
        {"environment": {"threads": 9}},
        {"identity": {"methods": {"ig": {"n_steps": 100, "rule": "middle"}}}},
    ],
)
def test_what_does_not_is_listed(fields: dict[str, object]) -> None:
    found = compared(with_run(SAME, **fields))
    assert (found.exit_code, found.incomparable) == (0, [])
    assert found.differences


def test_paths_of_data_and_addresses_are_no_difference() -> None:
    base, new = (
        with_run(
            SAME,
            config={"data": {"name": "photos", "root": f"/{place}/photos"}},
            identity={"methods": {"ig": f"IG(<function f at 0x7f{place}>)"}},
        )
        for place in ("aa", "bb")
    )
    assert compared(new, base=base).differences == []


def test_unknown_words_are_refused() -> None:
    with pytest.raises(InputError, match="--across captun: nothing of this name can differ"):
        compared(SAME, "captun")
    with pytest.raises(InputError, match="unknown fail_on 'always'"):
        gate.compare(SAME, SAME, fail_on="always")  # type: ignore[arg-type]
    assert compared(SAME, "captum,torch", "igbench").across == ("captum", "igbench", "torch")


# --- questions of single cells --------------------------------------------------------------------

LOCAL = MethodSpec("Saliency", "Simonyan 2014", "local", signed=True)
GLOBAL = replace(LOCAL, kind="global")
OCCLUDED = {"up": {"occluder": "baseline"}, "down": {"occluder": "blur"}}


def asked(methods: dict[str, object], baseline: str = "Zero()") -> Records:
    made = make({(m, k): BASE for m in ("ig", "saliency") for k in ("up", "down", "forward_rows")})
    parameters = {"methods": methods, "metrics": OCCLUDED}
    made = with_run(made, identity={"baseline": baseline}, environment={"parameters": parameters})
    return replace(made, run=replace(made.run, methods={"ig": GLOBAL, "saliency": LOCAL}))


def verdicts(found: gate.Comparison) -> dict[str, str]:
    return {f"{c.method}/{c.metric}": c.verdict for c in found.changes}


def test_another_baseline_touches_the_cells_that_can_depend_on_it() -> None:
    base, new = asked({"ig": {}, "saliency": {}}), asked({"ig": {}, "saliency": {}}, "Blur()")
    found = compared(new, base=base)
    assert verdicts(found) == {
        "ig/up": "incomparable", "ig/down": "incomparable", "ig/forward_rows": "incomparable",
        "saliency/up": "incomparable", "saliency/down": "identical",
        "saliency/forward_rows": "identical",
    }  # fmt: skip
    assert (found.exit_code, found.outcome) == (2, "not comparable")
    assert found.changes[0].note == "baseline: 'Zero()' -> 'Blur()': not compared"
    assert set(verdicts(compared(new, "baseline", base=base)).values()) == {"identical"}
    accepted = gate.compare(base, new, accept={"*/*": "meant"}, resamples=99)
    assert accepted.exit_code == 0
    own = [asked({"ig": {"baseline": "black"}, "saliency": {}}, b) for b in ("Zero()", "Blur()")]
    found = compared(own[1], base=own[0])  # ig has a baseline of its own
    assert [n for n, v in verdicts(found).items() if v == "incomparable"] == [
        "ig/up",
        "saliency/up",
    ]


@pytest.mark.parametrize("name", ["baseline", "baselines", "scalar", "output"])
def test_another_baseline_or_scalar_of_a_method_touches_its_cells(name: str) -> None:
    base, new = (asked({"ig": {name: v, "n_steps": 9}, "saliency": {}}) for v in ("a", "b"))
    found = compared(new, base=base)
    own = {f"ig/{k}": "incomparable" for k in ("up", "down", "forward_rows")}
    others = {f"saliency/{k}": "identical" for k in ("up", "down", "forward_rows")}
    assert verdicts(found) == own | others
    assert found.exit_code == 2
    word = name.rstrip("s").replace("output", "scalar")
    assert compared(new, word, base=base).exit_code == 0


def test_incomparable_cells_do_not_hide_a_regression() -> None:
    base, new = asked({"ig": {}, "saliency": {}}), asked({"ig": {"baseline": "b"}, "saliency": {}})
    worse = new.scores.copy()
    mine = (worse["method"] == "saliency") & (worse["metric"] == "up")
    worse.loc[mine, "value"] = noisy(-0.1)
    found = compared(replace(new, scores=worse), base=base)
    assert (found.exit_code, found.outcome) == (1, "regression")
    assert verdicts(found)["ig/up"] == "incomparable"


# --- other models and samples ---------------------------------------------------------------------


def test_another_model_is_paired_by_sample_across_names() -> None:
    new = make({CELL: noisy(-0.1)}, weights="b" * 64)
    new = replace(new, scores=new.scores.assign(model="bigger_net"))
    found = compared(new, "model")
    (change,) = found.changes
    assert (change.verdict, change.n) == ("regressed", N)
    assert (change.model, change.new_model, change.name) == ("net", "bigger_net", "net/ig/up")
    assert '"new_model": "bigger_net"' in gate.format_json(found)
    two = replace(new, scores=pd.concat([new.scores, new.scores.assign(model="third")]))
    assert sorted(c.verdict for c in compared(two, "model").changes) == ["missing", "new", "new"]


def test_samples_that_explain_another_output_are_remarked() -> None:
    samples = [dict(s) for s in SAME.run.samples]
    samples[3]["target"] = 9
    found = compared(with_run(SAME, samples=samples))
    assert found.warnings == [
        f"1 of {len(samples)} samples explain another output; the first: "
        f"{samples[3]['sample_id']!r}, 3 -> 9"
    ]
    assert found.exit_code == 0


def test_other_samples_are_compared_over_those_in_common() -> None:
    def with_samples(n: int, values: np.ndarray) -> Records:
        made = make({CELL: values[:n]}, samples=str(n))
        return with_run(made, samples=[{"sample_id": f"s{i}"} for i in range(n)])

    base, new = with_samples(N, BASE), with_samples(20, BASE)
    assert compared(new, base=base).exit_code == 2
    found = compared(new, "samples", base=base)
    (change,) = found.changes
    assert (change.verdict, change.n, change.lost) == ("identical", 20, ())
    (back,) = compared(base, "samples", base=new).changes
    assert (back.verdict, back.n, back.recovered) == ("identical", 20, ())
    other = with_run(new, samples=[{"sample_id": "x"}])
    assert compared(other, "samples", base=base).incomparable == ["samples: none in common"]


def test_every_entry_is_of_one_kind() -> None:
    assert {f.kind for f in gate.FIELDS} == {
        "question", "model", "library", "machine", "argument", "listed"
    }  # fmt: skip
    assert gate.FIELDS[-1].entries == "*"
    assert all(f.word == "" for f in gate.FIELDS if f.kind in ("argument", "listed"))


def test_a_metric_may_have_any_minimum_effect() -> None:
    never = {"up": replace(UP, min_effect=math.inf)}
    assert isinstance(never["up"], MetricSpec)
    base, new = (make({CELL: v}, never) for v in (BASE, BASE - 1))
    assert [c.verdict for c in compared(new, base=base).changes] == ["unjudged"]


def test_the_page_has_the_table_of_what_may_differ() -> None:
    page = Path(__file__).parents[2] / "docs" / "howto" / "compare_in_ci.md"
    text = page.read_text(encoding="utf-8")
    words = {"": "", "*": "its name"}
    rows = [
        f"| `{f.entries}` | {words.get(f.word, f'`{f.word}`')} | {f.kind} | {f.meaning} |"
        for f in gate.FIELDS
    ]
    assert "\n".join(["|---|---|---|---|", *rows, ""]) in text
    assert f"`{gate.SCHEMA}`" in text
    for verdict in get_args(Verdict):
        assert re.search(rf"^\| ([a-z, ]+, )?{verdict}(, [a-z]+)? \|", text, re.MULTILINE), verdict


def test_long_texts_of_methods_are_compared_but_for_addresses() -> None:
    pool = "Pool(" + "word " * 1000 + ")"
    texts = [f"{pool}{end}" for end in ("", "!", "<f at 0x7f01>", "<f at 0x7f02>")]
    runs = [
        with_run(
            SAME,
            identity={"methods": {"ig": text}},
            environment={"parameters": {"methods": {"ig": {"n_steps": 50}}}},
        )
        for text in texts
    ]
    assert len(compared(runs[1], base=runs[0]).differences) == 1
    assert compared(runs[3], base=runs[2]).differences == []
    cut = with_run(runs[2], identity=shorten(runs[2].run.identity))  # as in a baseline
    assert compared(runs[2], base=cut).differences == []
    kept = with_run(runs[0], identity=shorten(runs[0].run.identity))
    assert len(compared(runs[1], base=kept).differences) == 1
    assert compared(runs[0], base=kept).differences == []
