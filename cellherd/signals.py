"""What a signal sets. A handler runs between any two steps of the main thread, so it may touch no lock."""

from __future__ import annotations

import signal
from queue import SimpleQueue
from threading import Event, Thread


def sets(event: Event, *numbers: signal.Signals) -> None:
    """From now on each of these signals sets `event`. To be called in the main thread.

    A handler must not do so itself: `Event.set` takes the lock that `Event.wait` of the main thread, just interrupted,
    may hold, and then waits for itself for ever. Putting into a SimpleQueue may be interrupted by itself
    (https://docs.python.org/3/library/queue.html#queue.SimpleQueue.put); a thread takes it from there.
    """
    came: SimpleQueue[int] = SimpleQueue()

    def pass_on() -> None:
        while True:
            came.get()
            event.set()

    Thread(target=pass_on, name="signals", daemon=True).start()
    for number in numbers:
        signal.signal(number, lambda got, _frame: came.put(got))
