"""Run functions in threads that take turns, step by step, in an order that is given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence


class Turns:
    """Threads of which one runs at a time, from one step to the next.

    Args:
        bodies: What the threads do.
        order: Which thread makes the next step; threads that are done are passed over, and when
            the order is at its end the threads finish one after the other.
    """

    def __init__(self, bodies: Sequence[Callable[[], None]], order: Sequence[int]) -> None:
        self._go = [threading.Semaphore(0) for _ in bodies]
        self._back = threading.Semaphore(0)
        self._done = [False for _ in bodies]
        self._own = threading.local()
        self._order = order
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(i, body)) for i, body in enumerate(bodies)
        ]

    def _run(self, number: int, body: Callable[[], None]) -> None:
        self._own.number = number
        self._go[number].acquire()
        try:
            body()
        except BaseException as error:
            self._errors.append(error)
        finally:
            self._done[number] = True
            self._back.release()

    def step(self) -> None:
        """Wait for the next turn; in a thread that is none of these, go on."""
        number = getattr(self._own, "number", None)
        if number is not None:
            self._back.release()
            self._go[number].acquire()

    def run(self) -> None:
        """Let all threads finish; raises what one of them raised."""
        for thread in self._threads:
            thread.start()
        for number in self._all():
            if not self._done[number]:
                self._go[number].release()
                self._back.acquire()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _all(self) -> Iterator[int]:
        yield from self._order
        for number in range(len(self._done)):
            while not self._done[number]:
                yield number
