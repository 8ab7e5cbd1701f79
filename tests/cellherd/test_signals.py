"""A signal that comes while its event's own lock is held."""

from __future__ import annotations

import signal
from threading import Event, Lock

from cellherd.signals import sets

PATIENCE_S = 30


class Held(Event):
    """An event like any other, whose lock is to be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = Lock()

    def set(self) -> None:
        """Never to be called by who holds the lock."""
        if not self.lock.acquire(timeout=PATIENCE_S):
            raise RuntimeError("set by the handler of a signal, in the thread that holds the lock")
        self.lock.release()
        super().set()


def test_a_signal_may_come_while_the_main_thread_holds_the_events_lock() -> None:
    event, before = Held(), signal.getsignal(signal.SIGUSR1)
    try:
        sets(event, signal.SIGUSR1)
        with event.lock:
            signal.raise_signal(signal.SIGUSR1)
            assert not event.wait(0.05)
        assert event.wait(PATIENCE_S)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_each_of_several_signals_sets_it_again_and_again() -> None:
    event, numbers = Event(), (signal.SIGUSR1, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in numbers]
    try:
        sets(event, *numbers)
        for number in (*numbers, *numbers):
            event.clear()
            signal.raise_signal(number)
            assert event.wait(PATIENCE_S), number
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
