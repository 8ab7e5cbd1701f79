"""Keeps what was read in the outbox's file, in memory while the disk refuses, and in the file again when it takes it.

Nothing here ends the process: a damaged file is salvaged, a full disk gets the ballast's room, and a disk that is gone
or read-only costs only what memory cannot hold.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cellherd.clock import Clock
from cellherd.failpoint import failpoint
from collectors.absence import LOOK_BACK
from collectors.ballast import Ballast
from collectors.entries import Entry, Instant, about_edge
from collectors.outbox import Outbox, Reading
from collectors.salvage import (
    Alive,
    Saved,
    damaged,
    finish,
    new_of,
    put_aside,
    read_identity,
    salvage,
    unfinished,
    write_identity,
)

FILE = "outbox.db"
RING_BYTES = 32 * 2**20
"""Memory for readings while there is no disk; less where the file itself may be only small."""
RING_PART = 16
DISK_PAUSE_S = 5.0
"""Between two tries of a disk that refuses."""
CALM_S = 10.0
"""A disk that fails again so soon after it was opened is left alone for a while."""
REFUSALS = (sqlite3.OperationalError, OSError)

log = logging.getLogger(__name__)


class Safekeeping:
    """Owns the outbox. `outbox` is another one after `failed` and after a `mend` that gives True.

    `trouble` says why rows lie in memory only, "" while the disk works; `notes` are records to be told.
    """

    def __init__(
        self, folder: Path, clock: Clock, cap_bytes: int, periods: Mapping[tuple[str, str], int], alive: Alive
    ) -> None:
        self._path, self._clock, self._cap, self._periods = folder / FILE, clock, cap_bytes, periods
        self._beside = folder / "outbox.id"
        self._alive = alive
        self._ballast = Ballast(folder / "outbox.ballast")
        self._identity = read_identity(self._beside)
        self._doubts: list[tuple[str, int]] = []
        """Epochs whose rows above a number were counted as not written, and stand elsewhere now."""
        self._mend_at = self._calm_at = 0.0
        self.trouble = ""
        self.notes: list[Entry] = []
        self.earlier: list[Reading] = []
        """The newest rows of before the start; they come with a `mend` where the disk let them be read only then."""
        self._blind = False
        try:
            self.outbox = self._looked_back(self._opened())
        except REFUSALS as error:
            self._blind = True
            self._to_memory(error)

    def failed(self, error: sqlite3.Error, now: float) -> bool:
        """The outbox told an error; go on with a new epoch of it, or in memory. `now` is monotonic seconds.

        Returns whether the commit that failed, if it was one, is on the disk after all.
        """
        outbox, in_memory = self.outbox, bool(self.trouble)
        epoch, given, committed = *outbox.last(), outbox.committed
        outbox.abandon()
        if not in_memory:
            self._doubts.append((epoch, committed))
        log.warning("%s: %s", "memory" if in_memory else self._path, error)
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            self._ballast.throw_off()
        opened: Outbox | None = None
        try:
            if damaged(error) and not in_memory:
                put_aside(self._path)
            if now < self._calm_at:
                raise sqlite3.OperationalError(str(error))
            opened = self._opened()
            written = given > committed and dict(opened.epochs()).get(epoch, 0) >= given
            self._settle_doubts(opened, keep=(epoch, committed) if written else None)
        except (*REFUSALS, sqlite3.DatabaseError) as refusal:
            self._give_up(opened, refusal)
            self._to_memory(refusal)
            self._mend_at = now + DISK_PAUSE_S
            return False
        self._doubts.clear()
        self.outbox, self.trouble, self._calm_at = opened, "", now + CALM_S
        self._note("disk", f"the outbox was opened anew after: {error}")
        return written

    def mend(self, now: float) -> bool:
        """Try the disk again, if it is time. Returns whether the outbox is in its file again, with memory's rows."""
        if not self.trouble or now < self._mend_at:
            return False
        self._mend_at = now + DISK_PAUSE_S
        opened: Outbox | None = None
        try:
            self.outbox.commit()
            opened = self._opened()
            if self._blind:
                opened = self._looked_back(opened)
            moved = self._moved(opened)
        except (*REFUSALS, sqlite3.DatabaseError) as error:
            self._give_up(opened, error)
            if self.trouble != str(error):
                log.warning("%s: %s; it is tried every %d s", self._path, error, DISK_PAUSE_S)
                self.trouble = str(error)
            return False
        self.outbox.abandon()
        self.outbox = opened
        log.warning("%s: the disk works again; %d rows went there from memory", self._path, moved)
        self._note("disk", f"the disk works again after: {self.trouble}; {moved} rows went there from memory")
        self.trouble = ""
        return True

    def _give_up(self, opened: Outbox | None, error: Exception) -> None:
        """Close a file that opened and failed after that. Where its content is bad it is set aside, once for an error:
        opening looks at little of it, and the next try salvages it.
        """
        if opened is None:
            return
        opened.abandon()
        if isinstance(error, sqlite3.Error) and damaged(error) and self.trouble != str(error):
            log.error("%s is damaged: %s", self._path, error)
            with suppress(OSError):  # the disk refuses: the next try meets the same damage
                put_aside(self._path)

    def _moved(self, opened: Outbox) -> int:
        self._settle_doubts(opened)
        failpoint("safekeeping.before_adopting")
        moved = opened.adopt(self.outbox)
        self._doubts.clear()  # not before: a salvage in between may bring those rows back
        self._blind = False
        return moved

    def _settle_doubts(self, opened: Outbox, keep: tuple[str, int] | None = None) -> None:
        for doubt in self._doubts:
            if doubt != keep:
                opened.disown(*doubt)

    def tend(self) -> None:
        """Now and then: take the ballast on again where there is room."""
        if not self.trouble:
            self._ballast.take_on()

    def _opened(self) -> Outbox:
        """The outbox in its file, salvaged where need be. Raises OSError or sqlite3.OperationalError."""
        if unfinished(self._path):
            return self._salvaged()
        try:
            return self._ready(self._file())
        except OSError:
            raise
        except (sqlite3.Error, TypeError, ValueError) as error:  # a damaged file may say anything
            if isinstance(error, sqlite3.OperationalError) and not damaged(error):
                raise
            log.error("%s is damaged: %s", self._path, error)  # noqa: TRY400 - one line is enough
            put_aside(self._path)
            return self._salvaged()

    def _looked_back(self, outbox: Outbox) -> Outbox:
        """With `earlier` read: it is the first that reads rows, so a damage inside the file may show only here."""
        try:
            self.earlier = list(outbox.before(LOOK_BACK))
        except sqlite3.Error as error:
            outbox.abandon()
            if isinstance(error, sqlite3.OperationalError) and not damaged(error):
                raise
            log.error("%s is damaged: %s", self._path, error)  # noqa: TRY400 - one line is enough
            put_aside(self._path)
            outbox = self._salvaged()
            self.earlier = list(outbox.before(LOOK_BACK))
        return outbox

    def _file(self) -> Outbox:
        return Outbox(self._path, self._clock, self._cap, identity=self._identity, room=self._ballast.room)

    def _ready(self, outbox: Outbox) -> Outbox:
        self._identity = outbox.stream, outbox.client
        try:
            write_identity(self._beside, self._identity)
            self._ballast.take_on()
        except BaseException:
            outbox.abandon()
            raise
        return outbox

    def _salvaged(self) -> Outbox:
        try:
            saved = salvage(self._path, self._clock, self._cap, self._identity, self._alive)
            self._tell_lost(saved)
            finish(self._path)
        except REFUSALS:
            raise
        except Exception:
            log.exception("%s: its rows cannot be saved; a new outbox begins", self._path)
            self._note("salvage", "the outbox was damaged: its rows cannot be saved")
        return self._ready(self._file())

    def _tell_lost(self, saved: Saved) -> None:
        """In the new file itself: a process that dies before its first commit must not leave a silent gap."""
        text = f"the outbox was damaged: {saved.rows} rows saved, {saved.broken} broken ones found"
        log.error("%s: %s", self._path, text)
        outbox = Outbox(new_of(self._path), self._clock, self._cap, identity=saved.identity)
        try:
            outbox.tell_lost(self._noted("salvage", text), self._periods)
            outbox.close()
        except BaseException:
            outbox.abandon()
            raise

    def _to_memory(self, error: Exception) -> None:
        ring = Outbox(None, self._clock, min(RING_BYTES, self._cap // RING_PART), identity=self._identity)
        self.outbox, self._identity, self.trouble = ring, (ring.stream, ring.client), str(error)
        log.warning("%s: %s; readings are held in memory until it works again", self._path, error)
        self._note("disk", f"readings are held in memory: {error}")

    def _note(self, code: str, text: str) -> None:
        self.notes.append(self._noted(code, text))

    def _noted(self, code: str, text: str) -> Entry:
        clock = self._clock
        now = Instant(clock.wall(), clock.boot(), clock.quality(), clock.boot_id())
        return Entry(about_edge(now, "edge"), {"code": code, "text": text}, urgent=True)
