"""Daly smart BMS of the H, K, M and S series: registers as in Modbus, over UART, RS485 or Bluetooth.

Protocol: docs/devices/daly_d2.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from cellherd import faults
from cellherd.errors import BadFrame, Silent
from cellherd.reading import Measured, combine
from collectors.fields import Field, Table, read
from collectors.kernel import Chunk, Conversation, Driver, Gatt, Send, Unsupported
from collectors.modbus_rtu import frame_of

D2 = 0xD2
"""The older dialect's only address, asked and answering."""
ASKED, ANSWERS = 0x80, 0x50
"""The newer dialect (P81): module n is asked as 80 + n and answers as 50 + n."""
MODULES = range(1, 17)
READ, REFUSED = 0x03, 0x83
TEMPS = 8

Part = tuple[int, int]
"""First register and how many."""
D2_LONG, D2_SHORT, D2_SETTINGS, D2_VERSIONS = (0x00, 80), (0x00, 62), (0x80, 41), (0xA9, 32)
P81_FIRST, P81_SECOND = (0x00, 64), (0x41, 62)
D2_PARTS = (D2_LONG, D2_SHORT, D2_SETTINGS, D2_VERSIONS)
P81_PARTS = (P81_FIRST, P81_SECOND)


def _field(name: str, register: int) -> Field:
    times, plus = _scale(name.rpartition(".")[2])
    absent = 0 if plus and not name.startswith("limits.") else None  # -40 degC and -3000 A are nobody's measurement
    return Field(name, 2 * register, ">H", times=times, plus=plus, absent=absent)


def _scale(key: str) -> tuple[int, int]:
    """Our units in one of theirs, and where theirs begin to count: the same for all registers of a kind."""
    if key.endswith("_dc"):
        return 10, -400
    if key.endswith("_at"):
        return 1, -1
    if key.endswith("_ma"):
        return (1, -30_000) if key == "balance_ma" else (100, -3_000_000)
    return (100, 0) if key.startswith("voltage_") or key.endswith("_mah") else (1, 0)


def _table(cells: int, temps: int, singles: Mapping[str, int]) -> Table:
    lists = [Field(f"cell_mv.{i}", 2 * i, ">H") for i in range(cells)]
    lists += [Field(f"temp_dc.{i}", 2 * (temps + i), ">H", times=10, plus=-400, absent=0) for i in range(TEMPS)]
    return (*lists, *(_field(name, register) for name, register in singles.items()))


D2_TABLE = _table(
    32,
    0x20,
    {
        "voltage_mv": 0x28,
        "current_ma": 0x29,
        "soc_pm": 0x2A,
        "cell_max_mv": 0x2B,
        "cell_min_mv": 0x2C,
        "temp_max_dc": 0x2D,
        "temp_min_dc": 0x2E,
        "extra.state": 0x2F,  # 0 idle, 1 charging, 2 discharging
        "remaining_mah": 0x30,
        "info.n_cells": 0x31,
        "extra.temp_sensors": 0x32,
        "cycles": 0x33,
        "extra.balance_state": 0x34,  # 0 off, 1 passive, 2 active
        "charge_on": 0x35,
        "discharge_on": 0x36,
        "extra.cell_mean_mv": 0x37,
        "extra.cell_spread_mv": 0x38,
        "extra.power_w": 0x39,  # without a sign
        "extra.balance_ma": 0x40,
        "mos_temp_dc": 0x42,
        "extra.board_temp_dc": 0x43,
    },
)
P81_TABLE = _table(
    48,
    0x30,
    {
        "voltage_mv": 0x38,
        "current_ma": 0x39,
        "soc_pm": 0x3A,
        "extra.heartbeat": 0x3B,  # SOH in one description; 182 in a capture
        "info.n_cells": 0x3C,
        "extra.temp_sensors": 0x3D,
        "cell_max_mv": 0x3E,
        "cell_max_at": 0x3F,
        "cell_min_mv": 0x40,
        "cell_min_at": 0x41,
        "extra.cell_spread_mv": 0x42,
        "temp_max_dc": 0x43,
        "extra.temp_max_at": 0x44,
        "temp_min_dc": 0x45,
        "extra.temp_min_at": 0x46,
        "extra.state": 0x48,
        "extra.charger": 0x49,
        "extra.load": 0x4A,
        "remaining_mah": 0x4B,
        "cycles": 0x4C,
        "extra.balance_state": 0x4D,
        "extra.balance_ma": 0x4E,
        "charge_on": 0x52,
        "discharge_on": 0x53,
        "extra.precharge": 0x54,
        "extra.heating": 0x55,
        "extra.fan": 0x56,
        "extra.cell_mean_mv": 0x57,
        "extra.power_w": 0x58,
        "extra.energy_wh": 0x59,
        "mos_temp_dc": 0x5A,
        "extra.board_temp_dc": 0x5B,
        "extra.heater_temp_dc": 0x5C,
    },
)
LIMITS = (  # from 0x8B on; level 1 (high, low) warns, level 2 (max, min) cuts
    "cell_high_mv", "cell_max_mv", "cell_low_mv", "cell_min_mv",
    "voltage_high_mv", "voltage_max_mv", "voltage_low_mv", "voltage_min_mv",
    "charge_high_ma", "charge_ma", "discharge_high_ma", "discharge_ma",
    "charge_temp_high_dc", "charge_temp_max_dc", "charge_temp_low_dc", "charge_temp_min_dc",
    "discharge_temp_high_dc", "discharge_temp_max_dc", "discharge_temp_low_dc", "discharge_temp_min_dc",
)  # fmt: skip
SETTINGS: Table = (
    _field("info.nominal_mah", 0x80),
    *(_field(f"limits.{name}", 0x8B + i) for i, name in enumerate(LIMITS)),
    _field("limits.balance_start_mv", 0xA3),
    _field("limits.balance_difference_mv", 0xA4),
)
RAW = {  # name -> first register and how many, D2 and P81
    D2: {"failure": (0x3A, 4), "balance": (0x3E, 2)},
    ASKED: {"failure": (0x66, 4), "failure_2": (0x6D, 7), "balance": (0x4F, 3)},
}
SET_WHEN_WELL = 1 << 39
"""A P81 that discharges in good health sets the bit of a broken discharge MOSFET: it says nothing there."""


