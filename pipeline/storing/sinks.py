"""Brings sealed journal segments to the stores, each at its own pace: a store that is away stops nobody but itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Condition, Event, Lock, Thread
from time import monotonic, perf_counter, time_ns
from typing import Protocol

from cellherd.failpoint import failpoint
from pipeline.decoding.decode import Decoded, decode
from pipeline.journal.deadletters import DeadLetters
from pipeline.journal.files import entries, next_segment
from pipeline.stores.errors import StoreAway
from pipeline.storing import storeroom

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
log = logging.getLogger(__name__)


class Sink(Protocol):
    """A store. It remembers how far it is; writing the same segment twice is the same as once."""

    @property
    def name(self) -> str:
        """What logs and health call it."""

    def position(self) -> int:
        """The last segment that it has for certain, 0 if none. May raise StoreAway or OSError."""

    def write(self, number: int, decoded: Decoded) -> None:
        """Store a segment, durably. Raises StoreAway if it should be tried again."""


class Segments:
    """The sealed segments up to `upto`, decoded once for all stores in step; what cannot be decoded is kept."""

    def __init__(self, folder: Path, letters: DeadLetters, upto: int = 0) -> None:
        self._folder, self._letters = folder, letters
        self.upto = upto
        self._news = Condition()
        self._decoding = Lock()
        self._last: tuple[int, Decoded] | None = None

    def announce(self, upto: int) -> None:
        """Segments up to here are sealed and in the ledger."""
        with self._news:
            self.upto = max(self.upto, upto)
            self._news.notify_all()

    def wait_past(self, number: int, timeout_s: float = 1.0) -> bool:
        """Whether there is anything after a segment, waiting a little for it."""
        with self._news:
            return self._news.wait_for(lambda: self.upto > number, timeout_s)

    def after(self, number: int) -> int | None:
        """The next segment that may be read and is there, None if there is none."""
        found = next_segment(self._folder, number)
        return found if found is not None and found <= self.upto else None

    def decoded(self, number: int) -> Decoded:
        """The tables of a segment."""
        with self._decoding:
            if self._last is None or self._last[0] != number:
                self._last = None  # two decoded segments at once would be twice the memory
                found = decode(list(entries(self._folder, number)))
                self._letters.put(found.dead)
                self._last = number, found
            return self._last[1]


class Feeder:
    """One store's thread. `at` is the last segment that it has; `trouble` says why it does not get further, and `since`
    when. `moved` is when it last got further (UTC ms); `segments` took `decode_s` and `write_s` seconds altogether.
    """

    def __init__(self, sink: Sink, segments: Segments, changed: Callable[[], None]) -> None:
        self.sink = sink
        self.at = 0
        self.trouble = ""
        self.since = self.moved = time_ns() // 1_000_000
        self.segments, self.decode_s, self.write_s = 0, 0.0, 0.0
        self._asked = False
        self._segments, self._changed = segments, changed
        self._stopping = Event()
        self._thread = Thread(target=self._run, name=f"sink {sink.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def alive(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    def told(self) -> dict[str, int | float | str]:
        """How this store is, for those who watch."""
        names = ("at", "trouble", "moved", "segments", "decode_s", "write_s")
        return {name: getattr(self, name) for name in names} | {"since": self.since if self.trouble else 0}

    def done(self) -> bool:
        """Whether the store has all that is sealed, or does not take it now."""
        return bool(self.trouble) or (self._asked and self.at >= self._segments.upto)

    def stop(self, timeout_s: float = 10.0) -> None:
        """End after the segment in hand."""
        self._stopping.set()
        self._thread.join(timeout=timeout_s)

    def _run(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            if self._asked and not self._segments.wait_past(self.at):
                continue
            if self._turn():
                pause = FIRST_PAUSE_S
            else:
                self._stopping.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    def _turn(self) -> bool:
        """One step: learn where the store is, or bring it the next segment. Returns whether it worked."""
        try:
            at = self._step()
        except Exception as error:
            # Whatever it is, the segment stays and is tried again, and the other stores go on.
            ours = not isinstance(error, StoreAway | OSError)  # a mistake of ours needs its traceback
            if not self.trouble:
                log.warning(
                    "%s is stuck after segment %d, trying on: %s", self.sink.name, self.at, error, exc_info=ours
                )
            self.since = self.since if self.trouble else time_ns() // 1_000_000
            self.trouble = str(error) or type(error).__name__
            self._changed()
            return False
        if self.trouble:
            log.warning("%s takes segments again, from %d", self.sink.name, at)
        self.at, self.trouble, self.moved = at, "", time_ns() // 1_000_000
        self._changed()
        return True

    def _step(self) -> int:
        if not self._asked:
            at = self.sink.position()
            self._asked = True
            return at
        upto = self._segments.upto
        number = self._segments.after(self.at)
        if number is None:
            return upto
        begin = perf_counter()
        decoded = self._segments.decoded(number)
        between = perf_counter()
        self.sink.write(number, decoded)
        self.decode_s, self.write_s = self.decode_s + between - begin, self.write_s + perf_counter() - between
        self.segments += 1
        failpoint("sink-written")
        return number


class Feeders:
    """The stores of this process; `changed` is called by their threads whenever one got further or into trouble."""

    def __init__(self, sinks: Sequence[Sink], segments: Segments, changed: Callable[[], None]) -> None:
        self._feeders = [Feeder(sink, segments, changed) for sink in sinks]

    def start(self) -> None:
        """Begin."""
        for feeder in self._feeders:
            feeder.start()

    def alive(self) -> bool:
        """Whether all threads live."""
        return all(feeder.alive() for feeder in self._feeders)

    def status(self) -> dict[str, dict[str, int | float | str]]:
        """By store: what a Feeder tells; `since` is 0 without trouble."""
        return {feeder.sink.name: feeder.told() for feeder in self._feeders}

    def stop(self) -> None:
        """Give the stores a moment for what is sealed, then end."""
        deadline, waits = monotonic() + storeroom.DRAIN_S, Event()
        while monotonic() < deadline and not all(feeder.done() for feeder in self._feeders):
            waits.wait(0.05)
        for feeder in self._feeders:
            feeder.stop()
