"""Compare every attribution method with an independent library, or with its formula.

At equal settings, in float64, on the small ResNet of digits_resnet or on small networks with drawn
weights.  Writes methods.md and methods.csv beside this file.  Libraries that are not installed give
rows that say so.

    python experiments/oracle_agreement/methods.py [--digits 4]
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import by_coalitions
import by_gradient
import by_maps
import by_rules
import pandas as pd
from setting import digits, held

from igbench.config import compose

HERE = Path(__file__).parent

LIBRARIES = ("ig_captum", "shap_deep", "shap_gradient", "shap_kernel")
"""Methods that are a library's own code."""
CONTROLS = ("random", "edges", "best_found")
"""Methods that explain nothing, or that search for a score."""
ALONE = {
    "ig_adaptive": "certified instead: completeness to its tolerance, and ig_exact",
    "idgi": "no library; closed forms, and its sum, which is exact",
}
"""Methods without anything independent beside them, and what stands in."""
WEAK = {
    "blur_ig": "the authors' library, once its blur is replaced, to the error of its sum",
    "rise": "no library; enumeration, for cells of one pixel alone",
    "attention_rollout": "no library that is right for batches; the formula",
    "chefer": "no library that is right for batches; the formula",
    "cp_lrp": "no library without process-wide patches; its sum alone",
    "xrai": "the growth of regions alone: the library takes the largest channel, ours the sum",
}
"""Methods beside which something stands that settles less than equal maps would."""


def unseen(names: set[str]) -> pd.DataFrame:
    """Methods that the comparisons leave open; refuses to forget one.

    Args:
        names: Methods that are compared.
    """
    every = {path.stem for path in (compose.FOLDER / "method").glob("*.yaml")}
    forgotten = every - names - {*LIBRARIES, *CONTROLS, *ALONE}
    assert not forgotten, f"no comparison and no reason: {sorted(forgotten)}"
    rows = [(name, "none", why) for name, why in ALONE.items()]
    rows += [(name, "weak", why) for name, why in WEAK.items()]
    return pd.DataFrame(rows, columns=["method", "oracle", "what there is"])


def main() -> None:
    """Compare, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=int, default=4)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    batch, pool = digits(options.digits)
    comparisons = [
        *by_gradient.comparisons(batch, pool),
        *by_coalitions.comparisons(batch),
        *by_rules.comparisons(batch, pool),
        *by_maps.comparisons(batch),
    ]
    with held(batch):
        frame = pd.DataFrame([comparison.row() for comparison in comparisons])
    frame.to_csv(HERE / "methods.csv", index=False, float_format="%.3g")
    shown = frame.assign(value=[f"{v:.1e}" if v == v else "" for v in frame["value"]])
    shown["limit"] = [f"{v:.1e}" if v else "" for v in frame["limit"]]
    text = [
        "## Beside something independent",
        shown.to_markdown(index=False, disable_numparse=True),
        "## No oracle, or a weak one",
        unseen(set(frame["method"])).to_markdown(index=False),
    ]
    (HERE / "methods.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
