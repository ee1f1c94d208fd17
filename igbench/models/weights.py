"""Read, check, hash and cache state dicts."""

from __future__ import annotations

import argparse
import copy
import hashlib
import pickle
import pickletools
import re
import tempfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from igbench import files
from igbench.errors import InputError, one_line, suggestion
from igbench.files import cache_folder as cache_folder
from igbench.models import archives
from igbench.schema import RANDOM_WEIGHTS

COUNTER = "num_batches_tracked"
"""Last part of the name of batch norm's step counter: no influence in eval mode."""

RANDOM_SOURCE = f"{RANDOM_WEIGHTS} (seed 0)"
"""Origin of weights that were not learned."""


def named(arch: str, source: str) -> str:
    """Name of a model in every table: the architecture, and that its weights are random.

    >>> named("resnet50", RANDOM_SOURCE), named("resnet50", "weights IMAGENET1K_V1")
    ('resnet50 (random weights)', 'resnet50')
    """
    return f"{arch} ({RANDOM_WEIGHTS})" if source == RANDOM_SOURCE else arch


def state_hash(module: nn.Module) -> str:
    """SHA-256 over the name, dtype, shape and bytes of every parameter and buffer.

    The order of registration, the device and the memory format have no influence.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    tensors = [*module.named_parameters(), *module.named_buffers()]
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name}\x1f{value.dtype}\x1f{tuple(value.shape)}\x1f".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""What wrappers put before every name: DataParallel, `torch.compile`, Lightning and the like."""


class State(OrderedDict[str, Tensor]):
    """A state dict, with the entry of the file that held it ("" for the file itself)."""

    entry: str = ""


def load_state(path: Path | str, *, entry: str | None = None) -> State:
    """Read a state dict without running code from the file.

    Args:
        path: A `.safetensors` file, or one written by `torch.save`: a state dict, or a checkpoint
            with a state dict in one of its entries ("state_dict", "model", "model_ema", ...).
        entry: Which entry, where several hold a state dict; dots lead further down.

    Returns:
        Name to tensor, on the CPU, in the order of the file.

    Raises:
        InputError: The file is missing, unreadable, needs code to be loaded, is not a state dict,
            or holds several.
    """
    path = Path(path).expanduser()
    try:
        files.size(path)
    except FileNotFoundError as error:
        raise InputError(
            f"there is no weights file {str(path)!r}; give the path of a state dict."
        ) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    found = dict(_state_dicts(content))
    if entry is not None and entry not in found:
        raise InputError(
            f"{str(path)!r} has no state dict {entry!r}; it has {_listed(found)}."
            f"{suggestion(entry, found)}"
        )
    if not found:
        raise _no_state_dict(path, _reason(content))
    if entry is None and len(found) > 1:
        raise InputError(
            f"{str(path)!r} holds several state dicts: {_listed(found)}; choose one with "
            f"model.entry={next(iter(found))}."
        )
    name = next(iter(found)) if entry is None else entry
    state = State(found[name])
    state.entry = name
    if hasattr(found[name], "_metadata"):
        state._metadata = found[name]._metadata  # type: ignore[attr-defined]
    return state


def _state_dicts(content: Any, name: str = "", depth: int = 2) -> Iterator[tuple[str, Any]]:
    """The mappings of names to tensors in a file, with the dotted names of their entries."""
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        return
    if content and all(isinstance(value, Tensor) for value in content.values()):
        yield name, content
    elif depth:
        for key, value in content.items():
            yield from _state_dicts(value, f"{name}.{key}" if name else key, depth - 1)


def _listed(found: Mapping[str, Any]) -> str:
    return ", ".join(repr(name) if name else "one at its top" for name in found) or "none"


