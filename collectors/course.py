"""The course of one device: its slots, what it said last, and everything that is told about it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from cellherd.clock import Clock
from cellherd.reading import Kind, Measured
from cellherd.topics import BANK
from collectors.events import Device, Record, Sample, Sink
from collectors.links import NETWORKED, line_of
from collectors.notices import FROZEN_AFTER, Notice, Notices
from collectors.slots import Gap, Tally

log = logging.getLogger(__name__)

DAY_MS = 86_400_000
SELDOM_MS = 30_000
BACK_OFF_MS = (1_000, 60_000)
"""First and longest pause after a failure; it doubles in between."""
STATES = {
    "port_down": "the port is gone",
    "timeout": "no answer",
    "crc": "only broken answers",
    "sleeping": "silent after it had cut both paths: asleep, or empty",
}


@dataclass(slots=True)
class Pause:
    """A pause that doubles from failure to failure."""

    until: int = 0
    length: int = 0

    def lengthen(self, now: int) -> None:
        """After a failure at `now` (ms since boot)."""
        self.length = min(max(2 * self.length, BACK_OFF_MS[0]), BACK_OFF_MS[1])
        self.until = now + self.length

    def end(self) -> None:
        """After a success."""
        self.until = self.length = 0


@dataclass(slots=True)
class _Module:
    tally: Tally | None
    notices: Notices
    last: Measured | None = None
    known: bool = False
    learn_at: int = 0


class Course:
    """One device under way. Times are ms since boot; slot 0 begins at `begin`."""

    def __init__(self, device: Device, sink: Sink, clock: Clock, begin: int) -> None:
        self.device, self._sink, self._clock, self._begin = device, sink, clock, begin
        self.period_ms = round(device.period_s * 1000)
        self.trouble: str | None = None
        self.pause = Pause()
        self.asked = 0
        """First slot that was not asked for yet."""
        self.identify_at = self.seldom_at = begin
        self.met = False
        """Whether it has answered since the start."""
        self._refused: set[str] = set()
        names = list(device.modules.values()) or [device.module_of(Measured())]
        self._relayed = line_of(device.link) in NETWORKED
        self._modules = {name: _Module(Tally(self.period_ms), self._fresh()) for name in names}

    def _fresh(self) -> Notices:
        return Notices(relayed=self._relayed)

    @property
    def stale(self) -> bool:
        """Whether what a cloud or a bridge repeats has just counted as old, or has done so for as long again."""
        found = (module.notices for module in self._modules.values() if module.notices.frozen)
        return self._relayed and any(notices.same % FROZEN_AFTER == 0 for notices in found)

    def slot(self, now: int) -> int:
        """The slot that `now` lies in."""
        return (now - self._begin) // self.period_ms

    def due(self) -> int:
        """When the device wants to be asked again."""
        return max(self._begin + self.asked * self.period_ms, self.pause.until)

    def read(self, measured: Measured, slot: int, now: int) -> None:
        """A module gave a reading; slots before it without one are missed."""
        name = self._named(measured, slot)
        module = self._modules[name]
        self._missed(name, module, slot, self.trouble or "timeout")
        self._tell_gaps(name, module, module.tally.read(slot) if module.tally else [])
        self._sink(Sample(self.device, name, measured, self._wall(now), now))
        module.last = measured
        self.notice(name, measured.kind, module.notices.stuck(measured))

    def wants(self, measured: Measured, slot: int) -> bool:
        """Whether what a listener heard is to be told: the first in its slot, and any with other faults than before."""
        module = self._modules.get(self.device.module_of(measured))
        if module is None or module.last is None:
            return True
        return module.tally is None or module.tally.next <= slot or module.last.faults != measured.faults

    def unlearned(self, measured: Measured, now: int) -> bool:
        """Whether a module that was heard is due for `learn`."""
        module = self._modules.get(self.device.module_of(measured))
        return module is None or now >= module.learn_at

    def learn(self, found: Iterable[Measured], now: int, *, daily: bool = False) -> None:
        """Tell what changed of identity, counters and log; next time in half a minute."""
        self.seldom_at, self.met = now + SELDOM_MS, True
        for measured in sorted(found, key=lambda measured: measured.kind == BANK):  # modules keep their slots
            name = self._named(measured, self.asked)
            self._modules[name].learn_at = self.seldom_at
            self.notice(name, measured.kind, self._modules[name].notices.of(measured, daily=daily))

    def _named(self, measured: Measured, slot: int) -> str:
        name = self.device.module_of(measured)
        if name in self._modules:
            self._modules[name].known = True
            return name
        if name != BANK:
            text = f"{name} answers, but no module is named for it; add it to `modules`"
            self.notice(name, measured.kind, [("edge", {"code": "unknown_module", "text": text})])
            self._modules[name] = _Module(Tally(self.period_ms, slot), self._fresh(), known=True)
        elif any(module.known for module in self._modules.values()):
            self._modules[name] = _Module(None, self._fresh())  # the sum of modules that have their own slots
        else:  # a device that tells nothing but the sum: it takes over the slots
            self._modules = {name: next(iter(self._modules.values()))}
        return name

    def pass_by(self, now: int, reason: str) -> None:
        """The slots that have ended without being asked for are missed."""
        self.miss(self.slot(now), self.trouble or reason)
        self.asked = max(self.asked, self.slot(now))

    def miss(self, until: int, reason: str) -> None:
        """No module gave a reading in the slots before `until` that are not accounted for."""
        for name, module in self._modules.items():
            self._missed(name, module, until, reason)

    def fail(self, reason: str, text: str) -> None:
        """The device, or its port, is in trouble from now on. Told once."""
        if reason == "timeout" and all(_cut_off(m.last) for m in self._modules.values()):
            reason = "sleeping"
        if reason != self.trouble:
            self.trouble = reason
            log.warning("%s %s: %s (%s)", self.device.stack, self.device.driver.name, STATES[reason], text)
            self.notice(None, "module", [("edge", {"code": f"device_{reason}", "text": text})])

    def refused(self, text: str) -> None:
        """The driver wanted to put a question that is not on its allow-list. Each is told once."""
        if text not in self._refused:
            self._refused.add(text)
            log.error("%s %s: %s", self.device.stack, self.device.driver.name, text)
            self.notice(None, "module", [("edge", {"code": "refused", "text": text})])

    def recover(self) -> None:
        """The device answers. Told once after a trouble."""
        self.pause.end()
        if self.trouble:
            self.trouble = None
            log.warning("%s %s: answers again", self.device.stack, self.device.driver.name)
            self.notice(None, "module", [("edge", {"code": "device_back", "text": "answers again"})])

    def end(self, now: int, reason: str) -> None:
        """Account for everything up to the last slot that has ended, and close all gaps."""
        self.miss(self.slot(now), self.trouble or reason)
        for name, module in self._modules.items():
            self._tell_gaps(name, module, module.tally.close() if module.tally else [])

    def notice(self, module: str | None, kind: Kind, notices: Iterable[Notice]) -> None:
        """Pass records on."""
        now = self._clock.boot()
        for event, body in notices:
            self._sink(Record(self.device, module, kind, event, body, self._wall(now), now))

    def _missed(self, name: str, module: _Module, until: int, reason: str) -> None:
        self._tell_gaps(name, module, module.tally.miss(until, reason) if module.tally else [])

    def _tell_gaps(self, name: str, module: _Module, gaps: list[Gap]) -> None:
        kind = module.last.kind if module.last else "module"
        for gap in gaps:
            now = self._clock.boot()
            wall = self._wall(now)  # one look at the clock, so that the slots stand where they were on the boot clock
            start, end = (wall - now + self._begin + n * self.period_ms for n in (gap.first, gap.first + gap.slots))
            seqs: dict[str, object] = {"from_seq": None, "to_seq": None}
            body = {"from_ts": start, "to_ts": end, **seqs, "reason": gap.reason, "slots": gap.slots}
            self._sink(Record(self.device, name, kind, "gap", body, wall, now))

    def _wall(self, boot: int) -> int:
        return self._clock.wall() - (self._clock.boot() - boot)


def _cut_off(last: Measured | None) -> bool:
    return last is not None and last.charge_on is False and last.discharge_on is False
