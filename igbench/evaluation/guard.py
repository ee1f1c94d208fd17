"""Keep parts apart: a method or metric cannot change what the others compute with.

Each call of a part gets copies of its own of inputs and maps.  What it leaves changed in these, in
the model or in the process is put back, and the part fails with what it did.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from igbench.core import rng
from igbench.core.batch import Attribution, Batch
from igbench.core.process import DRAWN_BY_PYTHON, Change, Process, put_back
from igbench.core.score import Score
from igbench.core.watch import Modules, same_bits
from igbench.errors import InputError

T = TypeVar("T")
FIELDS = ("x", "baseline", "target", "features", "active", "still")
"""What a batch holds in tensors, beside its replacements."""

MOST_OBJECTS, DEPTH = 2000, 8
"""How far modules and tensors are looked for: objects, and steps from one to the next."""

LIBRARIES = ("igbench", "torch", "captum", "numpy", "scipy", "sklearn", "shap", "quantus")
"""Packages whose functions hold no model in their globals."""


class InterferenceError(InputError):
    """A part changed something that others use; the message says who and what."""


class Guard:
    """What parts must leave as it is, with a copy of the weights in the memory of the CPU.

    Models that parts hold themselves, such as those of Captum's explainers, are watched too.

    Args:
        score: The scalar that is explained.
        parts: Methods and metrics.
    """

    def __init__(self, score: Score, parts: Iterable[object] = ()) -> None:
        self.score = score
        held = (found for found in reachable(parts, nn.Module) if isinstance(found, nn.Module))
        self.modules = Modules([("", score), *(("", module) for module in held)])
        self.habits: set[object] = set()

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Work that no part does: what it changes by itself, such as counters, is no one's fault.

        A model that counts its calls in a buffer does so whoever calls it.
        """
        process = _process()
        try:
            yield
        finally:
            own = {change.key for change in self._changes(process)}
            self.habits |= own
            self.modules.leave(own)

    def call(
        self,
        who: str,
        work: Callable[[Batch, Mapping[str, Attribution]], T],
        batch: Batch,
        maps: Mapping[str, Attribution] | None = None,
    ) -> T:
        """What a part returns, if it leaves everything as it was.

        A module that draws a number while it is imported, as that of a library may, is no one's
        fault: a part whose call imported modules and left no other trace is called once more.

        Args:
            who: The part, for the message.
            work: Calls it with the samples and maps.
            batch: The samples.
            maps: The maps.

        Raises:
            InterferenceError: It changed something, which is put back.
        """
        modules = len(sys.modules)
        found, left = self._called(who, work, batch, maps or {})
        if left == [DRAWN_BY_PYTHON] and len(sys.modules) > modules:
            found, left = self._called(who, work, batch, maps or {})
        if left:
            raise InterferenceError(f"{who} {_listed(left)}.")
        return found

    def _called(
        self,
        who: str,
        work: Callable[[Batch, Mapping[str, Attribution]], T],
        batch: Batch,
        maps: Mapping[str, Attribution],
    ) -> tuple[T, list[str]]:
        """What a part returns, and what it changed, which is put back."""
        own, scored = copied(batch), {m: replace(a, values=copy(a.values)) for m, a in maps.items()}
        process, before = _process(), _Rows(self.score)
        given = dict(scored)
        try:
            found = work(own, given)
        except BaseException as error:
            left = self._put_back(process, before)
            if left:
                error.add_note(f"{who} {_listed(left)} before it failed")
            raise
        left = [*_written(batch, own), *_written_maps(maps, scored)]
        return found, left + self._put_back(process, before)

    def _put_back(self, process: Process, rows: _Rows) -> list[str]:
        """Undo all changes, and say what they were."""
        found = [c for c in self._changes(process) if c.key not in self.habits]
        put_back(found)
        return [*dict.fromkeys(change.text for change in found), *rows.put_back(self.score)]

    def _changes(self, process: Process) -> list[Change]:
        with rng.alone():
            return list(chain(process.changes(), self.modules.changes()))


def _process() -> Process:
    with rng.alone():
        return Process()


def _listed(done: list[str]) -> str:
    more = f"; and {len(done) - 3} more" if len(done) > 3 else ""
    return "; ".join(done[:3]) + more


class _Rows:
    """The rows of a call and the counters of a scalar, which may halve and rise."""

    def __init__(self, score: Score) -> None:
        self.limit, self.cost = replace(score.limit), score.cost.snapshot()

    def put_back(self, score: Score) -> Iterator[str]:
        """Undo what was not lack of memory or work, and say what it was."""
        halved = score.limit.halved - self.limit.halved
        if score.batch_size != max(1, self.limit.batch_size >> halved):
            score.batch_size = max(1, self.limit.batch_size >> halved)
            yield "changed the batch size of batch.score"
        spent = score.cost.since(self.cost)
        if min(spent.forward, spent.backward) < 0:
            score.cost.forward, score.cost.backward = self.cost.forward, self.cost.backward
            yield "changed the counts of model rows of batch.score"