def _reason(content: Any) -> str:
    """Why a file holds no state dict."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            if not isinstance(name, str) or not isinstance(value, Tensor | Mapping):
                return f"entry {name!r} is {_described(value)}, not a tensor"
    return f"it holds {_described(content)}"


def _no_state_dict(path: Path, why: str) -> InputError:
    return InputError(
        f"{str(path)!r} is not a state dict ({why}); save one with "
        "torch.save(model.state_dict(), PATH)."
    )


def _described(value: object) -> str:
    return "nothing" if isinstance(value, Mapping) and not value else f"a {type(value).__name__}"


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} is not a safetensors file: {_line(error)}") from error


def _read_torch(path: Path) -> Any:
    try:
        _refuse_programs(path)
        archives.check(path)
        with _plain_records():
            return torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL ([\w.]+)", str(error))
        if "weights_only" not in str(error).lower() or not name:
            raise _unreadable(path, error) from error
        raise InputError(
            f"{str(path)!r} is a pickle with code, which is not run ({_culprit(path, name[1])}); "
            "save the tensors alone with torch.save(model.state_dict(), PATH)."
        ) from error
    except InputError:
        raise
    except Exception as error:  # whatever the reader raises for a broken file
        raise _unreadable(path, error) from error


def _plain_records() -> AbstractContextManager[Any]:
    """Allow what training scripts store beside the tensors and that runs nothing of its own."""
    allow = getattr(torch.serialization, "safe_globals", None)  # torch 2.5
    if allow is None:
        return nullcontext()
    number, types = np.float64(0).__reduce__()[0], {type(np.dtype(c)) for c in "?bhilBHILefd"}
    return allow(
        [argparse.Namespace, np.dtype, number, (number, "numpy.core.multiarray.scalar"), *types]
    )


def _refuse_programs(path: Path) -> None:
    """Raise for files that hold a whole program instead of tensors."""
    names = archives.members(path)
    if "constants.pkl" in names:
        kind, model = "a TorchScript program", "torch_module model.factory=torch.jit.load"
    elif "archive_format" in names and "data.pkl" not in names:
        kind, model = "an exported program", f"exported model.path={path}"
    else:
        return
    raise InputError(
        f"{str(path)!r} is {kind}, not a state dict; use model={model}, or save a state dict with "
        "torch.save(model.state_dict(), PATH)."
    )


def _culprit(path: Path, name: str) -> str:
    """What in a pickle needs code: the file's only object, or something beside the tensors."""
    member = archives.members(path).get("data.pkl")
    if member:
        with zipfile.ZipFile(path) as archive:
            codes = pickletools.genops(archive.read(member))
            first = next((str(a) for code, a, _ in codes if code.name != "PROTO"), "")
        if first.replace(" ", ".") == name:
            return f"a whole object of the class {name}"
    return f"it needs {name}"


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{str(path)!r} cannot be read as a state dict ({_line(error)}); it may be incomplete: "
        "fetch or save it again."
    )


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120].rstrip(" .") if lines else type(error).__name__


def fit_state(module: nn.Module, state: Mapping[str, Tensor], source: str) -> str:
    """Copy a state dict into `module`; nothing is copied unless everything fits.

    A prefix that a wrapper put before every name (`PREFIXES`) is taken off where no name fits with
    it.  Names of former versions are brought up to date as `Module.load_state_dict` does it, and
    counters of batch norm may be absent.

    Args:
        module: Receives the tensors.
        state: Name to tensor.
        source: Name of the weights in messages.

    Returns:
        What was changed on the way, in words; "" for nothing.

    Raises:
        InputError: Names the first missing or unexpected key, or the first mismatch of shapes or
            kinds of numbers.
    """
    own = module.state_dict()
    given, prefix = _without_wrappers(state, own)
    notes = [f"without the prefix {prefix!r}"] if prefix else []
    for name, value in given.items():
        if name in own and value.shape != own[name].shape:
            shapes = f"{tuple(value.shape)}, expected {tuple(own[name].shape)}"
            raise _misfit(source, f"{name!r} has shape {shapes}", given)
        if name in own and own[name].is_floating_point() and not value.is_floating_point():
            raise _misfit(source, f"{name!r} holds {_type(value)}, expected {_type(own[name])}", {})
    _check_names(module, given, source)
    module.load_state_dict(given)
    kinds = {f"from {_type(given[k])} to {_type(v)}" for k, v in own.items() if _other(given, k, v)}
    return "; ".join([*notes, *(f"converted {kind}" for kind in sorted(kinds))])


