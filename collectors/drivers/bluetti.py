"""Bluetti power stations: Modbus TCP of newer models, bridges for older ones. Protocol: docs/devices/bluetti.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from cellherd import faults
from cellherd.errors import BadFrame, Silent
from cellherd.reading import Measured, combine
from collectors import registers
from collectors.fields import Table
from collectors.fields import read as read_fields
from collectors.kernel import Chunk, Conversation, Driver
from collectors.modbus_rtu import frame_of, split
from collectors.registers import FUNCTIONS, Part, RegisterMap, at
from collectors.telegrams import Key, document, number, objects, parts, read

ZERO_AMPS = 30_000
CHARGING, DISCHARGING = 1, 2
CELL_MV = (2000, 4500)
"""A cell's voltage: it tells whether a pack counts in 0.1 or 0.01 V."""
MOST_MV, MOST_PM = 100_000, 1000
"""No pack of a Bluetti has more: what a bridge says beyond it has lost its decimal point."""
ERRORS, ERROR_WORDS, WARNING_WORDS = 50027, 5, range(50023, 50027)
V1_PACK, V1_COUNT = 91, 37

TABLE: Table = (
    at("extra.state", 51006),
    at("voltage_mv", 51219, times=100, absent=0),
    at("current_ma", 51220, times=100, plus=-100 * ZERO_AMPS),
    at("soc_pm", 51221, times=10),
    at("soh_pm", 51222, times=10, absent=0),
    at("cycles", 51223),
    at("info.n_cells", 51234),
    at("extra.charged_low", 51236),
    at("extra.charged_high", 51237),
    at("extra.discharged_low", 51238),
    at("extra.discharged_high", 51239),
)
MAP = RegisterMap(
    brand="bluetti",
    kind="module",
    parts=(Part(3, 51219, 29), Part(3, 50022, 10, optional=True), Part(3, 51001, 8, optional=True)),
    table=TABLE,
    silent={
        "status": 50022, **{f"warning_{i}": place for i, place in enumerate(WARNING_WORDS, 1)},
        **{f"fault_{i + 1}": ERRORS + i for i in range(ERROR_WORDS)},
        "protect": 51240, "error": 51242, "alarm_1": 51245, "alarm_2": 51246,
    },
)  # fmt: skip
V1: Table = (
    at("extra.packs", 91),
    at("extra.pack", 96),
    at("voltage_mv", 98, times=10, absent=0),
    at("soc_pm", 99, times=10),
    *(at(f"cell_mv.{i}", 105 + i, times=10, absent=0) for i in range(16)),
)
V2_COUNT, V2_CELLS = 6300, 6302
V2_SOC = 6113

PACK = (
    Key("voltage_mv", ("pack_voltage", "voltage"), 1000, (0,), 1, MOST_MV),
    Key("soc_pm", ("pack_battery_percent", "percent", "battery_soc", "soc"), 10, least=0, most=1000),
    Key("soh_pm", ("pack_soh", "soh", "battery_soh"), 10, (0,), 0, 1000),
    Key("cycles", ("pack_cycles", "cycles", "battery_cycles", "cycle_count"), least=0),
    Key("cell_mv", ("cell_voltages", "voltages"), 1000, (0,), 1, 6000),
    Key("extra.packs", ("pack_num_max",), least=0, most=100),
)
STATION = (
    Key("soc_pm", ("total_battery_percent",), 10, least=0, most=1000),
    Key("voltage_mv", ("total_battery_voltage",), 1000, (0,), 1, MOST_MV),
)
POWERS = {
    "power_in_w": ("dc_input_power", "ac_input_power"),
    "power_out_w": ("ac_output_power", "dc_output_power"),
}
TOPICS = ("bluetti/state/{unit}/#",)
MESSAGES = (b"{", b"[", b"bluetti/")
DETAILS = re.compile(r"pack_details(\d{1,2})")


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """Modbus: the answer to one read. JSON: a pack or a station as a bridge tells it, or registers by number.

    An empty pack slot gives nothing. Raises BadFrame.
    """
    if isinstance(frame, bytes) and frame.lstrip().startswith(MESSAGES):
        topic, payload = parts(frame)
        told = [each for tree in objects(payload) for each in _told(topic, tree)]
        return tuple(told)
    v1 = bytes((1, 3)) + V1_PACK.to_bytes(2, "big") + V1_COUNT.to_bytes(2, "big")
    whole = isinstance(frame, bytes) and request is None and len(frame) == 2 * V1_COUNT + 5
    reply = split(frame, frame_of(v1) if whole else request, FUNCTIONS)
    return tuple(_registers(reply.start, reply.data))


