"""What is refused in Python is refused on the command line, in the same words and before work."""

from __future__ import annotations

import pytest
import torch

from igbench.__main__ import main
from igbench.core.model import Model
from tests.strangers import models

WORDS = ["experiment=digits_resnet", "limit=2", "method=[ig]", "metric=[completeness]"]


class Flat(models.Around):
    """The plain model, of the first six pixels of a digit."""

    def forward(self, x):
        return self.net(self.first(x.flatten(1)[:, 8:14]))

    def first(self, x):
        return x


class Dropping(Flat):
    def first(self, x):
        # Of six pixels, some of them black, dropout alone leaves the same ones now and then.
        return models.nn.functional.dropout(x + torch.rand_like(x), 0.5, training=True)


class Centred(Flat):
    def first(self, x):
        return x - x.mean(dim=0)


def model(kind: str, cache_dir: str | None = None) -> Model:
    """A model by the name of its class."""
    module = {"Flat": Flat, "Dropping": Dropping, "Centred": Centred}[kind]()
    return Model(kind, module, tuple("0123456789"), "", kind, "made by a test")


def words(kind: str) -> list[str]:
    return [*WORDS, "model._target_=tests.strangers.test_command_line.model", f"+model.kind={kind}"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("target=lable", "unknown target 'lable'"),
        ("target=10", "target 10 is not one of the model's 10 outputs, 0 to 9"),
        ("target=1.5", "target=1.5 must be a text of one line, or a whole number"),
        ("target=true", "target=True must be a text of one line, or a whole number"),
        ("seed=1.5", "seed=1.5 must be a whole number"),
        ("seed=true", "seed=True must be a whole number"),
        ("limit=0", "limit=0 must be a whole number"),
        ("batch_size=0", "batch_size=0 must be a whole number"),
        ("output=logits", "unknown output 'logits'"),
        ("metric.completeness.relativ=true", "unknown key 'metric.completeness.relativ'"),
        ("baseline=blurr", "unknown baseline 'blurr'"),
    ],
)
def test_arguments(override, message, tmp_path, capsys, cache):
    assert main([*WORDS, override, f"results_dir={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "message"),
    [("Dropping", "draws at random"), ("Centred", "depend on the rows beside it")],
)
def test_models(kind, message, tmp_path, capsys, cache):
    assert main([*words(kind), f"results_dir={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_model_that_mixes_rows_works_one_row_at_a_time(tmp_path, cache):
    assert main([*words("Centred"), "batch_size=1", f"results_dir={tmp_path}"]) == 0


def test_a_class_for_all_samples(tmp_path, cache):
    from tests.helpers.runs import only_run

    assert main([*words("Flat"), "target=2", f"results_dir={tmp_path}"]) == 0
    assert [s["target"] for s in only_run(tmp_path).run.samples] == [2, 2]