def _without_wrappers(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[OrderedDict[str, Tensor], str]:
    """The state with the names that the module has, its version kept, and the prefix taken off."""
    given, prefix = OrderedDict(state), ""
    while given.keys().isdisjoint(own):
        found = [p for p in PREFIXES if all(name.startswith(p) for name in given)]
        if not found:
            break
        given = OrderedDict((name.removeprefix(found[0]), v) for name, v in given.items())
        prefix += found[0]
    versions = getattr(state, "_metadata", None)
    if versions is None and given.keys() == own.keys():
        given._metadata = getattr(own, "_metadata", {})  # type: ignore[attr-defined]
    elif versions is not None:
        given._metadata = OrderedDict(  # type: ignore[attr-defined]
            (f"{name}.".removeprefix(prefix).removesuffix("."), v) for name, v in versions.items()
        )
    return given, prefix


def _check_names(module: nn.Module, given: OrderedDict[str, Tensor], source: str) -> None:
    """Raise unless a copy of the module without memory takes a state of the same names."""
    tensors = [*module.parameters(), *module.buffers()]
    twin = copy.deepcopy(module, {id(t): t.detach().to("meta") for t in tensors})
    trial = OrderedDict((name, value.to("meta")) for name, value in given.items())
    if hasattr(given, "_metadata"):
        trial._metadata = given._metadata  # type: ignore[attr-defined]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that nothing is copied, which is the intent
            found = twin.load_state_dict(trial, strict=False)
    except (RuntimeError, ValueError) as error:
        raise _misfit(source, one_line(error), given) from error
    missing = [name for name in found.missing_keys if not name.endswith(COUNTER)]
    if missing:
        raise _misfit(source, f"{missing[0]!r} is missing", given)
    if found.unexpected_keys:
        raise _misfit(source, f"{found.unexpected_keys[0]!r} is unexpected", given)


def _other(given: Mapping[str, Tensor], name: str, value: Tensor) -> bool:
    return name in given and given[name].dtype != value.dtype


def _type(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _misfit(source: str, why: str, given: Mapping[str, Tensor]) -> InputError:
    return InputError(f"{source} does not fit the architecture: {why}.{_wrapper_hint(given)}")


def _wrapper_hint(given: Mapping[str, Tensor]) -> str:
    """Why a prefix was left: the names that do not have it."""
    for prefix in PREFIXES:
        bare = [name for name in given if not name.startswith(prefix)]
        if 0 < len(bare) < len(given) / 2:
            more = f" and {len(bare) - 1} more do" if len(bare) > 1 else " does"
            return (
                f" The prefix {prefix!r} was kept, since {bare[0]!r}{more} not have it: remove "
                "one or the other from the file."
            )
    return ""


def classes(state: Mapping[str, Tensor], module: nn.Module, count: int) -> int | None:
    """Number of classes of a state dict whose last layer differs from that of `module`.

    Args:
        state: Name to tensor.
        module: The architecture with `count` classes.
        count: Number of classes that nothing else in the module has by chance.

    Returns:
        The one length that replaces `count` in the shapes; `count` where all shapes agree; None
        where nothing can be said.

    >>> other = nn.Linear(3, 7).state_dict()
    >>> classes(other, nn.Linear(3, 10), 10)
    7
    """
    own = module.state_dict()
    given, _ = _without_wrappers(state, own)
    heads = [n for n, v in own.items() if n in given and v.dim() and len(v) == count]
    lengths = {len(given[n]) for n in heads if given[n].dim() and given[n].shape != own[n].shape}
    if not lengths:
        return count if heads else None
    return lengths.pop() if len(lengths) == 1 else None


def fill(module: nn.Module, path: Path, entry: str | None = None) -> str:
    """Read a state dict from a file into `module`.

    Returns:
        What was read and changed, in words, for `Model.source`.

    Raises:
        InputError: As `load_state` and `fit_state` raise it.
    """
    state = load_state(path, entry=entry)
    return described(path, state, fit_state(module, state, repr(str(path))))


def described(path: Path, state: State, notes: str) -> str:
    """The origin of weights, in words: file, entry and what was changed."""
    entry = f"entry {state.entry!r}" if state.entry else ""
    details = "; ".join(part for part in (entry, notes) if part)
    return f"state dict {path.name}" + (f" ({details})" if details else "")


def ready(module: nn.Module) -> nn.Module:
    """Put `module` into eval mode, freeze its parameters, and turn in-place activations off."""
    for part in module.modules():
        if vars(part).get("inplace") is True:
            vars(part)["inplace"] = False
    return module.eval().requires_grad_(False)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run on a single thread: as fast for tiny networks, and much faster on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def untouched_rng(seed: int = 0) -> Iterator[None]:
    """Initialise modules from `seed`, and leave the global CPU generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def save_state(module: nn.Module, path: Path) -> None:
    """Write a safetensors file atomically: other processes see it whole or not at all.

    Raises:
        OSError: The folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = save({k: v.contiguous() for k, v in module.state_dict().items()})
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
        try:
            file.write(data)
            file.close()
            Path(file.name).replace(path)
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise
