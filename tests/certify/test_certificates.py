"""Certificates hold for every metric, and a wrong metric does not get one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from igbench import certify
from igbench.__main__ import main
from igbench.certify import cases_faithfulness, certificates, models, ordering
from igbench.config import compose
from igbench.core.score import Score
from igbench.errors import InputError
from igbench.integration.integrate import integrated_gradients
from igbench.metrics.axiomatic.completeness import Completeness
from igbench.metrics.faithfulness.curves import Curves

METRICS = compose.choices("metric")


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_a_certificate_or_a_reason(name):
    found = certify.certify([name])
    assert found or certify.NO_CLOSED_FORM[name]
    for one in found:
        assert one.ok, f"{one.case}: expected {one.expected}, obtained {one.obtained} {one.note}"


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_of_faithfulness_knows_the_truth(name):
    (one,) = certify.ordering_tests([name])
    assert one.ok, one.scores
    if not one.note:
        # 12 samples: every mean that is in order, and most samples too.
        assert one.in_order >= 0.5


def test_no_name_is_left_over():
    known = set(METRICS)
    assert {case.metric for case in certificates.CASES} <= known
    assert set(certify.NO_CLOSED_FORM) <= known
    assert set(certify.NOT_ORDERED) <= known
    assert not set(certify.NO_CLOSED_FORM) & {case.metric for case in certificates.CASES}


def test_a_wrong_answer_is_no_certificate(monkeypatch):
    case = next(c for c in certificates.CASES if c.metric == "deletion")
    assert certificates.run(case).ok
    assert not certificates.run(replace(case, expected=case.expected + 1e-9)).ok
    assert not certificates.run(replace(case, phi=-1 * cases_faithfulness.PHI)).ok
    drawn = next(c for c in certificates.CASES if c.drawn)
    assert not certificates.run(replace(drawn, expected=1.1 * drawn.expected)).ok

    whole = Curves.removal
    swap = {"mif": "lif", "lif": "mif"}
    monkeypatch.setattr(Curves, "removal", lambda self, o, a: whole(self, swap[o], a))
    names = ["deletion", "insertion", "srg", "aopc", "abpc", "pixel_flipping"]
    assert not [c for c in certify.certify(names) if c.ok]
    assert not [one for one in certify.ordering_tests(names) if one.ok]


def test_undefined_and_refused_are_no_certificates():
    case = next(c for c in certificates.CASES if c.metric == "deletion")
    flat = certificates.run(replace(case, phi=cases_faithfulness.ONES))
    assert not flat.ok
    assert "flat" in flat.note
    wrong = certificates.run(replace(case, x=models.row(1, 1), phi=models.row(1, 1)))
    assert not wrong.ok
    assert math.isnan(wrong.obtained)


def test_a_new_metric_without_a_case_is_noticed(monkeypatch):
    monkeypatch.setattr(certificates, "CASES", ())
    (one,) = certify.certify(["srg"])
    assert not one.ok
    assert "no case" in one.note
    with pytest.raises(InputError, match=r"unknown metric 'srgg'.*'srg'"):
        certify.certify(["srgg"])


def test_known_maps_are_integrated_gradients():
    # The maps that cases call IG, and the planted ones, by an independent way to them.
    x = cases_faithfulness.ONES
    phi = integrated_gradients(Score(models.mixed), x, torch.zeros_like(x), None, n_steps=4)
    torch.testing.assert_close(phi, cases_faithfulness.IG_OF_MIXED, rtol=0, atol=1e-14)
    batch, maps = ordering.planted(samples=2)
    phi = integrated_gradients(batch.score, batch.x, batch.baseline, None, n_steps=2)
    torch.testing.assert_close(phi, maps["truth"], rtol=1e-12, atol=0)
    for values in maps.values():
        torch.testing.assert_close(
            values.flatten(1).sum(dim=1), batch.score(batch.x), rtol=1e-12, atol=0
        )


def test_tables_say_what_failed():
    good = certify.Certificate("srg", "case", 1.0, 1.0, 1e-12)
    bad = certify.Certificate("srg", "case", 1.0, math.nan, 1e-12, "because")
    text = certify.table([good, bad])
    assert "| yes |" in text
    assert "**no**" in text
    assert "because" in text
    steps = [
        certify.OrderingTest("srg", (0.1, 0.2, 0.15)),
        certify.OrderingTest("infidelity", (3, 2, 1), higher=False),
        certify.OrderingTest("sparseness", note="simple"),
    ]
    assert [s.ok for s in steps] == [False, True, True]
    text = certify.ordering_table(steps)
    assert text.count("**no**") == 1
    assert "Not ordered, simple: sparseness." in text


def test_command(capsys, monkeypatch):
    assert main(["certify", "completeness", "sparseness"]) == 0
    text = capsys.readouterr().out
    assert "| completeness |" in text
    assert "| srg |" not in text
    assert main(["certify", "sparsness"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setattr(Completeness, "observe", lambda self, b: (torch.ones(1), torch.ones(1)))
    assert main(["certify", "completeness"]) == 1
    assert "**no**" in capsys.readouterr().out
