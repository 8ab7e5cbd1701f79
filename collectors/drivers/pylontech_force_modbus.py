"""Pylontech Force H1 to H3 and PowerCube over Modbus RTU or TCP. Protocol: docs/devices/pylontech_force_modbus.md."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import suppress
from typing import Any, Literal

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Measured, combine
from collectors.fields import Field, Table, read
from collectors.kernel import Answer, Chunk, Conversation, Driver, Readable, Registers, Unsupported
from collectors.modbus_rtu import split

READ: Literal[3] = 3
DEVICE, SYSTEM, PILE, PILE_STRIDE = 0x1000, 0x1100, 0x1400, 0x0700
BLOCK, SERIAL, VOLTAGES, TEMPERATURES, CELLS, CELL_TEMPERATURES = 0x00, 0x50, 0x60, 0xB0, 0x100, 0x400
"""Places in the part of a pile, in registers."""
BLOCK_SIZE, DEVICE_SIZE, SERIAL_SIZE = 0x4A, 0x0D, 8
MOST, MOST_PILES, MOST_MODULES, MOST_CELLS = 120, 4, 0x50, 0x300
END = PILE + MOST_PILES * PILE_STRIDE
PER_PILE = 100
"""Module ids of the second pile begin at 101."""

BLOCK_TABLE: Table = (
    Field("voltage_mv", 0x06, ">H", times=100),
    Field("current_ma", 0x08, ">i", times=10),
    Field("temp_dc.0", 0x0C, ">h"),
    Field("soc_pm", 0x0E, ">H", times=10),
    Field("cycles", 0x10, ">H"),
    Field("extra.charge_limit_mv", 0x12, ">H", times=100),
    Field("extra.charge_limit_ma", 0x14, ">i", times=10),
    Field("extra.discharge_limit_mv", 0x18, ">H", times=100),
    Field("extra.discharge_limit_ma", 0x1A, ">i", times=10),
    Field("cell_max_mv", 0x20, ">H"),
    Field("cell_min_mv", 0x22, ">H"),
    Field("cell_max_at", 0x24, ">H"),  # cells are numbered through from 0
    Field("cell_min_at", 0x26, ">H"),
    Field("temp_max_dc", 0x28, ">h"),
    Field("temp_min_dc", 0x2A, ">h"),
    Field("extra.temp_max_at", 0x2C, ">H"),
    Field("extra.temp_min_at", 0x2E, ">H"),
    Field("extra.module_max_mv", 0x30, ">H", times=10),
    Field("extra.module_min_mv", 0x32, ">H", times=10),
    Field("extra.module_max_at", 0x34, ">H"),
    Field("extra.module_min_at", 0x36, ">H"),
    Field("extra.module_temp_max_dc", 0x38, ">h"),
    Field("extra.module_temp_min_dc", 0x3A, ">h"),
    Field("extra.module_temp_max_at", 0x3C, ">H"),
    Field("extra.module_temp_min_at", 0x3E, ">H"),
    Field("soh_pm", 0x40, ">H", times=10),
    Field("extra.remaining_wh", 0x42, ">I"),
    Field("extra.chargeable_wh", 0x46, ">I"),
    Field("extra.dischargeable_wh", 0x4A, ">I"),
    Field("extra.charged_today_wh", 0x4E, ">I"),
    Field("extra.discharged_today_wh", 0x52, ">I"),
    Field("extra.charged_total", 0x56, ">I"),
    Field("extra.discharged_total", 0x5A, ">I"),
    Field("extra.force_charge_request", 0x5E, ">H"),
    Field("extra.balance_charge_request", 0x60, ">H"),
    Field("info.modules", 0x6C, ">H"),
    Field("info.n_cells", 0x6E, ">H"),
    Field("extra.charge_forbidden", 0x70, ">H"),
    Field("extra.discharge_forbidden", 0x72, ">H"),
    Field("extra.insulation", 0x90, ">H"),
    Field("extra.insulation_status", 0x92, ">H"),
)
PILES: Table = (Field("info.piles", 0x62, ">H"),)  # in the system block only
WORDS: Mapping[str, tuple[Field, str]] = {  # raw name -> register and word of the brand's fault file
    "protection": (Field("raw.protection", 0x02, ">H"), "hv_modbus_protection"),
    "warning": (Field("raw.warning", 0x04, ">H"), "hv_modbus_warning"),
    "error": (Field("raw.error", 0x64, ">H"), "hv_error"),
}
MASKS: Mapping[str, Field] = {"status": Field("raw.status", 0x00, ">H"), "switches": Field("raw.switches", 0x1E, ">H")}
SIZES = ("charge_limit_ma", "discharge_limit_ma")
TOTALS = ("charged", "discharged")


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """The answer to a read of holding registers; only the request tells which registers it carries.

    Raises BadFrame, Unsupported for a Modbus exception.
    """
    reply = split(frame, request)
    return measure(reply.start, reply.data)


def measure(start: int, data: bytes) -> tuple[Measured, ...]:
    """What stands whole in the bytes from register `start` on. Raises BadFrame outside the map."""
    if DEVICE <= start < SYSTEM:
        return (_device(data, start - DEVICE),)
    if SYSTEM <= start < SYSTEM + BLOCK_SIZE:
        piles = Measured(kind="bank", **read(PILES, data, shift=2 * (start - SYSTEM)))
        return (combine(block(data, start - SYSTEM), piles),)
    if PILE <= start < END:
        return _of_a_pile(*divmod(start - PILE, PILE_STRIDE), data)
    raise BadFrame(f"register {start:#06x} is in no part of the map that we read", data)


def _of_a_pile(pile: int, place: int, data: bytes) -> tuple[Measured, ...]:
    if place < SERIAL:
        return (block(data, place),)
    if place < VOLTAGES:
        return (Measured(kind="bank", info={"serial": _text(data)}),)
    if place < TEMPERATURES:
        told = enumerate(_numbers(data), PER_PILE * pile + place - VOLTAGES + 1)
        return tuple(Measured(module=at, voltage_mv=10 * raw) for at, raw in told if raw)
    if place < CELLS:
        told = enumerate(_numbers(data, signed=True), PER_PILE * pile + place - TEMPERATURES + 1)
        return tuple(Measured(module=at, temp_dc=(raw,)) for at, raw in told)
    name, first = ("cell_mv", CELLS) if place < CELL_TEMPERATURES else ("temp_dc", CELL_TEMPERATURES)
    values = (*(None,) * (place - first), *_numbers(data, signed=name == "temp_dc"))
    return (Measured(kind="bank", **{name: values}),)  # type: ignore[arg-type]


def _numbers(data: bytes, *, signed: bool = False) -> list[int]:
    return [int.from_bytes(data[i : i + 2], "big", signed=signed) for i in range(0, len(data) - 1, 2)]


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("ascii", "replace").strip()


def _device(data: bytes, place: int) -> Measured:
    """Brand, name, firmware, number of piles."""
    whole = bytes(2 * place) + data
    texts = {"maker": _text(whole[0:6]), "model": _text(whole[10:20])}
    info: dict[str, str | int] = {name: text for name, text in texts.items() if text}
    if len(whole) >= 0x16 and place <= 0x0A:
        info["firmware"] = f"{whole[0x14]}.{whole[0x15]}"
    if len(whole) >= 0x1A:
        info["piles"] = int.from_bytes(whole[0x18:0x1A], "big")
    return Measured(kind="bank", info=info)


def block(data: bytes, place: int) -> Measured:
    """The part of the system or of a pile that tells its state."""
    values = read(BLOCK_TABLE, data, shift=2 * place)
    extra = values.setdefault("extra", {})
    extra |= {name: abs(extra[name]) for name in SIZES if name in extra}
    known: dict[str, Any] = {"counters": _totals(values)}
    words = {name: read((field,), data, shift=2 * place) for name, (field, _) in WORDS.items()}
    masks = {name: said["raw"][name] for name, said in words.items() if said}
    if masks:
        found = [faults.brand("pylontech")[WORDS[name][1]].of_mask(mask) for name, mask in masks.items()]
        known["faults"] = tuple(dict.fromkeys(fault for some in found for fault in some))
    for name, field in MASKS.items():
        masks |= read((field,), data, shift=2 * place).get("raw", {name: None})
    paths = {"discharge_on": 0, "charge_on": 1}
    if (switches := masks.get("switches")) is not None:
        known |= {path: bool(switches >> bit & 1) for path, bit in paths.items()}
    raw = {name: f"{mask:04x}" for name, mask in masks.items() if mask is not None}
    return Measured(kind="bank", raw=raw, **values, **known)


def _totals(values: Mapping[str, Any]) -> dict[str, int]:
    """Lifetime energy is Wh on one firmware, kWh on another: cycles and what is in the battery now tell which."""
    extra, soc, cycles = values["extra"], values.get("soc_pm"), values.get("cycles")
    full_wh = 1000 * extra.get("remaining_wh", 0) // soc if soc else 0
    found = {}
    for way in TOTALS:
        if (total := extra.get(f"{way}_total")) and full_wh and cycles:
            expected = full_wh * cycles
            kilo = abs(1000 * total - expected) < abs(total - expected)
            found[f"{way}_wh"] = total * (1000 if kilo else 1)
    return found


Reads = Generator[Registers, Answer, bytes]


def _registers(start: int, count: int) -> Reads:
    """Register bytes, in as many reads as it takes. Raises BadFrame for an answer of another length."""
    data = b""
    for at in range(start, start + count, MOST):
        size = min(MOST, start + count - at)
        part = yield Registers(READ, at, size)
        if len(part) != 2 * size:
            raise BadFrame(f"{len(part)} bytes for {size} registers from {at:#06x}", part)
        data += part
    return data


def poll(address: int) -> Conversation:
    """The system as a bank, and every module of every pile with its cells. Raises BadFrame where it is no Force."""
    data = yield from _registers(SYSTEM, BLOCK_SIZE)
    (system,) = measure(SYSTEM, data)
    if (system.soc_pm or 0) > 1000:
        raise BadFrame(f"a charge of {system.soc_pm} per mille: these are not the registers of a Force", data)
    modules: list[Measured] = []
    for pile in range(min(max(int(system.info.get("piles", 1)), 1), MOST_PILES)):
        with suppress(Unsupported):
            modules += yield from _pile(pile)
    return (system, *modules)


def _pile(pile: int) -> Generator[Registers, Answer, list[Measured]]:
    base = PILE + pile * PILE_STRIDE
    (whole,) = measure(base, (yield from _registers(base, BLOCK_SIZE)))
    count = min(int(whole.info.get("modules", 0)), MOST_MODULES)
    cells = min(int(whole.info.get("n_cells", 0)), MOST_CELLS)
    if not count or not cells:
        return []
    voltages = _numbers((yield from _registers(base + VOLTAGES, count)))
    temps = _numbers((yield from _registers(base + TEMPERATURES, count)), signed=True)
    mv = _numbers((yield from _registers(base + CELLS, cells)))
    dc = _numbers((yield from _registers(base + CELL_TEMPERATURES, cells)), signed=True)
    return [
        Measured(
            module=PER_PILE * pile + i + 1,
            voltage_mv=10 * voltages[i],
            current_ma=whole.current_ma,  # modules of a pile stand in series
            cell_mv=tuple(mv[i * cells // count : (i + 1) * cells // count]),
            temp_dc=tuple(dc[i * cells // count : (i + 1) * cells // count]),
            extra={"module_temp_dc": temps[i]},
        )
        for i in range(count)
    ]


def identify(address: int) -> Conversation:
    """Model, firmware, serial."""
    device = measure(DEVICE, (yield from _registers(DEVICE, DEVICE_SIZE)))
    try:
        serial = measure(PILE + SERIAL, (yield from _registers(PILE + SERIAL, SERIAL_SIZE)))
    except Unsupported:
        serial = ()
    return (combine(*device, *serial),)


DRIVER = Driver(
    name="pylontech_force_modbus",
    brand="pylontech",
    title="Pylontech Force H1 to H3, PowerCube, over Modbus",
    line="RS485, Modbus RTU, unit 1; or Modbus TCP",
    links=("modbus",),
    decode=decode,
    allow=(
        Readable(READ, DEVICE, DEVICE + DEVICE_SIZE),
        Readable(READ, SYSTEM, SYSTEM + BLOCK_SIZE),
        Readable(READ, PILE, END),
    ),
    poll=poll,
    identify=identify,
    default_address=1,
    baud=9600,
    gap_s=0.1,
    timeout_s=1.0,
    whole_bus=True,
)
