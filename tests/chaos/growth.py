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
    """A quantity of a process by the medians of the four quarters of its life, and whether it is more in the last than
    in the second; `hours` lie between these two.
    """

    name: str
    quantity: str
    medians: tuple[float, ...]
    hours: float
    grows: bool

    def line(self) -> str:
        """For people."""
        change = (self.medians[-1] - self.medians[1]) / self.hours
        course = " ".join(f"{median:10,.0f}" for median in self.medians)
        said = "GROWS" if self.grows else "stays"
        return f"{self.name:8} {self.quantity:8} {course}  {change:+10,.1f} an hour  {said}"


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
    parts = [life[at * quarter : (at + 1) * quarter] for at in range(3)] + [life[-quarter:]]
    hours = (parts[3][quarter // 2].at_s - parts[1][quarter // 2].at_s) / 3600
    for at, quantity in enumerate(("rss_kb", "fds", "threads", "wal_kb"), 3):
        medians = tuple(median(astuple(one)[at] for one in part) for part in parts)
        more = MORE.get(quantity, RSS_SHARE * medians[1])
        yield Growth(life[0].name, quantity, medians, hours, medians[3] - medians[1] > more)
