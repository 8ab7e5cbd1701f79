"""What `cellherd scan` asks on a port, in which order, and when it believes an answer. Nothing here opens a port.

Only drivers whose question is a read are asked. JK's PB frames (`jk_pb`) are triggered by a write, so they are found
by listening alone. Nobody is woken: a battery that sleeps stays unfound.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal

from cellherd.errors import BadFrame
from cellherd.reading import Measured
from collectors import drivers
from collectors.kernel import CanFrame, Chunk, Driver, Registers, permits
from collectors.modbus_rtu import frame_of

LISTEN_S = 1.2
"""Those that talk by themselves do it once a second."""
QUICK_S = 0.2
"""Most devices begin to answer within this time; the first round waits no longer."""
BAUDS = (9600, 19200, 115200, 57600, 38400, 4800, 2400)
TALKING = ("victron_vedirect", "chargery", "jk_pb")
"""Drivers that understand what a serial device says unasked."""


@dataclass(frozen=True, slots=True)
class Asks:
    """How a driver's devices may be found: the usual baud rate and address first, further ones behind them.

    `wait_s` is what the slowest of them needs before an answer begins, `questions` how many may stay without one
    before nobody is believed to be there. `every` are all addresses that a bus may have.
    """

    driver: str
    bauds: tuple[int, ...]
    addresses: tuple[int, ...]
    wait_s: float
    questions: int = 1
    every: Sequence[int] = ()


TABLE = (  # the most common first among those of one baud rate: a port is opened anew for each rate
    Asks("jk_modbus", (115200,), (1, 2), 0.4, every=range(1, 16)),
    Asks("pylontech_rs485", (115200, 9600), (2,), 0.5, every=range(2, 0x80, 16)),
    Asks("pylontech_console", (115200,), (1,), 0.4),
    Asks("jk_nw", (115200,), (0,), 0.4),
    Asks("jbd", (9600,), (0,), 0.4),
    Asks("daly_uart", (9600,), (1, 2), 0.4, every=range(1, 17)),
    Asks("seplos_v2", (9600, 19200), (0, 1), 0.7, every=range(16)),
    Asks("pace", (9600,), (1, 0), 0.5, questions=2, every=range(16)),
    Asks("daly_d2", (9600,), (210, 1), 0.4, questions=2, every=(210, *range(1, 17))),
    Asks("jbd_up16s", (9600,), (1,), 0.7, every=range(1, 17)),
    Asks("pylontech_force_modbus", (9600,), (1,), 0.6),
    Asks("seplos_v3", (19200,), (0, 1), 0.5, every=range(16)),
    Asks("ant_new", (19200,), (0,), 0.4),
    Asks("ant_old", (19200, 9600), (0,), 0.4),
    Asks("victron_hex", (19200,), (0,), 0.3),
)


@dataclass(frozen=True, slots=True)
class Probe:
    """One try: the driver's own poll at a baud rate and an address."""

    driver: str
    baud: int
    address: int
    wait_s: float
    questions: int = 1


def quick() -> list[Probe]:
    """Everybody at the usual settings, with little patience."""
    return [Probe(asks.driver, asks.bauds[0], asks.addresses[0], QUICK_S) for asks in TABLE]


def patient() -> list[Probe]:
    """Everybody at all usual settings, with the patience that the slowest need."""
    return _by_baud(
        Probe(asks.driver, baud, address, asks.wait_s, asks.questions)
        for asks in TABLE
        for baud in asks.bauds
        for address in asks.addresses
    )


def thorough() -> list[Probe]:
    """What `patient` leaves out: all other addresses, and the usual ones at every other baud rate."""
    return _by_baud(
        Probe(asks.driver, baud, address, asks.wait_s)
        for asks in TABLE
        for baud in BAUDS
        for address in (asks.every if baud in asks.bauds else asks.addresses)
        if not (baud in asks.bauds and address in asks.addresses)
    )


def _by_baud(probes: Iterable[Probe]) -> list[Probe]:
    order = {baud: i for i, baud in enumerate(dict.fromkeys(asks.bauds[0] for asks in TABLE))}
    return sorted(probes, key=lambda probe: order.get(probe.baud, len(order) + probe.baud))


def without_bauds(probes: Iterable[Probe]) -> list[Probe]:
    """The same behind a serial server, where the server has the baud rate."""
    return list({(probe.driver, probe.address): probe for probe in probes}.values())


def budget_s(probes: Iterable[Probe]) -> float:
    """How long a port that nobody answers on takes at most."""
    return LISTEN_S + sum(probe.wait_s * probe.questions for probe in probes)


def neighbours(probe: Probe) -> list[Probe]:
    """Further addresses of a bus where one device was found; a driver that reads the whole bus has none."""
    every = next(asks.every for asks in TABLE if asks.driver == probe.driver)
    if drivers.driver(probe.driver).whole_bus or probe.address not in every:
        return []
    return [Probe(probe.driver, probe.baud, n, probe.wait_s) for n in every if n > probe.address]


def patience_s(known: Driver) -> float:
    """How long an answer of this driver's devices may be in coming."""
    return next(asks.wait_s for asks in TABLE if asks.driver == known.name)


def shares_a_bus(known: Driver) -> bool:
    """Whether several devices of this driver may hang on a line and are asked one by one."""
    return not known.whole_bus and any(asks.every for asks in TABLE if asks.driver == known.name)


Sure = Literal["sure", "likely", "doubtful"]
CELL_MV, PACK_MV, TEMP_DC = range(500, 5001), range(1_000, 1_500_001), range(-600, 1501)
CURRENT_MA, APART = 2_000_000, 0.02


