"""What Pylontech's RS485 answers say, command by command. All numbers are big-endian, temperatures count from 0 K."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Measured
from collectors.drivers.pylontech_rs485.frames import Frame
from collectors.fields import Field, Table, read

ANALOG, ALARMS, LIMITS, VERSION, MAKER = 0x42, 0x44, 0x47, 0x4F, 0x51
SYSTEM, SYSTEM_ALARMS, SYSTEM_REQUESTS = 0x61, 0x62, 0x63
REQUESTS, SERIAL, SOFTWARE = 0x92, 0x93, 0x96
"""Payload of a request that means every module of the group; 0x42 and 0x44 only."""

KELVIN = -2731
MOST_CELLS, MOST_SENSORS, MOST_SPARE = 32, 16, 4
ELEMENT_STATES = {0x00, 0x01, 0x02, 0xF0}

LIMIT_TABLE: Table = (
    Field("limits.cell_max_mv", 1, ">H"),
    Field("limits.cell_low_mv", 3, ">H"),  # the device's own warning
    Field("limits.cell_min_mv", 5, ">H"),
    Field("limits.charge_temp_max_dc", 7, ">H", plus=KELVIN),
    Field("limits.charge_temp_min_dc", 9, ">H", plus=KELVIN),
    Field("limits.charge_ma", 11, ">h", times=100),
    Field("limits.voltage_max_mv", 13, ">H"),
    Field("limits.voltage_low_mv", 15, ">H"),
    Field("limits.voltage_min_mv", 17, ">H"),
    Field("limits.discharge_temp_max_dc", 19, ">H", plus=KELVIN),
    Field("limits.discharge_temp_min_dc", 21, ">H", plus=KELVIN),
    Field("limits.discharge_ma", 23, ">h", times=100),
)
REQUEST_TABLE: Table = (  # behind the address in 0x92, at the start in 0x63
    Field("extra.charge_limit_mv", 0, ">H"),
    Field("extra.discharge_limit_mv", 2, ">H"),
    Field("extra.charge_limit_ma", 4, ">h", times=100),
    Field("extra.discharge_limit_ma", 6, ">h", times=100),
)
SYSTEM_TABLE: Table = (
    Field("voltage_mv", 0, ">H"),
    Field("current_ma", 2, ">h", times=10),
    Field("soc_pm", 4, ">B", times=10),
    Field("cycles", 5, ">H"),
    Field("extra.cycles_max", 7, ">H"),
    Field("soh_pm", 9, ">B", times=10),
    Field("extra.soh_min_pm", 10, ">B", times=10),
    Field("cell_max_mv", 11, ">H"),
    Field("cell_min_mv", 15, ">H"),
    Field("extra.temp_average_dc", 19, ">H", plus=KELVIN),
    Field("temp_max_dc", 21, ">H", plus=KELVIN),
    Field("temp_min_dc", 25, ">H", plus=KELVIN),
    Field("extra.mos_temp_average_dc", 29, ">H", plus=KELVIN),
    Field("mos_temp_dc", 31, ">H", plus=KELVIN),
    Field("extra.mos_temp_min_dc", 35, ">H", plus=KELVIN),
    Field("extra.board_temp_average_dc", 39, ">H", plus=KELVIN),
    Field("extra.board_temp_max_dc", 41, ">H", plus=KELVIN),
    Field("extra.board_temp_min_dc", 45, ">H", plus=KELVIN),
)
PLACES = (("cell_max", 13), ("cell_min", 17), ("temp_max", 23), ("temp_min", 27))  # high byte module, low byte place
LENGTHS = {LIMITS: 25, VERSION: 0, MAKER: 32, SYSTEM: 49, SYSTEM_ALARMS: 4, SYSTEM_REQUESTS: 9}
LENGTHS |= {REQUESTS: 10, SERIAL: 17, SOFTWARE: 6}


class Cursor:
    """Walks through a payload."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def take(self, count: int) -> bytes:
        """The next bytes. Raises BadFrame behind the end."""
        if self.at + count > len(self.data):
            raise BadFrame(f"the payload ends {self.at + count - len(self.data)} bytes early", self.data)
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, width: int, *, signed: bool = False) -> int:
        """The next bytes as one number."""
        return int.from_bytes(self.take(width), "big", signed=signed)

    def counted(self, most: int) -> int:
        """A count that must make sense. Raises BadFrame."""
        count = self.number(1)
        if count > most:
            raise BadFrame(f"{count} of what there are at most {most} of", self.data)
        return count


