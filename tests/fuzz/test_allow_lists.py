"""What may leave the machine: every request of every driver at every address, held against a second opinion.

READS says in this file's own words, after the protocol pages, what a question looks like; it knows nothing of the
drivers' allow-lists. What a driver asks must be allowed, and what is allowed must be a question.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event

import pytest
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

from cellherd.errors import CellherdError, Refused, Silent
from collectors.drivers import WHERE, driver
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.fleet import emulator
from collectors.kernel import (
    Answer,
    CanFrame,
    Driver,
    Readable,
    Registers,
    Request,
    Send,
    Unsupported,
    converse,
    permits,
    refuse_unless_permitted,
)
from collectors.links import open_link
from collectors.links.bytewise import ByteLink, Plain
from collectors.links.modbus import Modbus
from tests.fuzz.mutate import mutants
from tests.fuzz.test_mutations import SEED
from tests.fuzz.vectors import Case

ASKED = [name for name in sorted(WHERE) if driver(name).poll]
BYTES = [name for name in ASKED if "can" not in driver(name).links]

HEX16 = rb"[0-9A-F]{4}"
READS: dict[str, bytes] = {  # docs/devices/<name>.md
    "ant_new": rb"\x7e\xa1[\x01\x02].{5}\xaa\x55",  # functions 01 and 02; 22, 23 and 51 write, log in and switch
    "ant_old": rb"\x5a\x5a\0\0\x01\x01",  # 5A 5A reads, A5 A5 writes
    "ble": rb"sample|info",  # the two calls of aiobmsble; what that one writes is not ours to say
    "daly_d2": rb"[\xd2\x81-\x90]\x03(?!\0\xce).{6}",  # function 3, and not the password at 00CE
    "daly_uart": rb"\xa5[\x40-\x4f][\x50\x53\x57\x59-\x5b\x90-\x98]\x08\0{8}.",  # 10 to 2F, D9, DA, 00 write
    "ecoflow": rb"GET /iot-open/sign/(?:device/quota/all\?sn=\{unit\}|certification)",  # PUT sets
    "givenergy": rb"YY\0\x01\0(?:\x1c\x01\x02.{10}\0{7}\x08[\x32-\x36]\x04\0\x3c\0\x3c..|"  # 6 writes
    rb"\x0d\x01\x01.{11})",  # the heartbeat, given back
    "jbd": rb"\xdd\xa5[\x03\x04\x05\xaa]\0..\x77",  # A5 reads, 5A writes
    "jbd_up16s": rb"[\x01-\x10]\x78.{4}\0\0..",  # 78 reads, 79 writes
    "jk_ble": rb"\xaa\x55\x90\xeb[\x96\x97\xa1]\0{14}.",  # length 0; all other commands set
    "jk_nw": rb"NW\0\x13\0{4}\x06\x03\0\0\0{4}\x68\0{2}..",  # command 06; 01, 02 and 05 act
    "jk_pb": rb"[\x01-\x0f]\x10\x16[\x1c\x1e\x20]\0\x01\x02\0\0..",  # three registers that store nothing
    "pace": rb"~250[0-9A-F]46(?:42|44|C1|C2)" + HEX16 + rb"(?:[0-9A-F]{2})?" + HEX16 + rb"\r",
    "pylontech_console": rb"(?:pwr|bat|soh|stat|info|getpwr|pwrsys|unit|sysinfo|bmuinfo|log|ci)(?: \d{1,2})?\n|\r|\n"
    rb"|~20014682C0048520FCC3\r",  # the last one opens the console
    "pylontech_rs485": rb"~20[0-9A-F]{2}46(?:4[247F]|51|6[123]|9[236])" + HEX16 + rb"(?:[0-9A-F]{2})?" + HEX16 + rb"\r",
    "seplos_v2": rb"~200[0-9A-F]46(?:42|44|51)" + HEX16 + rb"(?:0[0-9A-F])?" + HEX16 + rb"\r",
    "victron_hex": rb":7[0-9A-F]{4}00[0-9A-F]{2}\n",  # 7 gets; 6 restarts, 8 sets
    "victron_venus": rb"R/\{unit\}/keepalive ",  # W/ writes
}
REGISTERS: dict[str, tuple[range, ...]] = {  # that hold measurements, limits and names
    "bluetti": (range(50022, 50032), range(51001, 51009), range(51200, 51250)),
    "foxess": (
        *(range(11034, 11069), range(31023, 31052), range(31090, 31104)),
        *(range(37002, 37003), range(37609, 37633), range(39067, 39070)),
    ),
    "jk_modbus": (range(0x1000, 0x1124), range(0x1200, 0x1314), range(0x1400, 0x1438), range(0x1448, 0x1470)),
    "pylontech_force_modbus": (range(0x1000, 0x1080), range(0x1100, 0x1180), range(0x1400, 0x3000)),
    "solis": (range(33000, 33200),),
    "seplos_v3": (
        *(range(at, at + 0x100) for at in (0x1000, 0x1100, 0x1200, 0x1300, 0x1700, 0x1800, 0x2000, 0x2100, 0x2200)),
    ),
}
STRIDE = {"jk_modbus": 2}
"""Bytes and registers: a JK counts its registers in bytes."""
CAN = {
    "daly_can": re.compile(r"189[0-8]0[1-9A-F]40#0{16}|189[0-8]1040#0{16}"),
    "pylontech_hv_can": re.compile(r"00004200#0[02]0{14}"),
}
BUSES = {  # addresses that may stand on a bus; one BMS a port has none
    "givenergy": range(0x32, 0x37),
    "daly_can": range(1, 17),
    "daly_d2": (*range(1, 17), 0xD2),
    "daly_uart": range(1, 17),
    "jbd_up16s": range(1, 17),
    "jk_pb": range(1, 16),
    "pace": range(16),
    "pylontech_rs485": range(2, 0x7E, 16),
    "seplos_v2": range(16),
}


def is_question(name: str, request: Request) -> bool:
    match request:
        case Send(data):
            return name in READS and re.fullmatch(READS[name], data, re.DOTALL) is not None
        case Registers(function, start, count):
            span = range(start, start + STRIDE.get(name, 1) * count)
            known = any(part.start <= span.start and span.stop <= part.stop for part in REGISTERS.get(name, ()))
            return function in (1, 3, 4) and known
        case CanFrame():
            return name in CAN and request.extended and CAN[name].fullmatch(str(request)) is not None


# ---- asking ----


class Counterpart:
    """A device that answers well, badly, or not at all; and the guard that every link calls first."""

    def __init__(self, name: str, address: int, mood: str) -> None:
        self.known, self.address, self.mood = driver(name), address, mood
        self.truth = {address: Battery(Plan(seed=address + 1)).truth()}
        self.draw = random.Random(f"{SEED} {name} {address} {mood}")
        self.sent: list[Request] = []
        self.refused: list[Request] = []

    def __call__(self, request: Request) -> Answer:
        try:
            refuse_unless_permitted(self.known, request)
        except Refused:
            self.refused.append(request)
            raise
        self.sent.append(request)
        if self.mood == "mad" and self.draw.random() < 0.2:
            raise self.draw.choice((Silent("nothing"), Unsupported("no")))
        answer = emulator(self.known.name).answer(request, self.address, self.truth)
        if answer is None:
            raise Silent("nothing")
        return answer if self.mood == "sound" else self.worse(request, answer)

    def worse(self, request: Request, answer: Answer) -> Answer:
        if isinstance(request, Registers):  # the link counts its registers; what they hold is anybody's guess
            (case,) = mutants("jk_modbus", Case("", answer, None), 1, self.draw.getrandbits(30))
            assert isinstance(case.frame, bytes)
            return case.frame[: len(answer)].ljust(len(answer), b"\xff")
        if not isinstance(request, Send):
            return answer
        (case,) = mutants(self.known.name, Case("", answer, None), 1, self.draw.getrandbits(30))
        assert isinstance(case.frame, bytes)
        found = Plain(self.known).find(Send(request.data), request.data, case.frame)
        if found is None:
            raise Silent("nothing sound")
        return found


def asked(name: str, address: int, mood: str) -> Counterpart:
    known, device = driver(name), Counterpart(name, address, mood)
    for talk in filter(None, (known.poll, known.identify, known.seldom)):
        with suppress(CellherdError):
            converse(talk(address), device)
    return device


@pytest.mark.parametrize("name", ASKED)
def test_at_every_address_of_its_bus_a_driver_asks_what_it_may_and_only_questions(name: str) -> None:
    sent: set[Request] = set()
    for address in BUSES.get(name, (max(driver(name).default_address, 1),)):
        for mood in ("sound", *("mad",) * (3 if name in BUSES else 20)):
            device = asked(name, address, mood)
            assert not device.refused
            sent |= set(device.sent)
    assert sent
    assert all(is_question(name, request) for request in sent)


@pytest.mark.parametrize("name", ASKED)
def test_an_address_that_no_bus_has_is_never_asked(name: str) -> None:
    for address in {-1, 0, 17, 100, 126, 200, 255, 256, 300} - set(BUSES.get(name, ())):
        with suppress(ValueError, OverflowError):  # no byte holds it, so nothing can be written
            assert all(is_question(name, request) for request in asked(name, address, "sound").sent)


# ---- what is allowed is a question ----


def near(data: bytes) -> Iterator[bytes]:
    """Everything that differs in one byte, or has one more or less at an end."""
    for at in range(len(data)):
        yield from (data[:at] + bytes((value,)) + data[at + 1 :] for value in range(256))
    for value in range(256):
        yield from (data + bytes((value,)), bytes((value,)) + data)
    yield from (data[:-1], data[1:], data * 2)


@pytest.mark.parametrize("name", sorted(READS))
def test_nothing_near_a_question_is_allowed_unless_it_is_one(name: str) -> None:
    known = driver(name)
    sent = list(dict.fromkeys(asked(name, known.default_address, "sound").sent))
    for request in random.Random(SEED).sample(sent, min(len(sent), 8)):
        assert isinstance(request, Send)
        for data in near(request.data):
            assert not permits(known, Send(data)) or is_question(name, Send(data)), data


@pytest.mark.parametrize("name", ASKED)
def test_every_line_of_an_allow_list_is_a_question(name: str) -> None:
    for permit in driver(name).allow:
        match permit:
            case Registers() | CanFrame():
                assert is_question(name, permit)
            case Readable(function, start, end):
                assert function in (1, 3, 4)
                assert all(is_question(name, Registers(3, at, 1)) for at in range(start, end))
            case re.Pattern():
                assert name in READS  # held by the test above


# ---- and at the wire ----

DANGEROUS = [
    *("dd5ae1020003ff1a77", "dd5a0002567857f977"),  # JBD: MOSFETs, factory mode
    *("a540d90800000000000000000066"[:26], "a5400008000000000000000000ed"[:26]),  # Daly: MOSFET, restart
    *("d20600a60001bb8a", "01100000000102000067f0", "0106101600005ac1", "01050000ff008c3a"),  # Modbus writes
    *("aa5590eb1d0401000000000000000000000000009c", "aa5590eb05000000000000000000000000000080"),  # JK: switch, password
    *("4e5700140000000002030000ab0000000000680000015f", "4e57001300000000010300000000000068000001"),  # JK NW: write
    *("7ea151060000", "7ea122010000aa55", "a5a5f90000f9", "a5a5fa0000fa"),  # ANT: switches, old and new
    *("017929022904000611", "a5a5"),  # JBD UP: MOSFETs
    *(text.encode().hex() for text in ("shut\n", "config set\n", "pwr 1\nshut\n", "prot\n", "log clear\n", "pwr\n\n")),
    *(text.encode().hex() for text in (":64F\n", ":8000200004B\n", ":1000\n", ":451\n")),  # Victron: restart, set
    *(text.encode().hex() for text in ("~20024695E00202FD21\r", "~25014699E00201FD2A\r", "~200146450000FDAA\r")),
    *("", "00", "ff" * 16),
]


class Recorder:
    """A wire that writes down what is sent."""

    name = "recorder"

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def read(self) -> bytes:
        return b""

    def drop(self) -> None:
        return

    def close(self) -> None:
        return


def link(known: Driver, wire: Recorder) -> ByteLink:
    framing = Modbus(FramerRTU(DecodePDU(False))) if "modbus" in known.links else Plain(known)
    return ByteLink(wire, known, framing, Event())


@pytest.mark.parametrize("name", BYTES + [name for name in sorted(WHERE) if name in ("chargery", "victron_vedirect")])
def test_no_link_lets_a_dangerous_frame_of_any_brand_pass(name: str) -> None:
    wire = Recorder()
    registers: list[Request] = [Registers(3, start, 1) for start in (0x1438, 0x1470, 0x1500, 0x1600, 0x1900, 0x7000)]
    strange: list[Request] = [CanFrame(0x4200, bytes(8), extended=True), Registers(4, 0x1438, 8), Registers(3, 0, 200)]
    for request in (*(Send(bytes.fromhex(text)) for text in DANGEROUS), *registers, *strange):
        if not is_question(name, request):
            with pytest.raises(Refused):
                link(driver(name), wire).ask(request, address=1)
    assert not wire.written


@pytest.mark.parametrize("name", [name for name in sorted(WHERE) if "can" in driver(name).links])
def test_no_bus_lets_a_frame_pass_that_steers_a_battery_or_an_inverter(name: str) -> None:
    bus = open_link("virtual:allow-lists", driver(name))
    ids = (0x305, 0x351, 0x355, 0x35A, 0x8200, 0x8210, 0x8240, 0x18D90140, 0x18DA0140, 0x18F0F428, 0x1806E5F4)
    for id_ in ids:
        for data in (b"\xaa" + bytes(7), bytes(8), b""):
            with pytest.raises(Refused):
                bus.ask(CanFrame(id_, data, extended=id_ > 0x7FF), address=1)
    bus.close()


CASES: list[tuple[str, Callable[[str], bool]]] = [
    ("a listener has nothing that it may send", lambda name: bool(driver(name).allow) == (name in ASKED)),
    ("an asked driver has a second opinion", lambda name: name not in ASKED or name in {*READS, *REGISTERS, *CAN}),
]


@pytest.mark.parametrize(("rule", "holds"), CASES)
def test_every_driver_is_looked_at(rule: str, holds: Callable[[str], bool]) -> None:
    assert [name for name in WHERE if not holds(name)] == [], rule
