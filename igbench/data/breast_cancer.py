"""The breast cancer table of scikit-learn, with a fixed split."""

from __future__ import annotations

from functools import lru_cache

from sklearn.datasets import load_breast_cancer

from igbench.core.arguments import checked
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.data.encoder import TableEncoder
from igbench.data.tables import Split, check_takes_tables, held_out_data, split_by_content

SPLIT_SEED = 0
HELD_OUT = 0.25
"""Share of the rows that are never trained on."""


@lru_cache(maxsize=1)
def load_split() -> Split:
    """The 569 rows of 30 numbers, with their fixed split."""
    bunch = load_breast_cancer(as_frame=True)
    train, held_out = split_by_content(bunch.data, HELD_OUT, SPLIT_SEED, "breast_cancer")
    return Split(
        frame=bunch.data,
        labels=tuple(bunch.target.tolist()),
        class_names=tuple(str(name) for name in bunch.target_names),
        train=train,
        held_out=held_out,
        encoder=TableEncoder.fit(bunch.data.iloc[list(train)]),
    )


@checked
def breast_cancer(model: Model, *, limit: int | None) -> Data:
    """Rows of the breast cancer table that were held out: 30 numbers, standardised.

    Args:
        model: Must take the table: two classes.
        limit: Number of samples; None for all.

    Raises:
        InputError: The model does not fit, or the limit is not above zero.

    Source: Wolberg, Mangasarian, Street and Street 1995, UCI "Breast Cancer Wisconsin
    (Diagnostic)", CC BY 4.0, in scikit-learn.
    """
    fitting = "choose model=tabular_breast_cancer for data=breast_cancer"
    check_takes_tables(model, 2, fitting)
    return held_out_data(
        load_split(),
        limit,
        name="breast_cancer",
        source="scikit-learn breast cancer (UCI, Wolberg et al. 1995, CC BY 4.0), held out",
        digits=3,
    )
