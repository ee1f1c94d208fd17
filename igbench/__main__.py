"""Entry point: help and version at once, everything else through `igbench.cli.main`."""

from __future__ import annotations

import gc
import io
import sys
from contextlib import suppress
from pathlib import Path

COMMANDS = (
    "init", "plan", "list", "report", "table", "compare", "verify", "doctor", "certify", "slurm",
    "tcav", "power", "baseline", "runs", "history", "releases",
)  # fmt: skip

USAGE = """\
igbench: how complete, faithful, stable and costly is Integrated Gradients on this model?

  igbench [experiment=NAME] [key=value ...]   run an experiment (default: imagenet_lite, offline)
  igbench init NAME                           a folder for a model and data of your own
  igbench plan [key=value ...]                what a run would cost, and what of it is done
  igbench list [GROUP]                        experiments, methods, metrics, models, data, ...
  igbench report RUN [RUN ...]                tables, plots and HTML again, from records alone
  igbench table RUN RUN [...]                 methods x models, one table for each metric
  igbench compare [BASE] NEW [--across captum]   verdict for each model x method x metric
  igbench baseline set|list|remove ...        small references to compare with, to be committed
  igbench runs [EXPERIMENT] [--where K=V]     the runs there are; runs delete RUN ... deletes some
  igbench history EXPERIMENT [--plot FILE]    the trend over runs and releases, and what changed
  igbench releases [key=value ...] --with captum==0.8.0 --with captum==0.9.0
                                              a run with each release, verdicts on neighbours
  igbench power RUN --metric NAME --difference D   how many samples show a difference of means
  igbench verify RUN [RUN ...]                are its files, to the last bit, those written
  igbench doctor                              what is installed and at hand
  igbench certify [METRIC ...]                every metric on models whose answer is known
  igbench tcav concept=DIR [key=value ...]    does a concept (a folder of pictures) move a class
  igbench slurm [slurm.nodes=4 key=value ...] a script for sbatch that runs it on a cluster

Keys everyone needs:
  method=[ig,occlusion]   metric=[completeness,srg]   model=NAME   data=NAME   data.root=DIR
  baseline=NAME   limit=8   seed=0   device=auto   batch_size=auto   results_dir=results
  preset=NAME             metrics as a paper or a library has them
  precision=bf16          perturbed inputs without gradient; the error is told   compile=true
  precision=exact         the model as it is, with no batch norm folded into a convolution
  executor=serial|ray   executor.workers=4   overwrite=true (a finished run is not run again)
  method.ig.n_steps=100   (any key of a chosen file in conf/)
  --config-dir DIR        files of your own for any key=NAME; conf/ of this folder is read anyway
  -m key=a,b              a run for each value     --cfg job   show the configuration
  --markdown              print tables as Markdown     -v   traceback of an error

An interrupted run resumes where it was when the same command is given again.
Exit status: 0 done, 1 regression (compare) or wrong answer (certify), 2 usage, configuration,
damaged files or runs that are not comparable (compare), 3 finished with failed cells or without
hashes (verify), 130 interrupted.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Raises:
        SystemExit: From libraries that parse arguments.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    path = list(sys.path)
    _set_up()
    if words and words[0] in ("-h", "--help", "help"):
        sys.stdout.write(USAGE)
        return 0
    if words and words[0] == "--version":
        from igbench import __version__

        sys.stdout.write(f"igbench {__version__}\n")
        return 0
    gc.disable()  # to look for garbage among all that imports make took a second; a run turns it on
    try:
        from igbench.cli import main

        return main.main(words, COMMANDS)
    except KeyboardInterrupt:  # while modules are imported
        sys.stderr.write("igbench: Interrupted before it began. Run the same command again.\n")
        return 130
    finally:
        gc.enable()
        sys.path[:] = path  # as it was, for programs that call this function


def _set_up() -> None:
    """Make output and imports the same for `igbench` and `python -m igbench`, everywhere.

    A character that standard output or error cannot show is escaped, and modules in the current
    folder can be imported unless Python was told not to (`python -P`, PYTHONSAFEPATH).
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with suppress(FileNotFoundError):  # the folder is gone
        here = str(Path.cwd())
        if not sys.flags.safe_path and not {here, ""} & set(sys.path):
            sys.path.insert(0, here)


if __name__ == "__main__":
    sys.exit(main())
