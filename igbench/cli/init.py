"""Write a folder with a model and data of the user's own, which runs at once."""

from __future__ import annotations

import importlib.util
import keyword
import re
from pathlib import Path

from igbench.config import folders
from igbench.errors import InputError

TEMPLATES = Path(__file__).with_name("template")

FILES = {
    "{name}.py": "code.py.j2",
    "conf/experiment/{name}.yaml": "experiment.yaml.j2",
    "conf/model/{name}.yaml": "model.yaml.j2",
    "conf/data/{name}.yaml": "data.yaml.j2",
    "README.md": "README.md.j2",
}
"""Path of each file to its template."""


def write(name: str, parent: Path) -> Path:
    """Write the folder `name`.

    Args:
        name: Of the folder, the module and the choices.
        parent: The folder that gets it.

    Returns:
        The folder.

    Raises:
        InputError: The name cannot be used, the folder exists, or it cannot be written.
    """
    import jinja2

    check_name(name)
    folder = parent / name
    if folder.exists():
        raise InputError(f"{str(folder)!r} exists, and is left as it is; choose another name.")
    _check_free(name)
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    try:
        for path, template in FILES.items():
            text = (TEMPLATES / template).read_text(encoding="utf-8")
            target = folder / path.format(name=name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(
                environment.from_string(text).render(name=name), encoding="utf-8", newline="\n"
            )
    except OSError as error:
        raise InputError(
            f"cannot write {str(folder)!r}: {error.strerror}; go to a folder that you can write to."
        ) from error
    return folder


def check_name(name: str) -> None:
    """Raise unless a name can be that of a module.

    Raises:
        InputError: It cannot.

    >>> check_name("my_study")
    >>> check_name("2nd-study")
    Traceback (most recent call last):
    igbench.errors.InputError: '2nd-study' cannot be the name ... for example 'study_2nd_study'.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        plain = re.sub("[^a-z0-9]+", "_", name.lower()).strip("_")
        better = plain if plain[:1].isalpha() and not keyword.iskeyword(plain) else f"study_{plain}"
        raise InputError(
            f"{name!r} cannot be the name of a Python module; use small letters, digits and "
            f"underscores, for example {better.rstrip('_')!r}."
        )


def _check_free(name: str) -> None:
    """Raise if another choice or module has this name."""
    taken = [group for group in ("experiment", "model", "data") if name in folders.choices(group)]
    if taken:
        raise InputError(f"there is a {taken[0]} {name!r} already; choose another name.")
    if importlib.util.find_spec(name) is not None:
        raise InputError(f"there is a Python module {name!r} already; choose another name.")
