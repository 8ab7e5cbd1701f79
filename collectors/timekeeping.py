"""What time it is for the edge: the machine's own clock while a time service disciplines it, else what the server says.

Durations are always measured on the boot clock, so that no jump of the wall clock wakes or stops anything.
"""

from __future__ import annotations

from cellherd.clock import EARLIEST, Clock, Quality

WINDOW_MS = 1_800_000
"""The best anchor of the last one to two of these is used: a boot clock without NTP drifts some seconds a day."""
STEP_MS = 2_000
"""A step of the clock that is worth telling."""


class Timekeeper:
    """A Clock. `heard` and `look` belong to the outbox's thread, everything else may be called from any.

    The kernel is asked once a turn, in `look`, and not for every reading.
    """

    def __init__(self, machine: Clock) -> None:
        self._machine = machine
        self._anchors: tuple[int, ...] = ()
        """The least late server time of the present window and of the one before, as wall time at this boot's start."""
        self._window = machine.boot()
        self._quality: Quality = machine.quality()
        self._offset = self.wall() - machine.boot()

    def boot(self) -> int:
        """See Clock."""
        return self._machine.boot()

    def boot_id(self) -> str:
        """See Clock."""
        return self._machine.boot_id()

    def quality(self) -> Quality:
        """See Clock."""
        return self._quality

    def wall(self) -> int:
        """See Clock. By the server's time where the machine has none of its own."""
        anchors = self._anchors
        if self._quality == "srv" and anchors:
            return self._machine.boot() + max(anchors)
        return self._machine.wall()

    def heard(self, srv_ts: int | None) -> None:
        """The server's time in a receipt. It can only be late, so the least late one counts."""
        if srv_ts is None or srv_ts < EARLIEST:
            return
        now = self._machine.boot()
        offset = srv_ts - now
        if not self._anchors or now - self._window > WINDOW_MS:
            self._anchors, self._window = (offset, *self._anchors[:1]), now
        else:
            self._anchors = (max(offset, self._anchors[0]), *self._anchors[1:])

    def look(self) -> str | None:
        """Take stock of the clock; gives a line for people where its quality changed or it stepped."""
        machine = self._machine.quality()
        before, self._quality = self._quality, "srv" if machine != "ntp" and self._anchors else machine
        offset = self.wall() - self._machine.boot()
        moved, self._offset = offset - self._offset, offset
        step = f"stepped by {moved / 1000:+.1f} s" if abs(moved) > STEP_MS else ""
        if before != self._quality:
            return f"the clock went from {before} to {self._quality}" + (f" and {step}" if step else "")
        return f"the clock {step}" if step else None
