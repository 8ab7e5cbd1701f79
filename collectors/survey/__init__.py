"""Walks a port: listens first, then asks in the order of the table, and says what it found and how sure it is.

Everything that is sent is a driver's own read and passes its allow-list.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from threading import Event

from cellherd.errors import BadFrame, CellherdError, LinkError, Silent
from cellherd.reading import Measured
from collectors import drivers, scan
from collectors.events import Device, joined
from collectors.kernel import Answer, Conversation, Driver, Request, converse
from collectors.links import Link
from collectors.links.wires import SLICE_S, Wire
from collectors.survey.finds import Find, Report, Tell, unknown
from collectors.survey.port import Impatient, Port

EARS_BAUDS = (19200, 115200, 9600)
LONGER_S = 3.0
"""A port that talks is listened to for this long at each baud rate."""
STRAY = 12
"""Fewer bytes than these are noise, not somebody who talks."""
MISSED = 2
"""Addresses in a row without an answer, after which a bus is taken to end."""


class Nobody(CellherdError):
    """No answer to as many questions as this driver may leave open; no poll does without."""


class Survey:
    """One walk over one port."""

    def __init__(self, port: Port, tell: Tell, halt: Event, *, everybody: bool = False) -> None:
        self._port, self._tell, self._halt, self._everybody = port, tell, halt, everybody
        self._wire: Wire | None = None
        self._baud = 0
        self._answered: dict[str, str] = {}
        self.report = Report()

    def walk(self, rounds: Sequence[Sequence[scan.Probe]]) -> Report:
        """Listen; ask round after round until one finds something. What goes wrong on the way becomes a note."""
        try:
            if not self._listen():
                self._ask(rounds)
        except LinkError as error:
            self.report.notes.append(str(error))
        finally:
            self._close()
        return self.report

    def _at(self, baud: int) -> Wire:
        if self._wire is None or (baud != self._baud and not self._port.tcp):
            self._close()
            self._wire, self._baud = self._port.open(baud), baud
        return self._wire

    def _close(self) -> None:
        if self._wire is not None:
            self._wire.close()
        self._wire = None

    def _listen(self) -> bool:
        """Whether somebody talks; then nothing is asked, for two masters on one line spoil each other's answers."""
        self._tell("listening")
        heard = self._hear(EARS_BAUDS[0], scan.LISTEN_S)
        if not heard:
            return False
        said = 0
        for baud in EARS_BAUDS[:1] if self._port.tcp else EARS_BAUDS:
            self._tell("it talks by itself, listening longer" + ("" if self._port.tcp else f" at {baud}"))
            more = (heard if baud == EARS_BAUDS[0] else b"") + self._hear(baud, LONGER_S)
            if self._understood(baud, more):
                return True
            said += len(more)
        if said < STRAY:
            return False
        self.report.notes.append(
            f"somebody talks here ({heard[:16].hex()}...), but not in words that CellHerd knows; nothing was asked"
        )
        return True

    def _hear(self, baud: int, seconds: float) -> bytes:
        wire, heard, slices = self._at(baud), b"", round(seconds / SLICE_S)
        until = time.monotonic() + 2 * seconds  # for one that never pauses
        while slices > 0 and time.monotonic() < until and not self._halt.is_set():
            chunk = wire.read()
            heard += chunk
            slices -= not chunk
        return heard

    def _understood(self, baud: int, heard: bytes) -> bool:
        told: dict[str, list[Measured]] = {}
        for name, measured in scan.Ears(scan.TALKING).hear(heard):
            told.setdefault(name, []).append(measured)
        for name, found in told.items():
            if verdict := scan.judge(found):
                self._keep(scan.Probe(name, baud, found[0].module or 0, 0), found, verdict)
        if not self.report.finds and (names := scan.asked_by_others(heard)):
            self.report.notes.append(
                f"another master asks on this line in the words of {' or '.join(names)}; nothing was asked beside it. "
                "Give CellHerd a port of its own on that device"
            )
            return True
        return bool(self.report.finds)

    def _ask(self, rounds: Sequence[Sequence[scan.Probe]]) -> None:
        doubtful: dict[str, tuple[scan.Probe, list[Measured], scan.Verdict]] = {}
        for probe in (probe for probes in rounds for probe in probes):
            if self._halt.is_set():
                return
            found, verdict = self._try(probe)
            if verdict is not None and verdict.sure == "doubtful":
                doubtful[probe.driver] = probe, found, verdict
            elif verdict is not None:
                self._keep(probe, found, verdict)
                self._go_on(probe)
                return
        for probe, found, verdict in doubtful.values():
            self._keep(probe, found, verdict)
        if not doubtful:
            self.report.notes += list(self._answered.values()) or ["nobody answers at the settings that were tried"]

    def _go_on(self, first: scan.Probe) -> None:
        """Further devices on the same bus; unless everybody is asked, until two addresses in a row are empty."""
        missed = 0
        for probe in scan.neighbours(first):
            if missed == MISSED and not self._everybody:
                return
            found, verdict = self._try(probe)
            missed = 0 if verdict else missed + 1
            if verdict:
                self._keep(probe, found, verdict)

    def _try(self, probe: scan.Probe) -> tuple[list[Measured], scan.Verdict | None]:
        """One probe; whatever a driver does with a stranger's bytes, the walk goes on."""
        known = drivers.driver(probe.driver)
        self._tell(f"asking {known.name}" + (f" at {probe.baud}" if not self._port.tcp else ""))
        try:
            found = self._converse(known, probe)
        except (Silent, Nobody):
            return [], None
        except BadFrame as error:
            self._answered.setdefault(probe.driver, f"something answers to {known.name}, but not soundly: {error}")
            return [], None
        except LinkError:
            raise
        except Exception as error:  # noqa: BLE001 - a stranger's answer may trip a driver, which must not end the walk
            self._answered[probe.driver] = f"{known.name} stumbled over an answer: {error!r}"
            return [], None
        return found, scan.judge(found)

    def _converse(self, known: Driver, probe: scan.Probe) -> list[Measured]:
        wire = Impatient(self._at(probe.baud), probe.wait_s)
        line = self._port.line(wire, known, self._halt)
        ask = _asker(line, wire, known, probe)
        device = Device("found", known, "", probe.address, {})
        found = converse(_conversation(known.poll, probe.address), ask)
        who: tuple[Measured, ...] = ()
        if scan.judge(found):
            with suppress(Silent, BadFrame):
                who = converse(_conversation(known.identify, probe.address), ask)
        return joined(device, (*found, *who))

    def _keep(self, probe: scan.Probe, found: Sequence[Measured], verdict: scan.Verdict) -> None:
        known = drivers.driver(probe.driver)
        baud = 0 if self._port.tcp else probe.baud
        link = self._port.link(known, probe.baud)
        latest = {(measured.kind, measured.module): measured for measured in found}
        told = tuple(latest.values())
        notes = tuple(unknown(known, told))
        self.report.finds.append(Find(self._port.name, link, known.name, baud, probe.address, verdict, told, notes))


def _conversation(poll: Callable[[int], Conversation] | None, address: int) -> Conversation:
    return (yield from poll(address)) if poll else ()


def _asker(line: Link, wire: Impatient, known: Driver, probe: scan.Probe) -> Callable[[Request], Answer]:
    """Asks with the probe's patience until the first answer came, then with that which the slowest need."""
    left: float = probe.questions

    def ask(request: Request) -> Answer:
        nonlocal left
        try:
            answer = line.ask(request, address=probe.address)
        except Silent:
            left -= 1
            if left <= 0:
                raise Nobody(f"{known.name}: nobody answers") from None
            raise
        wire.wait_s, left = scan.patience_s(known), inf
        return answer

    return ask
