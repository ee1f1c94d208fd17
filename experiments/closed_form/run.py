"""Check every metric against known answers, and write table.md beside this file.

python experiments/closed_form/run.py
"""

from __future__ import annotations

from pathlib import Path

from igbench import certify

HERE = Path(__file__).parent


def main() -> None:
    """Run all certificates and ordering tests, and write them."""
    certificates, tests = certify.certify(), certify.ordering_tests()
    ordered = [one for one in tests if not one.note]
    text = [
        "## Certificates",
        f"{sum(c.ok for c in certificates)} of {len(certificates)} hold.",
        certify.table(certificates),
        "## Ladders",
        f"{sum(one.ok for one in ordered)} of {len(ordered)} are in order.",
        certify.ordering_table(tests),
    ]
    (HERE / "table.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
