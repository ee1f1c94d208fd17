"""Write the comparison of two runs as an HTML page: verdicts, paired plots, maps that moved."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from igbench.errors import InputError
from igbench.files import write_whole
from igbench.records.compare import FINDING_COLUMNS, Comparison, finding_rows, headline, remarks
from igbench.records.settings import own_settings
from igbench.report import (
    change_plots,
    change_tables,
    change_views,
    html,
    map_changes,
    render,
    samples,
    styles,
)
from igbench.report.anchors import anchor
from igbench.report.map_changes import MapChanges, MovedMap
from igbench.report.phrases import count, join, verb
from igbench.report.table import Table, marked
from igbench.schema import Change, Records, Run, Verdict

TOP = 12
"""Samples of each method whose maps are drawn, by default."""
PLOTS = 24
"""Cells with a plot, at most."""
PLOTTED: tuple[Verdict, ...] = ("regressed", "improved", "changed")
"""Verdicts on cells with a plot."""
MAPS_BUDGET = 8 * 2**20
"""Characters of all maps on the page, which leaves 2 MiB for the rest of it."""

DEFINITIONS = (
    ("Relative L2 distance", "‖new − base‖₂ / ‖base‖₂ over the entries of the map of a sample. It "
     "orders the maps, because every change counts in it, of scale and of sign too. ∞: the base "
     "map is zero, or an entry is finite in one run alone."),
    ("Rank distance", "1 − Spearman's rank correlation of |a| between the two maps, from 0, the "
     "same order of importance, to 2; – where a map is constant or not finite."),
    ("Bit-equal", "The same type, shape and bits."),
    ("Findings", "Paired on the samples with a value in both runs. Regressed or improved: the mean "
     "difference reaches the minimum effect of the metric, and Wilcoxon's signed-rank test rejects "
     "at 5 % after Holm's correction over all tested cells; changed: the same, for a metric "
     "without direction. The interval of the mean difference is a bootstrap of 95 %."),
    ("Exit code", "0 no regression, 1 regression (or any change, where that is to fail), 2 not "
     "comparable, 3 incomplete."),
)  # fmt: skip


def write(
    base: Records, new: Records, comparison: Comparison, path: Path, *, top: int = TOP
) -> Path:
    """Write the page of a comparison: one HTML file that needs no network and no other file.

    Args:
        base: The run to compare with, as `igbench.records.store.read` returns it; a baseline, which
            has no maps, gives a page without maps.
        new: The run to judge.
        comparison: `igbench.records.compare.compare(base, new)`.
        path: Where to, in place of an earlier file.
        top: Samples of each method whose maps are drawn, those that moved most first.

    Returns:
        The path.

    Raises:
        InputError: The path or `top` is unfit, or the comparison is of other runs.
    """
    path = check(path, top)
    named, given = (comparison.base, comparison.new), (base.run.id, new.run.id)
    if named != given:
        raise InputError(
            f"the comparison is of {' and '.join(named)}, not of {' and '.join(given)}; compare "
            "the runs that are given."
        )
    with own_settings():
        text = page(base, new, comparison, top=top)
    try:
        write_whole(path, text.encode(errors="backslashreplace"))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another file.") from error
    return path


def check(path: Path, top: int = TOP) -> Path:
    """The path of a page, which is a file in a folder that exists.

    Args:
        path: The path.
        top: Samples of each method whose maps are drawn.

    Raises:
        InputError: The path does not end in .html, or is a folder or in none; or `top` is negative.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{path} is no name of a page; end it in .html.")
    if path.is_dir() or not path.parent.is_dir():
        where = path if path.is_dir() else path.parent
        fault = "is a folder" if path.is_dir() else "is not a folder that exists"
        raise InputError(f"cannot write {path}: {where} {fault}; choose another file.")
    if top < 0:
        raise InputError(f"top={top} maps of each method cannot be drawn; give 0 or more.")
    return path


def page(base: Records, new: Records, comparison: Comparison, *, top: int = TOP) -> str:
    """Render the page of a comparison, see `write`."""
    script = html.script("page.js")
    changes = map_changes.changes(base, new)
    moved, view_remarks = _moved(base, new, changes, top)
    plots, more_plots = _plots(base, new, comparison)
    differs = [f"differs: {text}" for text in comparison.differences]
    return html.template("changes.html.j2").render(
        title=_title(base.run, new.run),
        script=script,
        script_hash=html.script_hash(script),
        contents=_contents(bool(plots)),
        headline=change_tables.arrows(headline(comparison)),
        exit_code=comparison.exit_code,
        base=base.run,
        new=new.run,
        warnings=[*_warnings(base.run, new.run, comparison)],
        remarks=[change_tables.arrows(text) for text in remarks(comparison) if text not in differs],
        differences=_html(change_tables.differences(base.run, new.run, comparison)),
        findings=_html(change_tables.findings(comparison)),
        no_findings=_no_findings(comparison),
        accepted=_html(change_tables.accepted(comparison)),
        plots=plots,
        plot_caption=change_plots.CAPTION,
        more_plots=more_plots,
        said_of_maps=_said(base, new, changes),
        distances=_html(change_tables.distances(changes)),
        unpaired=_html(change_tables.unpaired(changes.unpaired)),
        rule=_rule(new.run, top),
        kind=samples.kind(new.run),
        moved=moved,
        view_remarks=view_remarks,
        definitions=DEFINITIONS,
    )


def _html(table: Table | None) -> str:
    return "" if table is None else render.to_html(table)


def _title(base: Run, new: Run) -> str:
    names = dict.fromkeys((base.experiment, new.experiment))
    return f"{' → '.join(names)}: two runs compared"


