"""A simulated fleet as people would hear of it: its readings through the live engine and the alert machine, day by day.

The clock is the readings' arrival. Readings go in by ten minutes; a line that goes silent is looked at every half
minute, and the machine is stepped every minute in which anything may happen. So a message may come up to ten minutes
later, or earlier by its fault's hold, than it would live. Nobody acknowledges anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

import polars as pl
from msgspec.structs import replace

from pipeline.alerts.machine import step
from pipeline.alerts.rules import Rules
from pipeline.alerts.signals import of_event
from pipeline.alerts.state import Alert, Signal, Turn
from pipeline.limits import DAY, MINUTE
from pipeline.live.absence import Link, tick
from pipeline.live.engine import Key, Registry, advance
from pipeline.live.events import Event
from pipeline.live.state import Group, Module, Place
from pipeline.validation.replay import Day

BATCH_MS = 10 * MINUTE
LOOK_MS = MINUTE // 2
PAUSE_MS = MINUTE
"""A module that pauses for less is never called silent."""
GONE_MS = MINUTE
"""A fault's end is certain when it has been gone for so long."""
NEW = ("raised", "again", "chattering")
"""Turns that are a new message to everybody."""
RECORDS = {"device_info": "infos", "device_counter": "counters", "gap": "gaps"}
Frames = Mapping[str, pl.DataFrame]


@dataclass(frozen=True, slots=True)
class Told:
    """One trouble of one place in one new message, at `at` (UTC ms), in the alert `alert`."""

    at: int
    alert: str
    site: str
    module: str
    fault: str


@dataclass(frozen=True, slots=True)
class Push:
    """A new message and what it is about."""

    at: int
    about: tuple[Told, ...]


@dataclass(slots=True)
class Watch:
    """What is remembered of a fleet, and what people heard. `open`: told and not over, since when; `spans`: over."""

    registry: Registry
    rules: Rules
    modules: dict[Key, Module] = field(default_factory=dict)
    groups: dict[Place, Group] = field(default_factory=dict)
    alerts: dict[str, Alert] = field(default_factory=dict)
    pushes: list[Push] = field(default_factory=list)
    open: dict[str, dict[tuple[str, str, str], int]] = field(default_factory=dict)
    spans: list[tuple[tuple[str, str, str], int, int]] = field(default_factory=list)
    began: int = 0

    def day(self, day: Day) -> None:
        """Take a day in."""
        for begin, frames in _batches(day):
            self.began = self.began or begin
            known = [(begin, self._events(found)) for begin, found in self._silences(begin, frames["reading"])]
            out = advance(self.modules.get, frames, self.registry)
            self.modules |= out.modules
            end = begin + BATCH_MS
            signals = [(_known(event, begin, end), of_event(event.row())) for event in out.events if event.alerts]
            signals += [(at, signal) for at, found in known for signal in found]
            signals += [(end, signal) for signal in self._events(self._look(list(self.modules.values()), end))]
            self._hear(sorted(signals, key=lambda one: one[0]), begin, end)

    def told(self) -> list[tuple[tuple[str, str, str], int, int]]:
        """(Site, module, fault), told from and until: also what is not over."""
        standing = [(key, since, 2**62) for of in self.open.values() for key, since in of.items()]
        return [*self.spans, *standing]

    def _silences(self, begin: int, readings: pl.DataFrame) -> Iterator[tuple[int, Sequence[Event]]]:
        """What the clock says within a batch of the sites in which somebody pauses."""
        heard = _heard(readings)
        late = {key for key, module in self.modules.items() if _pauses(module, heard.get(key, ()), begin + BATCH_MS)}
        sites = {site for site, _, _ in late}
        if not sites:
            return
        there = [(key, module) for key, module in self.modules.items() if key[0] in sites]
        for now in range(begin + LOOK_MS, begin + BATCH_MS, LOOK_MS):
            as_of = [
                replace(module, arrival=max((at for at in heard.get(key, ()) if at <= now), default=module.arrival))
                for key, module in there
            ]
            yield now, self._look(as_of, now)

    def _look(self, modules: Sequence[Module], now: int) -> Sequence[Event]:
        links = {module.place[1]: Link(now) for module in modules}
        groups, events = tick(modules, self.groups, links, (now, self.began))
        self.groups |= {group.place: group for group in groups}
        return events

    def _events(self, events: Sequence[Event]) -> list[Signal]:
        return [of_event(event.row()) for event in events if event.alerts]

    def _hear(self, signals: Sequence[tuple[int, Signal]], begin: int, end: int) -> None:
        waiting = list(signals)
        for now in range(begin + MINUTE, end + MINUTE, MINUTE):
            ready = [signal for at, signal in waiting if at <= now]
            waiting = waiting[len(ready) :]
            if ready or any(_restless(alert) for alert in self.alerts.values()):
                done = step(self.alerts, (ready, ()), (), now, self.rules)
                self.alerts |= done.changed
                for turn in done.turns:
                    self._note(turn, now)

    def _note(self, turn: Turn, now: int) -> None:
        name = turn.alert.id
        if turn.kind == "resolved":
            self.spans += [(key, since, now) for key, since in self.open.pop(name, {}).items()]
        if turn.kind in NEW:
            causes = [member.cause for member in turn.members]
            about = tuple(Told(now, name, cause.site, cause.module, cause.fault) for cause in causes)
            self.pushes.append(Push(now, about))
            stands = self.open.setdefault(name, {})
            for one in about:
                stands.setdefault((one.site, one.module, one.fault), now)


def _batches(day: Day) -> Iterator[tuple[int, dict[str, pl.DataFrame]]]:
    """The day's readings and records by ten minutes of arrival, each with its begin (UTC ms).

    What arrives a moment after midnight stays with its day, or everybody else would seem to be silent then.
    """
    at = {"reading": "arrival_ts", "device_info": "ts", "device_counter": "ts", "gap": "to_ts"}
    whole = {"reading": day.readings, **{table: getattr(day, name) for table, name in RECORDS.items()}}
    cut: dict[int, dict[str, pl.DataFrame]] = {}
    last = (round(datetime.combine(day.date, datetime.min.time(), UTC).timestamp() * 1000) + DAY) // BATCH_MS - 1
    for table, frame in whole.items():
        nth = frame.sort(at[table]).with_columns(batch=(pl.col(at[table]) // BATCH_MS).clip(upper_bound=last))
        for (batch,), part in nth.partition_by("batch", as_dict=True, include_key=False).items():
            cut.setdefault(int(batch), {})[table] = part
    for batch in range(min(cut), max(cut) + 1):
        frames = cut.get(batch, {})
        yield batch * BATCH_MS, {"reading": day.readings.clear(), **frames}


def _heard(readings: pl.DataFrame) -> dict[Key, list[int]]:
    """When each module's readings arrived, in order."""
    found = readings.group_by("site", "stack", "module").agg(pl.col("arrival_ts").sort())
    return {(site, stack, module): at for site, stack, module, at in found.iter_rows()}


def _pauses(module: Module, heard: Sequence[int], end: int) -> bool:
    times = [module.arrival, *heard, end]
    return any(after - before > PAUSE_MS for before, after in pairwise(times))


def _known(event: Event, begin: int, end: int) -> int:
    """When the engine could say so: within the batch that showed it."""
    certain = event.ts + (GONE_MS if event.phase == "leave" else 0)
    return min(max(certain, begin), end)


def _restless(alert: Alert) -> bool:
    """Whether time alone may change it."""
    return alert.open and (alert.state != "firing" or not alert.standing or any(m.news for m in alert.members))
