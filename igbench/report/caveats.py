"""What figures and metrics cannot say."""

from __future__ import annotations

import pandas as pd

from igbench.report import styles
from igbench.report.samples import method_label
from igbench.report.table import marked
from igbench.schema import Run

FIGURES = {
    "metrics": "Intervals that overlap are no test: methods are compared on the same samples, see "
    "the marks in the table of scores.",
    "cost_quality": "Counts model rows, not seconds: times depend on the machine and its load.",
    "removal_curves": "Inputs with removed features are unlike the data that the model knows; part "
    "of a fall is the damage, which the random control shows.",
    "sensitivity_n": "A correlation over random subsets; features that matter only together get no "
    "credit, and correlations near 0 may be noise of the draws.",
    "convergence": "Shows the error of the integral, not whether the integral explains the model.",
    "metric_agreement": "Rests on as many points as there are methods: with few methods, one swap "
    "moves it a lot.",
    "critical_difference": "Ranks leave out by how much methods differ.",
    "comparison_matrix": "Each pair stands alone: wins do not have to form an order.",
    "rank_heatmap": "Ranks leave out by how much methods differ.",
    "score_strips": "The samples are the same in all strips, and the eye cannot pair them.",
    "mprt_cascade": "All samples share the random networks, whose spread the intervals leave "
    "out. A map that follows the weights may still be wrong.",
    "ig_baselines": "A metric that fills removed features with a constant favours baselines that "
    "are like it. No baseline is right for all questions.",
    "disagreement": "The largest of many values is extreme by chance too. Which method is right "
    "where methods disagree is not shown.",
    "table_importance": "Columns that vary together share their attribution in ways that differ by "
    "method.",
    "table_beeswarm": "Points show association of value and attribution, not cause.",
    "table_waterfall": "One row, which is not the run.",
    "table_bars": "One row, which is not the run.",
    "series": "One series, which is not the run.",
    "token_matrix": "One prompt, which is not the run.",
    "text": "One text, which is not the run.",
}
"""What a figure cannot say, by its name without number."""

FAMILIES = {
    "faithfulness": "Faithfulness says how well a map predicts what this model does when features "
    "are removed or changed. It does not say that a map is understandable, nor that the model is "
    "right; what stands in for a removed feature is a choice that can decide the order of methods.",
    "axiomatic": "A small completeness gap says that the sum of a map is right, not that it is "
    "divided rightly.",
    "robustness": "A map that hardly changes can be stable and wrong.",
    "localisation": "Attribution within marks of people rewards what people expect, also where the "
    "model looks elsewhere.",
    "complexity": "A map of few features is easier to read, not more faithful.",
    "randomisation": "A map that depends on the weights may still be wrong; one that does not "
    "cannot explain the model.",
    "agreement": "Maps that agree with each other may be wrong together.",
}  # fmt: skip
"""What metrics of a family cannot say."""


def of_metrics(run: Run) -> list[tuple[str, str]]:
    """What the metrics of a run cannot say: their names, and a sentence for each family."""
    names: dict[str, list[str]] = {}
    for name in styles.metric_names(run):
        names.setdefault(run.metrics[name].family, []).append(name)
    return [
        (", ".join(map(method_label, names[family])), text)
        for family, text in FAMILIES.items()
        if family in names
    ]


def of_run(run: Run, summary: pd.DataFrame) -> list[str]:
    """What limits the conclusions from a run: counts, few samples, random weights.

    Args:
        run: The run.
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
    """
    names = styles.metric_names(run)
    values = summary.loc[summary["metric"].isin(names) & summary["mean"].notna(), "n"]
    limit = run.config.get("limit")
    said = [
        counts(summary),
        f"Means rest on {_between(values)} a cell." if len(values) else "No cell has a mean.",
        f"The run was limited to {limit} samples." if limit is not None else "",
        "Other models and other data may put the methods in another order.",
        marked(run, ""),
    ]
    return [text for text in said if text]


def counts(summary: pd.DataFrame) -> str:
    """How many values are undefined, and how many failed; costs count as values.

    Args:
        summary: One line for each model, method and metric, from `igbench.records.stats.summarise`.
    """
    ok, undefined, failed = (int(summary[k].sum()) for k in ("n", "n_undefined", "n_failed"))
    total = ok + undefined + failed
    return f"{undefined:,} of {total:,} values are undefined, {failed:,} failed."


def _between(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,} to {high:,} values" if low < high else f"{low:,} values"
