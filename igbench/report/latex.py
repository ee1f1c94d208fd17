r"""Write tables as LaTeX with booktabs rules that fit a column or a page, in readable type.

Nothing is smaller than \footnotesize.  Columns of numbers that do not fit side by side are stacked
in panels, long tables go on in further floats, and columns of text that do not fit are merged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from igbench.report.latex_text import breakable, latex_escape, pieces, width
from igbench.report.table import Cell, Table, letter, plain

_NEGATIVE = re.compile(r"(?<![\w.])-(?=\d)")
_NUMBER = r"(-?\d(?:\.\d)?)e([+-]\d+)"
_POWERS = re.compile(rf"{_NUMBER} ± {_NUMBER}")
_POWER = re.compile(_NUMBER)
_LINE = {"wide": 320.0, "compact": 226.0}
r"""Points of \footnotesize in a 10-point article that a table may take: the line of a page of one
column, or a column of a page of two, less a margin for other classes and sizes."""
_PAGE = 530.0
"""Points that a float may take from top to bottom."""
_ROW, _HEADING, _TOP, _CAPTION_ROW = 9.5, 13.0, 50.0, 12.0
"""Points of a row, a heading of rows, heads with rules, and a line of the caption."""
_CAPTION_LETTER = 4.9
_GAP = {"wide": 8.0, "compact": 6.0}
"""Points between two columns."""
_NAMES = {"wide": 0.4, "compact": 0.31}
"""Share of the line that row names may take before they are broken."""

_ROOMY = 0.85
"""Share of the line that the words of all columns may need for the columns to stay apart."""


@dataclass(frozen=True)
class _Block:
    """A part of a float that stays together: its text and its height in points."""

    text: str
    height: float


def to_latex(table: Table) -> str:
    r"""Format a table as floats for an article of one column or two.

    The form "wide" is a `table*`, "compact" a `table`.  Needs \usepackage{booktabs,array}.
    """
    caption = _caption_height(table)
    blocks = list((_numbers if table.numeric else _words)(table, _PAGE - caption))
    floats = _floats(blocks, _PAGE, caption)
    return "% needs \\usepackage{booktabs,array}\n" + "".join(
        _float(table, texts, i) for i, texts in enumerate(floats)
    )


def _caption_height(table: Table) -> float:
    per_line = _LINE[table.form] * 10 / 8 / _CAPTION_LETTER
    return _CAPTION_ROW * (math.ceil(len(table.caption) / per_line) + 2)


def _floats(blocks: Sequence[_Block], page: float, first: float) -> list[list[str]]:
    """Blocks that share a float, in order; the caption takes `first` of the first one."""
    floats: list[list[str]] = [[]]
    room = page - first
    for block in blocks:
        if floats[-1] and block.height > room:
            floats.append([])
            room = page
        floats[-1].append(block.text)
        room -= block.height
    return floats


def _float(table: Table, texts: Sequence[str], i: int) -> str:
    environment = "table*" if table.form == "wide" else "table"
    caption = (
        rf"\caption{{{breakable(table.caption)}}}\label{{tab:{table.name}}}"
        if i == 0
        else r"\addtocounter{table}{-1}\caption{(continued)}"
    )
    body = "\\par\\medskip\n".join(texts)
    size = f"\\footnotesize\\setlength{{\\tabcolsep}}{{{_GAP[table.form] / 2:g}pt}}"
    return (
        f"\\begin{{{environment}}}[tp]\n\\centering{size}\n{caption}\n\\par\\smallskip\n"
        f"{body}\\end{{{environment}}}\n"
    )


# -- numbers ----------------------------------------------------------------------------------


def _numbers(table: Table, most: float) -> Iterator[_Block]:
    """Panels of columns, cut where they are higher than `most` points, and the notes."""
    stubs = table.stubs or tuple(("", row) for row in table.rows)
    notes = _notes(table)
    texts = [[_number(cell, notes) for cell in line] for line in table.cells]
    sizes = [_column_width(table, j) for j in range(len(table.columns) - 1)]
    line = _LINE[table.form]
    names = min(_NAMES[table.form] * line, max([width(n) for _, n in stubs], default=0.0))
    panels = _panels(sizes, line - names)
    rows_of = _chunks([_row_height(name, names) for _, name in stubs], most - _TOP)
    for columns in panels:
        for rows in rows_of:
            yield _panel(table, columns, rows, stubs, texts, names, whole=len(panels) > 1)
    yield from _note_blocks(table, notes)


def _column_width(table: Table, j: int) -> float:
    """Points of a column of numbers with its gap."""
    cells = [_width(line[j]) for line in table.cells]
    words = [piece for word in _words_in(_head(table, j)) for piece in pieces(word)]
    return max([*cells, *map(width, words), 20.0]) + _GAP[table.form]


def _width(cell: Cell) -> float:
    """Points of a number; exponents are in small type and the spaces around ± are thin."""
    mantissa, power, exponent = _shown(cell.text).partition("×10^")
    text = mantissa.replace(" ± ", " ±") + ("×10" if power else "")
    return width(text, bold=cell.best) + 0.7 * width(exponent)


def _head(table: Table, j: int) -> str:
    return _capital(table.heads[j][1] if table.heads else plain(table.columns[j + 1])) or "–"


def _words_in(head: str) -> list[str]:
    """Words of a head; its arrow belongs to the last one.

    >>> _words_in("Completeness gap ↓")
    ['Completeness', 'gap ↓']
    """
    return re.split(r" (?![↑↓]$)", head)


def _panels(sizes: Sequence[float], room: float) -> list[range]:
    """Columns side by side in as few panels as fit, of equal numbers where that fits.

    >>> _panels([50] * 7, 220)
    [range(0, 4), range(4, 7)]
    """
    found, start = [], 0
    for j in range(len(sizes)):
        if j > start and sum(sizes[start : j + 1]) > room:
            found.append(range(start, j))
            start = j
    found.append(range(start, len(sizes)))
    each = max(1, math.ceil(len(sizes) / len(found)))
    even = [range(k, min(k + each, len(sizes))) for k in range(0, len(sizes), each)]
    fits = all(sum(sizes[k] for k in part) <= room for part in even)
    return even if even and fits else found


def _chunks(heights: Sequence[float], most: float) -> list[range]:
    """Rows in as few parts as are no higher than `most`, of about equal height.

    >>> _chunks([10.0] * 9, 50)
    [range(0, 5), range(5, 9)]
    """
    parts = max(1, math.ceil(sum(heights) / most))
    each = max(sum(heights) / parts, max(heights, default=0.0))
    found, start, filled = [], 0, 0.0
    for i, height in enumerate(heights):
        if i > start and filled >= each:
            found.append(range(start, i))
            start, filled = i, 0.0
        filled += height
    return [*found, range(start, len(heights))]


def _row_height(name: str, room: float) -> float:
    return _ROW * max(1, math.ceil(width(name) / max(room, 1)))


def _panel(
    table: Table,
    columns: Sequence[int],
    rows: Sequence[int],
    stubs: Sequence[tuple[str, str]],
    texts: Sequence[Sequence[str]],
    names: float,
    *,
    whole: bool,
) -> _Block:
    """Some columns and rows as a tabular; `whole` for one as wide as the line."""
    long = any(width(name) > names for _, name in stubs)
    first = rf">{{\raggedright\arraybackslash}}p{{{names:.0f}pt}}" if long else "l"
    fill = r"@{\extracolsep{\fill}}" if whole else ""
    form = f"@{{}}{first}{fill}{'r' * len(columns)}@{{\\hspace{{{_GAP[table.form] / 2:g}pt}}}}"
    lines: list[str] = []
    height, above = _TOP, ""
    for i in rows:
        heading, name = stubs[i]
        if heading != above:
            rule = "\\addlinespace\n" if lines else ""
            span = rf"\multicolumn{{{len(columns) + 1}}}{{@{{}}l}}"
            lines.append(f"{rule}{span}{{\\itshape {latex_escape(heading)}}} \\\\")
            height, above = height + _HEADING, heading
        cells = " & ".join([_start(breakable(name, 0.9 * names)), *(texts[i][j] for j in columns)])
        lines.append(f"{cells} \\\\")
        height += _row_height(name, names)
    heads = [_broken(_head(table, j), _column_width(table, j) - _GAP[table.form]) for j in columns]
    top = [
        *_groups(table, columns),
        " & ".join([_start(latex_escape(_capital(table.columns[0]))), *heads]),
    ]
    begin = r"\begin{tabular*}{\linewidth}" if whole else r"\begin{tabular}"
    end = r"\end{tabular*}" if whole else r"\end{tabular}"
    body = "".join(f"{line}\n" for line in lines)
    text = (
        f"{begin}{{{form}}}\n\\toprule\n" + "\n".join(top) + f" \\\\\n\\midrule\n{body}"
        f"\\bottomrule\n{end}\n"
    )
    return _Block(text, height)


def _groups(table: Table, columns: Sequence[int]) -> list[str]:
    """Headings above columns with rules under them; none without headings."""
    if not table.heads:
        return []
    cells, rules, at = [""], [], 2
    for group, members in groupby(columns, key=lambda j: table.heads[j][0]):
        size = len(list(members))
        cells.append(rf"\multicolumn{{{size}}}{{c}}{{{latex_escape(group)}}}")
        rules += [rf"\cmidrule(lr){{{at}-{at + size - 1}}}"] if group else []
        at += size
    return [f"{' & '.join(cells)} \\\\", *(["".join(rules)] if rules else [])]


def _broken(head: str, room: float) -> str:
    """A head in lines that are no wider than the cells, or than its longest word."""
    words = [pieces(word) for word in _words_in(head)]
    room = max([room, *(width(piece) for word in words for piece in word)])
    lines = list(words[0])
    for first, *others in words[1:]:
        if width(f"{lines[-1]} {first}") <= room:
            lines[-1] += f" {first}"
        else:
            lines.append(first)
        lines += others
    shown = r"\\".join(_start(latex_escape(line)) for line in lines)
    return (
        shown if len(lines) == 1 else rf"\begin{{tabular}}[b]{{@{{}}r@{{}}}}{shown}\end{{tabular}}"
    )


def _notes(table: Table) -> dict[tuple[str, str], str]:
    """Letter of each pair of remark and mark that a cell has."""
    pairs = [(c.note, c.mark) for line in table.cells for c in line]
    return {pair: letter(i) for i, pair in enumerate(dict.fromkeys(p for p in pairs if any(p)))}


def _note_blocks(table: Table, notes: dict[tuple[str, str], str]) -> Iterator[_Block]:
    said = table.footnotes
    own = [
        (own_mark, ": ".join(filter(None, (note, said.get(mark, mark)))))
        for (note, mark), own_mark in notes.items()
    ]
    used = {mark for _, mark in notes}
    own += [("", text) for mark, text in said.items() if not mark or mark not in used]
    heights = [_ROW * math.ceil(width(text) / _LINE[table.form]) for _, text in own]
    for part in _chunks(heights, _PAGE / 2) if own else ():
        lines = "".join(
            (rf"\textsuperscript{{{mark}}}\," if mark else "") + breakable(text) + "\\par\n"
            for mark, text in own[part.start : part.stop]
        )
        yield _Block(f"{{\\raggedright\n{lines}}}", sum(heights[part.start : part.stop]) + 6)


def _shown(text: str) -> str:
    """A number with minus signs, and powers of ten as one factor of the mean and its interval.

    >>> _shown("-0.5 ± 0.1"), _shown("3.1e-07 ± 2.0e-08"), _shown("3.1e-07")
    ('−0.5 ± 0.1', '(3.1 ± 0.2)×10^-7', '3.1×10^-7')
    """

    def one(found: re.Match[str]) -> str:
        mean, power, half, other = found.groups()
        shifted = float(half) * 10.0 ** (int(other) - int(power))
        return f"({mean} ± {shifted:.{1 if '.' in mean else 0}f})×10^{int(power)}"

    text = _POWERS.sub(one, text)
    text = _POWER.sub(lambda found: f"{found[1]}×10^{int(found[2])}", text)
    return _NEGATIVE.sub("−", text.replace("^-", "^\0")).replace("^\0", "^-")


def _number(cell: Cell, notes: dict[tuple[str, str], str]) -> str:
    """A cell: best in bold, second best underlined, marks outside of the column."""
    mean, power, exponent = _shown(cell.text).partition("×10^")
    text = latex_escape(mean).replace(r" $\pm$ ", r"\,$\pm$\,")
    if power:
        inner = mean.replace("−", "-").replace(" ± ", r"{\pm}")
        text = rf"${inner}{{\times}}10^{{{exponent.replace('−', '-')}}}$"
    text = rf"{{\bfseries\boldmath {text}}}" if cell.best else text
    text = rf"\underline{{{text}}}" if cell.second else text
    marks = [r"$\dagger$"] if cell.tied else []
    marks += filter(None, [notes.get((cell.note, cell.mark))])
    return text + (rf"\rlap{{\textsuperscript{{{','.join(marks)}}}}}" if marks else "")


# -- words ------------------------------------------------------------------------------------


def _words(table: Table, most: float) -> Iterator[_Block]:
    """Columns of text with lines broken; those that do not fit side by side are merged."""
    heads, lines = _merged(table)
    columns = list(zip(heads, *lines, strict=True)) if lines else [(head,) for head in heads]
    room = _LINE[table.form] - _GAP[table.form] * (len(heads) - 1)
    sizes = _shares([max(map(width, c)) for c in columns], [_need(c) for c in columns], room)
    form = "@{}" + "".join(
        rf">{{\raggedright\arraybackslash}}p{{\dimexpr {size / _LINE[table.form]:.3f}\linewidth}}"
        for size in sizes
    ) + "@{}"  # fmt: skip
    heights = [
        _ROW * max(1.1 * math.ceil(width(t) / size) for t, size in zip(line, sizes, strict=True))
        for line in lines
    ]
    head = " & ".join(_start(latex_escape(_capital(h))) for h in heads)
    for part in _chunks(heights, most - _TOP):
        body = "".join(
            " & ".join([_start(breakable(line[0])), *map(breakable, line[1:])]) + " \\\\\n"
            for line in lines[part.start : part.stop]
        )
        text = f"\\begin{{tabular}}{{{form}}}\n\\toprule\n{head} \\\\\n\\midrule\n{body}"
        height = sum(heights[part.start : part.stop]) + _TOP
        yield _Block(f"{text}\\bottomrule\n\\end{{tabular}}\n", height)
    yield from _note_blocks(table, {})


def _merged(table: Table) -> tuple[list[str], list[list[str]]]:
    """Heads and lines; from the second column on in one where they do not fit side by side."""
    heads = list(map(plain, table.columns))
    lines = [[row, *(_words_of(c) for c in cells)] for row, cells in
             zip(table.rows, table.cells, strict=True)]  # fmt: skip
    columns = [[head, *column] for head, *column in zip(heads, *lines, strict=True)]
    needed = sum(map(_need, columns)) + _GAP[table.form] * (len(heads) - 1)
    if needed <= _ROOMY * _LINE[table.form] or len(heads) < 3:
        return heads, lines
    return [heads[0], f"{heads[1]} and details"], [
        [line[0], "; ".join([line[1], *_labelled(heads[2:], line[2:])])] for line in lines
    ]


def _labelled(heads: Sequence[str], texts: Sequence[str]) -> list[str]:
    return [f"{head}: {text}" for head, text in zip(heads, texts, strict=True) if text != "–"]


def _words_of(cell: Cell) -> str:
    return f"{cell.text} ({cell.note})" if cell.note else cell.text


def _need(column: Sequence[str]) -> float:
    """The least that a column needs: its longest word, and a few characters."""
    words = max(
        (width(piece) for text in column for word in text.split() for piece in pieces(word)),
        default=0.0,
    )
    return max(words, min(40.0, max(map(width, column))))


def _shares(full: Sequence[float], need: Sequence[float], room: float) -> list[float]:
    """Widths of columns: what each needs, and of the rest by how much more it could use.

    >>> _shares([10, 200], [10, 40], 110)
    [10.0, 100.0]
    """
    if sum(full) <= room:
        return [float(f) for f in full]
    scale = min(1.0, room / sum(need))
    rest = room - scale * sum(need)
    more = [f - n for f, n in zip(full, need, strict=True)]
    return [scale * n + rest * m / (sum(more) or 1) for n, m in zip(need, more, strict=True)]


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _start(text: str) -> str:
    r"""The start of a row, which is no argument of the rule or of the \\ before it.

    >>> print(_start("[3cm] wide"))
    {}[3cm] wide
    """
    return f"{{}}{text}" if text[:1] in ("[", "*") else text
