"""Work through every night that is owed at a given time, as `cellherd nightly --due` does: a process to be killed.

python -m tests.pipeline.one_shift STATE WALL_MS SITE...
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from cellherd.clock import Quality
from pipeline.nightly.diary import Diary
from pipeline.nightly.nights import Shift, look, work
from pipeline.nightly.site_day import Site
from pipeline.stores.archive import Archive


@dataclass(frozen=True)
class StillClock:
    """Stands at one time, UTC ms."""

    at: int

    def wall(self) -> int:
        return self.at

    boot = wall

    def boot_id(self) -> str:
        return "00000000"

    def quality(self) -> Quality:
        return "ntp"


def main(state: Path, wall: int, names: list[str]) -> None:
    """One shift on a still clock, so that a dead worker's lock has run out when the test says so."""
    diary = Diary(state / "nightly.db")
    sites = [Site(name, "acme", "UTC") for name in names]
    shift = Shift(Archive(str(state / "archive")), diary, StillClock(wall))
    print(sum(1 for _ in work(shift, look(shift, sites))))
    diary.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
