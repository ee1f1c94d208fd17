"""Build environments of Python with asked versions of packages, and keep them for later calls.

An environment holds the asked versions and what igbench requires besides.  igbench itself is not
installed in it: the one that runs is put on its path, so that environments differ in packages
alone, and a change of the code needs no new environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from igbench.cli import requirements
from igbench.cli.requirements import IGBENCH, PACKAGE, Attempt, Versions
from igbench.errors import InputError, printable, suggestion
from igbench.files import cache_folder, write_whole
from igbench.run import lock
from igbench.run.packages import RECORDED

Execute = Callable[[Sequence[str], Mapping[str, str]], "subprocess.CompletedProcess[str]"]
"""Run a command, given as a list of words and its environment variables."""

FORMAT = 1
"""Version of what is built; raise it to build everything again."""
RECORD = "environment.json"
_MOST = 300
"""Characters that are quoted of an installer."""

_DECORATION = " \t×╰│─▶├"
"""What uv draws beside its lines."""

_FAULTS = (
    (
        r"NewConnectionError|ConnectTimeout|NameResolutionError|ProxyError|Max retries exceeded|"
        r"[Ee]rror sending request|dns error|[Nn]etwork is unreachable|Could not connect",
        "the package index cannot be reached; check the network, or name a folder of wheels with "
        "--find-links DIR",
    ),
    (
        r"from versions: none\)|was not found in the package registry",
        "there is no such package in the index, or none for this Python and machine",
    ),
    (
        r"No matching distribution found for|there is no version of|has no wheels with a matching",
        "there is no such version in the index, or none for this Python and machine",
    ),
)
"""What installers say, to what it means: faults that other versions of other packages do not mend.
"""

_PROBE = """
import importlib.metadata, importlib.util, json, sys
import igbench.run.runner, igbench.methods, igbench.metrics, igbench.models, igbench.data
for name in sys.argv[1:]:
    if importlib.util.find_spec(name.replace("-", "_")):
        __import__(name.replace("-", "_"))
versions = {}
for found in importlib.metadata.distributions():
    versions.setdefault(found.metadata["Name"], found.version)
