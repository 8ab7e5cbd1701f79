"""Polls every device of a site on its own schedule. One thread a port; devices on one bus take turns.

A device that is silent, broken or gone costs its neighbours no reading: it is asked ever more rarely, up to once a
minute, and each of its slots becomes part of a gap with its reason. The schedule is absolute, so it does not drift.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from threading import Event, Thread

from cellherd.clock import Clock
from cellherd.errors import BadFrame, CellherdError, LinkError, Refused, Silent
from cellherd.reading import Measured
from collectors.asking import Asker
from collectors.course import DAY_MS, SELDOM_MS, Course, Pause
from collectors.events import Device, Sink, joined
from collectors.kernel import Driver, Poll, converse
from collectors.links import Link, check_link, open_link
from collectors.sharing import check_sharing

REOPEN_AFTER = 8
"""Polls in a row that all failed, after which the port is opened anew: a hung adapter looks like a silent device."""
LONGEST_MS = 5_000
"""Longest sleep of a port's thread, so that a watchdog sees it turn."""
LISTEN_S = 0.5
HUNG_MS = 60_000
"""A listener's port is opened anew when it has been quiet for so long."""
STOOD_MS = 1_000
"""A turn that comes this much too late: the machine, or this process, stood still."""

Opener = Callable[[str, Driver, Event], Link]


@dataclass(slots=True)
class Counts:
    """What a port has seen since the start, for the health message."""

    ok: int = 0
    timeout: int = 0
    crc: int = 0
    port_down: int = 0


