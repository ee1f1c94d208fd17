"""Styles shared by all tables and figures: order, names, colours, sizes, file formats."""

from __future__ import annotations

import gc
import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullFormatter
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from igbench.errors import printable
from igbench.files import write_whole
from igbench.records.settings import own_settings
from igbench.schema import COSTS, MethodSpec, MetricSpec, Run

COLUMN = 3.4
"""Width of one column of a two-column page in inches."""
FULL_WIDTH = 7.0
"""Width of both columns of a two-column page in inches."""
PAGE_HEIGHT = 9.0
"""Height of a page in inches, at most."""
FORMATS = ("png", "pdf", "svg")
Maker = Callable[[], Figure | None]
"""Draws a figure; None where there is no data for it."""
_METADATA: Mapping[str, Any] = {
    "pdf": {"CreationDate": None, "Creator": "igbench", "Producer": None},
    "svg": {"Date": None, "Creator": "igbench"},
}
DPI = 300
"""Resolution of PNG files, which journals ask for."""
COMPRESSION = 1
"""Level of PNG files: a third of the time of the usual 6, and a tenth larger."""

HEADLINES = ("srg", "insertion", "deletion", "sensitivity_n", "infidelity")
"""Candidates for the headline metric; the first that a run has leads the report."""

# The palette "colorblind" of seaborn with a darker pink, brown and violet, so that no two are alike
# under deuteranopia; the first method gets blue.
METHOD_COLOURS = (
    "#0173b2", "#d55e00", "#029e73", "#de8f05", "#b8689f", "#56b4e9", "#8c5a2b", "#3b1f66",
)  # fmt: skip
ORACLE_COLOURS = ("#1a1a1a", "#33475b")
CONTROL_COLOURS = ("#7f7f7f", "#a6a6a6", "#c4c4c4")
CEILING_COLOURS = ("#b8860b", "#8a6d1f")
ROLES = ("method", "oracle", "control", "ceiling")
"""Roles of methods in the order of all tables and figures."""
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "h")
DASHES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)))

UNKNOWN: Mapping[str, Any] = {"color": "#555555", "marker": "o", "linestyle": "-"}
"""Style of a method that a run does not define."""

LABELS = {
    "ig_captum": "IG (Captum)",
    "input_x_gradient": "Input × gradient",
    "gradient_shap": "GradientSHAP",
    "kernel_shap": "KernelSHAP",
    "exact_shapley": "Shapley (exact)",
    "shapley_sampling": "Shapley (sampled)",
    "partition_shap": "Owen (shap)",
    "shap_deep": "DeepExplainer (shap)",
    "shap_gradient": "GradientExplainer (shap)",
    "shap_kernel": "KernelExplainer (shap)",
    "deep_shap": "DeepSHAP",
    "deep_lift": "DeepLIFT",
    "cp_lrp": "CP-LRP",
    "grad_cam": "Grad-CAM",
    "grad_cam_signed": "Grad-CAM (no ReLU)",
    "grad_cam_plus_plus": "Grad-CAM++",
    "guided_grad_cam": "Guided Grad-CAM",
    "hires_cam": "HiResCAM",
    "layer_cam": "LayerCAM",
    "score_cam": "Score-CAM",
    "smoothgrad": "SmoothGrad",
    "smoothgrad_squared": "SmoothGrad squared",
    "vargrad": "VarGrad",
    "sig": "Sequential IG",
    "dig": "Discretised IG",
    "rare": "Rare words",
    "length": "Length of words",
    "sensitivity_n": "Sensitivity-n",
    "max_sensitivity_n": "Max-sensitivity-n",
    "max_sensitivity": "Max-sensitivity",
    "avg_sensitivity": "Avg-sensitivity",
    "local_lipschitz": "Local Lipschitz",
    "completeness": "Completeness gap",
    "difference_from_ig": "Difference from IG",
    "gauss_legendre": "Gauss–Legendre",
}
LONGEST = 28
"""Characters of a name in a legend."""
ACRONYMS = frozenset(
    (
        "abpc",
        "aic",
        "aopc",
        "idgi",
        "ig",
        "lime",
        "lrp",
        "mprt",
        "rise",
        "road",
        "shap",
        "sic",
        "srg",
        "xrai",
    )
)
_POWER = re.compile(r"\$\\mathdefault\{(.*?)(?:\^\{(.*)\})?\}\$")
_SUPERSCRIPTS = str.maketrans("-−0123456789", "⁻⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_OF_USER = frozenset(("backend", "backend_fallback", "interactive", "toolbar", "timezone"))
"""Settings of matplotlib that no file depends on."""
_RC: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titley": 1.0,  # no search for a free place at each drawing
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#4d4d4d",
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "igbench",
    "pdf.fonttype": 42,
    "axes.unicode_minus": True,
}


