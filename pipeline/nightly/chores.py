"""What the night does beside its analyses: the archive is brought into order."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from cellherd.clock import Clock
from cellherd.settings import ArchiveStore
from pipeline.nightly.diary import Busy, Diary
from pipeline.stores.archive import Archive
from pipeline.stores.errors import StoreAway
from pipeline.stores.upkeep import Progress, Tally, gather, upkeep

UPKEEP = "archive upkeep"
log = logging.getLogger(__name__)


def daily(archive: Archive, keep: ArchiveStore, diary: Diary, clock: Clock) -> Tally | None:
    """The archive's upkeep where today's is owed, after the night's work. None where it is done, or has to wait.

    A store that is away costs nothing but the day: the next run does what this one could not. Raises diary.Busy.
    """
    today = datetime.fromtimestamp(clock.wall() / 1000, UTC).date()
    if diary.chore(UPKEEP) == today:
        return None
    try:
        tally = kept(archive, keep, diary, clock)
    except StoreAway as error:
        log.warning("the archive's upkeep has to wait: %s", error)
        return None
    return tally


def gathered(archive: Archive, diary: Diary, clock: Clock) -> None:
    """Small files put together before the night reads them; where that cannot be now, it reads them as they are."""
    try:
        with diary.working(clock.wall()):
            gather(archive)
    except (Busy, StoreAway) as error:
        log.info("small files of the archive stay as they are for now: %s", error)


def kept(
    archive: Archive, keep: ArchiveStore, diary: Diary, clock: Clock, progress: Progress = lambda _step: None
) -> Tally:
    """The archive's upkeep now, as the only worker. Raises diary.Busy and StoreAway."""
    today = datetime.fromtimestamp(clock.wall() / 1000, UTC).date()

    def step(about: str) -> None:
        diary.keep(clock.wall())
        progress(about)

    with diary.working(clock.wall()):
        tally = upkeep(archive, today, keep, step)
        diary.did(UPKEEP, today)
    return tally
