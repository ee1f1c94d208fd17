"""Does every metric give the answer that is known?  Certificates, and ladders that calibrate."""

from igbench.certify.cases import NO_CLOSED_FORM, Case
from igbench.certify.certificates import Certificate, certify, obtain, table
from igbench.certify.ordering import NOT_ORDERED, Ladder, ladder_table, ladders
from igbench.certify.record import on_record

__all__ = [
    "NOT_ORDERED",
    "NO_CLOSED_FORM",
    "Case",
    "Certificate",
    "Ladder",
    "certify",
    "ladder_table",
    "ladders",
    "obtain",
    "on_record",
    "table",
]
