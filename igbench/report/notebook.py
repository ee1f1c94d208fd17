"""What an evaluation shows in a notebook, and its figures as axes of matplotlib."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from igbench.schema import Records

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


class Plots:
    """Figures of an evaluation, drawn in the style of the report.

    Each method returns axes of a new figure, which is not one of pyplot's: in a notebook,
    `found.plot_cost().figure` shows it, and `.figure.savefig(path)` writes it.  No setting of
    matplotlib is changed, and none of the user's reaches the figures.

    >>> import torch, igbench
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)).eval()
    >>> x = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> found = igbench.evaluate(net, x, methods=["ig", "random"], metrics=["srg"])
    >>> [label.get_text() for label in found.plot_metrics().get_yticklabels()]
    ['IG', 'Random']
    >>> found.plot_cost().get_xscale()
    'log'
    >>> len(found.plot_curves())
    1
    """

    @property
    def records(self) -> Records:
        """The run as it would be read from its folder, with data frames."""
        raise NotImplementedError

    @property
    def maps(self) -> dict[str, Any]:
        """The maps by method and sample."""
        raise NotImplementedError

    def summary(self) -> pd.DataFrame:
        """Mean, interval and counts by method and metric."""
        raise NotImplementedError

    def plot_metrics(self, metric: str = "", *, ax: Axes | None = None) -> Axes:
        """Draw the means of one metric with their 95 % intervals, a bar for each method.

        Args:
            metric: Name of the metric; the headline metric by default.
            ax: Where to draw, in a figure of yours; a new one by default.

        Raises:
            InputError: There is no such metric.
        """
        from igbench.report import axes

        return axes.metric(self.records.run, self.summary(), metric, ax)

    def plot_curves(self) -> list[Axes]:
        """Draw deletion, insertion and SRG curves: means over samples with 95 % bands.

        Raises:
            InputError: There are none.
        """
        from igbench.report import axes

        records = self.records
        return axes.removal(records.run, records.curves)

    def plot_cost(self) -> Axes:
        """Draw the headline metric against the model evaluations of one attribution.

        Raises:
            InputError: No method has both.
        """
        from igbench.report import axes

        return axes.cost(self.records.run, self.summary())

    def plot_maps(self) -> list[Axes]:
        """Draw the maps that are kept: a grid of images, or a figure for each table or series.

        All images of a grid are on the first axes.

        Raises:
            InputError: There are none.
        """
        from igbench.report import axes

        return axes.maps(replace(self.records, maps=self.maps))

    def maps_html(self) -> str:
        """The maps of the first samples as small HTML; "" if there are none."""
        from igbench.report import axes

        return axes.to_html(replace(self.records, maps=self.maps))
