"""JK (JiKong) PB series and other new boards over RS485, Modbus RTU. Protocol: docs/devices/jk_modbus.md."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Literal

from cellherd.errors import BadFrame
from cellherd.reading import Measured, combine
from collectors.drivers.jk import says
from collectors.drivers.jk.maps import BOOTS, LIMITS, MASKS, MEASURED
from collectors.drivers.jk.maps import RUNTIME as EVERYTHING
from collectors.fields import read
from collectors.kernel import Chunk, Conversation, Driver, Registers, Unsupported
from collectors.modbus_rtu import split

READ: Literal[3] = 3
SETTINGS, RUNTIME, DEVICE = 0x1000, 0x1200, 0x1400  # a register is base + byte offset, so neighbours are 2 apart

# At most 120 registers a read; the run time reads 0 unless it is read alone (V21.00).
MAIN = Registers(READ, RUNTIME, 120)
RUN_TIME = Registers(READ, RUNTIME + 188, 2)
MORE = Registers(READ, RUNTIME + 240, 18)
PROTECTIONS = Registers(READ, SETTINGS, 68)
OPTIONS = Registers(READ, SETTINGS + 264, 14)
NAMES = Registers(READ, DEVICE, 20)
SERIAL = Registers(READ, DEVICE + 72, 12)
RESISTANCES = Registers(READ, RUNTIME + 64, 37)
WITHOUT_WIRES = (*MEASURED, *MASKS)


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """The answer to a read of holding registers; only the request tells which registers it carries.

    Raises BadFrame, Unsupported for a Modbus exception.
    """
    reply = split(frame, request)
    return (measure(reply.start, reply.data, module=reply.slave),)


def measure(start: int, data: bytes, *, module: int) -> Measured:
    """What stands whole in the bytes behind register `start`. Raises BadFrame outside the tables."""
    if SETTINGS <= start < RUNTIME:
        return says.settings(data, LIMITS, shift=start - SETTINGS, module=module)
    if RUNTIME <= start < DEVICE:
        return _runtime(data, start - RUNTIME, module, wires=True)
    if DEVICE <= start < DEVICE + 0x200:
        counted = read((BOOTS,), data, shift=start - DEVICE)
        return Measured(module=module, info=says.texts(data, shift=start - DEVICE), **counted)
    raise BadFrame(f"register {start:#06x} is in none of the tables that we read", data)


def _runtime(data: bytes, shift: int, module: int, *, wires: bool) -> Measured:
    said = says.runtime(data, EVERYTHING if wires else WITHOUT_WIRES, shift=shift, module=module)
    if shift != 188 and said.extra.get("run_time_s") == 0:
        return replace(said, extra={name: value for name, value in said.extra.items() if name != "run_time_s"})
    return said


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
