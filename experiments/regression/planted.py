"""Plant changes in runs of two models, and look whether `igbench compare` gives the right verdict.

Every change is what may happen between two releases: another rule, fewer steps, another baseline, a
map shuffled on some samples, a lost sample, a NaN, twice the work, other weights, another version
of a library.  Each is compared with an unchanged run by the command, whose exit status is to be
what a maintainer expects: 0 no regression, 1 regression, 2 not comparable, 3 incomplete.

    python -m experiments.regression.planted [--only digits_resnet]

Writes planted_digits_resnet.md and planted_imagenet_lite.md beside this file.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from experiments.regression.setting import (
    Own,
    Setting,
    digits_setting,
    edited,
    other_versions,
    photographs_setting,
    written,
)
from igbench import __main__ as command
from igbench.methods import IntegratedGradients
from igbench.metrics import Deletion
from igbench.records.compare import Comparison, compare
from igbench.schema import Records

HERE = Path(__file__).parent
SHARE = 20
"""One sample of so many gets a shuffled map."""
MANY = 320
"""Samples of the run in which a shuffled part is to be found."""
LEAST = 6
"""Samples without which no difference is significant: 2 / 2**6 < 5 %."""
REASON = "known"
"""Why a verdict is accepted."""

Runs = Callable[[], Records]


@dataclass(frozen=True)
class Plant:
    """A change between two runs, and what a maintainer expects of the gate.

    Attributes:
        name: What is changed.
        expected: Exit status.
        new: Makes the changed run.
        base: Makes the run that it is compared with.
        cell: Method and metric of a cell, and its expected verdict; "" for no particular one.
        options: Options of the command.
        damaged: Whether one bit of the new run's scores is flipped on disk.
    """

    name: str
    expected: int
    new: Runs
    base: Runs
    cell: str = ""
    options: tuple[str, ...] = ()
    damaged: bool = False


@dataclass(frozen=True)
class Found:
    """What the gate said.

    Attributes:
        plant: The change.
        exit_code: Exit status of the command.
        comparison: The same comparison from Python; None where a file is damaged.
        said: The gravest line that the command printed.
    """

    plant: Plant
    exit_code: int
    comparison: Comparison | None
    said: str

    @property
    def right(self) -> bool:
        """Whether exit status and cell are as expected, and Python and the command agree."""
        if self.exit_code != self.plant.expected:
            return False
        if self.comparison is None:
            return True
        cells = [f"{c.method}/{c.metric} {c.verdict}" for c in self.comparison.changes]
        as_expected = not self.plant.cell or self.plant.cell in cells
        return as_expected and self.comparison.exit_code == self.exit_code

    @property
    def counts(self) -> str:
        """How many cells have which verdict."""
        if self.comparison is None or not self.comparison.changes:
            return "none"
        verdicts = Counter(str(c.verdict) for c in self.comparison.changes)
        return ", ".join(f"{n} {verdict}" for verdict, n in sorted(verdicts.items()))


def plants(s: Setting) -> Iterator[Plant]:
    """The changes, in the order of the table; runs are made when they are asked for."""
    base = cache(s.run)
    yield Plant("the same once more", 0, s.run, base, "ig/completeness identical")
    if s.samples >= LEAST:
        yield from _rules(s)
        yield from _shuffled(s, base)
    yield from _questions(s, base)
    yield from _faults(s, base)
    yield from _records(s, base)


def _ig(steps: int, rule: str = "gauss_legendre") -> IntegratedGradients:
    return IntegratedGradients(rule=rule, n_steps=steps)


def _rules(s: Setting) -> Iterator[Plant]:
    """Other rules and numbers of steps."""
    fine, coarse = cache(lambda: s.run(_ig(64))), cache(lambda: s.run(_ig(20)))
    biased, right = (cache(lambda r=r: s.run(_ig(64, r))) for r in ("captum_trapezoid", "right"))
    cell = "ig/completeness regressed"
    trapezoid = "the biased trapezoid rule (its weights sum to 63/64)"
    yield Plant(trapezoid, 1, biased, fine, cell)
    yield Plant(f"{trapezoid}, accepted", 0, biased, fine, cell,
                ("--accept", "ig/completeness", "--reason", REASON))  # fmt: skip
    yield Plant(f"{trapezoid}, never to fail", 0, biased, fine, cell, ("--fail-on", "never"))
    yield Plant("20 steps instead of 64", 1, coarse, fine, cell)
    yield Plant("64 steps instead of 20: better, at three times the cost", 1, fine, coarse,
                "ig/backward_rows regressed")  # fmt: skip
    yield Plant("64 steps instead of 20, the cost accepted", 0, fine, coarse,
                "ig/completeness improved",
                ("--accept", "*_rows", "--reason", REASON))  # fmt: skip
    yield Plant("the biased trapezoid instead of the right-hand rule, with as large an error", 0,
                biased, right)  # fmt: skip
    newer = edited(biased(), identity=other_versions(biased().run))
    yield Plant("another version of Captum, allowed, and the biased trapezoid rule", 1,
                lambda: newer, fine, cell, ("--across", "captum"))  # fmt: skip


def _shuffled(s: Setting, base: Runs) -> Iterator[Plant]:
    """Maps of a part of the samples shuffled; of the small run, and of one on many samples."""
    wide = replace(s, samples=MANY, metrics={"deletion": s.metrics["deletion"]}, steps=2)
    for one, unchanged in ((s, base), (wide, cache(wide.run))):
        ids = one.load(one.samples).sample_ids
        broken = ids[-round(len(ids) / SHARE):]  # fmt: skip
        name = f"maps of {len(broken)} of {len(ids)} samples shuffled"
        new = cache(
            lambda one=one, broken=broken: one.run(own=Own(one.own_steps, "shuffled", broken))
        )
        yield Plant(name, 1, new, unchanged)
        if one is s:
            yield Plant(f"{name}, any change to fail", 1, new, unchanged, "",
                        ("--fail-on", "any-change"))  # fmt: skip


def _questions(s: Setting, base: Runs) -> Iterator[Plant]:
    """Runs that answer another question."""
    yield Plant("another baseline (black to white)", 2, lambda: s.run(baseline="white"), base)
    yield Plant("the probability (softmax) instead of the logit", 2,
                lambda: s.run(output="probability"), base)  # fmt: skip
    yield Plant("another occluder of deletion (blur)", 2,
                lambda: s.run(metrics={"deletion": replace(_deletion(s), occluder="blur")}),
                base, "ig/deletion incomparable")  # fmt: skip
    yield Plant("other weights (one, by a thousandth)", 2,
                lambda: s.run(model=s.other_weights()), base)  # fmt: skip
    yield Plant("another seed", 2, lambda: s.run(seed=1), base)
    fewer = cache(lambda: s.run(samples=s.samples - 1))
    yield Plant("a dropped sample", 2, fewer, base)
    yield Plant("a dropped sample, allowed: the others agree", 0, fewer, base,
                options=("--across", "samples"))  # fmt: skip


def _deletion(s: Setting) -> Deletion:
    found = s.metrics["deletion"]
    assert isinstance(found, Deletion)
    return found


def _faults(s: Setting, base: Runs) -> Iterator[Plant]:
    """Faults of a method of one's own."""
    last = s.load(s.samples).sample_ids[-1:]
    yield Plant("one NaN in one map", 3, lambda: s.run(own=Own(s.own_steps, "nan", last)), base,
                "own/completeness failed")  # fmt: skip
    yield Plant("the same map at twice the work", 1, lambda: s.run(own=Own(s.own_steps, "twice")),
                base, "own/backward_rows regressed")  # fmt: skip


