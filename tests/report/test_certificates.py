"""Does the report show what the metrics of its run say where the answer is known?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from igbench import certify, report
from igbench.metrics.faithfulness.areas import Deletion
from igbench.report import certificates, render
from igbench.schema import Records
from tests.helpers.synthetic import make_records


def with_certificates(record: dict) -> Records:
    records = make_records()
    environment = {**records.run.environment, "certificates": record}
    return replace(records, run=replace(records.run, environment=environment))


@pytest.fixture(scope="module")
def record() -> dict:
    return certify.certify_run(["deletion", "completeness", "sic", "mine"])


def test_record_covers_every_metric(record):
    assert {c["metric"] for c in record["cases"]} == {"deletion", "completeness"}
    assert [one["metric"] for one in record["ordering"]] == ["deletion"]
    assert set(record["without"]) == {"sic", "mine"}
    assert all(c["ok"] for c in record["cases"])


def test_a_wrong_metric_is_on_record(monkeypatch, caplog):
    measure = Deletion.measure

    def negated(self, *given):
        return {n: replace(m, value=-m.value) for n, m in measure(self, *given).items()}

    monkeypatch.setattr(Deletion, "measure", negated)
    record = certify.certify_run(["deletion"])
    assert not any(one["ok"] for one in [*record["cases"], *record["ordering"]])
    assert "deletion does not give a known answer" in caplog.text
    run = with_certificates(record).run
    assert "Do not trust deletion" in certificates.sentence(run)
    made, ordering = certificates.tables(run)
    assert f"0 of {len(record['cases'])} certificates hold" in made.caption
    assert {line[-1].text for line in [*made.cells, *ordering.cells]} == {"no"}


@pytest.fixture
def no_figures(monkeypatch):
    """Pages without figures, which take most of the time of a report."""
    monkeypatch.setattr("igbench.report.plots.makers", lambda *_: {})


@pytest.mark.usefixtures("no_figures")
def test_tables_and_page(record, tmp_path):
    records = replace(with_certificates(record), folder=str(tmp_path))
    (table, _) = certificates.tables(records.run)
    assert len(table.rows) == len(record["cases"])
    assert render.to_latex(table).count(r"\\") == len(table.rows) + 1
    page = report.write_report(records).read_text()
    assert 'href="#certificates"' in page
    assert 'id="certificates"' in page
    assert "checks of these metrics on models with known answers hold" in page
    assert (tmp_path / "tables" / "certificates.md").is_file()
    assert (tmp_path / "tables" / "ordering.tex").is_file()


@pytest.mark.usefixtures("no_figures")
def test_runs_without_certificates_say_nothing(tmp_path):
    records = replace(make_records(), folder=str(tmp_path))
    assert certificates.tables(records.run) == []
    assert certificates.sentence(records.run) == ""
    assert 'href="#certificates"' not in report.write_report(records).read_text()
