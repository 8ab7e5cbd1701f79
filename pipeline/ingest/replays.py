"""Asks the edges for numbers that never came though their outboxes know of them: a lost or restored server is refilled.

An edge's status names its epochs with their last numbers. What of 1..last neither came nor was told as gone is a hole;
so is one in an epoch that the edge no longer names. Nearly every hole is on its way or waits in a backlog, which an
outbox sends oldest first: only an edge whose first hole has not changed for a while is asked, a helping at a time.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from secrets import token_hex
from typing import TypeAlias

import msgspec

from cellherd import topics, wire
from pipeline.edges import Edge
from pipeline.ingest.intervals import holes
from pipeline.ingest.ledger import Ledger

LOOK_S = 10.0
"""An edge's numbers are looked at so often, and it is asked at most so often."""
EDGES_A_TURN = 20
HELPING, RUNS = 10_000, 16
"""Numbers, and runs of them, that are asked for together: what an edge sends within ten seconds."""
AT_ONCE = 20
"""Edges that are asked and have not answered: after a restore a whole fleet has something to send."""
TRIES, REST_S = 3, 3600.0
"""After so many requests to which an edge says nothing its holes are left alone for so long."""
COUNTED = 1000
"""Holes of one edge that are looked at."""
_STREAM, _EPOCH = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{16}")
log = logging.getLogger(__name__)

Hole: TypeAlias = tuple[str, int, int]
"""Epoch, first and last number."""


@dataclass(slots=True)
class _Course:
    """Where we stand with one edge. Times are monotonic seconds."""

    look_at: float = 0.0
    stream: str = ""
    torn: list[str] = field(default_factory=list)
    """Epochs that had holes when we first met this stream."""
    whole: dict[str, int] = field(default_factory=dict)
    """Epochs in which nothing is missing up to a number."""
    low: tuple[str, int] | None = None
    """The first number that is missing."""
    since: float = 0.0
    tries: int = 0
    helping: list[Hole] = field(default_factory=list)
    """What was asked for last, and has not been answered altogether."""
    given_up: dict[Hole, float] = field(default_factory=dict)
    """Holes to which nothing was said, and until when they are left alone."""
    missing: int = 0


class Replays:
    """Belongs to the committer's thread, but for `requests` and `missing`. `after_s` seconds make a hole old; 0: never.

    `requests` were made since the start.
    """

    def __init__(self, ledger: Ledger, after_s: float) -> None:
        self._ledger, self._after_s = ledger, after_s
        self._courses: dict[str, _Course] = {}
        self.requests = 0

    def missing(self) -> dict[str, int]:
        """By edge how many numbers are missing, those on their way too; edges that miss none are left out."""
        return {edge: course.missing for edge, course in self._courses.copy().items() if course.missing}

    def due(self, now: float, edges: Mapping[str, Edge]) -> Iterator[tuple[str, bytes]]:
        """Topic and payload of every request that is to go out now."""
        if not self._after_s:
            return
        ripe = [name for name, edge in edges.items() if self._course(name).look_at <= now and _online(edge)]
        for name in ripe[:EDGES_A_TURN]:
            course = self._course(name)
            course.look_at = now + min(LOOK_S, self._after_s)
            for epoch, first, last in self._wanted(name, course, edges[name], now):
                self.requests += 1
                body = {"id": token_hex(8), "stream": course.stream, "epoch": epoch, "from": first, "to": last}
                yield topics.replay(name), msgspec.json.encode({"v": wire.VERSION, **body})

    def _course(self, edge: str) -> _Course:
        return self._courses.setdefault(edge, _Course())

    def _wanted(self, name: str, course: _Course, edge: Edge, now: float) -> list[Hole]:
        """What to ask for now: nothing while the first hole changes by itself."""
        found = list(islice(_holes(self._ledger, name, course, edge), COUNTED))
        course.missing = sum(last - first + 1 for _, first, last in found)
        found = [hole for hole in found if course.given_up.get(hole, 0.0) <= now]
        low = found[0][:2] if found else None
        if low != course.low:
            answered = bool(course.helping) and not any(_inside(low, hole) for hole in course.helping)
            course.low, course.since, course.tries = low, now, 0
            return self._asked(name, course, found, now) if answered else []
        if low is None or now - course.since < self._after_s * 2**course.tries:
            return []
        if course.tries >= TRIES:
            log.warning("edge %s: no answer to %d requests for numbers that never came", name, TRIES)
            course.given_up |= dict.fromkeys(found[: len(course.helping)], now + REST_S)
            return []
        return self._asked(name, course, found, now)

    def _asked(self, name: str, course: _Course, found: list[Hole], now: float) -> list[Hole]:
        others = (one for one in self._courses.values() if one is not course)
        busy = sum(bool(one.helping) and now - one.since < REST_S for one in others)
        course.helping = _helping(found) if busy < AT_ONCE else []
        if course.helping:
            course.since, course.tries = now, course.tries + 1
            numbers = sum(last - first + 1 for _, first, last in course.helping)
            log.info("edge %s: %d numbers never came; asked for %d of them", name, course.missing, numbers)
        return course.helping


def missing(ledger: Ledger, name: str, edge: Edge) -> list[Hole]:
    """Which numbers of an edge never came, those on their way too: the first thousand holes, oldest epoch first."""
    return list(islice(_holes(ledger, name, _Course(), edge), COUNTED))


def _holes(ledger: Ledger, name: str, course: _Course, edge: Edge) -> Iterator[Hole]:
    stream = edge.status.get("stream")
    if not isinstance(stream, str) or not _STREAM.fullmatch(stream):
        return
    if stream != course.stream:
        course.stream, course.torn, course.whole = stream, ledger.torn(name, stream), {}
    epochs = dict(_epochs(edge))
    for epoch in [*(torn for torn in course.torn if torn not in epochs), *epochs]:
        source = (name, stream, epoch)
        seen, told = ledger.seen(source), ledger.told(source)
        last = epochs.get(epoch) or seen.after()
        if course.whole.get(epoch, 0) >= last:
            continue
        complete = True
        for first, end in holes(last, seen, told):
            complete = False
            yield epoch, first, end
        if complete:
            course.whole[epoch] = last


def _inside(low: tuple[str, int] | None, hole: Hole) -> bool:
    return low is not None and low[0] == hole[0] and hole[1] <= low[1] <= hole[2]


def _helping(found: list[Hole]) -> list[Hole]:
    """The first holes, so many numbers and runs of them as are asked for together."""
    helping: list[Hole] = []
    room = HELPING
    for epoch, first, last in found[:RUNS]:
        if room > 0:
            helping.append((epoch, first, min(last, first + room - 1)))
            room -= last - first + 1
    return helping


def _online(edge: Edge) -> bool:
    return edge.status.get("online") == 1


def _epochs(edge: Edge) -> Iterator[tuple[str, int]]:
    """The epochs of a status, oldest first, as far as they make sense."""
    told = edge.status.get("epochs")
    for one in told if isinstance(told, list) else ():
        match one:
            case [str(epoch), int(last)] if _EPOCH.fullmatch(epoch) and 0 < last < wire.INT64:
                yield epoch, last
