"""The collector's process: polls the batteries, keeps what they say, publishes it, and watches over all three."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from time import monotonic
from typing import IO

from cellherd import __version__, topics
from cellherd.clock import Clock, SystemClock
from cellherd.config import EdgeConfig
from cellherd.errors import BadPayload, CellherdError
from cellherd.systemd import notify
from cellherd.topics import BANK
from collectors import orders
from collectors.absence import Absence, Place, last_seen
from collectors.asking import configured
from collectors.drivers import chosen
from collectors.entries import Entry, Instant, about_edge
from collectors.events import Device, modules_by_address
from collectors.hand import Hand
from collectors.health import Written, health, status
from collectors.kernel import Login
from collectors.links import check_link
from collectors.outbox import Outbox
from collectors.publish import WILL, Publisher, line_of
from collectors.safekeeping import FILE, Safekeeping
from collectors.sender import Sender
from collectors.station import Station
from collectors.timekeeping import Timekeeper
from collectors.vitals import Durations, vitals

TURN_S = 0.5
HEALTH_S = 60.0
WATCHDOG_S = 10.0
LONGEST_S = 60.0
"""A part that has not turned for so long hangs."""
log = logging.getLogger(__name__)


def run(config: EdgeConfig, state: Path, stop: Event) -> None:
    """Collect and publish until `stop`. Raises CellherdError for what a person must mend before it can begin."""
    found = devices(config)
    with suppress(FileExistsError), _refusing(state):
        state.mkdir(parents=True, exist_ok=True)
    if not _read_only(state) and not (os.access(state, os.W_OK | os.X_OK) and _writable(state / FILE)):
        raise CellherdError(f"{state}: may not be written by this user; `cellherd doctor` says who may")
    with _alone(state):
        Edge(config, found, state).run(stop)


@contextmanager
def _refusing(state: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CellherdError(f"{state}: cannot be made: {error.strerror}; name another one with --state") from None


def _read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _writable(path: Path) -> bool:
    return not path.exists() or os.access(path, os.W_OK)


def devices(config: EdgeConfig) -> list[Device]:
    """The devices that edge.toml names. Raises CellherdError for an unknown driver or link, with the nearest right."""
    found = []
    for one in config.device:
        login = Login(**one.login.model_dump()) if one.login else None
        known = configured(chosen(one.driver, one.preset), ask=one.ask, ack=one.ack, link=one.link, login=login)
        check_link(one.link, known)
        address = known.default_address if one.address is None else one.address
        modules = modules_by_address(known, one.address, one.modules)
        asked = (
            {address: modules} if known.whole_bus or known.feed else {at: {at: name} for at, name in modules.items()}
        )
        found += [Device(one.stack, known, one.link, at, named, one.period_s) for at, named in asked.items()]
    return found


def _alone(state: Path) -> IO[str]:
    """A lock on the state folder, for as long as the file is open."""
    path = state / "edge.lock"
    with suppress(OSError):  # on a disk that is read-only the old file serves
        path.touch()
    if not path.exists():
        log.warning("%s cannot be made; whether another edge runs on this folder is not known", path)
    lock = (path if path.exists() else Path(os.devnull)).open()
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise CellherdError(
            f"{state}: another edge runs on this folder; stop it, or give this one its own --state"
        ) from None
    return lock


def _alive() -> None:
    """A sign of life during long work, at the start and later."""
    notify("EXTEND_TIMEOUT_USEC=60000000")
    notify("WATCHDOG=1")


class Edge:
    """One thread for outbox and sender, one for the broker, one a port."""

    def __init__(self, config: EdgeConfig, found: Iterable[Device], state: Path, clock: Clock | None = None) -> None:
        self._config, self._devices, self._folder = config, list(found), state
        self._clock = Timekeeper(clock or SystemClock())
        self._wake = Event()
        self._keeping = Safekeeping(state, self._clock, config.outbox.cap_mb * 2**20, self._periods(), _alive)
        self._publisher = Publisher(line_of(config, self._outbox.client), self._wake.set, self._clock)
        self._sender = self._made_sender()
        self._hand = Hand(self._wake.set)
        seen = last_seen(self._keeping.earlier, self._periods())
        self._keeping.earlier.clear()
        start = self._outbox.instant()  # the slots of the ports begin here, so the time off ends here
        self._station = Station(self._devices, self._hand.take, self._clock)
        self._absence = Absence(seen, self._periods(), start)
        self._tell("started", f"version {__version__}, {len(self._station.ports)} ports", start)
        self._written, self._commits = Written(), Durations()
        self._connection = 0
        self._older: set[str] = set()
        self._put_off = False
        """Whether the server asked for something since the disk refuses."""
        self._commit_at = self._health_at = self._watchdog_at = 0.0

    @property
    def _outbox(self) -> Outbox:
        return self._keeping.outbox

    def _tell(self, code: str, text: str, at: Instant | None = None) -> None:
        about = about_edge(at or self._outbox.instant(), "edge")
        self._hand.add([Entry(about, {"code": code, "text": text}, urgent=True)])

    def _made_sender(self) -> Sender:
        return Sender(self._config.edge, self._outbox, self._publisher.send)

    def _periods(self) -> dict[Place, int]:
        """Milliseconds between two readings of each module."""
        return {
            (device.stack, name): round(device.period_s * 1000)
            for device in self._devices
            for name in (*device.modules.values(), BANK)
        }

    def run(self, stop: Event) -> None:
        """Work until `stop`, then put everything that is in hand on the disk and say goodbye."""
        log.info(
            "edge %s: %d ports, %d rows wait in the outbox",
            self._config.edge,
            len(self._station.ports),
            self._outbox.depth(),
        )
        self._publisher.start()
        self._station.start()
        notify("READY=1")
        while not stop.is_set():
            self._wake.wait(TURN_S)
            self._wake.clear()
            self.turn(monotonic())
        notify("STOPPING=1")
        self._station.stop()
        self._guarded(self._last_commit, monotonic())
        self._publisher.send(topics.status(self._config.edge), WILL, retain=True)
        self._publisher.stop()

    def turn(self, now: float) -> None:
        """One round: what the server said, what was read, what is to be sent."""
        if self._keeping.mend(now):
            self._put_off = False
            self._absence.learn(last_seen(self._keeping.earlier, self._periods()))
            self._keeping.earlier.clear()
            self._renewed()
        self._guarded(lambda: self._work(now), now)
        if now >= self._watchdog_at and self._well(now):
            notify("WATCHDOG=1")
            self._watchdog_at = now + WATCHDOG_S

    def _work(self, now: float) -> None:
        if (text := self._clock.look()) is not None:
            log.warning("%s", text)
            self._tell("clock", text)
        self._hand.add(self._absence.told(self._outbox.instant(), self._outbox.boots))
        self._obey(now)
        self._look_back()
        if self._hand.urgent or now >= self._commit_at:
            self._commit()
            self._commit_at = now + self._config.outbox.commit_s
        if self._publisher.online.is_set():
            self._greet(now)
            self._sender.turn(now)

    def _obey(self, now: float) -> None:
        while self._publisher.inbox:
            topic, payload = self._publisher.inbox.popleft()
            try:
                order = orders.parse(self._config.edge, topic, payload)
            except BadPayload as error:
                log.warning("the server said something that is not understood: %s", error)
                continue
            if isinstance(order, orders.Receipt):
                self._clock.heard(order.srv_ts)
                self._sender.receipt(order, now)
            elif self._keeping.trouble:  # what stands in the file is not known now; the server asks again
                if not self._put_off:
                    log.info("the server asks for numbers again, which must wait for the disk")
                self._put_off = True
            else:
                self._sender.replay(order, self._periods())

    def _look_back(self) -> None:
        """Whether the file is an older copy of itself: the server has numbers that were given and are gone."""
        for epoch in self._outbox.rolled_back - self._older:
            self._older.add(epoch)
            log.warning("the outbox is older than what was sent of epoch %s: was a card or a backup put back?", epoch)
            self._tell("rolled_back", f"the outbox is older than what was sent of epoch {epoch}")
            if epoch == self._outbox.last()[0]:
                self._outbox.renew()

    def _commit(self) -> None:
        self._hand.add(self._keeping.notes)
        self._keeping.notes.clear()
        entries = self._hand.gather(self._outbox.instant())
        began = monotonic()
        self._sender.committed(self._outbox.commit(entries))
        self._commits.add(monotonic() - began)
        self._hand.done()

    def _last_commit(self) -> None:
        self._obey(monotonic())
        self._hand.add(self._absence.told(self._outbox.instant(), self._outbox.boots, last=True))
        self._commit()
        self._sender.turn(monotonic())
        self._outbox.close()

    def _greet(self, now: float) -> None:
        """Status on every connection, and both again with each health: a late will of ours must not stand for long."""
        if self._connection == self._publisher.connections and now < self._health_at:
            return
        if self._connection != self._publisher.connections:
            self._connection = self._publisher.connections
            self._sender.reconnected(self._publisher.lost)
        self._keeping.tend()
        edge = self._config.edge
        told = {
            "disk": self._keeping.trouble or "ok",
            "written_today": self._written.today(self._clock.wall()),
            "commit_ms": self._commits.p99(),
            **vitals(self._folder),
            "ports": self._station.counts(),
        }
        self._publisher.send(topics.status(edge), status(self._outbox), retain=True)
        self._publisher.send(topics.health(edge), health(self._outbox, told), retain=True)
        self._health_at = now + HEALTH_S

    def _guarded(self, work: Callable[[], None], now: float) -> None:
        """Do something with the outbox; a disk that fails costs no reading."""
        try:
            work()
        except sqlite3.Error as error:
            if self._keeping.failed(error, now):
                self._hand.done()
            self._renewed()

    def _renewed(self) -> None:
        """The outbox is another one."""
        self._sender, self._connection = self._made_sender(), 0
        self._hand.urgent = True

    def _well(self, now: float) -> bool:
        """Whether every part turns. A full disk is no reason for a restart: what is in hand would be lost by it."""
        ports = not self._station.ports or self._clock.boot() - self._station.oldest_turn() < LONGEST_S * 1000
        line = (
            not self._publisher.online.is_set()
            or now - min(self._publisher.turned, self._sender.progressed) < LONGEST_S
        )
        return ports and line
