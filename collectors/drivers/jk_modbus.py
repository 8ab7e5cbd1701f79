"""JK (JiKong) PB series and other new boards over RS485, Modbus RTU. Protocol: docs/devices/jk_modbus.md."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Literal

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Measured, combine
from collectors.fields import Field, Table, read
from collectors.kernel import Chunk, Conversation, Driver, Registers, Unsupported

READ: Literal[3] = 3
SETTINGS, RUNTIME, DEVICE = 0x1000, 0x1200, 0x1400  # a register is base + byte offset, so neighbours are 2 apart
CELLS = 32
NO_SENSOR = -2000

MEASURED: Table = (
    *(Field(f"cell_mv.{i}", 2 * i, ">H") for i in range(CELLS)),
    Field("mos_temp_dc", 138, ">h", absent=NO_SENSOR),
    Field("voltage_mv", 144, ">i"),
    Field("current_ma", 152, ">i"),
    Field("temp_dc.0", 156, ">h", absent=NO_SENSOR),
    Field("temp_dc.1", 158, ">h", absent=NO_SENSOR),
    Field("extra.balance_ma", 164, ">h"),
    Field("extra.balance_state", 166, ">B"),  # 0 off, 1 charging a cell, 2 discharging one
    Field("soc_pm", 167, ">B", times=10),
    Field("remaining_mah", 168, ">I"),
    Field("full_mah", 172, ">I"),
    Field("cycles", 176, ">I"),
    Field("counters.throughput_mah", 180, ">I"),
    Field("soh_pm", 184, ">B", times=10),
    Field("extra.precharge", 185, ">B"),
    Field("extra.run_time_s", 188, ">I"),
    Field("charge_on", 192, ">B"),
    Field("discharge_on", 193, ">B"),
    # Seconds until a protection lets go; 0 is no such wait.
    Field("extra.release_discharge_overcurrent_s", 196, ">H", absent=0),
    Field("extra.release_discharge_short_circuit_s", 198, ">H", absent=0),
    Field("extra.release_charge_overcurrent_s", 200, ">H", absent=0),
    Field("extra.release_charge_short_circuit_s", 202, ">H", absent=0),
    Field("extra.release_undervoltage_s", 204, ">H", absent=0),
    Field("extra.release_overvoltage_s", 206, ">H", absent=0),
    Field("extra.heating", 209, ">B"),
    Field("extra.emergency_s", 212, ">H", absent=0),
    Field("extra.heater_ma", 230, ">h"),
    Field("extra.charger_plugged", 239, ">B"),
    Field("temp_dc.2", 248, ">h", absent=NO_SENSOR),
    Field("temp_dc.3", 250, ">h", absent=NO_SENSOR),
    Field("temp_dc.4", 252, ">h", absent=NO_SENSOR),
    Field("counters.log_entries", 260, ">I"),
    Field("extra.charge_stage_s", 272, ">H"),
    Field("extra.charge_stage", 274, ">B"),  # 0 bulk, 1 absorption, 2 float
)
WIRES: Table = tuple(Field(f"extra.wire_{i:02}_mohm", 74 + 2 * i, ">H") for i in range(CELLS))
PRESENT = Field("raw.cells_present", 64, ">I")
MASKS = (  # vendor words, kept as hex
    PRESENT,
    Field("raw.wire_alarm", 140, ">I"),
    Field("raw.alarm", 160, ">I"),
    Field("raw.user_alarm", 186, ">H"),
    Field("raw.user_alarm_2", 194, ">H"),
    Field("raw.sensors_present", 208, ">B"),
)
LIMITS: Table = (
    Field("limits.sleep_mv", 0, ">I"),
    Field("limits.cell_min_mv", 4, ">I"),
    Field("limits.cell_min_release_mv", 8, ">I"),
    Field("limits.cell_max_mv", 12, ">I"),
    Field("limits.cell_max_release_mv", 16, ">I"),
    Field("limits.balance_trigger_mv", 20, ">I"),
    Field("limits.cell_full_mv", 24, ">I"),
    Field("limits.cell_empty_mv", 28, ">I"),
    Field("limits.cell_charge_mv", 32, ">I"),
    Field("limits.cell_float_mv", 36, ">I"),
    Field("limits.cell_power_off_mv", 40, ">I"),
    Field("limits.charge_ma", 44, ">I"),
    Field("limits.charge_delay_s", 48, ">I"),
    Field("limits.charge_release_s", 52, ">I"),
    Field("limits.discharge_ma", 56, ">I"),
    Field("limits.discharge_delay_s", 60, ">I"),
    Field("limits.discharge_release_s", 64, ">I"),
    Field("limits.short_circuit_release_s", 68, ">I"),
    Field("limits.balance_ma", 72, ">I"),
    Field("limits.charge_temp_max_dc", 76, ">i"),
    Field("limits.charge_temp_max_release_dc", 80, ">i"),
    Field("limits.discharge_temp_max_dc", 84, ">i"),
    Field("limits.discharge_temp_max_release_dc", 88, ">i"),
    Field("limits.charge_temp_min_dc", 92, ">i"),
    Field("limits.charge_temp_min_release_dc", 96, ">i"),
    Field("limits.mos_temp_max_dc", 100, ">i"),
    Field("limits.mos_temp_max_release_dc", 104, ">i"),
    Field("info.n_cells", 108, ">I"),
    Field("limits.charge_enabled", 112, ">I"),
    Field("limits.discharge_enabled", 116, ">I"),
    Field("limits.balance_enabled", 120, ">I"),
    Field("info.nominal_mah", 124, ">I"),
    Field("limits.short_circuit_delay_us", 128, ">I"),
    Field("limits.balance_start_mv", 132, ">I"),
    Field("info.bus_address", 264, ">I"),
    Field("limits.current_range_ma", 272, ">I"),
    Field("limits.discharge_temp_min_dc", 290, ">b", times=10),
    Field("limits.discharge_temp_min_release_dc", 291, ">b", times=10),
)
TEXTS = (  # name, offset, length; the passcodes at 56 and 112 have no row and are never read
    ("model", 0, 15),
    ("hardware", 16, 8),
    ("firmware", 24, 8),
    ("manufactured", 72, 8),
    ("serial", 80, 16),
)
BOOTS = Field("counters.power_ons", 36, ">I")

# At most 120 registers a read; the run time reads 0 unless it is read alone (V21.00).
MAIN = Registers(READ, RUNTIME, 120)
RUN_TIME = Registers(READ, RUNTIME + 188, 2)
MORE = Registers(READ, RUNTIME + 240, 18)
PROTECTIONS = Registers(READ, SETTINGS, 68)
OPTIONS = Registers(READ, SETTINGS + 264, 14)
NAMES = Registers(READ, DEVICE, 20)
SERIAL = Registers(READ, DEVICE + 72, 12)
RESISTANCES = Registers(READ, RUNTIME + 64, 37)


def crc(body: bytes) -> int:
    """CRC-16/Modbus."""
    value = 0xFFFF
    for byte in body:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


def frame_of(body: bytes) -> bytes:
    """The body with its CRC, low byte first."""
    return body + crc(body).to_bytes(2, "little")


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """The answer to a read of holding registers; only the request tells which registers it carries.

    Raises BadFrame, Unsupported for a Modbus exception.
    """
    if not isinstance(frame, bytes):
        raise BadFrame("not Modbus RTU but a CAN frame", frame.data)
    frame = frame.removeprefix(request or b"")  # the echo of an adapter
    if len(frame) < 5 or frame_of(frame[:-2]) != frame:
        raise BadFrame("too short or wrong CRC for Modbus RTU", frame)
    if frame[1] == READ | 0x80:
        raise Unsupported(f"slave {frame[0]} refuses with exception {frame[2]}", frame)
    if frame[1] != READ or len(frame) != frame[2] + 5 or frame[2] % 2:
        raise BadFrame("not an answer to a read of holding registers, or not of its stated length", frame)
    if request is None:
        raise BadFrame("a Modbus answer does not name its registers: give the request too", frame)
    if len(request) not in (6, 8) or request[:2] != frame[:2] or 2 * int.from_bytes(request[4:6], "big") != frame[2]:
        raise BadFrame(f"no answer to the request {request.hex()}", frame)
    return (measure(int.from_bytes(request[2:4], "big"), frame[3:-2], module=frame[0]),)


def measure(start: int, data: bytes, *, module: int) -> Measured:
    """What stands whole in the bytes behind register `start`. Raises BadFrame outside the tables."""
    if SETTINGS <= start < RUNTIME:
        return Measured(module=module, **read(LIMITS, data, shift=start - SETTINGS))
    if RUNTIME <= start < DEVICE:
        return _runtime(data, start - RUNTIME, module, wires=True)
    if DEVICE <= start < DEVICE + 0x200:
        return _device(data, start - DEVICE, module)
    raise BadFrame(f"register {start:#06x} is in none of the tables that we read", data)


def _runtime(data: bytes, shift: int, module: int, *, wires: bool) -> Measured:
    values = read((*MEASURED, *WIRES) if wires else MEASURED, data, shift=shift)
    masks: dict[str, int] = read(MASKS, data, shift=shift).get("raw", {})
    extra = values.get("extra", {})
    if shift != 188 and extra.get("run_time_s") == 0:
        del extra["run_time_s"]
    _only_present(values, masks.get("cells_present"))
    values |= {name: bool(values[name]) for name in ("charge_on", "discharge_on") if name in values}
    words = faults.brand("jk")
    known = [name for name in ("alarm", "user_alarm_2") if name in masks]
    found = [fault for name in known for fault in words[name].of_mask(masks[name])]
    if known:
        values["faults"] = tuple(dict.fromkeys(found))
    widths = {field.name[4:]: 2 * (field.end - field.offset) for field in MASKS}
    return Measured(module=module, raw={name: f"{mask:0{widths[name]}x}" for name, mask in masks.items()}, **values)


def _only_present(values: dict[str, Any], mask: int | None) -> None:
    """Drop the empty slots behind the last cell, and say where the extremes are: 0x1248 is not to be trusted."""
    cells = values.get("cell_mv", ())
    count = max((i + 1 for i, mv in enumerate(cells) if mv), default=0) if mask is None else mask.bit_length()
    present = (1 << count) - 1 if mask is None else mask
    if cells:
        cells = tuple(mv if present >> i & 1 else None for i, mv in enumerate(cells[:count]))
        values["cell_mv"] = cells
    if mask is not None:
        for name in (field.name[6:] for i, field in enumerate(WIRES) if not mask >> i & 1):
            values.get("extra", {}).pop(name, None)
    said = [(mv, -i) for i, mv in enumerate(cells) if mv is not None]
    if mask and len(said) == mask.bit_count():
        values["cell_min_mv"], values["cell_min_at"] = min((mv, -i) for mv, i in said)
        values["cell_max_mv"], at = max(said)
        values["cell_max_at"] = -at


def _device(data: bytes, shift: int, module: int) -> Measured:
    whole = [(name, at - shift, at - shift + n) for name, at, n in TEXTS if at >= shift and at - shift + n <= len(data)]
    texts = {name: data[start:end].split(b"\0")[0].decode("ascii", "replace").strip() for name, start, end in whole}
    return Measured(module=module, info={n: t for n, t in texts.items() if t}, **read((BOOTS,), data, shift=shift))


def _whole(answer: bytes, request: Registers) -> bytes:
    if len(answer) != 2 * request.count:
        raise BadFrame(f"{len(answer)} bytes for {request.count} registers from {request.start:#06x}", answer)
    return answer


def poll(address: int) -> Conversation:
    """The runtime table, every period, as one image; older firmware ends before its last part."""
    image = bytearray(_whole((yield MAIN), MAIN))
    image[188:192] = _whole((yield RUN_TIME), RUN_TIME)
    with suppress(Unsupported):
        image += _whole((yield MORE), MORE)
    return (_runtime(bytes(image), 0, address, wires=False),)


def identify(address: int) -> Conversation:
    """Protection settings, model, firmware and serial; passcodes stay where they are."""
    parts = []
    for request in (PROTECTIONS, OPTIONS, NAMES, SERIAL):
        try:
            answer = _whole((yield request), request)
        except Unsupported:
            continue
        parts.append(measure(request.start, answer, module=address))
    return (combine(*parts),) if parts else ()


def seldom(address: int) -> Conversation:
    """Resistance of each balance wire, which tells a loose lug long before a cell looks bad."""
    answer = _whole((yield RESISTANCES), RESISTANCES)
    return (measure(RESISTANCES.start, answer, module=address),)


DRIVER = Driver(
    name="jk_modbus",
    brand="jk",
    title="JK (JiKong) PB series and HW V19 or later",
    line="RS485, 115200 8N1, Modbus RTU; no module at address 0, for that one polls the others itself",
    links=("modbus",),
    decode=decode,
    allow=(MAIN, RUN_TIME, MORE, PROTECTIONS, OPTIONS, NAMES, SERIAL, RESISTANCES),
    poll=poll,
    identify=identify,
    seldom=seldom,
    default_address=1,
    baud=115200,
    gap_s=0.12,
    timeout_s=0.5,
)
