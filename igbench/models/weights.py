"""Read, check, hash and cache state dicts."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from igbench.errors import InputError

COUNTER = "num_batches_tracked"
"""Last part of the name of batch norm's step counter: no influence in eval mode."""


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


def load_state(path: Path | str) -> dict[str, Tensor]:
    """Read a state dict without running code from the file.

    Args:
        path: A `.safetensors` file, or one written by `torch.save` (a state dict, or a dict that
            holds it under "state_dict").

    Returns:
        Name to tensor, on the CPU, in the order of the file.

    Raises:
        InputError: The file is missing, unreadable, needs code to be loaded, or is not a state
            dict.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no weights file {str(path)!r}; give the path of a state dict.")
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not state:
        raise _no_state_dict(path, f"it holds {_described(state)}")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise _no_state_dict(path, f"entry {name!r} is {_described(value)}, not a tensor")
    return dict(state)


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
        return torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        if "weights_only" not in str(error).lower() or "GLOBAL" not in str(error):
            raise _unreadable(path, error) from error
        raise InputError(
            f"{str(path)!r} is a pickle with code, which is not run; save the tensors alone with "
            "torch.save(model.state_dict(), PATH)."
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{str(path)!r} cannot be read as a state dict ({_line(error)}); it may be incomplete: "
        "fetch or save it again."
    )


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120].rstrip(" .") if lines else type(error).__name__


def fit_state(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy a state dict into `module`; nothing is copied unless everything fits.

    Counters of batch norm may be absent, as in files from before they existed.

    Args:
        module: Receives the tensors.
        state: Name to tensor.
        source: Name of the weights in messages.

    Raises:
        InputError: Names the first missing or unexpected key, or the first mismatch of shapes.
    """
    own = module.state_dict()
    given = {k: v for k, v in own.items() if k.endswith(COUNTER)} | dict(state)
    for name, value in own.items():
        if name not in given:
            raise _misfit(source, f"{name!r} is missing")
        if given[name].shape != value.shape:
            shapes = f"{tuple(given[name].shape)}, expected {tuple(value.shape)}"
            raise _misfit(source, f"{name!r} has shape {shapes}")
    for name in given:
        if name not in own:
            raise _misfit(source, f"{name!r} is unexpected")
    module.load_state_dict(given)


def _misfit(source: str, why: str) -> InputError:
    return InputError(f"{source} does not fit the architecture: {why}.")


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


def cache_folder(cache_dir: Path | str | None) -> Path:
    """The folder of trained models: the argument, else `IGBENCH_CACHE`, else the user's cache."""
    given = cache_dir or os.environ.get("IGBENCH_CACHE")
    if given:
        return Path(given).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "igbench"


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