def _contents(plots: bool) -> list[tuple[str, str]]:
    parts = {
        "verdict": "Verdict", "environments": "Environments", "findings": "Findings",
        "plots": "Cells", "maps": "Maps", "definitions": "Definitions",
    }  # fmt: skip
    return [(name, text) for name, text in parts.items() if plots or name != "plots"]


# -- verdicts --------------------------------------------------------------------------------


def _warnings(base: Run, new: Run, comparison: Comparison) -> list[str]:
    found = [f"Not comparable: {change_tables.arrows(text)}" for text in comparison.incomparable]
    return found + list(dict.fromkeys(filter(None, (marked(run, "") for run in (base, new)))))


def _no_findings(comparison: Comparison) -> str:
    if comparison.incomparable:
        return "The runs are not comparable, so no cell was judged."
    return f"None in {count(len(comparison.changes), 'cell')}; the verdict counts them by kind."


def _plots(base: Records, new: Records, comparison: Comparison) -> tuple[list[html.Picture], str]:
    """Plots of the cells with a difference, in the order of the findings, and what is left out."""
    place = FINDING_COLUMNS.index("cell")
    rows = {row[place]: row for row in reversed(finding_rows(comparison))}  # the first of each
    rows = dict(reversed(rows.items()))
    named = {}
    for change in comparison.changes:
        short = f"{change.method}/{change.metric}"
        name = next((n for n in (change.name, short) if n in rows), "")
        if name and change.verdict in PLOTTED and change.n:
            named[name] = change
    chosen = [name for name in rows if name in named]
    made = [_picture(base, new, comparison, named[name], rows[name]) for name in chosen[:PLOTS]]
    left = len(chosen) - len(made)
    more = f"{count(left, 'more cell')} that changed {verb(left)} not drawn, see the findings."
    return made, more if left else ""


def _picture(
    base: Records, new: Records, comparison: Comparison, change: Change, row: Sequence[str]
) -> html.Picture:
    spec = comparison.metrics[change.metric]
    figure = change_plots.paired_plot(change_plots.pairs(base, new, change), change, spec)
    with tempfile.TemporaryDirectory() as folder:
        (svg,) = styles.save(figure, Path(folder) / "plot", ("svg",))
        content = svg.read_bytes()
    said = dict(zip(FINDING_COLUMNS, row, strict=True))
    cell, verdict = said.pop("cell"), said.pop("verdict")
    caption = f"{said.pop('base')} → {said.pop('new')}; " + "; ".join(
        f"{name.partition(' [')[0]} {text}"
        for name, text in said.items()
        if text and name != "note"
    )
    title = f"{cell} {spec.arrow}".strip()
    return html.Picture(
        anchor("cell", cell), f"{verdict}: {title}", caption, said.get("note", ""),
        html.data_uri(content, "image/svg+xml"), wide=False,
    )  # fmt: skip


# -- maps ------------------------------------------------------------------------------------


def _said(base: Records, new: Records, changes: MapChanges) -> list[str]:
    """What is said of the maps in sentences: missing ones, and those that are bit-equal."""
    without = [name for name, r in (("base", base), ("new", new)) if not r.maps]
    if without:
        whose = "Neither run has" if len(without) == 2 else f"The {without[0]} run has no"
        return [f"{whose} maps, so none are compared: keep_maps says of how many samples a run "
                "keeps them, and a baseline keeps scores alone."]  # fmt: skip
    said = [_kept(base, new)]
    equal = {m: n for m, n in changes.equal.items() if n and not changes.moved[m]}
    if equal:
        listed = join([f"{samples.method_label(m)} ({n})" for m, n in equal.items()])
        said.append(f"Bit-equal in both runs, with the number of maps: {listed}.")
    if not any(changes.moved.values()):
        said.append("No map moved." if equal else "The runs have no map in common.")
    return said


def _kept(base: Records, new: Records) -> str:
    """Of how many samples the runs have maps."""
    numbers = []
    for records in (base, new):
        own = {s for m, maps in records.maps.items() if m != map_changes.INPUTS for s in maps}
        numbers.append(f"{len(own):,} of {count(len(records.run.samples), 'sample')}")
    if numbers[0] == numbers[1]:
        return f"Both runs have maps of {numbers[0]}."
    return f"The base run has maps of {numbers[0]}, the new run of {numbers[1]}."


def _rule(run: Run, top: int) -> str:
    kind = samples.kind(run)
    scale = (
        " Base, new and difference share one scale. The difference is signed, new minus base; "
        "where its limit is a tenth of that scale or less, it is drawn stronger by the power of "
        "ten that stands beside it."
    )
    first = (
        f"Of each method, the {count(top, 'sample')} at most whose maps have the largest relative "
        "L2 distance"
    )
    return first + (f". {change_views.RULES[kind]}{scale}" if kind in change_views.RULES else ".")


def _moved(
    base: Records, new: Records, changes: MapChanges, top: int
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The maps that moved most by method, the method with the largest distance first."""
    moved = {m: own for m, own in changes.moved.items() if own}
    ordered = sorted(moved, key=lambda m: -moved[m][0].distance)
    ranks = zip_longest(*(moved[m][:top] for m in ordered))
    chosen: list[MovedMap] = [one for rank in ranks for one in rank if one is not None]
    views, said = change_views.views(base, new, chosen, MAPS_BUDGET)
    groups: list[Mapping[str, Any]] = []
    for method in ordered:
        own = [view for view in views if view["method"] == method]
        far = [map_changes.distance_text(one.distance) for one in moved[method]]
        title = (
            f"{samples.method_label(method)}: {len(far)} of "
            f"{count(len(far) + changes.equal[method], 'map')} moved, relative L2 distance up to "
            f"{far[0]}; {len(own)} shown"
        )
        groups.append({"title": title, "views": own})
    return groups if top else [], said
