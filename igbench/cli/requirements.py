"""Read the versions that are asked for, and what igbench itself requires."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from igbench.errors import InputError, one_line

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of the package that runs."""

IGBENCH = "igbench"

BOUND_TO = {"torchvision": "torch"}
"""Packages of which each release goes with one release of another."""

LINKED = ("torch",)
"""Packages that do not import without the libraries that they require."""


@dataclass(frozen=True)
class Versions:
    """Exact versions of some packages, which one environment is to have.

    Attributes:
        pins: Name and version of each package, by name.
    """

    pins: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return " ".join(self.requirements)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the packages."""
        return tuple(name for name, _ in self.pins)

    @property
    def requirements(self) -> tuple[str, ...]:
        """One requirement for each package."""
        return tuple(f"{name}=={version}" for name, version in self.pins)

    def missed(self, installed: Mapping[str, str]) -> list[str]:
        """What is installed in place of a version, as text; empty where all are as asked.

        >>> parse("torch==2.13.0 captum==0.9").missed({"torch": "2.13.0+cpu", "captum": "0.8.0"})
        ['captum 0.8.0']
        """
        return [
            f"{name} {installed.get(name, 'not installed')}"
            for name, version in self.pins
            if name not in installed or not _allows(SpecifierSet(f"=={version}"), installed[name])
        ]


def parse(text: str) -> Versions:
    """Read the versions of one environment, as they are typed.

    Args:
        text: Requirements with spaces between, each "name==version".

    Raises:
        InputError: One is no requirement, or does not name exactly one version; nothing is named,
            or a package twice.

    >>> parse("torch==2.4.1  Captum==0.7.0").requirements
    ('captum==0.7.0', 'torch==2.4.1')
    """
    pins = [_pin(word) for word in text.split()]
    names = [name for name, _ in pins]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not pins:
        fault = f"names {twice[0]} twice" if twice else "names no package"
        raise InputError(f"--with {text!r} {fault}; write for example --with captum==0.9.0.")
    return Versions(tuple(sorted(pins)))


def _pin(word: str) -> tuple[str, str]:
    try:
        found = Requirement(word)
    except InvalidRequirement as error:
        raise InputError(
            f"--with {word!r} is no requirement ({one_line(error, 60)}); write name==version "
            'without spaces, and several as --with "captum==0.9.0 torch==2.4.1".'
        ) from error
    specifiers = list(found.specifier)
    exact = [s for s in specifiers if s.operator == "==" and not s.version.endswith(".*")]
    if found.url or found.marker or found.extras or len(specifiers) != 1 or not exact:
        raise InputError(
            f"--with {word!r} must name one version, as {canonicalize_name(found.name)}==1.2.3: "
            "environments are kept, and what else would match can change."
        )
    return canonicalize_name(found.name), exact[0].version


def own() -> tuple[Requirement, ...]:
    """What igbench requires, without its extras; of the checkout that runs, or as installed.

    Raises:
        InputError: Neither is there.
    """
    project = PACKAGE.parent / "pyproject.toml"
    if is_checkout():
        lines = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    else:
        try:
            lines = metadata.requires(IGBENCH) or []
        except metadata.PackageNotFoundError as error:
            raise InputError(
                f"what igbench in {PACKAGE} requires is not known, as it is neither a checkout nor "
                "installed; install it with pip."
            ) from error
    found = map(Requirement, lines)
    return tuple(r for r in found if r.marker is None or r.marker.evaluate({"extra": ""}))


def is_checkout() -> bool:
    """Whether the package that runs lies in its repository, beside pyproject.toml and conf."""
    beside = (PACKAGE.parent / name for name in ("pyproject.toml", "conf/run.yaml"))
    return all(path.is_file() for path in beside)


@dataclass(frozen=True)
class Attempt:
    """One way to install asked versions and what igbench requires besides.

    Attributes:
        wanted: Requirements that are installed with what they require.
        alone: Requirements that are installed after that, without what they require.
        constraints: Exact versions of other packages.
    """

    wanted: tuple[str, ...]
    alone: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()


def attempts(
    required: Sequence[Requirement], asked: Versions, constraints: Sequence[str]
) -> list[Attempt]:
    """Ways to install some versions, from the strictest to the loosest.

    What is asked for replaces what igbench requires of the same package.  If asked versions do not
    go with what igbench requires of others, they are installed without their own requirements, but
    for `LINKED`.

    Args:
        required: From `own`.
        asked: The versions.
        constraints: Exact versions of other packages that are wished, such as those of another
            environment: environments that differ in nothing else say more.

    >>> for one in attempts([Requirement("captum>=0.9"), Requirement("numpy>=2")],
    ...                     parse("captum==0.8.0"), ["numpy==2.4.6"]):
    ...     print(*one.wanted, "|", *one.alone, "|", *one.constraints)
    numpy>=2 captum==0.8.0 | | numpy==2.4.6
    numpy>=2 | captum==0.8.0 | numpy==2.4.6
    numpy>=2 captum==0.8.0 | |
    numpy>=2 | captum==0.8.0 |
    """
    wishes = list(dict.fromkeys([tuple(constraints), ()]))
    if IGBENCH in asked.names:  # it brings what it requires
        return [Attempt(asked.requirements, (), wish) for wish in wishes]
    others = tuple(
        one.name if BOUND_TO.get(one.name) in asked.names else str(one)
        for one in required
        if canonicalize_name(one.name) not in asked.names
    )
    linked = tuple(f"{name}=={version}" for name, version in asked.pins if name in LINKED)
    alone = tuple(one for one in asked.requirements if one not in linked)
    ways = [((*others, *asked.requirements), ()), ((*others, *linked), alone)]
    return [Attempt(*way, wish) for wish in wishes for way in (ways if alone else ways[:1])]


def constraints_from(
    required: Sequence[Requirement], installed: Mapping[str, str], named: Iterable[str]
) -> tuple[str, ...]:
    """What igbench requires at the versions of one environment, less the packages that are named.

    >>> constraints_from([Requirement("torch>=2.4"), Requirement("torchvision>=0.19"),
    ...                   Requirement("numpy>=2")],
    ...                  {"torch": "2.4.1", "torchvision": "0.19.1", "numpy": "2.4.6"}, ["torch"])
    ('numpy==2.4.6',)
    """
    free = set(named)
    names = [canonicalize_name(one.name) for one in required]
    kept = [n for n in names if n in installed and n not in free and BOUND_TO.get(n) not in free]
    return tuple(sorted(f"{name}=={installed[name]}" for name in kept))


def unmet(owner: str, required: Iterable[Requirement], installed: Mapping[str, str]) -> list[str]:
    """Requirements of a package that what is installed does not meet.

    >>> unmet("igbench", [Requirement("captum>=0.9"), Requirement("numpy>=2")],
    ...       {"captum": "0.8.0", "numpy": "2.4.6"})
    ['captum 0.8.0 (igbench requires captum>=0.9)']
    """
    found = []
    for one in required:
        version = installed.get(canonicalize_name(one.name), "not installed")
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        if version == "not installed" or not _allows(one.specifier, version):
            found.append(f"{one.name} {version} ({owner} requires {one.name}{one.specifier})")
    return found


def _allows(specifier: SpecifierSet, version: str) -> bool:
    return specifier.contains(version, prereleases=True)