One = Callable[[Cursor], dict[str, Any]]


def modules(frame: Frame, group: bool | None, one: One) -> tuple[Measured, ...]:
    """Every module of a 0x42 or 0x44 answer, first to last. `group` None: the request is not known.

    Some models put bytes that nobody has explained behind each module; their number is the one that comes out even.
    """
    info = frame.info
    if len(info) < 2:
        raise BadFrame("no payload", info)
    single = [(1, info[1])] if group is False or (group is None and info[1] == frame.address) else []
    many = [(info[1], frame.address)] if group is not False else []
    failed = BadFrame("the modules do not fill the payload", info)
    for spare in range(MOST_SPARE + 1):
        for count, first in single + many:
            try:
                return tuple(_each(Cursor(info, 2), count, first, spare, one))
            except BadFrame as error:
                failed = failed if spare else error
    raise failed


def _each(cursor: Cursor, count: int, first: int, spare: int, one: One) -> list[Measured]:
    found = []
    for place in range(count):
        values = one(cursor)
        rest = cursor.take(spare)
        if rest:
            values["raw"] = {**values.get("raw", {}), "rest": rest.hex()}
        found.append(Measured(module=first + place, **values))
    if cursor.at != len(cursor.data):
        raise BadFrame(f"{len(cursor.data) - cursor.at} bytes are left behind the last module", cursor.data)
    return found


def analog(cursor: Cursor) -> dict[str, Any]:
    """0x42: cells, temperatures, current, charge. The first temperature is the BMS board, a sixth the MOSFETs.

    The state of charge is remaining by full charge, as the maker's own tools show it; the answer carries none.
    """
    cells = [cursor.number(2, signed=True) for _ in range(cursor.counted(MOST_CELLS))]
    temps = [cursor.number(2) for _ in range(cursor.counted(MOST_SENSORS))]
    current, voltage, remaining = cursor.number(2, signed=True), cursor.number(2), cursor.number(2)
    items = cursor.counted(8)
    if items < 2 or not cells:
        raise BadFrame("no cells, or no full charge and cycles", cursor.data)
    full, cycles = cursor.number(2), cursor.number(2)
    if items >= 4:
        remaining, full = cursor.number(3), cursor.number(3)
    rest = cursor.take(2 * (items - 4 if items >= 4 else items - 2))
    clone = abs(10 * voltage - sum(cells)) < abs(voltage - sum(cells))  # counts in 10 mV, 10 mA and 10 mAh
    temps_dc = tuple(raw + KELVIN if raw else None for raw in temps)
    return {
        "cell_mv": tuple(cells),
        "temp_dc": temps_dc,
        "mos_temp_dc": temps_dc[5] if len(temps_dc) == 6 else None,
        "current_ma": current * (10 if clone else 100),
        "voltage_mv": voltage * (10 if clone else 1),
        "remaining_mah": remaining * (10 if clone else 1),
        "full_mah": full * (10 if clone else 1),
        "cycles": cycles,
        "soc_pm": round(1000 * remaining / full) if full else None,
        "raw": {"items": rest.hex()} if rest else {},
    }


def alarms(cursor: Cursor) -> dict[str, Any]:
    """0x44: what is outside its limits, cell by cell. All of it is protection; warnings come over 0x62 only."""
    cells, temps = (cursor.take(cursor.counted(most)) for most in (MOST_CELLS, MOST_SENSORS))
    measured, status = cursor.take(3), cursor.take(5)
    if not ELEMENT_STATES.issuperset(cells + temps + measured) or not cells:
        raise BadFrame("a cell, sensor or current is in no state that is known", cursor.data)
    raw = {"status": status.hex(), "measured": measured.hex()}
    raw |= {name: states.hex() for name, states in (("cells", cells), ("temps", temps)) if any(states)}
    names = dict(zip(("charge_current", "voltage", "discharge_current"), measured, strict=True))
    return {
        "charge_on": bool(status[1] & 2),
        "discharge_on": bool(status[1] & 4),
        "faults": _unique(_element_faults(cells, temps, status), _states(names), _status_faults(status)),
        "raw": raw,
        "extra": {"precharging": status[1] & 1, "heating": status[2] >> 5 & 1},
    }


