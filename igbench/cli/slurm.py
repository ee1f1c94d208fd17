"""Write scripts for sbatch that run igbench on a cluster with Slurm and Ray."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from igbench.config import compose, folders
from igbench.errors import InputError, check_positive, suggestion

TEMPLATE = Path(__file__).with_name("slurm.sbatch.j2")
PREFIX = "slurm."
EXECUTOR = ("executor=ray", "executor.address=auto")
"""What the script adds to the words of the run."""

_PLAIN = re.compile(r"[A-Za-z0-9_.,:+@%/=-]+")
_TIME = re.compile(r"(\d+-)?\d+(:\d+){0,2}")


@dataclass(frozen=True)
class Slurm:
    """Resources to request from Slurm; numbers are for each node.

    Attributes:
        nodes: Nodes.
        cpus: Processors.
        gpus: GPUs.
        time: Limit, as minutes, H:M:S, D-H or D-H:M:S.
        memory: For example 64G; "" for the default of the cluster.
        partition: "" for the default of the cluster.
        account: "" for the user's default.
        name: Of the job.
        output: File for what is printed; %j stands for the number of the job.
        setup: Shell commands that run first, such as "module load cuda" or the activation of an
            environment that has igbench and Ray.

    Raises:
        InputError: A number, a time or a name that Slurm would not take.
    """

    nodes: int = 1
    cpus: int = 8
    gpus: int = 0
    time: str = "04:00:00"
    memory: str = ""
    partition: str = ""
    account: str = ""
    name: str = "igbench"
    output: str = "igbench-%j.out"
    setup: str = ""

    def __post_init__(self) -> None:
        check_positive("slurm.nodes", self.nodes)
        check_positive("slurm.cpus", self.cpus)
        if self.gpus < 0:
            raise InputError(f"slurm.gpus is {self.gpus}; it must not be negative.")
        if not _TIME.fullmatch(self.time):
            raise InputError(
                f"slurm.time={self.time!r} is no time; write minutes, 04:00:00 or 1-12:00:00."
            )
        for name in ("memory", "partition", "account", "name", "output"):
            value = getattr(self, name)
            if value and not _PLAIN.fullmatch(value):
                raise InputError(
                    f"slurm.{name}={value!r} does not go into a script; use letters, digits and "
                    "_ . , : + @ % / = - alone."
                )


def script(words: Sequence[str]) -> str:
    """A script for sbatch that runs igbench on all nodes of a job.

    It starts Ray by `ray symmetric-run` (Ray 2.49 and later; several nodes need 2.54), which runs
    the command on the first node and stops with it.  The folder of results must be one that all
    nodes see.

    Args:
        words: `slurm.KEY=VALUE` for fields of `Slurm`; all else are words of the run, which are
            checked and quoted.

    Raises:
        InputError: A key or a value that does not exist, or an executor, which the script chooses.
    """
    requested = [word for word in words if word.startswith(PREFIX)]
    rest = [compose.settled(word) for word in words if not word.startswith(PREFIX)]
    settings = _settings(requested)
    for word in rest:
        if word.startswith("-") or word.partition("=")[0] in ("executor", "executor.address"):
            raise InputError(
                f"{word!r} does not go into a script for Slurm, which sets "
                f"{' and '.join(EXECUTOR)}."
            )
        if "\n" in word or "\r" in word:
            raise InputError(f"{word!r} has more than one line.")
    compose.compose([*rest, *EXECUTOR])
    return _render(settings, words, rest)


def _settings(words: Sequence[str]) -> Slurm:
    types = {field.name: field.type for field in fields(Slurm)}
    given: dict[str, str | int] = {}
    for word in words:
        name, equals, value = word.removeprefix(PREFIX).partition("=")
        if name not in types or not equals:
            raise InputError(
                f"unknown key {word!r}; known: {', '.join(PREFIX + n for n in types)}."
                f"{suggestion(name, types)}"
            )
        given[name] = value
        if types[name] == "int":
            if not value.isascii() or not value.isdigit():
                raise InputError(f"{word} must be a whole number.")
            given[name] = int(value)
    return Slurm(**given)  # type: ignore[arg-type]


def _render(settings: Slurm, words: Sequence[str], rest: Sequence[str]) -> str:
    import jinja2  # imported late: checking the words needs no jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    shown = ["igbench", "slurm", *(w for w in words if not w.startswith(f"{PREFIX}setup="))]
    run = shlex.join(["python", "-u", "-m", "igbench", *folders.options(), *rest, *EXECUTOR])
    return template.render(s=settings, command=shlex.join(shown), run=run)
