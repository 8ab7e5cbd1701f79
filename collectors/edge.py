"""The collector's process: polls the batteries, keeps what they say, publishes it, and watches over all three."""

from __future__ import annotations

import fcntl
import logging
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Event
from time import monotonic
from typing import IO

from cellherd import topics
from cellherd.clock import Clock, SystemClock
from cellherd.config import EdgeConfig
from cellherd.errors import BadPayload, CellherdError
from cellherd.systemd import notify
from cellherd.topics import BANK
from collectors import orders
from collectors.absence import LOOK_BACK, Place, edge_off
from collectors.asking import configured
from collectors.drivers import driver
from collectors.entries import Entry, about_edge
from collectors.events import Device, modules_by_address
from collectors.hand import Hand
from collectors.health import Written, health, status
from collectors.links import check_link
from collectors.outbox import Outbox, damaged, open_outbox, put_aside
from collectors.publish import WILL, Publisher, line_of
from collectors.sender import Sender
from collectors.station import Station

FILE = "outbox.db"
TURN_S = 0.5
HEALTH_S = 60.0
WATCHDOG_S = 10.0
LONGEST_S = 60.0
"""A part that has not turned for so long hangs."""
DISK_PAUSE_S = 5.0
log = logging.getLogger(__name__)


def run(config: EdgeConfig, state: Path, stop: Event) -> None:
    """Collect and publish until `stop`. Raises CellherdError for what a person must mend before it can begin."""
    found = devices(config)
    state.mkdir(parents=True, exist_ok=True)
    with _alone(state):
        try:
            edge = Edge(config, found, state)
        except sqlite3.OperationalError as error:
            raise CellherdError(
                f"{state / FILE} cannot be opened: {error}; `cellherd doctor` looks at the disk"
            ) from None
        edge.run(stop)


def devices(config: EdgeConfig) -> list[Device]:
    """The devices that edge.toml names. Raises CellherdError for an unknown driver or link, with the nearest right."""
    found = []
    for one in config.device:
        known = configured(driver(one.driver), ask=one.ask, ack=one.ack)
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
    lock = (state / "edge.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise CellherdError(
            f"{state}: another edge runs on this folder; stop it, or give this one its own --state"
        ) from None
    return lock


class Edge:
    """One thread for outbox and sender, one for the broker, one a port."""

    def __init__(self, config: EdgeConfig, found: Iterable[Device], state: Path, clock: Clock | None = None) -> None:
        self._config, self._devices, self._clock = config, list(found), clock or SystemClock()
        self._path = state / FILE
        self._wake = Event()
        self._outbox = self._opened()
        self._publisher = Publisher(line_of(config, self._outbox.client), self._wake.set)
        self._sender = self._made_sender()
        self._hand = Hand(self._wake.set)
        self._station = Station(self._devices, self._hand.take, self._clock)
        self._hand.add(edge_off(self._outbox.before(LOOK_BACK), self._periods(), self._outbox.instant()))
        self._written = Written()
        self._connection = 0
        self._commit_at = self._health_at = self._watchdog_at = self._disk_at = 0.0
        self._disk_trouble = ""

    def _opened(self) -> Outbox:
        return open_outbox(self._path, self._clock, self._config.outbox.cap_mb * 2**20)

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
        self._guarded(self._last_commit)
        self._publisher.send(topics.status(self._config.edge), WILL, retain=True)
        self._publisher.stop()

    def turn(self, now: float) -> None:
        """One round: what the server said, what was read, what is to be sent."""
        if self._disk_trouble and not self._disk_mended(now):
            return
        self._guarded(lambda: self._work(now))
        if now >= self._watchdog_at and self._well(now):
            notify("WATCHDOG=1")
            self._watchdog_at = now + WATCHDOG_S

    def _work(self, now: float) -> None:
        self._obey()
        if self._hand.urgent or now >= self._commit_at:
            self._commit()
            self._commit_at = now + self._config.outbox.commit_s
        if self._publisher.online.is_set():
            self._greet(now)
            self._sender.turn(now)

    def _obey(self) -> None:
        while self._publisher.inbox:
            topic, payload = self._publisher.inbox.popleft()
            try:
                order = orders.parse(self._config.edge, topic, payload)
            except BadPayload as error:
                log.warning("the server said something that is not understood: %s", error)
                continue
            if isinstance(order, orders.Receipt):
                self._sender.receipt(order)
            else:
                self._sender.replay(order)

    def _commit(self) -> None:
        entries = self._hand.gather(self._outbox.instant())
        self._sender.committed(self._outbox.commit(entries))
        self._hand.done()

    def _last_commit(self) -> None:
        self._obey()
        self._commit()
        self._sender.turn(monotonic())
        self._outbox.close()

    def _greet(self, now: float) -> None:
        """Status on every connection, and both again with each health: a late will of ours must not stand for long."""
        if self._connection == self._publisher.connections and now < self._health_at:
            return
        if self._connection != self._publisher.connections:
            self._connection = self._publisher.connections
            self._sender.reconnected()
        edge, written = self._config.edge, self._written.today(self._clock.wall())
        told = health(self._outbox, self._path.parent, written, self._station.counts())
        self._publisher.send(topics.status(edge), status(self._outbox), retain=True)
        self._publisher.send(topics.health(edge), told, retain=True)
        self._health_at = now + HEALTH_S

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do something with the outbox; a disk that fails costs no reading, only time."""
        try:
            work()
        except sqlite3.Error as error:
            if not self._disk_trouble:
                log.warning("%s: %s; readings are held in memory until it works again", self._path, error)
            self._disk_trouble = str(error)
            self._disk_at = monotonic() + DISK_PAUSE_S
            self._outbox.abandon()
            if damaged(error):
                put_aside(self._path, error)

    def _disk_mended(self, now: float) -> bool:
        """Open the outbox anew, in a new epoch. What was committed in spite of an error is not committed twice."""
        if now < self._disk_at:
            return False
        epoch, last = self._outbox.last()
        try:
            self._outbox = self._opened()
        except sqlite3.Error:
            self._hand.hold(self._outbox.instant())
            self._disk_at = now + DISK_PAUSE_S
            return False
        if last and dict(self._outbox.epochs()).get(epoch, 0) >= last:
            self._hand.done()
        text = f"the outbox was opened anew after: {self._disk_trouble}"
        log.warning("%s: %s", self._path, text)
        about = about_edge(self._outbox.instant(), "edge")
        self._hand.add([Entry(about, {"code": "disk", "text": text}, urgent=True)])
        self._sender, self._connection, self._disk_trouble = self._made_sender(), 0, ""
        return True

    def _well(self, now: float) -> bool:
        """Whether every part turns. A full disk is no reason for a restart: what is in hand would be lost by it."""
        ports = not self._station.ports or self._clock.boot() - self._station.oldest_turn() < LONGEST_S * 1000
        line = (
            not self._publisher.online.is_set()
            or now - min(self._publisher.turned, self._sender.progressed) < LONGEST_S
        )
        return ports and line