def _element_faults(cells: bytes, temps: bytes, status: bytes) -> list[str]:
    """A hot sensor is a charging or a discharging fault: status 1 tells, else the way the current flows."""
    sensors = list(temps)
    hot = "temperature_charging" if status[2] & 0x80 else "temperature"
    found = [fault for state in cells if state for fault in _word("cell").of_value(f"{state:02X}")]
    for i, state in enumerate(sensors):
        which = "mosfet" if i == 5 and len(sensors) == 6 else hot
        if state and not (state == 2 and which == hot and status[0] & 0x60):
            found += _word(which).of_value(f"{state:02X}")
    return found


def _states(states: dict[str, int]) -> list[str]:
    return [fault for name, state in states.items() if state for fault in _word(name).of_value(f"{state:02X}")]


def _status_faults(status: bytes) -> list[str]:
    sense = status[3] | status[4] << 8
    return [
        *_word("status_1").of_mask(status[0]),
        *_word("status_3").of_mask(status[2] & 0x08),  # its other bits are states, not faults
        *(_word("sense").of_value("error") if sense else ()),
    ]


def _word(name: str) -> faults.Word:
    return faults.brand("pylontech")[f"rs485_{name}"]


def _unique(*found: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(fault for some in found for fault in some))


def limits(info: bytes) -> dict[str, Any]:
    """0x47: the limits that the module itself acts on. Currents are sizes, whatever sign they come with."""
    values = read(LIMIT_TABLE, info)
    values["limits"] |= {name: abs(values["limits"][name]) for name in ("charge_ma", "discharge_ma")}
    return values


def requests(info: bytes) -> dict[str, Any]:
    """0x92 behind its address, 0x63: what the battery asks of the inverter just now.

    0x63 counts its currents in 0.1 A or 0.01 A, sources disagree: its raw words go along.
    """
    extra = read(REQUEST_TABLE, info)["extra"]
    flags = info[8]
    extra |= {name: abs(extra[name]) for name in ("charge_limit_ma", "discharge_limit_ma")}
    extra |= {"charge_immediately_1": flags >> 5 & 1, "charge_immediately_2": flags >> 4 & 1}
    extra |= {"full_charge_request": flags >> 3 & 1}
    raw = {"requests": info[8:].hex(), "current_limits": info[4:8].hex()}
    return {"charge_on": bool(flags & 0x80), "discharge_on": bool(flags & 0x40), "extra": extra, "raw": raw}


def system(info: bytes) -> dict[str, Any]:
    """0x61: the whole stack in one answer, units of protocol 3.5."""
    return {**read(SYSTEM_TABLE, info), "raw": {f"{name}_place": info[at : at + 2].hex() for name, at in PLACES}}


def system_alarms(info: bytes) -> dict[str, Any]:
    """0x62: warnings and protections of the stack."""
    words = ("warning_1", "warning_2", "protection_1", "protection_2")
    found = [_word(name).of_mask(mask) for name, mask in zip(words, info, strict=True)]
    return {"faults": _unique(*found), "raw": {"system_alarms": info.hex()}}


def maker(info: bytes) -> dict[str, Any]:
    """0x51: model, software, maker."""
    texts = {"model": _text(info[:10]), "firmware": f"{info[10]}.{info[11]}", "maker": _text(info[12:])}
    return {"info": {name: text for name, text in texts.items() if text}}


def serial(info: bytes) -> dict[str, Any]:
    """0x93, behind its address."""
    return {"info": {"serial": _text(info)}}


def software(info: bytes) -> dict[str, Any]:
    """0x96, behind its address: the maker's version and that of the mainline."""
    return {"info": {"firmware_maker": ".".join(map(str, info[:2])), "firmware_main": ".".join(map(str, info[2:]))}}


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("ascii", "replace").strip(" -\xff\ufffd")
