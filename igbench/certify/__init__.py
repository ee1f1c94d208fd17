"""Certify metrics on models with known answers, and test whether they order good and bad maps."""

from igbench.certify.cases import NO_CLOSED_FORM, Case
from igbench.certify.certificates import Certificate, certify, obtain, table
from igbench.certify.ordering import NOT_ORDERED, OrderingTest, ordering_table, ordering_tests
from igbench.certify.record import as_record, certify_run

__all__ = [
    "NOT_ORDERED",
    "NO_CLOSED_FORM",
    "Case",
    "Certificate",
    "OrderingTest",
    "as_record",
    "certify",
    "certify_run",
    "obtain",
    "ordering_table",
    "ordering_tests",
    "table",
]