def ask(address: int, part: Part) -> Send:
    """A read of registers."""
    unit = D2 if address == D2 else ASKED + address & 0xFF
    return Send(frame_of(bytes((unit, READ)) + b"".join(n.to_bytes(2, "big") for n in part)))


def _answering(unit: int) -> int:
    return D2 if unit == D2 else unit - ASKED + ANSWERS & 0xFF


def extract(request: bytes, buffer: bytes) -> bytes | None:
    """The answer to `request` inside the buffer; see kernel.Extract."""
    unit, size = _answering(request[0]), 2 * int.from_bytes(request[4:6], "big")
    broken = b""
    for head, length in ((bytes((unit, READ, size & 0xFF)), size + 5), (bytes((unit, REFUSED)), 5)):
        at = buffer.find(head)
        while 0 <= at <= len(buffer) - length:
            frame = buffer[at : at + length]
            if frame_of(frame[:-2]) == frame:
                return frame
            broken, at = broken or frame, buffer.find(head, at + 1)
    if broken:
        raise BadFrame("wrong CRC", broken)
    return None


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """An answer. It does not name its registers: the request does, else its length. Raises BadFrame, Unsupported."""
    if not isinstance(frame, bytes):
        raise BadFrame("a CAN frame: use daly_can", frame.data)
    frame = frame.removeprefix(request or b"")  # the echo of an adapter
    if len(frame) < 5 or frame_of(frame[:-2]) != frame:
        raise BadFrame("too short or wrong CRC", frame)
    if frame[0] != D2 and frame[0] - ANSWERS not in MODULES:
        raise BadFrame("neither D2 nor 51 to 60 answers", frame)
    if frame[1] == REFUSED:
        raise Unsupported(f"refused with exception {frame[2]}", frame)
    if frame[1] != READ or len(frame) != frame[2] + 5 or frame[2] % 2:
        raise BadFrame("not an answer to a read of registers, or not of its stated length", frame)
    start, data = _start(frame, request), frame[3:-2]
    if frame[0] != D2:
        return (combine(Measured(module=frame[0] - ANSWERS), _measured(P81_TABLE, ASKED, data, start)),)
    if start == D2_VERSIONS[0]:
        return (_versions(data),)
    return (_settings(data, start) if start >= D2_SETTINGS[0] else _measured(D2_TABLE, D2, data, start),)


def _start(frame: bytes, request: bytes | None) -> int:
    count = frame[2] // 2
    if request is None:
        known: Iterable[Part] = D2_PARTS if frame[0] == D2 else P81_PARTS
        starts = [start for start, size in known if size == count]
        if not starts:
            raise BadFrame("an answer does not name its registers: give the request too", frame)
        return starts[0]
    if len(request) < 6 or _answering(request[0]) != frame[0] or int.from_bytes(request[4:6], "big") != count:
        raise BadFrame(f"no answer to the request {request.hex()}", frame)
    return int.from_bytes(request[2:4], "big")


