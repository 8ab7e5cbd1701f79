"""Emulated Seplos modules on RS485, protocol 2.0; each answers for its own address."""

from __future__ import annotations

from collections.abc import Callable

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Measured
from collectors.drivers import seplos_v2 as seplos
from collectors.drivers.pylontech_rs485 import frames
from collectors.drivers.pylontech_rs485.answers import KELVIN
from collectors.emulators.device import Emulator, Truths, mask_of
from collectors.emulators.pylontech_rs485 import cut
from collectors.fields import write
from collectors.kernel import Request, Send

VALUE_COUNT, SPARE_BYTES, EVENT_BYTES = 10, 8, 20
CELL_SENSORS = 4


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The answer frame; silence for a module that is not there, another group or a request that is broken."""
    if not isinstance(request, Send):
        return None
    try:
        asked = frames.split(request.data)
    except BadFrame:
        return None
    if asked.address not in truths or asked.info not in (b"", bytes((asked.address,))):
        return None
    if asked.code not in ANSWERS:
        return frames.write(asked.address, frames.UNKNOWN_COMMAND)
    group = bytes((0, asked.address)) if asked.info else b""
    return frames.write(asked.address, 0, group + ANSWERS[asked.code](truths[asked.address]))


def temperatures(truth: Measured) -> tuple[int | None, ...]:
    """Four between the cells, one outside, one at the MOSFETs."""
    cells = (*truth.temp_dc, *(None,) * CELL_SENSORS)[:CELL_SENSORS]
    return (*cells, cells[0], truth.mos_temp_dc)


def kelvin(temps: tuple[int | None, ...]) -> bytes:
    """Count and 0.1 K each; 0 for a sensor that is not there."""
    return bytes((len(temps),)) + b"".join((0 if t is None else t - KELVIN).to_bytes(2, "big") for t in temps)


def cell_voltages(truth: Measured) -> bytes:
    """Count and mV each."""
    return bytes((len(truth.cell_mv),)) + b"".join((mv or 0).to_bytes(2, "big") for mv in truth.cell_mv)


def _telemetry(truth: Measured) -> bytes:
    values = bytearray(seplos.VALUES_BYTES)
    write(seplos.VALUES, truth, values)
    values[6] = VALUE_COUNT
    return cell_voltages(truth) + kelvin(temperatures(truth)) + bytes(values) + bytes(SPARE_BYTES)


def _alarms(truth: Measured) -> bytes:
    words, events = faults.brand("seplos"), bytearray(EVENT_BYTES)
    for at, name in seplos.EVENTS.items():
        events[at] = mask_of(words[name], truth.faults)
    events[seplos.SWITCHES] = bool(truth.discharge_on) | bool(truth.charge_on) << 1
    events[seplos.BALANCING] = ((truth.balancing or 0) & 0xFFFF).to_bytes(2, "little")
    cells, temps = bytes(len(truth.cell_mv)), bytes(len(temperatures(truth)))
    return bytes((len(cells),)) + cells + bytes((len(temps),)) + temps + bytes((0, 0, len(events))) + bytes(events)


def _maker(truth: Measured) -> bytes:
    model = str(truth.info.get("model", "")).encode("ascii", "replace")[:10]
    return model.ljust(10) + b"\x10\x06" + b"Emulated".ljust(20)


ANSWERS: dict[int, Callable[[Measured], bytes]] = {
    seplos.TELEMETRY: _telemetry,
    seplos.ALARMS: _alarms,
    seplos.MAKER: _maker,
}
EMULATOR = Emulator(answer=answer, cut=cut)
