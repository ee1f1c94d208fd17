"""Render a run as a single HTML page with all tables and pictures inside."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from igbench.errors import printable
from igbench.report import caveats, heatmaps, provenance, render
from igbench.report.anchors import anchor
from igbench.report.answers import answers
from igbench.report.findings import findings
from igbench.report.model_statistics import ModelStatistics
from igbench.report.question import question
from igbench.report.table import Table, marked
from igbench.schema import Records, Run

TEMPLATES = Path(__file__).parent / "templates"

TITLES = {
    "metrics": ("Scores by metric", "Mean of every method with its 95 % bootstrap interval."),
    "cost_quality": (
        "Quality against cost",
        "Up is better if the arrow points up; left is cheaper. Grey steps: the Pareto front, "
        "methods that no cheaper one reaches. Lines join the budgets of one method.",
    ),
    "removal_curves": (
        "Removal curves",
        "Model output while features are removed or inserted in the order of the map; means over "
        "samples with 95 % bands. LIF: least influential first; MIF: most influential first.",
    ),
    "sensitivity_n": (
        "Sensitivity-n",
        "Correlation over random subsets of n features between the sum of their attributions and "
        "the change of the model output when they are removed.",
    ),
    "convergence": (
        "Convergence of the integral",
        "Completeness gap and error of the map against the number of steps, by quadrature rule; "
        "medians over samples with quartiles.",
    ),
    "metric_agreement": (
        "Do the metrics agree?",
        "Kendall's rank correlation of the order in which two metrics put the methods.",
    ),
    "critical_difference": (
        "Which methods differ?",
        "Mean rank of each method over samples; 1 is best. Methods joined by an upright bar do not "
        "differ significantly (Wilcoxon signed-rank test of each pair, Holm's correction over all "
        "pairs, 5 %); a thin bar passes a method that it does not join. Controls and ceilings take "
        "part. Ranks depend on the methods of the run, and no significant difference does not mean "
        "equal: few samples find few differences.",
    ),
    "comparison_matrix": (
        "Every method against every other",
        "Row minus column: mean difference over the samples where both have a value, blue where "
        "the row is better, and a mark of the verdict (Wilcoxon signed-rank test, Holm's "
        "correction over all pairs, 5 %). At the right: how often the row has each verdict. No "
        "significant difference does not mean equal, and a significant one may be too small to "
        "matter.",
    ),
    "rank_heatmap": (
        "Ranks by metric",
        "Mean over samples of the rank of each method, by every metric with a direction; not the "
        "rank of its mean. Dark is better. Under a metric: the number of methods that it ranks, "
        "and grey cells have no rank. Metrics measure different things: do not average over them.",
    ),
    "score_strips": (
        "Scores of all samples",
        "The headline metrics: every sample, or letter values where samples are many, with the "
        "mean and its 95 % interval. Intervals that overlap say nothing of a paired difference: "
        "see the comparison of every method with every other.",
    ),
    "mprt_cascade": (
        "Do the maps follow the weights?",
        "Similarity of each map to that of the network as it is while layers get random weights; "
        "means over samples with 95 % intervals. A line that stays up is a map that ignores the "
        "weights.",
    ),
    "ig_baselines": (
        "Does the baseline matter?",
        "Score of Integrated Gradients by its baseline, and Spearman's correlation of |a| between "
        "the maps of two baselines where maps are kept.",
    ),
    "disagreement": (
        "Samples on which methods disagree most",
        "Disagreement: standard deviation of the headline metric over the methods of a sample, in "
        "units of its standard deviation over all samples and methods. With maps of images, the "
        "first of the samples whose maps are kept.",
    ),
}

SAMPLES = {
    "table_importance": (
        "Columns by mean |attribution|",
        "Mean of the absolute attribution of each column over the rows that the run has kept; "
        "columns in the order of this mean, in which methods count alike.",
    ),
    "table_beeswarm": (
        "Attributions of all rows",
        "A point for each row: its attribution, coloured by the rank of the value of the column.",
    ),
    "table_waterfall": (
        "From f(x′) to f(x)",
        "Contributions of the columns of one row to its output: steps from f(x) minus the sum of "
        "all attributions, which is f(x′) where a method is complete, to f(x). Methods whose "
        "entries are contributions alone.",
    ),
    "table_bars": (
        "Attributions of one row",
        "Red raises the output, blue and hatched lowers it, violet is a magnitude without a sign.",
    ),
    "series": (
        "Attributions of one series",
        "The series over bands in the colours of its attributions: red raises the output, blue "
        "lowers it, violet is a magnitude without a sign; each map is scaled by its largest |a|. "
        "The attribution of a window is divided over its points.",
    ),
    "token_matrix": (
        "Tokens of a prompt against the tokens that follow",
        "Each row is the map of one scored token. Red raises its score, blue lowers it, grey "
        "tokens are not there yet.",
    ),
}
"""Titles and captions of figures of samples, which stand among the maps."""

PLACED = (
    "scores", "shares", "costs", "stages", "definitions", "methods", "certificates", "ordering",
)  # fmt: skip
"""Tables that have a place of their own on the page; others follow the costs."""
MOST_SVG = 400_000
"""Bytes of the largest SVG on the page; larger figures are shown as pixels."""

_LISTED = (("metric", "metric"), ("sample", "sample_id"))


@dataclass(frozen=True)
class Picture:
    """A picture inside the page.

    Attributes:
        anchor: Identifier on the page.
        title: Heading.
        caption: What it shows.
        caveat: What it cannot say.
        uri: The image as a data URI.
        wide: Whether it is as wide as both columns of a page.
    """

    anchor: str
    title: str
    caption: str
    caveat: str
    uri: str
    wide: bool


@dataclass(frozen=True)
class Text:
    """A text with coloured words: a heading, and HTML from `igbench.report.text_words`."""

    title: str
    body: str


def page(
    records: Records,
    summary: pd.DataFrame,
    tables: Sequence[Table],
    plots: Mapping[str, bytes],
    maps: bytes | None,
    texts: Sequence[Text] = (),
    browser: Any = None,
    statistics: Mapping[str, ModelStatistics] | None = None,
) -> str:
    """Render the report as one HTML text that needs no network and no other file.

    Args:
        records: A run.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
        tables: From `igbench.report.tables.tables`.
        plots: File name to SVG, or to WebP.
        maps: The grid of maps as WebP, or None.
        texts: Texts with coloured words, which are HTML already.
        browser: What templates/samples.html.j2 shows of samples; brings templates/browser.js.
        statistics: What is known of each model; computed here if None.
    """
    run = records.run
    scripts = [script(name) for name in ["page.js"] + (["browser.js"] if browser else [])]
    named = {table.name: render.to_html(table) for table in tables}
    models = list(dict.fromkeys(map(str, summary["model"])))
    of_samples = [name for name in plots if _stem(name)[0] in SAMPLES]
    return template("page.html.j2").render(
        run=run,
        models=", ".join(models),
        question=question(run, models),
        answers=answers(run, summary, tables),
        narrative=findings(run, summary, records.scores, statistics),
        tables=named,
        pictures=[
            _picture(run, name, svg)
            for name, svg in plots.items()
            if name not in of_samples and not name.startswith("text_")
        ],
        of_samples=[_picture(run, name, plots[name]) for name in of_samples],
        texts=texts,
        maps=data_uri(maps, "image/webp") if maps else "",
        browser=browser,
        scripts=scripts,
        script_hashes=" ".join(map(script_hash, scripts)),
        warning=marked(run, ""),
        problems=problems(records.scores),
        unusable=[s for s in run.samples if s.get("status", "ok") != "ok"],
        contents=_contents(bool(maps or texts or of_samples or browser), list(named)),
        more_tables=[name for name in named if name not in PLACED],
        several_models=len(models) > 1,
        limits=caveats.of_run(run, summary),
        cannot=caveats.of_metrics(run),
        command=provenance.command(run),
        provenance=provenance.facts(run),
        requirements=provenance.requirements(run),
        facts=provenance.details(run),
    )


def _contents(has_maps: bool, tables: Sequence[str]) -> list[tuple[str, str]]:
    """Identifiers and names of the parts of the page."""
    parts = {
        "question": "Question", "answer": "Answer", "scores": "Scores", "maps": "Maps",
        "plots": "Figures", "costs": "Costs", "definitions": "Definitions", "problems": "Limits",
        "certificates": "Certificates", "reproduce": "Repeat",
    }  # fmt: skip
    absent = {
        "maps": not has_maps,
        "certificates": not {"certificates", "ordering"} & set(tables),
    }
    return [(name, text) for name, text in parts.items() if not absent.get(name)]


def script(name: str) -> str:
    """A script of the page as it stands between its tags."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def script_hash(script: str) -> str:
    """Source of a script in a Content-Security-Policy, which lets run this text alone.

    >>> script_hash("")
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    """
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def template(name: str) -> jinja2.Template:
    """A template of a page, which escapes all that is put into it, and shows what texts hide."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    return environment.get_template(name)


def _visible(value: Any) -> Any:
    """A text without marks that turn the direction of writing, and other controls; else as is."""
    return printable(value, keep="\n\t\xa0") if type(value) is str else value


def embedded(svg: Path) -> bytes:
    """A figure as the page holds it: its SVG, or pixels of the PNG beside it if that is large.

    Args:
        svg: The SVG file; the PNG has the same name.
    """
    content = svg.read_bytes()
    if len(content) <= MOST_SVG:
        return content
    return heatmaps.webp(svg.with_suffix(".png"))


def data_uri(content: bytes, media_type: str) -> str:
    """Bytes as a `data:` URI for `src`.

    >>> data_uri(b"<svg/>", "image/svg+xml")
    'data:image/svg+xml;base64,PHN2Zy8+'
    """
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _stem(name: str) -> tuple[str, str]:
    """A name of a figure without its number, and the number; "" for none."""
    stem, _, number = name.rpartition("_") if name[-1].isdigit() else (name, "", "")
    return stem, number


def _picture(run: Run, name: str, image: bytes) -> Picture:
    stem, number = _stem(name)
    title, caption = (TITLES | SAMPLES).get(stem, (stem.replace("_", " "), ""))
    return Picture(
        anchor("figure", name),
        f"{title} ({number})" if number else title,
        marked(run, caption),
        caveats.FIGURES.get(stem, ""),
        data_uri(image, "image/webp" if image[:4] == b"RIFF" else "image/svg+xml"),
        _is_wide(image),
    )


def _is_wide(image: bytes) -> bool:
    """Whether a figure needs the width of the page; larger ones that are pixels do.

    >>> _is_wide(b'<svg width="504pt"'), _is_wide(b'<svg width="345.6pt"'), _is_wide(b"RIFF")
    (True, False, True)
    """
    width = re.search(rb'<svg[^>]*?width="([\d.]+)pt"', image[:4000])
    return width is None or float(width[1]) > 450


def problems(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Undefined and failed values by model, method and reason, failures first.

    Returns:
        Dictionaries with status, model, method, reason, count (of values), metrics (names) and
        samples (identifiers).
    """
    bad = scores[scores["status"] != "ok"]
    keys = ["status", "model", "method", "reason"]
    found = [
        dict(zip(keys, group, strict=True))
        | {"count": len(rows)}
        | {name + "s": list(map(str, rows[key].unique())) for name, key in _LISTED}
        for group, rows in bad.groupby(keys, sort=False)
    ]
    return sorted(found, key=lambda line: (line["status"] != "failed", -line["count"]))
