"""What the storing process takes for a reading: python -m tests.bench.storing [--each 12|2|1] [--segments N] [--small]

A journal is filled once with the load of tests.bench.end_to_end, and the process brings it to the archive (fsync) and
to line protocol that goes nowhere. No broker, publisher or intake runs beside it: figures that stand still enough to
compare two states of the code. CPU and page faults are the whole process's from its first segment to its end, by the
kernel's books; decode and write are what its threads say, wall time in which each waits for the other too. Memory is
what it held after each tenth of the segments; with `--small` these are of 20 messages, as a site sends them in 5 s.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from secrets import token_hex
from time import monotonic

import psutil

from pipeline.journal.entry import Entry
from pipeline.journal.files import Journal
from pipeline.storing import storeroom
from pipeline.storing.storeroom import Storeroom
from tests.bench.load import EPOCH, NOW, messages
from tests.bench.measured import pause
from tests.bench.ours import fleet

AT_ONCE, SMALL = 500, 20
"""Messages in a frame of the journal, and in a small segment."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--each", type=int, choices=(12, 2, 1), default=12, help="readings a message")
    parser.add_argument("--segments", type=int, default=20)
    parser.add_argument("--small", action="store_true", help="segments of 20 messages: many commits in little time")
    parser.add_argument("--repeat", type=int, default=1)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        readings = told.each * fill(Path(folder) / "journal", told.each, told.segments, told.small)
        for turn in range(told.repeat):
            store(Path(folder), f"turn{turn}", told.segments, readings)


def fill(folder: Path, each: int, segments: int, small: bool) -> int:
    """Returns how many messages are in the journal."""
    journal, load, written = Journal(folder), endless(each), 0
    at_once = SMALL if small else AT_ONCE
    while len(journal.sealed()) < segments:
        journal.append(list(islice(load, at_once)))
        written += at_once
        if small or journal.due():
            journal.seal()
    return written


def endless(each: int) -> Iterator[Entry]:
    """The block of tests.bench.load again and again, each time as another epoch."""
    block = list(messages(each))
    while True:
        fresh = token_hex(8).encode()
        for topic, payload in block:
            yield Entry(topic, payload.replace(EPOCH.encode(), fresh), NOW, "site1", "unit")


@dataclass(frozen=True, slots=True)
class Spent:
    """What a process took so far: seconds of CPU, page faults that needed no disk, and the most memory in KiB."""

    user: float
    system: float
    faults: int
    most: int

    @classmethod
    def of(cls, process: psutil.Process) -> Spent:
        times = process.cpu_times()
        faults = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[7]
        status = Path(f"/proc/{process.pid}/status").read_text()
        return cls(times.user, times.system, int(faults), int(status.partition("VmHWM:")[2].split()[0]))


def store(state: Path, series: str, segments: int, readings: int) -> None:
    """Print a line for one run of the process over the journal."""
    storeroom.DRAIN_S = 300
    stores = Storeroom(fleet(1), state, [sys.executable, "-m", "tests.bench.nowhere"])
    stores.start(series, 0, lambda _upto: None)
    while not stores.status():
        pause.wait(0.05)
    child = psutil.Process(stores.pid())
    first, begun = Spent.of(child), monotonic()
    stores.announce(segments)
    held: list[int] = []
    while (at := min(one["at"] for one in stores.status().values())) < segments:
        if at * 10 // segments > len(held):
            held.append(child.memory_info().rss >> 20)
        pause.wait(0.02)
    wall, last, said = monotonic() - begun, Spent.of(child), stores.status()
    stores.stop()
    per, user, system = 1e6 / readings, last.user - first.user, last.system - first.system
    faults = (last.faults - first.faults) / segments
    print(
        f"{(user + system) * per:5.2f} us of CPU a reading, {wall * per:5.2f} of wall; kernel {system * per:.2f}, "
        f"{faults:,.0f} page faults a segment of {readings / segments:,.0f}"
    )
    print(f"      memory   {' '.join(map(str, held))} MiB, at most {last.most >> 10}")
    for name, one in said.items():
        print(f"      {name:8} decode {one['decode_s'] * per:5.2f}  write {one['write_s'] * per:5.2f}")


if __name__ == "__main__":
    main()
