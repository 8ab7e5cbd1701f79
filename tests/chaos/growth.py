"""Whether the processes of a campaign grow with time: memory, files, threads, logs of SQLite (fault F30).

A process that lives for years must need as much after a week as after an hour. So the campaign notes after each fault
what each process holds; the one that lived longest under each name is judged, by medians of its second and its last
quarter. In the first one caches fill.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median

import psutil

GENTLE = ("F07", "F13", "F14", "F15", "F18", "F19", "F20", "F21", "F22", "F24")
"""Faults that end no process of ours: what grows is then ours to explain."""
LEAST = 40
"""Samples of a life; quarters of fewer say nothing."""
MORE = {"fds": 4.0, "threads": 2.0, "wal_kb": 4096.0}
"""How much more is none: a client that just comes back, a SQLite log between two checkpoints."""
RSS_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process holds at a moment, `at_s` seconds on a steady clock."""

    at_s: float
    name: str
    pid: int
    rss_kb: int
    fds: int
    threads: int
    wal_kb: int


@dataclass(frozen=True, slots=True)
class Growth:
    """A quantity of a process: medians of the second and the last quarter of its life, and whether that is growth."""

    name: str
    quantity: str
    early: float
    late: float
    hours: float
    grows: bool

    def line(self) -> str:
        """For people."""
        change = (self.late - self.early) / self.hours
        medians = f"{self.early:10,.0f} to {self.late:10,.0f}  {change:+10,.1f} an hour"
        return f"{self.name:8} {self.quantity:8} {medians}  {'GROWS' if self.grows else 'stays'}"


def sample(name: str, process: psutil.Process, home: Path | None, at_s: float) -> Sample | None:
    """A process now, with the SQLite logs in its `home`; None if it is gone."""
    with suppress(psutil.Error), process.oneshot():
        rss, threads = process.memory_info().rss // 1024, process.num_threads()
        return Sample(at_s, name, process.pid, rss, process.num_fds(), threads, _logs(home) // 1024 if home else 0)
    return None


def _logs(home: Path) -> int:
    size = 0
    for path in home.glob("*-wal"):
        with suppress(FileNotFoundError):  # it was checkpointed just now
            size += path.stat().st_size
    return size


def growth(samples: Iterable[Sample]) -> Iterator[Growth]:
    """Of each name the process that was seen most, a row for each quantity; none where it was not seen often enough."""
    lives: defaultdict[tuple[str, int], list[Sample]] = defaultdict(list)
    for one in samples:
        lives[one.name, one.pid].append(one)
    longest: dict[str, list[Sample]] = {}
    for (name, _), life in lives.items():
        longest[name] = max(longest.get(name, []), life, key=len)
    for life in longest.values():
        if len(life) >= LEAST:
            yield from _of_life(life)


def _of_life(life: Sequence[Sample]) -> Iterator[Growth]:
    quarter = len(life) // 4
    early, late = life[quarter : 2 * quarter], life[-quarter:]
    hours = (late[quarter // 2].at_s - early[quarter // 2].at_s) / 3600
    for at, quantity in enumerate(("rss_kb", "fds", "threads", "wal_kb"), 3):
        before, after = (median(astuple(one)[at] for one in part) for part in (early, late))
        more = MORE.get(quantity, RSS_SHARE * before)
        yield Growth(life[0].name, quantity, before, after, hours, after - before > more)