@dataclass(frozen=True, slots=True)
class Verdict:
    """How sure an answer makes us, and why."""

    sure: Sure
    why: str


def judge(found: Sequence[Measured]) -> Verdict | None:
    """Whether these numbers can be a battery's; None if they say nothing that could be checked.

    Frames with a sound checksum may still be another device's: numbers that contradict one another are doubtful.
    """
    doubts = [doubt for measured in found for doubt in _doubts(measured)]
    if doubts:
        return Verdict("doubtful", doubts[0])
    if any(_sum_mv(measured) and measured.voltage_mv for measured in found):
        return Verdict("sure", "the cells add up to the voltage")
    if any(measured.voltage_mv or measured.cell_mv for measured in found):
        return Verdict("likely", "sound frames and a fitting voltage, but no cells to hold against it")
    return None


def _doubts(measured: Measured) -> Iterator[str]:
    for i, mv in enumerate(measured.cell_mv, 1):
        if mv is not None and mv not in CELL_MV:
            yield f"cell {i} would have {mv / 1000:.3f} V"
    volts, total = measured.voltage_mv, _sum_mv(measured)
    if volts is not None and volts not in PACK_MV:
        yield f"the voltage would be {volts / 1000:.2f} V"
    elif volts and total and abs(total - volts) > APART * volts:
        yield f"the cells add up to {total / 1000:.2f} V, but the voltage would be {volts / 1000:.2f} V"
    if abs(measured.current_ma or 0) > CURRENT_MA:
        yield f"the current would be {(measured.current_ma or 0) / 1000:.0f} A"
    if measured.soc_pm is not None and measured.soc_pm not in range(1101):
        yield f"the state of charge would be {measured.soc_pm / 10:.1f} %"
    for dc in measured.temp_dc:
        if dc is not None and dc not in TEMP_DC:
            yield f"a temperature would be {dc / 10:.1f} °C"


def _sum_mv(measured: Measured) -> int | None:
    cells = [mv for mv in measured.cell_mv if mv is not None]
    return sum(cells) if cells and len(cells) == len(measured.cell_mv) else None


@dataclass(slots=True)
class Ears:
    """Those drivers that understand what is said unasked, all listening to the same line."""

    names: Sequence[str]
    states: dict[str, Any] = field(default_factory=dict)

    def hear(self, chunk: Chunk) -> Iterator[tuple[str, Measured]]:
        """Each reading that a driver makes of it, with the driver's name."""
        for name in self.names:
            known = drivers.driver(name)
            state = self.states.get(name, known.fresh())
            try:
                self.states[name], found = known.feed(state, chunk) if known.feed else (state, ())
            except BadFrame:
                continue
            yield from ((name, measured) for measured in found)


LEAST = 5
"""Bytes of a question that is no accident."""


def asked_by_others(heard: bytes) -> list[str]:
    """Drivers in whose words another master asks on this line: their read allow-lists know the questions."""
    modbus = list(_modbus_reads(heard))
    known = (drivers.driver(asks.driver) for asks in TABLE)
    return [each.name for each in known if _asks(each, heard) or any(permits(each, read) for read in modbus)]


def _asks(known: Driver, heard: bytes) -> bool:
    patterns = (permit for permit in known.allow if isinstance(permit, re.Pattern))
    return any(len(match[0]) >= LEAST for pattern in patterns for match in pattern.finditer(heard))


def _modbus_reads(heard: bytes) -> Iterator[Registers]:
    for at in range(len(heard) - 7):
        frame = heard[at : at + 8]
        if frame[1] in (1, 3, 4) and frame_of(frame[:6]) == frame:
            start, count = int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
            yield Registers(frame[1], start, count)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Profile:
    """A dialect on CAN, and the driver that understands it."""

    name: str
    driver: str


PYLON_V12, PYLON_V13 = Profile("Pylontech V1.2", "pylontech_can"), Profile("Pylontech V1.3", "pylontech_can")
VICTRON, PYTES = Profile("Victron CAN-bms", "victron_can"), Profile("Pytes' own", "victron_can")
PYLON_HV, JK, DALY = (
    Profile("Pylontech high voltage", "pylontech_hv_can"),
    Profile("JK", "jk_can"),
    Profile("Daly", "daly_can"),
)
INVERTER = {0x305, 0x306, 0x307}


def profiles(frames: Iterable[CanFrame]) -> list[Profile]:
    """The dialects that were heard, told from ids and the maker's name; docs/devices says what each is."""
    heard = list(frames)
    short, long = ({frame.id for frame in heard if frame.extended is extended} for extended in (False, True))
    makers = {frame.data for frame in heard if frame.id == 0x35E and not frame.extended}
    return [*_low_voltage(short, makers), *_own(short, long)]


def _low_voltage(short: Set[int], makers: Iterable[bytes]) -> Iterator[Profile]:
    if {0x359, 0x35C} <= short:
        yield PYLON_V12
    elif 0x35A in short:
        pylon = 0x35F in short and any(maker.startswith(b"PYLON") for maker in makers)
        yield PYLON_V13 if pylon else VICTRON
    if {0x400, 0x404, 0x405} <= short:
        yield PYTES


def _own(short: Set[int], long: Set[int]) -> Iterator[Profile]:
    if any(0x4210 <= number < 0x42A0 for number in long):
        yield PYLON_HV
    extended_jk = any(number >> 20 == 0x18F and number >> 8 & 0xFF == 0x28 for number in long)
    if extended_jk or any(number - first in range(16) for number in short for first in (0x2F4, 0x4F4)):
        yield JK
    if any(number >> 24 == 0x18 and number >> 8 & 0xFF == 0x40 for number in long):
        yield DALY