requires = {name: importlib.metadata.requires(name) or [] for name in sys.argv[1:]}
print(json.dumps([igbench.__file__, versions, requires]))
"""
"""Import everything that a run needs, and the packages themselves; the first on the path count."""


@dataclass(frozen=True)
class Options:
    """How environments are made.

    Attributes:
        home: Folder that holds them.
        python: Version or path of the interpreter; that of this process if empty.
        indexes: Further package indexes, beside the one that the installer knows.
        links: Folders or pages with wheels.
        installer: "uv", "pip", or "" for uv where it is installed and pip elsewhere.
    """

    home: Path
    python: str = ""
    indexes: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    installer: str = ""


@dataclass(frozen=True)
class Environment:
    """An environment that is ready.

    Attributes:
        asked: The versions that were asked for.
        python: Its interpreter.
        installed: Version of each package in it.
        unmet: Requirements of igbench and of the asked packages that are not met, as text.
        reused: Whether it was there before.
        path: Entries of the path before its own packages.
    """

    asked: Versions
    python: Path
    path: tuple[str, ...]
    installed: Mapping[str, str] = field(default_factory=dict)
    unmet: tuple[str, ...] = ()
    reused: bool = False

    @property
    def folder(self) -> Path:
        """The folder that holds it."""
        return self.python.parents[2]

    def variables(self) -> dict[str, str]:
        """Environment variables of a process in it: those of this one, less what points elsewhere.

        `PYTHONPATH` keeps its entries, for code of the user, but those that hold an igbench.
        """
        given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        others = [e for e in given if e and not (Path(e) / IGBENCH / "__init__.py").is_file()]
        return _variables() | {
            "PYTHONPATH": os.pathsep.join([*self.path, *others]),
            RECORDED: " ".join(self.asked.names),
        }


def execute(
    command: Sequence[str], variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command without a shell, and return what it printed."""
    return subprocess.run(
        list(command),
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def build(
    asked: Versions,
    options: Options,
    constraints: Sequence[str] = (),
    run: Execute = execute,
) -> Environment:
    """Build the environment of some versions, or take the one that is there.

    Args:
        asked: The versions.
        options: How and where.
        constraints: Exact versions of other packages that it has if they go with the asked ones.
        run: Runs the commands.

    Raises:
        InputError: Something cannot be installed, igbench does not import there, or another
            process builds it.
    """
    required, python = requirements.own(), interpreter(options.python)
    installer = _installer(options.installer)
    key = [
        FORMAT, asked.pins, list(map(str, required)), list(constraints), python,
        options.indexes, options.links, installer[0],
    ]  # fmt: skip
    folder = options.home / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    path = () if IGBENCH in asked.names else (str(source(options.home)),)
    with lock.held(folder, f"the environment of {asked}"):
        ready = Environment(asked, _python(folder), path)
        if found := _read(folder / RECORD):
            return replace(ready, **found, reused=True)
        lock.empty(folder)
        tried = requirements.attempts(required, asked, constraints)
        try:
            _install(folder, installer, python, asked, tried, options, run)
            ready = _probed(ready, required, run)
        except InputError:
            lock.empty(folder)  # what does not work takes gigabytes
            raise
        record = {"installed": ready.installed, "unmet": ready.unmet, "key": key}
        write_whole(folder / RECORD, json.dumps(record, indent=1).encode())
        return ready


def home() -> Path:
    """The folder of environments: in `$IGBENCH_CACHE`, or else the user's cache folder."""
    return cache_folder(None).absolute() / "environments"


def interpreter(python: str = "") -> str:
    """The path of an interpreter, given by its path, its name or its version.

    Raises:
        InputError: There is none.

    >>> interpreter() == sys.executable
    True
    """
    if not python:
        return sys.executable
    found = shutil.which(python) or shutil.which(f"python{python}")
    if found is None:
        raise InputError(
            f"there is no Python {python!r} here; give the path of an interpreter with --python."
        )
    return str(Path(found).absolute())


def source(home: Path) -> Path:
    """A folder for the path of Python that holds the igbench that runs, and none of its packages.

    That is the checkout, or a copy of what is installed.
    """
    if requirements.is_checkout():
        return PACKAGE.parent
    files = sorted(p for p in PACKAGE.rglob("*") if p.is_file() and p.suffix != ".pyc")
    digest = hashlib.sha256()
    for path in files:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(PACKAGE)}\x1f{len(content)}\x1f".encode() + content)
    folder = home / f"igbench-{digest.hexdigest()[:16]}"
    if not folder.is_dir():
        part = folder.with_name(f"{folder.name}.{secrets.token_hex(8)}.tmp")
        shutil.copytree(PACKAGE, part / IGBENCH, ignore=shutil.ignore_patterns("__pycache__"))
        try:
            part.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(part)
    return folder


def _installer(name: str) -> tuple[str, str]:
    """Name and path of the installer; the path is empty for pip, which is that of the environment.

    Raises:
        InputError: It is not there.
    """
    known = ("uv", "pip")
    if name not in ("", *known):
        raise InputError(f"unknown installer {name!r}; known: uv, pip.{suggestion(name, known)}")
    uv = shutil.which("uv")
    if name == "uv" and uv is None:
        raise InputError("uv is not installed here; leave out --installer, or set it to pip.")
    return ("uv", uv) if uv and name != "pip" else ("pip", "")


