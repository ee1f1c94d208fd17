"""Read the scores of many runs at once: DuckDB over their Parquet files, which are the truth.

DuckDB only reads, in memory, without network or extensions, and is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from igbench.errors import InputError

_CELLS = """
SELECT filename AS file, model, method, metric,
       list(value ORDER BY file_row_number)
           FILTER (status = 'ok' AND value IS NOT NULL AND NOT isnan(value)) AS "values",
       count(*) AS rows,
       count(*) FILTER (status = 'undefined') AS n_undefined,
       min(file_row_number) AS first
FROM read_parquet($files, union_by_name = true, filename = true, file_row_number = true)
WHERE (len($metrics) = 0 OR list_contains($metrics, metric))
  AND (len($methods) = 0 OR list_contains($methods, method))
GROUP BY ALL
ORDER BY file, first
"""
"""Values of each cell in the order of the file, so that sums are those of one run read alone."""

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "threads": 2,
}


def cells(
    files: Sequence[Path], metrics: Collection[str] = (), methods: Collection[str] = ()
) -> pd.DataFrame:
    """The cells of many runs.

    Args:
        files: Tables of scores, verified by their hashes or read once before.
        metrics: Names of those that are read; all if none.
        methods: Likewise.

    Returns:
        A row for each file, model, method and metric, files in their order: `file` (place among
        `files`), `values` (list of the values with status "ok"), `n_undefined` and `n_failed`.

    Raises:
        InputError: A file cannot be read.
    """
    import duckdb

    given = {
        "files": [_literal(path) for path in files],
        "metrics": list(metrics), "methods": list(methods),
    }  # fmt: skip
    try:
        with duckdb.connect(":memory:", config=_SETTINGS) as database:
            found = database.execute(_CELLS, given).df()
    except duckdb.Error as error:
        raise InputError(f"the scores cannot be read ({str(error).splitlines()[0]}).") from error
    place = {str(path): i for i, path in enumerate(files)}
    found["file"] = found["file"].map(place)
    found["values"] = [v if isinstance(v, np.ndarray) else [] for v in found["values"]]
    counts = found["values"].map(len)
    found["n_failed"] = found["rows"] - counts - found["n_undefined"]
    return found.sort_values(["file", "first"], kind="stable", ignore_index=True).drop(
        columns=["rows", "first"]
    )


def _literal(path: Path) -> str:
    """A path that no character of a pattern makes another one."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in str(path))
