"""Victron's VE.Direct HEX registers, asked one by one beside the text. Protocol: docs/devices/victron_hex.md."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cellherd import faults
from cellherd.errors import BadFrame, Silent
from cellherd.reading import Kind, Measured, combine
from collectors.kernel import Answer, Chunk, Conversation, Driver, Send, Unsupported

GET, ASYNC, DONE, UNKNOWN_COMMAND, BROKEN, PING = 0x7, 0xA, 0x1, 0x3, 0x4, 0x5
FRAME = re.compile(rb":([0-9A-Fa-f])((?:[0-9A-Fa-f]{2})+)\s*")
FLAGS = {1: "does not know it", 2: "does not support it", 4: "finds a parameter wrong"}
KELVIN = -27315


@dataclass(frozen=True, slots=True)
class Register:
    """`name` = (raw + plus) * times / over; the highest value of its width means that there is none."""

    name: str
    times: int = 1
    over: int = 1
    plus: int = 0
    signed: bool = False

    def read(self, data: bytes) -> int | None:
        """The value in our unit, None for the sentinel and for a record that is no number."""
        if len(data) not in (1, 2, 4):
            return None
        raw = int.from_bytes(data, "little", signed=self.signed)
        absent = (1 << 8 * len(data) - self.signed) - 1
        return None if raw == absent else round((raw + self.plus) * self.times / self.over)


REGISTERS: Mapping[int, Register] = {
    0x0120: Register("counters.uptime_s"),
    0x0200: Register("extra.mode"),
    0x0201: Register("extra.device_state"),
    0x0300: Register("extra.deepest_discharge_mah", times=100, signed=True),
    0x0301: Register("extra.last_discharge_mah", times=100, signed=True),
    0x0302: Register("extra.average_discharge_mah", times=100, signed=True),
    0x0303: Register("cycles"),
    0x0304: Register("counters.full_discharges"),
    0x0305: Register("counters.drawn_mah", times=100, signed=True),
    0x0306: Register("extra.lowest_mv", times=10, signed=True),
    0x0307: Register("extra.highest_mv", times=10, signed=True),
    0x0308: Register("extra.since_full_s"),
    0x0309: Register("counters.synchronisations"),
    0x030A: Register("counters.low_voltage_alarms"),
    0x030B: Register("counters.high_voltage_alarms"),
    0x030E: Register("extra.aux_lowest_mv", times=10, signed=True),
    0x030F: Register("extra.aux_highest_mv", times=10, signed=True),
    0x0310: Register("counters.discharged_wh", times=10),
    0x0311: Register("counters.charged_wh", times=10),
    0x0382: Register("extra.mid_mv", times=10),
    0x0383: Register("extra.mid_deviation_pm", signed=True),
    0x0FFE: Register("extra.time_to_go_min"),
    0x0FFF: Register("soc_pm", over=10),
    0x1000: Register("info.nominal_mah", times=1000),
    0xED7D: Register("extra.aux_mv", times=10, signed=True),
    0xED8C: Register("current_ma", signed=True),
    0xED8D: Register("voltage_mv", times=10, signed=True),
    0xED8E: Register("extra.power_w", signed=True),
    0xED8F: Register("current_ma", times=100, signed=True),
    0xEDB3: Register("extra.tracker_mode"),
    0xEDBB: Register("extra.pv_mv", times=10),
    0xEDBC: Register("power_in_w", over=100),
    0xEDBD: Register("extra.pv_ma", times=100),
    0xEDD0: Register("extra.power_yesterday_max_w"),
    0xEDD1: Register("extra.yield_yesterday_wh", times=10),
    0xEDD2: Register("extra.power_today_max_w"),
    0xEDD3: Register("extra.yield_today_wh", times=10),
    0xEDD5: Register("voltage_mv", times=10),
    0xEDD7: Register("current_ma", times=100),
    0xEDDB: Register("extra.internal_temp_dc", over=10, signed=True),
    0xEDDC: Register("counters.yield_since_reset_wh", times=10),
    0xEDDD: Register("counters.yield_wh", times=10),
    0xEDEC: Register("temp_dc", over=10, plus=KELVIN),
    0xEDF0: Register("limits.charge_ma", times=100),
    0xEDF6: Register("limits.float_mv", times=10),
    0xEDF7: Register("limits.absorption_mv", times=10),
    0xEEB8: Register("extra.monitor_mode", signed=True),
    0xEEFF: Register("extra.consumed_mah", times=100, signed=True),
}
MASKS = {0x031C: "vedirect_alarm", 0x031E: "vedirect_alarm", 0x0207: "vedirect_off"}
PRODUCT, FIRMWARE, SERIAL, MODEL, ERROR = 0x0100, 0x0102, 0x010A, 0x010B, 0xEDDA
TEXTS = {SERIAL: "serial", MODEL: "model"}
CHARGER = {0x0201, 0x0207, *range(0x104F, 0x10A0), *range(0xEDB0, 0xEDEC), *range(0xEDED, 0xEE00)}
"""Registers of solar chargers, which no shunt has."""
MEASURED = (0xED8D, 0xED8C, 0x0FFF, 0x0FFE, 0xEEFF, 0xEDEC, 0x0382, 0x031E, 0x031C)
MEASURED_BY_CHARGERS = (0xEDD5, 0xEDD7, 0xEDBB, 0xEDBC, 0xEDBD, 0xEDDB, 0x0201, 0x0207, ERROR)
HISTORY = (*range(0x0300, 0x030C), 0x0310, 0x0311, 0xEDD0, 0xEDD1, 0xEDD2, 0xEDD3, 0xEDDC, 0xEDDD)
IDENTITY = (PRODUCT, FIRMWARE, SERIAL, MODEL, 0x1000, 0xEDF0, 0xEDF6, 0xEDF7)
ALLOWED = (*MEASURED, *MEASURED_BY_CHARGERS, *HISTORY, *IDENTITY)


def write(command: int, body: bytes = b"") -> bytes:
    """A frame; command, bytes and checksum add up to 55."""
    return f":{command:X}{(body + bytes((0x55 - command - sum(body) & 0xFF,))).hex().upper()}\n".encode()


def ask(register: int) -> Send:
    """A get request; the only kind there is here."""
    return Send(write(GET, register.to_bytes(2, "little") + b"\0"))


def split(text: bytes) -> tuple[int, bytes]:
    """Command and bytes of a frame. Raises BadFrame."""
    shape = FRAME.fullmatch(text[max(text.rfind(b":"), 0) :])
    if shape is None:
        raise BadFrame("not a VE.Direct HEX frame: a colon, a digit, pairs of digits", text)
    command, body = int(shape[1], 16), bytes.fromhex(shape[2].decode())
    if (command + sum(body)) & 0xFF != 0x55:
        raise BadFrame(f"checksum should be {(0x55 - command - sum(body[:-1])) & 0xFF:02X}", text)
    return command, body[:-1]


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:  # an answer names its register
    """One frame, asked for or not. Raises BadFrame, Unsupported for a register that the device has not."""
    if not isinstance(frame, bytes):
        raise BadFrame("VE.Direct is no CAN", frame.data)
    command, body = split(frame)
    if command in (GET, ASYNC):
        return (_register(body, frame),)
    if command == BROKEN:
        raise BadFrame("the device has seen a broken frame", frame)
    if command == UNKNOWN_COMMAND and body:
        raise Unsupported("the device does not know the command", frame)
    if command == PING and len(body) == 2:
        return (Measured(kind="shunt", info={"firmware": _version(body)}),)
    if command == DONE and len(body) == 2:
        return (Measured(kind="shunt", info={"product_id": _product(body)}),)
    return (Measured(kind="shunt", raw={f"hex_{command:x}": body.hex()}),)


def _version(body: bytes) -> str:
    """Digits as they are written: two bytes, whose highest bits tell a candidate, or three of newer firmware."""
    low, middle, high = (*body, 0)[:3]
    return f"{high:x}.{middle:02x}" if high not in (0, 0xFF) else f"{middle & 0x3F:x}.{low:02x}"


def _product(body: bytes) -> str:
    return f"0x{int.from_bytes(body, 'little'):X}"


def _register(body: bytes, frame: bytes) -> Measured:
    if len(body) < 3:
        raise BadFrame("no register and flags", frame)
    register, flags, data = int.from_bytes(body[:2], "little"), body[2], body[3:]
    kind: Kind = "inverter" if register in CHARGER else "shunt"
    if flags:
        raise Unsupported(f"register {register:04X}: the device {FLAGS.get(flags, f'answers {flags:#04x}')}", frame)
    if not data:  # a request
        return Measured(kind=kind, raw={f"{register:04x}": ""})
    said = _value(register, data, kind)
    named = said != Measured(kind=kind) and said.faults is None
    return said if named else replace(said, raw={f"{register:04x}": data.hex()})


def _value(register: int, data: bytes, kind: Kind) -> Measured:
    """Masks, records and registers without a name here are told as raw."""
    values: dict[str, Any] = {}
    if known := REGISTERS.get(register):
        value, (group, _, key) = known.read(data), known.name.rpartition(".")
        if value is not None and group:
            values[group] = {key: value}
        elif value is not None:
            values[key] = (value,) if key == "temp_dc" else value
    elif register in MASKS:
        values["faults"] = faults.brand("victron")[MASKS[register]].of_mask(int.from_bytes(data, "little"))
    elif register == ERROR:
        values["faults"] = faults.brand("victron")["vedirect_error"].of_value(str(data[0]))
    elif register == PRODUCT and len(data) >= 3:
        values["info"] = {"product_id": _product(data[1:3])}
    elif register == PRODUCT:  # older chargers give it alone and turned round
        values["info"] = {"product_id": _product(data[::-1])}
    elif register == FIRMWARE and len(data) >= 3:
        values["info"] = {"firmware": _version(data[1:4])}
    elif register in TEXTS:
        values["info"] = {TEXTS[register]: data.split(b"\0")[0].decode("ascii", "replace").strip()}
    return Measured(kind=kind, **values)


def extract(request: bytes, buffer: bytes) -> bytes | None:
    """The answer among text and asynchronous frames; see kernel.Extract."""
    wanted, broken = request[:6].upper(), None
    for frame in re.findall(rb":[0-9A-Fa-f]+[\r\n]", buffer):
        if frame[:6].upper() != wanted or frame.strip() == request.strip():
            continue
        try:
            split(frame)
        except BadFrame as error:
            broken = broken or error
            continue
        return bytes(frame)
    if broken:
        raise broken
    return None


Step = Generator[Send, Answer, tuple[Measured, ...]]


def _get(registers: tuple[int, ...]) -> Step:
    """Every register that the device has. Raises Silent if it answers nothing at all."""
    parts: list[Measured] = []
    answered = False
    for register in registers:
        try:
            parts += decode((yield ask(register)))
        except Unsupported:
            answered = True
        except Silent:
            if not (answered or parts):
                raise
    if not parts:
        return ()
    kind: Kind = "inverter" if any(part.kind == "inverter" for part in parts) else "shunt"
    return (combine(*parts, Measured(kind=kind)),)


def poll(address: int) -> Conversation:
    """What is measured now; a shunt refuses a charger's registers, a charger a shunt's."""
    return (yield from _get((*MEASURED, *MEASURED_BY_CHARGERS)))


def seldom(address: int) -> Conversation:
    """Lifetime counters."""
    return (yield from _get(HISTORY))


def identify(address: int) -> Conversation:
    """Product, firmware, serial, settings."""
    return (yield from _get(IDENTITY))


DRIVER = Driver(
    name="victron_hex",
    brand="victron",
    title="Victron VE.Direct devices, HEX registers",
    line="VE.Direct port, 19200 8N1; ask seldom (`period_s = 60`), the device holds its text back while asked",
    links=("serial", "tcp"),
    decode=decode,
    allow=tuple(re.compile(re.escape(ask(register).data)) for register in ALLOWED),
    poll=poll,
    identify=identify,
    seldom=seldom,
    extract=extract,
    baud=19200,
    gap_s=0.02,
    ascii=True,
)