def _records(s: Setting, base: Runs) -> Iterator[Plant]:
    """Changes of the record alone."""
    newer = edited(base(), identity=other_versions(base().run))
    yield Plant("another version of Captum, the same numbers", 2, lambda: newer, base)
    yield Plant("another version of Captum, allowed", 0, lambda: newer, base,
                "ig/completeness identical", ("--across", "captum"))  # fmt: skip
    rows = base().scores
    first = rows["sample_id"] == rows["sample_id"].iloc[0]
    lost = rows[~first | (rows["metric"] != "deletion")]
    yield Plant("a sample that one metric has lost", 3, lambda: replace(base(), scores=lost), base,
                "ig/deletion failed")  # fmt: skip
    one = rows[rows["method"] == "ig"]
    yield Plant("a method that is gone", 3, lambda: replace(base(), scores=one), base,
                "own/deletion missing")  # fmt: skip
    yield Plant("a method that is new", 0, base, lambda: replace(base(), scores=one),
                "own/deletion new")  # fmt: skip
    yield Plant("one bit of a file flipped", 2, base, base, damaged=True)


def look(plant: Plant, folder: Path) -> Found:
    """Write both runs into a folder, and compare them by the command and from Python."""
    base, new = plant.base(), plant.new()
    paths = [written(base, folder / "base"), written(new, folder / "new")]
    if plant.damaged:
        _flip(paths[1] / "scores.parquet")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        status = command.main(["compare", *map(str, paths), *plant.options])
    lines = printed.getvalue().replace(str(folder), "").splitlines()
    lines = [line for line in lines if not line.startswith("warning")]  # of times
    shutil.rmtree(folder)
    found = None if plant.damaged else compare(base, new, **arguments(plant.options))  # type: ignore[arg-type]
    return Found(plant, status, found, lines[0 if len(lines) < 2 or plant.damaged else 1])


def arguments(options: tuple[str, ...]) -> Mapping[str, object]:
    """Options of the command as arguments of `compare`."""
    given = dict(zip(options[::2], options[1::2], strict=True))
    found: dict[str, object] = {}
    if "--accept" in given:
        found["accept"] = {given["--accept"]: given["--reason"]}
    if "--across" in given:
        found["across"] = [given["--across"]]
    if "--fail-on" in given:
        found["fail_on"] = given["--fail-on"]
    return found


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def table(found: list[Found], s: Setting) -> str:
    """All changes as Markdown."""
    right = sum(f.right for f in found)
    lines = [
        f"{s.name}, {s.samples} samples: {right} of {len(found)} verdicts are as expected.",
        "",
        "| planted | options | expected | exit | right | cells | what the command says first |",
        "|:--|:--|--:|--:|:--|:--|:--|",
    ]
    for f in found:
        options = f"`{' '.join(f.plant.options)}`" if f.plant.options else ""
        said = f.said.replace("|", "\\|")
        lines.append(
            f"| {f.plant.name} | {options} | {f.plant.expected} | {f.exit_code} | "
            f"{'yes' if f.right else '**no**'} | {f.counts} | {said} |"
        )
    return "\n".join(lines) + "\n"


SETTINGS: Mapping[str, Callable[[], Setting]] = {
    "digits_resnet": digits_setting,
    "imagenet_lite": photographs_setting,
}


def main() -> None:
    """Plant, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[*SETTINGS], action="append")
    for name in parser.parse_args().only or SETTINGS:
        start = time.process_time()
        s = SETTINGS[name]()
        with tempfile.TemporaryDirectory() as folder:
            found = [look(plant, Path(folder) / "runs") for plant in plants(s)]
        seconds = time.process_time() - start
        text = f"{table(found, s)}\n{seconds:.0f} CPU seconds.\n"
        (HERE / f"planted_{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