def _measured(table: Table, dialect: int, data: bytes, start: int) -> Measured:
    values = read(table, data, shift=2 * start)
    values |= {name: bool(values[name]) for name in ("charge_on", "discharge_on") if name in values}
    _cut(values, "cell_mv", values.get("info", {}).get("n_cells"), 0)
    _cut(values, "temp_dc", values.get("extra", {}).get("temp_sensors"), None)
    places = {name: (2 * (first - start), 2 * count) for name, (first, count) in RAW[dialect].items()}
    raw = {name: data[at : at + n] for name, (at, n) in places.items() if at >= 0 and at + n <= len(data)}
    if "failure" in raw:
        values["faults"] = _faults(raw["failure"], raw.get("failure_2", b""), dialect)
    if "balance" in raw:
        values["balancing"] = _low_word_first(raw["balance"])
    return Measured(raw={name: part.hex() for name, part in raw.items()}, **values)


def _cut(values: dict[str, Any], name: str, count: int | None, nothing: int | None) -> None:
    """As many as the BMS counts; without its count up to the last one that says something."""
    listed = values.pop(name, ())
    said = max((i + 1 for i, value in enumerate(listed) if value not in (nothing, None)), default=0)
    if kept := listed[: said if count is None else count]:
        values[name] = kept


def _faults(failure: bytes, more: bytes, dialect: int) -> tuple[str, ...]:
    """The bits of 0x98 of the A5 protocol, bit 0 of the first register first; nobody explains P81's second words."""
    mask = _low_word_first(failure)
    known = faults.brand("daly")["failure"].of_mask(mask & ~SET_WHEN_WELL if dialect == ASKED else mask)
    return known if known or not any(more[:4]) else (faults.UNKNOWN,)


def _low_word_first(data: bytes) -> int:
    return sum(int.from_bytes(data[i : i + 2], "big") << 8 * i for i in range(0, len(data), 2))


def _settings(data: bytes, start: int) -> Measured:
    values = read(SETTINGS, data, shift=2 * start)
    limits: dict[str, int] = values.get("limits", {})
    sizes = {name: abs(limits[name]) for name in limits if name.endswith("_ma")}
    return Measured(**(values | {"limits": limits | sizes}))


def _versions(data: bytes) -> Measured:
    texts = {"firmware": data[:32], "hardware": data[32:64]}
    plain = {name: part.split(b"\0")[0].decode("ascii", "replace").strip() for name, part in texts.items()}
    return Measured(info={name: text for name, text in plain.items() if text})


def poll(address: int) -> Conversation:
    """All measurements; a D2 of an older kind has 62 registers only."""
    if address != D2:
        return (combine(*(yield from _read(address, P81_FIRST)), *(yield from _read(address, P81_SECOND))),)
    try:
        return (yield from _read(D2, D2_LONG))
    except (Silent, Unsupported):
        return (yield from _read(D2, D2_SHORT))


def _read(address: int, part: Part) -> Conversation:
    request = ask(address, part)
    return decode((yield request), request.data)


def identify(address: int) -> Conversation:
    """Limits, versions and capacity of a D2; where a P81 keeps them is disputed, so it is not asked."""
    found: list[Measured] = []
    for part in (D2_SETTINGS, D2_VERSIONS) if address == D2 else ():
        try:
            found += yield from _read(D2, part)
        except (Silent, Unsupported):
            continue
    return (combine(*found),) if found else ()


_REQUESTS = [ask(D2, part) for part in D2_PARTS] + [ask(n, part) for n in MODULES for part in P81_PARTS]
DRIVER = Driver(
    name="daly_d2",
    brand="daly",
    title="Daly smart BMS, H, K, M and S series (D2 and P81 registers)",
    line="UART, RS485 or Bluetooth bridge, 9600 8N1; address 210 speaks D2, addresses 1 to 16 P81",
    links=("serial", "tcp", "ble"),
    decode=decode,
    allow=(re.compile(b"|".join(re.escape(request.data) for request in _REQUESTS), re.DOTALL),),
    poll=poll,
    identify=identify,
    extract=extract,
    gatt=Gatt(service=0xFFF0, notify=0xFFF1, write=0xFFF2),
    default_address=D2,
    baud=9600,
    gap_s=0.1,
    timeout_s=0.8,
)
