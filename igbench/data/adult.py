"""The Adult census table, with a fixed split: who earns more than 50,000 dollars a year."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import pandas as pd

from igbench.core.arguments import checked
from igbench.core.dataset import Data
from igbench.core.model import Model
from igbench.data.encoder import TableEncoder
from igbench.data.tables import Split, check_takes_tables, held_out_data, split_by_content

SPLIT_SEED = 0
HELD_OUT = 0.2
"""Share of the distinct rows that are never trained on."""
LABEL = "loan"
CLASSES = ("<=50K", ">50K")


@lru_cache(maxsize=1)
def load_split() -> Split:
    """The 32,561 rows of 12 columns, with their fixed split.

    The 4,452 rows that equal an earlier one are on the side of that one.  A value that nobody gave
    is "?", a category like any other.
    """
    with (files("igbench.data") / "adult.csv.gz").open("rb") as file:
        whole = pd.read_csv(file, compression="gzip", keep_default_na=False)
    frame = whole.drop(columns=LABEL)
    train, held_out = split_by_content(frame, HELD_OUT, SPLIT_SEED, "adult")
    return Split(
        frame=frame,
        labels=tuple(CLASSES.index(v) for v in whole[LABEL]),
        class_names=CLASSES,
        train=train,
        held_out=held_out,
        encoder=TableEncoder.fit(frame.iloc[list(train)]),
    )


@checked
def adult(model: Model, *, limit: int | None) -> Data:
    """Rows of the Adult table that were held out: 65 elements, 12 features.

    Five numbers are standardised, seven categories are one-hot.

    Args:
        model: Must take the table: two classes.
        limit: Number of samples; None for all.

    Raises:
        InputError: The model does not fit, or the limit is not above zero.

    Source: Becker and Kohavi 1996, UCI "Adult" (training part), CC BY 4.0, without the columns
    `fnlwgt` and `native-country`.
    """
    check_takes_tables(model, len(CLASSES), "choose model=tabular_adult for data=adult")
    return held_out_data(
        load_split(),
        limit,
        name="adult",
        source="UCI Adult (Becker and Kohavi 1996, CC BY 4.0), held out",
        digits=5,
    )