def _registers(start: int, data: bytes) -> Iterator[Measured]:
    if V1_PACK <= start < V1_PACK + V1_COUNT:
        yield _v1(start, data)
    elif registers.covers(MAP, 3, start):
        yield from mended(registers.measure(MAP, start, data), _errors(start, data))
    else:
        raise BadFrame(f"register {start} is in no part of the map that we read", data)


def _v1(start: int, data: bytes) -> Measured:
    """A pack over Bluetooth of the first generation; where the volts do not fit the cells they count in tenths."""
    said = read_fields(V1, data, shift=2 * start)
    measured = Measured(module=said.get("extra", {}).get("pack"), **said)
    cells = sum(mv or 0 for mv in measured.cell_mv)
    volts = measured.voltage_mv
    if volts and cells and abs(10 * volts - cells) < abs(volts - cells):
        return replace(measured, voltage_mv=10 * volts)
    return measured


def _errors(start: int, data: bytes) -> int | None:
    """The fault words as one mask, low word first; None where they are not in the data."""
    at_ = 2 * (ERRORS - start)
    words = data[at_ : at_ + 2 * ERROR_WORDS] if at_ >= 0 else b""
    if len(words) < 2 * ERROR_WORDS:
        return None
    return sum(int.from_bytes(words[2 * i : 2 * i + 2], "big") << 16 * i for i in range(ERROR_WORDS))


def mended(measured: Measured, errors: int | None) -> Iterator[Measured]:
    """Scale, sign, counters and faults of what one or several reads said; nothing for an empty slot."""
    extra = dict(measured.extra)
    counters = {
        f"{way}_wh": int(extra.pop(f"{way}_low")) + 65_536 * int(extra.pop(f"{way}_high"))
        for way in ("charged", "discharged")
        if f"{way}_low" in extra and f"{way}_high" in extra
    }
    volts, current, told = measured.voltage_mv, measured.current_ma, list[str]()
    if current is not None and volts is None:
        return  # zeros: raw 0 would be 3000 A
    cells = int(measured.info.get("n_cells", 0))
    if volts and ((cells and volts > cells * CELL_MV[1]) or volts > MOST_MV):
        volts //= 10
    if current is not None and extra.get("state") in (CHARGING, DISCHARGING):
        current = abs(current) if extra["state"] == CHARGING else -abs(current)
    if errors is not None:
        names = [f"E{bit + 1:03}" for bit in range(errors.bit_length()) if errors >> bit & 1]
        told += [fault for name in names for fault in faults.brand("bluetti")["error"].of_value(name)]
    raw = {name: value for name, value in measured.raw.items() if name == "status" or int(value, 16)}
    told += [faults.UNKNOWN for name in ("protect", "error") if name in raw]
    told += ["alarm_unspecified" for name in raw if name.startswith("warning")]
    spoken = errors is not None or "protect" in measured.raw
    known: dict[str, Any] = {
        "extra": extra,
        "counters": counters,
        "raw": raw,
        "voltage_mv": volts,
        "current_ma": current,
    }
    yield replace(measured, faults=tuple(dict.fromkeys(told)) if spoken else None, **known)


