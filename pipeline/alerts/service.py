"""`cellherd notify run`: steps the machine as events come, sends by each channel in a thread of its own, and beats."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx

from cellherd.clock import Clock, SystemClock
from cellherd.config import FleetConfig, read_secret
from cellherd.errors import CellherdError
from cellherd.systemd import notify
from pipeline.alerts import ledger
from pipeline.alerts.channel import PROGRAMS, Channel, ChannelName
from pipeline.alerts.deliver import channels
from pipeline.alerts.notifier import HEARTBEAT, Notifier
from pipeline.alerts.outbox import Outbox
from pipeline.alerts.sender import Draw, Sender

STEP_S = 0.25
LOOKS = 5
"""Between two steps it is looked so often whether anything came in."""
BEAT_S = 60.0
STUCK_MS = 180_000
"""A sender that has not looked for work for so long hangs; systemd starts us again."""
TOUCHED = "notify.heartbeat"
"""File in the state folder, for health checks."""
log = logging.getLogger(__name__)


def run(
    fleet: FleetConfig, state: Path, stop: Event, draw: Draw | None = None,
    beside: Sequence[Callable[[Event], None]] = (),
) -> None:  # fmt: skip
    """Tell people until `stop` is set. Raises CellherdError if another notifier is at work, or for a bad secret.

    `beside`: what runs in threads of its own for as long: those who hear what people say.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs addresses, and those hold secrets
    ways, beat_url = channels(fleet), read_secret(fleet.alerts.heartbeat_url_file)
    held = ledger.lock(state)
    if held is None:
        raise CellherdError(f"another notifier works in {state}; stop it first, or wait for the nightly work to end")
    clock = SystemClock()
    with closing(held), ledger.opened(state) as database:
        unsure = Outbox(database).recover()
        if unsure:
            log.warning("%d messages may have been sent before the last stop; they are sent again and say so", unsure)
        notifier = Notifier(database, fleet, clock, frozenset(name for name, way in ways.items() if way.edits))
        senders = _senders(state, fleet, clock, ways, draw)
        threads = [Thread(target=_sending, args=(sender, stop), name=f"to {sender.name}") for sender in senders]
        for thread in (*threads, *(Thread(target=ear, args=(stop,), daemon=True) for ear in beside)):
            thread.start()
        try:
            notify("READY=1")
            log.info("telling people; %d alerts are open", sum(alert.open for alert in notifier.alerts.values()))
            _loop(notifier, senders, stop, state, beat_url)
        finally:
            stop.set()
            for sender in senders:
                sender.news.set()
            notify("STOPPING=1")
            for thread in threads:
                thread.join(timeout=30)


def _senders(
    state: Path, fleet: FleetConfig, clock: Clock, ways: Mapping[ChannelName, Channel], draw: Draw | None
) -> list[Sender]:
    """One for each channel, each with its own connection."""
    return [
        Sender(
            name, way, Outbox(ledger.connect(state)), fleet, clock, None if name in PROGRAMS else draw,
            turned=clock.wall(),
        )
        for name, way in ways.items()
    ]  # fmt: skip


def _sending(sender: Sender, stop: Event) -> None:
    with closing(sender.outbox.database):
        sender.run(stop)


def _loop(notifier: Notifier, senders: list[Sender], stop: Event, state: Path, beat_url: str | None) -> None:
    clock = notifier.clock
    beaten = forgotten = seen = 0
    while not stop.is_set():
        if notifier.step():
            for sender in senders:
                sender.news.set()
        now = clock.boot()
        if now - beaten >= 1000 * BEAT_S or not beaten:
            beaten = now
            notifier.summaries()
            notifier.mornings()
            _beat(notifier, state, beat_url)
        if now - forgotten >= 86_400_000:
            forgotten = now
            notifier.forget()
        if all(clock.wall() - sender.turned < STUCK_MS for sender in senders):
            notify("WATCHDOG=1")
        seen = _until_news(notifier, seen, stop)


def _until_news(notifier: Notifier, seen: int, stop: Event) -> int:
    """Wait for the next step, or until the file is not as it was `seen`: another process or thread has written."""
    for _ in range(LOOKS):
        if stop.wait(STEP_S / LOOKS) or ledger.version(notifier.database) != seen:
            break
    return ledger.version(notifier.database)


def _beat(notifier: Notifier, state: Path, url: str | None) -> None:
    """The dead man's switch: a note in the file, a touched file, and a call to whoever raises the alarm without it."""
    ledger.put_note(notifier.database, HEARTBEAT, str(notifier.clock.wall()))
    (state / TOUCHED).touch()
    if url:
        Thread(target=_call, args=(url,), daemon=True).start()


def _call(url: str) -> Any:
    with suppress(httpx.HTTPError, httpx.InvalidURL):
        return httpx.get(url, timeout=10)
    log.warning("the heartbeat's address does not answer")
    return None
