"""Dispatch a command line to a run, a sweep, or a sub-command."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from igbench.cli import repeats
from igbench.cli.status import OK, STOPPED, USAGE
from igbench.config import compose, folders
from igbench.errors import InputError, printable, suggestion

if TYPE_CHECKING:
    from omegaconf import DictConfig


MARKDOWN = "--markdown"

INTERRUPTED = "Interrupted. Run the same command again to resume."

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Error numbers of files that cannot be written."""


def main(words: list[str], commands: Sequence[str]) -> int:
    """Dispatch to a sub-command, to Hydra (sweeps, --cfg, --info) or to a run."""
    verbose = "-v" in words
    words = [w for w in words if w != "-v"]
    markdown = MARKDOWN in words
    try:
        with repeats.collapsed():
            words, searched = compose.searched_folders(words)
            with folders.searching(searched):
                return _dispatch(words, commands, markdown)
    except InputError as error:
        if verbose:
            raise
        sys.stderr.write(f"igbench: {printable(str(error))}\n")
        return USAGE
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"igbench: {printable(str(stop)) or INTERRUPTED}\n")
        return STOPPED
    except OSError as error:
        if verbose or error.errno not in _NO_ROOM:
            raise
        where = f" ({printable(str(error.filename))})" if error.filename else ""
        sys.stderr.write(
            f"igbench: {error.strerror}{where}; make room or set results_dir=PATH, and run "
            "the same command again: what was done is kept.\n"
        )
        return USAGE


def _dispatch(words: list[str], commands: Sequence[str], markdown: bool) -> int:
    if words and words[0] in commands:
        return _command(words)
    words = [w for w in words if w != MARKDOWN]
    if any(w.startswith("-") for w in words):
        return _hydra(words, markdown)
    if words and "=" not in words[0]:
        raise InputError(
            f"unknown command {words[0]!r}; known: {', '.join(commands)}, or key=value pairs "
            f"for a run.{suggestion(words[0], commands)}"
        )
    from igbench.cli import run

    return run.run(words, markdown)


def _command(words: list[str]) -> int:
    import typer

    from igbench.cli.commands import app

    try:
        status = app(words, standalone_mode=False, prog_name="igbench")
    except typer.Exit as stop:
        status = stop.exit_code
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of the argument parser
            raise InputError(f"{error.format_message()} See igbench --help.") from error
        raise
    if status == STOPPED:  # what typer makes of Ctrl-C
        raise KeyboardInterrupt
    return int(status or 0)


def _hydra(words: list[str], markdown: bool) -> int:
    """Sweeps and Hydra's own flags; a run of a sweep that fails does not stop the others."""
    import hydra
    from hydra._internal.utils import get_args_parser
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from igbench.config import search_path

    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    given = parser.parse_args(words)
    words = [w for w in words if w not in given.overrides]
    words += compose.check_sweep(given.overrides, sweep=given.multirun)
    plain = [w for w in words if "=" in w and "," not in w and w[0] not in "-+"]
    board = Path(compose.compose(plain)["results_dir"]) / ".sweeps" / f"{uuid.uuid4().hex}.exit"
    worst = [OK]
    search_path.register()
    job = sweep_job(board.absolute(), worst, markdown)
    saved, sys.argv = sys.argv, ["igbench", *words]
    try:
        hydra.main(config_path=str(folders.FOLDER), config_name="run", version_base="1.3")(job)()
        statuses = [int(path.suffix[1:]) for path in board.glob("*.*")]
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(compose.explain(error, words)) from error
    finally:
        sys.argv = saved
        shutil.rmtree(board, ignore_errors=True)
    return max(worst + statuses)


def _refuse(message: str) -> NoReturn:
    """Report an option that does not exist in one line."""
    raise InputError(f"{message}. See igbench --help.")


def sweep_job(
    board: Path, worst: list[int], markdown: bool = False
) -> Callable[[DictConfig], None]:
    """Make the function that a launcher of Hydra calls for each run of a sweep, in any process.

    Args:
        board: Folder where each run leaves a file whose suffix is its exit status.
        worst: The same, for runs in this process.
        markdown: Print tables as Markdown.
    """
    searched, path = folders.own(), list(sys.path)

    def job(config: DictConfig) -> None:
        from omegaconf import OmegaConf

        from igbench.cli import run

        sys.path += [entry for entry in path if entry not in sys.path]  # in another process
        try:
            plain = dict(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
            with folders.searching(searched):
                status = run.run_config(compose.complete(plain), [], markdown)
        except InputError as error:
            sys.stderr.write(f"igbench: {printable(str(error))}\n")
            status = USAGE
        worst.append(status)
        with suppress(OSError):  # results that cannot be written are an error of the run already
            board.mkdir(parents=True, exist_ok=True)
            (board / f"{uuid.uuid4().hex}.{status}").touch()

    return job


os.environ.setdefault("HYDRA_FULL_ERROR", "1")