def _install(
    folder: Path,
    installer: tuple[str, str],
    python: str,
    asked: Versions,
    tried: Sequence[Attempt],
    options: Options,
    run: Execute,
) -> None:
    """Make the environment, and install the first of some lists of requirements that goes."""
    name, uv = installer
    place, inside = str(folder / "venv"), str(_python(folder))
    if name == "uv":
        created = run([uv, "venv", "--quiet", "--python", python, place], _variables())
        install = [uv, "pip", "install", "--quiet", "--python", inside]
        install += [
            "--index-strategy",
            "unsafe-best-match",
        ]  # several indexes count alike, as in pip
    else:
        created = run([python, "-m", "venv", place], _variables())
        install = [inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        install += ["--no-input"]
    if created.returncode:
        raise InputError(f"no environment can be made with {python}: {_said(created)}.")
    for option, values in (("--find-links", options.links), (_extra(name), options.indexes)):
        install += [word for value in values for word in (option, value)]
    said = ""
    for attempt in tried:
        done = _attempted(folder, install, attempt, run)
        if not done.returncode:
            return
        fault = next((words for p, words in _FAULTS if re.search(p, _output(done))), "")
        said = f"{fault} ({_said(done)})" if fault else _said(done)
        if fault:
            break
    raise InputError(f"{asked} cannot be installed: {said}.")


def _attempted(
    folder: Path, install: Sequence[str], attempt: Attempt, run: Execute
) -> subprocess.CompletedProcess[str]:
    """Install in one way; the first command that fails, or the last."""
    limits = folder / "constraints.txt"
    write_whole(limits, "".join(f"{line}\n" for line in attempt.constraints).encode())
    done = run([*install, "--constraint", str(limits), *attempt.wanted], _variables())
    if attempt.alone and not done.returncode:
        done = run([*install, "--no-deps", *attempt.alone], _variables())
    return done


def _extra(installer: str) -> str:
    return "--index" if installer == "uv" else "--extra-index-url"


def _probed(environment: Environment, required: Sequence[Requirement], run: Execute) -> Environment:
    """The environment with the versions in it, after igbench was imported there.

    Raises:
        InputError: It does not import, or another package of the name comes first on the path.
    """
    asked = environment.asked
    done = run([str(environment.python), "-c", _PROBE, *asked.names], environment.variables())
    if done.returncode:
        raise InputError(f"igbench does not import with {asked}: {_said(done)}.")
    file, versions, theirs = json.loads(done.stdout.splitlines()[-1])
    installed = {str(canonicalize_name(k)): str(v) for k, v in versions.items() if k}
    wrong = asked.missed(installed)
    if IGBENCH in asked.names and not Path(file).is_relative_to(environment.python.parents[1]):
        wrong.append(f"igbench of {file}")
    if wrong:
        raise InputError(
            f"in the environment of {asked}, Python finds {', '.join(wrong)}; unset PYTHONPATH, or "
            "run the command in another folder."
        )
    unmet = [] if IGBENCH in asked.names else requirements.unmet(IGBENCH, required, installed)
    for name, lines in theirs.items():
        unmet += requirements.unmet(name, map(Requirement, lines), installed)
    return replace(environment, installed=installed, unmet=tuple(unmet))


def _read(record: Path) -> dict[str, Any] | None:
    """What is said of an environment that is complete; None for one that is not."""
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        read = {"installed": dict(found["installed"]), "unmet": tuple(found["unmet"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return read if _python(record.parent).exists() else None


def _python(folder: Path) -> Path:
    inner = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    return folder / "venv" / inner


def _variables() -> dict[str, str]:
    """Environment variables without those that put other packages on the path."""
    others = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER")
    kept = {name: value for name, value in os.environ.items() if name not in others}
    return kept | {"PYTHONNOUSERSITE": "1"}


def _output(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr + done.stdout


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """What a command says of its failure in one line: its last, or the last paragraph of uv."""
    lines = [line.strip(_DECORATION) for line in done.stderr.splitlines() if line.strip()]
    lines = lines or [line for line in done.stdout.splitlines() if line.strip()]
    errors = [i for i, line in enumerate(lines) if line.startswith(("No solution found", "ERROR:"))]
    if not lines:
        return f"exit status {done.returncode}"
    start = errors[-1] if errors else len(lines) - 1
    text = " ".join(line.removeprefix("cause: ") for line in lines[start:])
    text = text if len(text) <= _MOST else f"{text[:_MOST]}…"
    return printable(text).rstrip(" .")