class Port:
    """One port and the devices behind it. `turn` does what is due; a thread, or a test, calls it again and again."""

    def __init__(self, devices: Sequence[Device], sink: Sink, clock: Clock, opener: Opener = open_link) -> None:
        self.name, self._driver = devices[0].link, devices[0].driver
        check_sharing(devices)
        check_link(self.name, self._driver)
        self.counts = Counts()
        self.halt = Event()
        self._clock, self._opener = clock, opener
        self.turned = self._due = self._heard = clock.boot()
        self._courses = [Course(device, sink, clock, self.turned) for device in devices]
        self._curious = self._courses[0]
        self._asker = Asker(self._driver, self.turned)
        self._state = self._driver.fresh()
        self._link: Link | None = None
        self._pause = Pause()
        self._fruitless = 0

    def run(self) -> None:
        """Turn until `halt`, then account for every slot that has ended and give the port back."""
        while not self.halt.is_set():
            self.halt.wait(max(0, self.turn() - self._clock.boot()) / 1000)
        for course in self._courses:
            course.end(self._clock.boot(), "timeout")
        self._close()

    def turn(self) -> int:
        """Do what is due now. Gives the time (ms since boot) of the next turn."""
        self.turned = now = self._clock.boot()
        if now - self._due > STOOD_MS:
            for course in self._courses:
                course.pass_by(now, "edge_off")
        if self._link is None and now >= self._pause.until:
            self._open(now)
        # One device a round is asked for more than its reading, so that a long bus keeps its schedule; and each one
        # before its first reading is told, so that this is already told of the right battery.
        self._curious = min(self._courses, key=lambda course: course.seldom_at)
        for course in self._courses:
            course.pass_by(self._clock.boot(), "timeout")  # a slow device, here or before it on the bus
            if self._link is not None and not self.halt.is_set():
                (self._ask if self._driver.feed is None else self._listen)(course, self._link)
        now = self._clock.boot()
        self._due = min(max(self._next(), now), now + LONGEST_MS)
        return self._due

    def _next(self) -> int:
        if self._link is None:
            return self._pause.until
        return self._clock.boot() if self._driver.feed else min(course.due() for course in self._courses)

    def _open(self, now: int) -> None:
        try:
            self._link = self._opener(self.name, self._driver, self.halt)
        except CellherdError as error:
            self._lose(error, now)
            return
        self._heard, self._state, self._fruitless = now, self._driver.fresh(), 0
        self._asker.begin(now)
        for course in self._courses:
            course.identify_at = course.seldom_at = now  # another battery may hang on the cable now
            if self._pause.length:
                course.pause.end()

    def _close(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None

    def _lose(self, error: CellherdError, now: int) -> None:
        self._close()
        self._pause.lengthen(now)
        self.counts.port_down += 1
        for course in self._courses:
            course.fail("port_down", str(error))

    def _ask(self, course: Course, link: Link) -> None:
        now = self._clock.boot()
        slot = course.slot(now)
        if now < course.due():
            return
        course.asked = slot + 1
        try:
            found = self._poll(course, link)
            if not course.met or (course is self._curious and now >= course.seldom_at):
                who, slow = self._ask_more(course, link, now)
                course.learn(joined(course.device, (*who, *slow, *found)), now, daily=bool(who))
                found = (*slow, *found)  # of one reading what was polled counts
            self._told(course, joined(course.device, found), now)
            course.miss(slot + 1, "timeout")  # modules of a bus that were not among the answers
        except CellherdError as error:
            if not self.halt.is_set():
                self._failed(course, error)
                course.miss(slot + 1, course.trouble or "timeout")

    def _poll(self, course: Course, link: Link) -> tuple[Measured, ...]:
        """One poll; once more if it fails on a device that answered last time."""
        try:
            return talk(course.device, link, self._driver.poll)
        except (Silent, BadFrame) as error:
            if course.trouble or self.halt.is_set():
                raise
            self._count(error)
            return talk(course.device, link, self._driver.poll)

    def _ask_more(self, course: Course, link: Link, now: int) -> tuple[tuple[Measured, ...], tuple[Measured, ...]]:
        """Who it is, daily; counters, logs and what moves slowly, twice a minute. Neither may cost the reading."""
        who: tuple[Measured, ...] = ()
        slow: tuple[Measured, ...] = ()
        if now >= course.identify_at:
            with _beside(course):
                who = talk(course.device, link, self._driver.identify)
                course.identify_at = now + DAY_MS
        with _beside(course):
            slow = talk(course.device, link, self._driver.seldom)
        return who, slow

    def _told(self, course: Course, found: Iterable[Measured], now: int) -> None:
        self.counts.ok += 1
        self._fruitless = 0
        self._pause.end()
        for measured in found:
            course.read(measured, course.slot(now), now)
        course.recover()
        if course.stale:  # only a new session helps, if anything does
            self._close()

    def _failed(self, course: Course, error: CellherdError) -> None:
        now = self._clock.boot()
        if isinstance(error, LinkError) and not isinstance(error, Silent):
            self._lose(error, now)
            return
        course.fail(self._count(error), str(error))
        course.pause.lengthen(now)
        course.seldom_at = max(course.seldom_at, now + SELDOM_MS)
        self._fruitless += 1
        if self._fruitless >= REOPEN_AFTER:
            self._close()

    def _count(self, error: CellherdError) -> str:
        if isinstance(error, BadFrame):
            self.counts.crc += 1
            return "crc"
        self.counts.timeout += 1
        return "timeout"

    def _listen(self, course: Course, link: Link) -> None:
        now = self._clock.boot()
        try:
            chunk = link.hear(self._speak(course, link, now))
            if chunk is not None and self._driver.feed is not None:
                now = self._clock.boot()
                if text := self._asker.other_master(chunk, now):
                    course.notice(None, "module", [("edge", {"code": "other_master", "text": text})])
                self._state, found = self._driver.feed(self._state, chunk)
                self._overheard(course, found, now)
        except BadFrame as error:
            self._count(error)
        except LinkError as error:
            self._lose(error, now)
            return
        patience = round(self._driver.silence_s * 1000) + 2 * course.period_ms * self._driver.ask
        quiet = now - self._heard > patience
        if quiet and course.trouble not in ("timeout", "sleeping"):
            course.fail(self._count(Silent()), f"{self.name}: nothing heard for {patience / 1000:g} s")
        if now - self._heard > max(HUNG_MS, patience):
            self._close()

    def _speak(self, course: Course, link: Link, now: int) -> float:
        """Put the next question, where questions are put. Gives the seconds to listen for."""
        if self._asker.free(now) and now >= course.due():
            course.asked = course.slot(now) + 1
            if now >= course.identify_at:
                self._asker.plan(course.device, self._driver.identify)
                course.identify_at = now + (DAY_MS if course.met else 0)
            self._asker.plan(course.device, self._driver.poll)
        pause = self._asker.speak(link, now)
        return LISTEN_S if pause is None else min(pause, LISTEN_S)

    def _overheard(self, course: Course, found: Iterable[Measured], now: int) -> None:
        for measured in found:
            self._heard = now
            if course.unlearned(measured, now):
                course.learn([measured], now)
            if course.wants(measured, course.slot(now)):
                self._told(course, [measured], now)


class Station:
    """All ports of a site. `start` once, `stop` once; in between the sink is called from the ports' threads."""

    def __init__(self, devices: Iterable[Device], sink: Sink, clock: Clock, opener: Opener = open_link) -> None:
        by_link: dict[str, list[Device]] = {}
        for device in devices:
            by_link.setdefault(device.link, []).append(device)
        self.ports = [Port(group, sink, clock, opener) for group in by_link.values()]
        self._threads = [Thread(target=port.run, name=port.name, daemon=True) for port in self.ports]

    def start(self) -> None:
        """Begin to poll."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop polling; returns when every port is closed and every gap is told, within about a second."""
        for port in self.ports:
            port.halt.set()
        for thread in self._threads:
            thread.join()

    def oldest_turn(self) -> int:
        """When the port that is furthest behind last did its round, ms since boot: food for a watchdog."""
        return min(port.turned for port in self.ports)

    def counts(self) -> dict[str, dict[str, int]]:
        """Polls by outcome of each port, by link."""
        return {port.name: asdict(port.counts) for port in self.ports}


@contextmanager
def _beside(course: Course) -> Iterator[None]:
    """What is asked beside the reading may fail; a question that we must not put is told."""
    try:
        yield
    except Refused as error:
        course.refused(str(error))
    except (LinkError, BadFrame):
        pass


def talk(device: Device, link: Link, poll: Poll | None) -> tuple[Measured, ...]:
    """Run one conversation with a device over an open link. Raises what the link and the driver raise."""
    if poll is None:
        return ()
    return converse(poll(device.address), lambda request: link.ask(request, address=device.address))
