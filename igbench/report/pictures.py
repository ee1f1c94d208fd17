"""Pictures of the samples of a run: coloured words, rows of tables, series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from matplotlib.figure import Figure

from igbench.report import (
    samples,
    series,
    styles,
    table_rows,
    text_figure,
    text_words,
    token_matrix,
)
from igbench.report.html import Text
from igbench.report.samples import Sample
from igbench.schema import RANDOM_WEIGHTS, Records, Run

TEXTS = 3
"""Texts with files of their own, at most; the page shows more."""
MOST_WORDS = 20_000
"""Words on the page, each counted once for each method; the first text is there in any case."""


@dataclass(frozen=True)
class Pictures:
    """What the report shows of samples.

    Attributes:
        figures: File name to figure.
        texts: Texts of the page.
        latex: File name to LaTeX document.
    """

    figures: Mapping[str, Figure] = field(default_factory=dict)
    texts: Sequence[Text] = ()
    latex: Mapping[str, str] = field(default_factory=dict)


def pictures(records: Records) -> Pictures:
    """Pictures of the samples whose features a run has kept in words; none for images."""
    run, found = records.run, samples.samples(records)
    if samples.kind(run) == "series":
        return Pictures(series.figures(run, [s for s in found if s.series.size]))
    named = [s for s in found if s.names]
    if not named:
        return Pictures()
    if samples.kind(run) == "text":
        found_texts = _texts(run, named)
        return replace(
            found_texts, figures={**found_texts.figures, **token_matrix.figures(records)}
        )
    return Pictures(table_rows.figures(run, named))


def _texts(run: Run, found: Sequence[Sample]) -> Pictures:
    files = {f"text_{i + 1}": sample for i, sample in enumerate(found[:TEXTS])}
    pieces = {name: _pieces(run, sample) for name, sample in files.items()}
    note = f"The model has {RANDOM_WEIGHTS}." if run.random_weights else ""
    signs = {m: samples.signed(run, m) for m in styles.method_names(run)}
    return Pictures(
        {n: text_figure.figure(files[n].head, own, signs, note=note) for n, own in pieces.items()},
        [Text(s.head, _html(_pieces(run, s))) for s in _few(found)],
        {n: text_words.to_latex(files[n].head, own) for n, own in pieces.items()},
    )


def _few(found: Sequence[Sample]) -> Sequence[Sample]:
    """The first texts, as many as a page can hold."""
    words = 0
    for i, sample in enumerate(found[: samples.SHOWN]):
        words += len(sample.names) * len(sample.maps)
        if words > MOST_WORDS and i:
            return found[:i]
    return found[: samples.SHOWN]


def _html(lines: Mapping[str, Sequence[text_words.Word]]) -> str:
    named = [(text_words.label(m, own), own) for m, own in lines.items()]
    return text_words.lines_to_html(named)


def _pieces(run: Run, sample: Sample) -> dict[str, list[text_words.Word]]:
    return {
        m: text_words.pieces(
            sample.names, values.tolist(), gaps=sample.gaps, signed=samples.signed(run, m)
        )
        for m, values in sample.maps.items()
    }
