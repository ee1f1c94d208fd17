"""Compare releases of Captum and torch; write table.md and changes.png here.

python -m experiments.captum_releases.run [--results-dir results] [--find-links DIR] [--draw-only]
"""

from __future__ import annotations

import argparse
import math
from itertools import pairwise
from pathlib import Path

import numpy as np

from igbench.__main__ import main as igbench
from igbench.cli import requirements
from igbench.cli.requirements import Versions
from igbench.records import compare, store
from igbench.report import styles
from igbench.schema import COSTS, Records

HERE = Path(__file__).parent
EXPERIMENTS = ("captum_releases", "captum_releases_table")
SETS = (
    "captum==0.7.0 torch==2.4.1",
    "captum==0.8.0 torch==2.4.1",
    "captum==0.9.0 torch==2.4.1",
    "captum==0.9.0 torch==2.13.0",
)
"""Neighbours differ in one package; 2.13.0 is met by 2.13.0+cpu too."""

FLOOR = 1e-9
"""Where changes of zero are drawn."""
FLOAT32 = 2.0**-23
"""Spacing of numbers of float32 at 1."""

Changes = dict[str, list[float]]
"""Method to its largest change of a map between each release and the next."""


def newest(experiment: str, versions: Versions, results_dir: Path) -> Records:
    """The newest run of an experiment with some versions."""
    for folder in reversed(store.runs(results_dir / experiment)):
        if not versions.missed(store.read_run(folder).identity["versions"]):
            return store.read(folder)
    raise SystemExit(f"no run of {experiment} with {versions}; leave out --draw-only.")


def change(base: Records, new: Records, method: str) -> float:
    """Largest change of an attribution, relative to the largest one of its map.

    Both maps of a sample are those that the runs kept; NaN if they kept none.
    """
    old, now = base.maps.get(method, {}), new.maps.get(method, {})
    found = [
        float(np.abs(now[name] - old[name]).max() / np.abs(old[name]).max())
        for name in old
        if name in now
    ]
    return max(found, default=math.nan)


def verdicts(comparison: compare.Comparison, method: str) -> str:
    """The verdicts on the metrics of a method, as "3 identical"."""
    found = [c.verdict for c in comparison.changes if c.method == method and c.metric not in COSTS]
    return ", ".join(f"{found.count(v)} {v}" for v in dict.fromkeys(found))


def table(
    records: list[Records], found: list[compare.Comparison], heads: list[str]
) -> tuple[list[str], Changes]:
    """Lines of a Markdown table of methods by changes, and the changes of maps."""
    lines = [f"| method | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    changes: Changes = {}
    for method, spec in records[0].run.methods.items():
        changes[method] = [change(a, b, method) for a, b in pairwise(records)]
        cells = [
            f"{size:.1e}; {verdicts(comparison, method)}" if size else verdicts(comparison, method)
            for size, comparison in zip(changes[method], found, strict=True)
        ]
        lines.append(f"| {spec.title} | {' | '.join(cells)} |")
    return lines, changes


def heading(base: Versions, new: Versions) -> str:
    """What differs between neighbours, as "captum 0.7.0 → 0.8.0"."""
    pairs = zip(base.pins, new.pins, strict=True)
    return ", ".join(f"{name} {old} → {now}" for (name, old), (_, now) in pairs if old != now)


def draw(changes: Changes, titles: dict[str, str], heads: list[str]) -> None:
    """Draw the changes of maps: a row for each method, a marker for each pair of releases."""
    with styles.style():
        height = 0.2 * len(changes) + 0.9
        made = styles.canvas(styles.FULL_WIDTH, height)
        axes = made.add_subplot()
        places = range(len(changes))
        for i, head in enumerate(heads):
            sizes = [max(size[i], FLOOR) for size in changes.values()]
            axes.plot(
                sizes, [p + 0.2 * (i - 1) for p in places], linestyle="none", markersize=4,
                marker=styles.MARKERS[i], color=styles.METHOD_COLOURS[i], label=head,
                markerfacecolor="white" if i == 1 else styles.METHOD_COLOURS[i],
            )  # fmt: skip
        axes.axvline(FLOAT32, color="#7f7f7f", linewidth=0.8, dashes=(3, 2), zorder=0)
        axes.set_xscale("log")
        axes.set_xlim(FLOOR / 2, 2)
        ticks = [FLOOR, 1e-7, 1e-5, 1e-3, 1e-1]
        axes.set_xticks(ticks, ["none", *(f"$10^{{{round(math.log10(t))}}}$" for t in ticks[1:])])
        axes.set_yticks(list(places), [titles[name] for name in changes])
        axes.invert_yaxis()
        axes.set_xlabel(
            "Largest change of an attribution, relative to the largest of its map\n"
            "(dashed: spacing of float32)"
        )
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(heads), frameon=False)
        axes.set_ylim(len(changes) - 0.5, -0.7)
        styles.save(made, HERE / "changes", ("png",))


def main() -> None:
    """Run the releases of both experiments, and write what changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    parser.add_argument("--find-links", default="", help="folder or page of wheels")
    parser.add_argument("--draw-only", action="store_true", help="of runs that are there")
    given = parser.parse_args()
    asked = [requirements.parse(text) for text in SETS]
    heads = [heading(base, new) for base, new in pairwise(asked)]
    changes: Changes = {}
    titles: dict[str, str] = {}
    lines: list[str] = []
    for experiment in EXPERIMENTS:
        words = [f"--config-dir={HERE / 'conf'}", f"experiment={experiment}"]
        words += [f"results_dir={given.results_dir}"]
        words += [w for text in SETS for w in ("--with", text)]
        words += ["--find-links", given.find_links] if given.find_links else []
        if not given.draw_only:
            igbench(["releases", *words])
        records = [newest(experiment, one, given.results_dir) for one in asked]
        libraries = list(records[0].run.identity["versions"])
        found = [compare.compare(a, b, across=libraries) for a, b in pairwise(records)]
        rows, own = table(records, found, heads)
        model = records[0].scores["model"].iloc[0]
        lines += [f"**{model}**, {len(records[0].run.samples)} samples.", "", *rows, ""]
        changes |= {f"{model}/{name}": sizes for name, sizes in own.items()}
        methods = records[0].run.methods
        short = " (table)" if experiment.endswith("_table") else ""
        titles |= {f"{model}/{name}": f"{methods[name].title}{short}" for name in own}
    lines[:0] = [
        "Largest change of an attribution in the kept maps, relative to the largest of its map "
        "(none: equal to the last bit), and the verdicts on the metrics.",
        "",
    ]
    (HERE / "table.md").write_text("\n".join(lines), encoding="utf-8")
    draw(changes, titles, heads)


if __name__ == "__main__":
    main()