def label(name: str) -> str:
    """Display name: as the field writes it if known, otherwise without underscores.

    >>> label("grad_cam"), label("ig_averaged"), label("gradient_shap_64")
    ('Grad-CAM', 'IG averaged', 'GradientSHAP 64')
    """
    return name_text(name) if name in LABELS else plain(name_text(name))


def name_text(name: str) -> str:
    """Display name as it is, for tables, which escape texts themselves; see `label`.

    >>> name_text("deep_lift"), name_text("deep_lift_64"), name_text("cost_in_$")
    ('DeepLIFT', 'DeepLIFT 64', 'Cost in $')
    """
    if name in LABELS:
        return LABELS[name]
    base, _, budget = name.rpartition("_")
    if budget.isdigit() and base in LABELS:
        return f"{LABELS[base]} {budget}"
    words = " ".join(w.upper() if w in ACRONYMS else w for w in name.split("_") if w)
    return words[:1].upper() + words[1:]


def short_label(name: str) -> str:
    """Display name for a legend, which a very long one would push off the figure.

    >>> short_label("ig_averaged"), len(short_label("a" * 60))
    ('IG averaged', 28)
    """
    return label(name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…")


def plain(text: str) -> str:
    """Escape a text for matplotlib: no formula, no character that has no picture."""
    return printable(text).replace("$", r"\$")


def metric_label(name: str, spec: MetricSpec) -> str:
    """Short name and direction, such as "SRG ↑"."""
    return f"{label(name)} {spec.arrow}".strip()


def metric_names(run: Run) -> list[str]:
    """The metrics of a run in its own order, without the costs."""
    return [name for name in run.metrics if name not in COSTS]


def headline(run: Run, lines: pd.DataFrame | None = None) -> str:
    """The metric that leads the report; "" if no metric has a direction.

    Args:
        run: Definitions of the metrics.
        lines: Summary of the scores; a metric without any mean in it leads only where none has one.
    """
    directed = [m for m in metric_names(run) if run.metrics[m].direction != "none"]
    ordered = [m for m in (*HEADLINES, *directed) if m in directed]
    known = set(ordered if lines is None else lines.loc[lines["mean"].notna(), "metric"])
    return next((m for m in ordered if m in known), ordered[0] if ordered else "")


def method_names(run: Run, present: pd.Series | None = None) -> list[str]:
    """Methods in display order: methods, oracles, controls, ceilings, then any without definition.

    Args:
        run: The run, whose order is kept within each role.
        present: Names in the data; other methods are left out.
    """
    ordered = sorted(run.methods, key=lambda name: ROLES.index(run.methods[name].role))
    if present is None:
        return ordered
    found = dict.fromkeys(present.unique())
    return [m for m in ordered if m in found] + [m for m in found if m not in run.methods]


def role(run: Run, method: str) -> str:
    """Role of a method; names without a definition count as methods."""
    return run.methods[method].role if method in run.methods else "method"


def method_styles(methods: Mapping[str, MethodSpec]) -> dict[str, dict[str, Any]]:
    """Colour, marker and line style of every method, the same in all plots of a run.

    Methods are coloured, oracles near black and dotted, controls grey and dashed, ceilings gold
    and dash-dotted.
    """
    chosen: dict[str, dict[str, Any]] = {}
    colours = {
        "method": METHOD_COLOURS,
        "oracle": ORACLE_COLOURS,
        "control": CONTROL_COLOURS,
        "ceiling": CEILING_COLOURS,
    }
    count = dict.fromkeys(colours, 0)
    for name, spec in methods.items():
        i, palette = count[spec.role], colours[spec.role]
        style: Any = {"oracle": ":", "control": "--", "ceiling": "-."}.get(
            spec.role, DASHES[i // len(palette) % len(DASHES)]
        )
        chosen[name] = {
            "color": palette[i % len(palette)],
            "marker": MARKERS[i % len(MARKERS)],
            "linestyle": style,
        }
        count[spec.role] += 1
    return chosen


@contextmanager
def style() -> Iterator[None]:
    """Apply the style of all figures within a `with` block, whatever matplotlib is set to.

    Style sheets, themes of seaborn and a user's matplotlibrc do not reach the figures, and are as
    they were afterwards.
    """
    with own_settings(), mpl.rc_context(), warnings.catch_warnings():
        # Characters that the font lacks are drawn as boxes; the tables have them in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mpl.MatplotlibDeprecationWarning)
            mpl.rcParams.update({k: v for k, v in mpl.rcParamsDefault.items() if k not in _OF_USER})
        mpl.rcParams.update(_RC)
        yield


def canvas(width: float, height: float) -> Figure:
    """An empty figure, in inches, outside the global state of pyplot."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panel_title(axes: Axes, text: str, *, pad: float | None = None) -> None:
    """Set the title of a panel, on the left, with line breaks if it is long.

    Args:
        axes: The panel.
        text: The title.
        pad: Points between it and the panel, for what is written there; None for the usual gap.
    """
    axes.set_title(textwrap.fill(text, 36), loc="left", pad=pad)


def left_out(axes: Axes, names: Sequence[str]) -> None:
    """Say under a panel which methods or metrics have no value to draw; nothing for none."""
    if names:
        text = "no value: " + ", ".join(label(n) for n in names)
        axes.annotate(
            textwrap.fill(text, 70), (0, 0), (0, -34), "axes fraction", "offset points",
            va="top", fontsize=6.5, color="#707070",
        )  # fmt: skip


def log_ticks(axis: Axis, *, base: float = 10, between: tuple[float, ...] = (1.0,)) -> None:
    """Label a logarithmic axis with plain numbers, at powers of the base times `between`."""
    axis.set_major_locator(LogLocator(base=base, subs=between))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


class _Powers(LogFormatterSciNotation):
    """Powers of ten in plain characters: a formula would start a parser in each process."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of a value, "" for none."""
        return in_characters(super().__call__(x, pos))


def log_powers(axis: Axis, *, between: bool = True) -> None:
    """Label a logarithmic axis with powers of ten, and `between` them where there is room."""
    axis.set_major_formatter(_Powers())
    axis.set_minor_formatter(_Powers(labelOnlyBase=False) if between else NullFormatter())


def in_characters(formula: str) -> str:
    r"""Write a power, as matplotlib labels logarithmic axes, without a formula.

    >>> in_characters(r"$\mathdefault{2\times10^{-12}}$"), in_characters("0.5")
    ('2×10⁻¹²', '0.5')
    """
    found = _POWER.fullmatch(formula)
    if not found:
        return formula
    return found[1].replace(r"\times", "×") + (found[2] or "").translate(_SUPERSCRIPTS)


def save(
    figure: Figure, stem: Path, kinds: Sequence[str] = FORMATS, *, dpi: int = DPI
) -> list[Path]:
    """Write a figure as `stem`.png, .pdf and .svg, or as some of these; returns the paths.

    The size in print is that of the figure: `COLUMN` or `FULL_WIDTH` inches wide, it fills a column
    or a page unscaled, with texts of 7 to 8 points.  PDF files embed their fonts as TrueType, SVG
    files hold texts as texts.  Equal figures give equal files, without dates and random
    identifiers.

    Args:
        figure: From `canvas`.
        stem: Path of the files without suffix.
        kinds: Which of them; SVG is large for pictures of many pixels.
        dpi: Resolution of the PNG and of pictures within the PDF.
    """
    written = []
    with style(), without_collection():
        lay_out(figure, dpi)
        for kind in kinds:
            written.append(stem.with_name(f"{stem.name}.{kind}"))
            write_whole(written[-1], _content(figure, kind, dpi))
    return written


def lay_out(figure: Figure, dpi: int = DPI) -> None:
    """Set the resolution of a figure, and compute its layout once for all drawings."""
    figure.dpi = dpi
    engine = figure.get_layout_engine()
    if engine is not None and figure.axes:
        engine.execute(figure)
    figure.set_layout_engine(None)  # "none" would lay out nothing, but draw twice each time


@contextmanager
def without_collection() -> Iterator[None]:
    """Pause the search for cycles of objects, of which drawing makes many that live for long."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


def pixels(figure: Figure, *, dpi: int = DPI) -> Image.Image:
    """A figure as an RGB picture."""
    with style(), without_collection():
        lay_out(figure, dpi)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    return Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")


def png(picture: Image.Image, *, dpi: int = DPI) -> bytes:
    """A picture as PNG; equal pictures give equal bytes."""
    drawn, note = io.BytesIO(), PngInfo()
    note.add_text("Software", "igbench")
    picture.save(drawn, format="png", dpi=(dpi, dpi), pnginfo=note, compress_level=COMPRESSION)
    return drawn.getvalue()


def _content(figure: Figure, kind: str, dpi: int) -> bytes:
    if kind == "png":
        return png(pixels(figure, dpi=dpi), dpi=dpi)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=kind, dpi=dpi, metadata=_METADATA[kind])
    return _with_like_font(drawn.getvalue()) if kind == "svg" else drawn.getvalue()


def _with_like_font(content: bytes) -> bytes:
    """Name a font of the same widths for readers without DejaVu, so that texts keep their room."""
    return content.replace(b"'DejaVu Sans', sans-serif", b"'DejaVu Sans', Verdana, sans-serif")