def _told(topic: str, tree: Mapping[str, Any]) -> Iterator[Measured]:
    if isinstance(tree.get("registers"), dict):
        yield from _listed(tree["registers"])
        return
    found = DETAILS.search(topic)
    at_ = int(found[1]) if found else number(tree.get("pack_num"))
    said = read(PACK, tree) or read(STATION, tree)
    powers = _powers(tree)
    if not said and not powers:
        raise BadFrame("nothing in it that a Bluetti says of its battery")
    yield Measured(module=int(at_) if at_ else None, **said, **powers)


def _powers(tree: Mapping[str, Any]) -> dict[str, Any]:
    sums = dict[str, Any]()
    for name, paths in POWERS.items():
        values = [value for path in paths if (value := number(tree.get(path))) is not None and abs(value) < 10**6]
        if values:
            sums[name] = round(sum(values))
    return sums


def _listed(by_number: Mapping[str, Any]) -> Iterator[Measured]:
    """Registers one by one, as dumps have them."""
    pairs = ((number(name), number(value)) for name, value in by_number.items())
    words = {int(name): int(value) & 0xFFFF for name, value in pairs if name is not None and value is not None}
    if V2_COUNT in words:
        cells = tuple(words.get(V2_CELLS + i) for i in range(min(words[V2_COUNT], 48)))
        yield Measured(soc_pm=10 * words[V2_SOC] if V2_SOC in words else None, cell_mv=cells)
        return
    found, errors = list[Measured](), None
    for start in sorted(words):
        if registers.covers(MAP, 3, start) and start - 1 not in words:
            run = b"".join(words[at_].to_bytes(2, "big") for at_ in _run(words, start))
            found.append(registers.measure(MAP, start, run))
            errors = _errors(start, run) if errors is None else errors
    if not found:
        raise BadFrame("no registers of a Bluetti among them")
    yield from mended(combine(*found), errors)


def _run(words: Mapping[int, int], start: int) -> Iterator[int]:
    while start in words:
        yield start
        start += 1


def poll(address: int) -> Conversation:
    """A pack, and what the station says of faults. Raises Silent for a slot without a pack, BadFrame for no pack's."""
    (whole,) = yield from registers.poll(MAP)
    if (whole.soc_pm or 0) > MOST_PM:
        raise BadFrame(f"a charge of {whole.soc_pm} per mille: these are not the registers of a Bluetti")
    words = [whole.raw.get(f"fault_{i + 1}") for i in range(ERROR_WORDS)]
    known = [int(word, 16) for word in words if word is not None]
    errors = sum(word << 16 * i for i, word in enumerate(known)) if len(known) == ERROR_WORDS else None
    found = tuple(mended(whole, errors))
    if not found:
        raise Silent(f"no pack answers at address {address}")
    return found


def feed(state: Mapping[str, Any], chunk: Chunk) -> tuple[Mapping[str, Any], tuple[Measured, ...]]:
    """What bluetti_mqtt and its forks publish: a pack as JSON, everything else as one number a topic."""
    try:
        topic, payload = parts(chunk)
        name = topic.rpartition("/")[2]
        if DETAILS.fullmatch(name):
            return state, tuple(each for tree in objects(payload) for each in _told(name, tree))
        value = number(document(payload))
    except BadFrame:
        return state, ()
    known = {"total_battery_percent", "total_battery_voltage", *(path for paths in POWERS.values() for path in paths)}
    if value is None or name not in known:
        return state, ()
    state = {**state, name: value}
    if name != "total_battery_percent":
        return state, ()
    return state, (Measured(module=0, kind="station", **read(STATION, state), **_powers(state)),)


DRIVER = Driver(
    name="bluetti",
    brand="bluetti",
    title="Bluetti power stations and their packs",
    line="Modbus TCP switched on in the station's web page; older models through a bluetti_mqtt bridge",
    links=("modbus", "mqtt"),
    decode=decode,
    allow=tuple(part.permit for part in MAP.parts),
    poll=poll,
    feed=feed,
    fresh=dict,
    topics=TOPICS,
    default_address=1,
    silence_s=180.0,
    gap_s=0.2,
    timeout_s=3.0,
    ascii=True,
    spans_lines=True,
)