def copied(batch: Batch) -> Batch:
    """The same samples in tensors of their own."""
    held: dict[str, Any] = {name: getattr(batch, name) for name in FIELDS}
    own: Any = {n: copy(v) if isinstance(v, Tensor) else v for n, v in held.items()}
    return replace(batch, **own, replacements={n: copy(v) for n, v in batch.replacements.items()})


def copy(values: Tensor) -> Tensor:
    """A tensor of its own with equal strides, so that sums over it have the same bits.

    Axes along which a tensor repeats itself in memory do so in the copy.

    >>> copy(torch.ones(2, 1).expand(2, 3)).stride()
    (1, 0)
    """
    with torch.inference_mode(False), torch.no_grad():
        return _once(values.detach()).clone().expand(values.shape)


def _once(values: Tensor) -> Tensor:
    """A tensor without its repetitions in memory."""
    return values[tuple(slice(0, 1) if step == 0 else slice(None) for step in values.stride())]


def _written(batch: Batch, own: Batch) -> Iterator[str]:
    """Which tensors of its own samples a part wrote into."""
    for name in FIELDS:
        before, after = getattr(batch, name), getattr(own, name)
        if isinstance(before, Tensor) and not _unchanged(before, after):
            yield f"wrote into the inputs (batch.{name})"
    for name, before in batch.replacements.items():
        if not _unchanged(before, own.replacements.get(name)):
            yield f"wrote into the inputs (batch.replacements[{name!r}])"


def _written_maps(
    maps: Mapping[str, Attribution], scored: Mapping[str, Attribution]
) -> Iterator[str]:
    for name, attribution in maps.items():
        if not _unchanged(attribution.values, scored[name].values):
            yield f"wrote into the map of {name!r}"


def _unchanged(before: Tensor, after: object) -> bool:
    return isinstance(after, Tensor) and same_bits(before, after.detach())


class Shared:
    """An observation for several metrics, made again where one of them may have changed it.

    Args:
        make: Makes the observation.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self._made: list[Any] = []
        self._seen: list[Any] = []
        self._sums: list[object] = []
        self.take()

    def take(self) -> Any:
        """The observation."""
        if not self._made:
            self._made = [self.make()]
            self._seen = list(reachable(self._made, Tensor | np.ndarray))
            self._sums = list(map(_sum, self._seen))
        return self._made[0]

    def forget(self) -> None:
        """Observe again before the next use."""
        self._made = []

    def intact(self) -> bool:
        """Whether its numbers are those that were observed."""
        return list(map(_sum, self._seen)) == self._sums


def _sum(values: Tensor | np.ndarray) -> object:
    """Shape, type and a sum of the bits of an array; of others than plain ones, the first two."""
    kind = (tuple(values.shape), str(values.dtype))
    try:
        tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
        flat = _once(tensor.detach()).contiguous().view(-1).view(torch.uint8)
        whole = flat[: len(flat) // 8 * 8].view(torch.int64).sum()
        return (*kind, int(whole), flat[len(flat) // 8 * 8 :].tolist())
    except (RuntimeError, TypeError, NotImplementedError):
        return kind


def reachable(roots: Iterable[object], kinds: Any) -> Iterator[Any]:
    """Objects of some kinds that others hold: in fields, containers, closures and their globals.

    What such an object holds is not looked at, nor is what modules of torch hold.

    Args:
        roots: Where to begin.
        kinds: Types, as for `isinstance`.

    >>> layer = nn.Identity()
    >>> [found is layer for found in reachable([{"a": [partial(print, layer)]}], nn.Module)]
    [True]
    """
    waiting = [(root, 0) for root in roots]
    seen: dict[int, object] = {}
    while waiting and len(seen) < MOST_OBJECTS:
        item, depth = waiting.pop()
        if id(item) in seen:
            continue
        seen[id(item)] = item  # kept, so that no other object gets its identity
        if isinstance(item, kinds):
            yield item
        elif depth < DEPTH and not isinstance(item, nn.Module | Tensor | np.ndarray | type):
            waiting += [(held, depth + 1) for held in _held(item)]


def _held(item: Any) -> Iterable[object]:
    """What an object refers to."""
    if isinstance(item, str | bytes | int | float | complex | None):
        return ()
    if isinstance(item, Mapping):
        return item.values()
    if isinstance(item, list | tuple | set | frozenset):
        return item
    if inspect.isfunction(item):
        return _used(item)
    if inspect.ismethod(item):
        return (item.__self__, item.__func__)
    if isinstance(item, partial):
        return (item.func, item.args, item.keywords)
    return () if inspect.ismodule(item) else list(getattr(item, "__dict__", {}).values())


def _used(function: Any) -> list[object]:
    """The values of the names that a function uses, and of its defaults."""
    try:
        names = inspect.getclosurevars(function)
    except (ValueError, TypeError):  # an empty cell
        return []
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    library = str(function.__module__).partition(".")[0] in LIBRARIES
    return [*names.nonlocals.values(), *([] if library else names.globals.values()), *defaults]
