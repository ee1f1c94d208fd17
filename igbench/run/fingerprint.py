"""Hash the source code that rows depend on, as part of the keys of shards.

Code is hashed as a syntax tree without docstrings, so that comments, layout and documentation do
not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib import metadata

from igbench.run import sources
from igbench.run.sources import Source
from igbench.run.syntax import read


def shared(parts: Iterable[object]) -> str:
    """Hash the source that all rows depend on (SHA-256).

    That is the code that the package shares, and the code that `parts` run, where it is elsewhere:
    their files, what these import, and the versions of the installed packages that they use.
    """
    found = sources.code(*parts)
    return _digest(found.files.union(sources.shared()), found.installed)


def of_metric(metric: object, *factories: object) -> str:
    """Hash the source of one metric (SHA-256), in the same way.

    Args:
        metric: The metric.
        factories: What else its rows depend on, such as the function that made it.
    """
    found = sources.code(metric, *factories)
    return _digest(found.files, found.installed)


def _digest(files: Iterable[Source], installed: Iterable[str] = ()) -> str:
    lines = {f"{source.name} {read(source.path).digest}" for source in files}
    lines.update(f"{name} {_version(name)}" for name in installed)
    return hashlib.sha256("\n".join(sorted(lines)).encode(errors="backslashreplace")).hexdigest()


@cache
def _version(name: str) -> str:
    """Version of an installed package, and a hash of the list of its code.

    The list tells versions of one number apart, such as those of a package that is being written.
    """
    found = _distribution(name)
    if found is None:
        return "unknown"
    listed = sorted(line for line in _record(found).splitlines() if ".py,sha256=" in line)
    return f"{found.version} {hashlib.sha256(' '.join(listed).encode()).hexdigest()}"


def _distribution(name: str) -> metadata.Distribution | None:
    """The distribution that installed a module; many are called like it, and others list it."""
    with suppress(metadata.PackageNotFoundError, ValueError):
        return metadata.distribution(name)
    lines = (f"\n{name}/", f"\n{name}.")
    return next(
        (d for d in metadata.distributions() if any(x in f"\n{_record(d)}" for x in lines)), None
    )


def _record(found: metadata.Distribution) -> str:
    return found.read_text("RECORD") or ""
