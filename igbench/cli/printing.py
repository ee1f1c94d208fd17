"""Print lines on a terminal or into a pipe, whatever is in the names that they hold."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from igbench.errors import printable


def standard_output() -> Console:
    """Standard output as it is now, without markup; long lines are left to the terminal."""
    return Console(soft_wrap=True, markup=False, highlight=False, emoji=False)


def say(console: Console, text: str) -> None:
    """Print lines of our own around names and reasons, which steer neither rich nor a terminal."""
    console.print(Text(printable(text, keep="\n")))
