"""`igbench.check` from Python, and what it says of what changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import igbench
from igbench import gate
from igbench.errors import InputError
from igbench.records import causes
from igbench.schema import Records
from tests.helpers import synthetic

X = torch.rand(16, 3, generator=torch.Generator().manual_seed(0))
CHOICE = {"methods": ["ig"], "metrics": ["completeness"]}


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = torch.nn.Linear(3, 8), torch.nn.Linear(8, 2)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


class Other(Net):
    """The same under another name."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("baselines")
    igbench.check(Net().eval(), X, baseline="v1", baselines_dir=folder, update=True, **CHOICE)
    return folder


@pytest.mark.parametrize(
    ("model", "options", "code", "said"),
    [
        (Other, {}, 0, "no regression"),
        (Net, {"input_baseline": 0.5}, 2, "baseline: "),
        (Net, {"seed": 1}, 2, "seed: 0 -> 1"),
        (Net, {"limit": 8}, 2, "16 against 8 samples"),
        (Net, {"metrics": {"completeness": igbench.metrics.Deletion()}}, 2, "completeness"),
        (Net, {"metrics": ["completeness", "sparseness"]}, 3, "NEW ig/sparseness"),
        (Net, {"metrics": ["completeness", "sparseness"], "accept": {"sparseness": "new"}}, 0, ""),
        (Net, {"methods": ["ig", "saliency"], "fail_on": "never"}, 0, "NEW saliency/"),
        (Net, {"across": ()}, 0, "no regression"),
    ],
)
def test_only_the_question_must_be_the_same(root, model, options, code, said):
    found = igbench.check(
        model().eval(), X, baseline="v1", baselines_dir=root, **{**CHOICE, **options}
    )
    assert found.exit_code == code
    assert said in igbench.records.compare.format_text(found)
    assert not any("seconds" in change.metric for change in found.changes)


def test_other_weights_need_no_option_and_can_be_forbidden(root):
    net = Net().eval()
    net.last.weight.data *= 1.001
    assert igbench.check(net, X, baseline="v1", baselines_dir=root, **CHOICE).exit_code == 0
    strict = igbench.check(net, X, baseline="v1", baselines_dir=root, across=(), **CHOICE)
    assert strict.exit_code == 2


def test_without_a_baseline_nothing_is_evaluated(tmp_path):
    with pytest.raises(InputError, match="no baseline 'v1'"):
        igbench.check(None, None, baseline="v1", baselines_dir=tmp_path, **CHOICE)


def test_a_damaged_baseline_is_refused_and_can_be_replaced(tmp_path):
    choice = {"baseline": "v1", "baselines_dir": tmp_path, **CHOICE}
    igbench.check(Net().eval(), X, update=True, **choice)
    (tmp_path / "v1" / "scores.parquet").write_bytes(b"")
    with pytest.raises(InputError, match=r"scores\.parquet"):
        igbench.check(Net().eval(), X, **choice)
    found = gate.checked(Net().eval(), X, update=True, **choice)
    assert gate.verdict(found).endswith("the one before was damaged")
    assert igbench.check(Net().eval(), X, **choice).exit_code == 0


def test_nothing_is_written_unless_it_fails(root, tmp_path):
    choice = {"baseline": "v1", "baselines_dir": root, "results_dir": tmp_path / "runs", **CHOICE}
    before = sorted(p.name for p in root.iterdir())
    igbench.check(Net().eval(), X, **choice)
    assert not (tmp_path / "runs").exists()
    assert sorted(p.name for p in root.iterdir()) == before


def records(scores, weights="a7", predictions=(1, 1)):
    run = synthetic.make_run(comparability={"weights": weights})
    samples = [
        {"sample_id": f"s{i}", "score": score, "prediction": p, "status": "ok"}
        for i, (score, p) in enumerate(zip(scores, predictions, strict=True))
    ]
    return Records(replace(run, samples=samples), None, None)


@pytest.mark.parametrize(
    ("new", "lines"),
    [
        (records([1.0, 2.0]), ["the same weights; its outputs are the same on all 2 samples",
                               "so a method, a metric or a library changed, and not the model"]),
        (records([1.0, 2.00001]), ["the same weights; its outputs are the same on all 2 samples",
                                   "so a method, a metric or a library changed, and not the mod"]),
        (records([1.5, 2.0], predictions=(1, 0)),
         ["the same weights; its outputs differ on 1 of 2 samples (by 0.5 on average), its "
          "predicted class on 1", "so the inputs changed, or the code of the model"]),
        (records([1.5, 3.0], weights="b8"),
         ["other weights; its outputs differ on 2 of 2 samples (by 0.75 on average)"]),
        (records([float("nan"), None]), ["no sample has an output in both runs"]),
    ],
)  # fmt: skip
def test_what_changed_tells_the_model_from_the_rest(new, lines):
    found = causes.model_changes(records([1.0, 2.0]), new)
    assert len(found) == len(lines)
    for line, part in zip(found, lines, strict=True):
        assert part in line
