"""Who may ask on a line that others may lead: by default nobody here; with `ask = true` us, until a master is heard."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace

from cellherd.errors import CellherdError
from collectors.events import Device
from collectors.kernel import CanFrame, Chunk, Driver, Login, Poll, Request, converse
from collectors.links import Link, line_of

FIRST_MS = 3_000
"""A bus is listened to for so long before the first question."""
AWAY_MS = 600_000
"""A master that was not heard for so long has gone."""
ASKED = ("https", "modbus")
"""Lines on which nobody speaks unasked."""
log = logging.getLogger(__name__)


def configured(
    driver: Driver, *, ask: bool = False, ack: bool = False, link: str = "", login: Login | None = None
) -> Driver:
    """The driver as its table in edge.toml wants it. Where it can both ask and listen, it listens without `ask`.

    A vendor's API (https:) is asked and cannot be listened to, its broker (cloud:) the other way round; a GX device
    falls silent unless it is asked, so its driver always asks. On CAN the answers to what is asked are heard like
    everything else; a line of bytes is either asked or listened to. Raises CellherdError where a setting makes no
    sense.
    """
    can = "can" in driver.links
    if ask and driver.poll is None:
        raise CellherdError(f"{driver.name} speaks by itself and can only be listened to; take `ask = true` away")
    if ack and not can:
        raise CellherdError(f"{driver.name} is not on CAN, where alone frames are acknowledged; take `ack = true` away")
    line = line_of(link) if link else ""
    asked = (ask and not can) or line in ASKED
    return replace(
        driver,
        ask=ask or driver.ask,
        ack=ack,
        login=login,
        feed=driver.feed if not asked or driver.ask else None,
        poll=None if line == "cloud" else driver.poll,
    )


class Asker:
    """Puts questions on a bus one at a time, and none while another master is there. Times are ms since boot."""

    def __init__(self, driver: Driver, now: int) -> None:
        self._driver = driver
        self._ids = {(frame.id, frame.extended) for frame in driver.allow if isinstance(frame, CanFrame)}
        self._led_until = 0
        self.begin(now)

    def begin(self, now: int) -> None:
        """The line was opened: listen first."""
        self._quiet_until = now + FIRST_MS
        self._waiting = deque[tuple[int, Request]]()

    def free(self, now: int) -> bool:
        """Whether new questions may be put: nobody else leads the bus, and all earlier ones are out."""
        return self._driver.ask and not self._waiting and now >= max(self._quiet_until, self._led_until)

    def plan(self, device: Device, poll: Poll | None) -> None:
        """Line up what a poll asks of each module of the device."""
        for address in device.modules or (device.address,):
            self._waiting += [(address, request) for request in _questions(poll, address)]

    def speak(self, link: Link, now: int) -> float | None:
        """Put the next question if it is time. Gives the seconds until the one behind it, None if none waits.

        Raises LinkError.
        """
        if self._waiting and now >= self._quiet_until:
            address, request = self._waiting.popleft()
            link.ask(request, address=address)
            self._quiet_until = now + round(self._driver.gap_s * 1000)
        return max(0, self._quiet_until - now) / 1000 if self._waiting else None

    def other_master(self, chunk: Chunk, now: int) -> str | None:
        """What is to be told once when somebody else puts our questions; from then on nothing is asked."""
        if not self._driver.ask or not isinstance(chunk, CanFrame) or (chunk.id, chunk.extended) not in self._ids:
            return None
        known, self._led_until = now < self._led_until, now + AWAY_MS
        self._waiting.clear()
        if known:
            return None
        text = f"another master asks on this bus ({chunk}); nothing is asked until it was away for ten minutes"
        log.warning("%s: %s", self._driver.name, text)
        return text


def _questions(poll: Poll | None, address: int) -> list[Request]:
    """All that a poll asks whose answers come in otherwise."""
    asked: list[Request] = []

    def note(request: Request) -> bytes:
        asked.append(request)
        return b""

    if poll is not None:
        converse(poll(address), note)
    return asked
