"""Emulated Daly BMSs that answer reads of registers, at address 210 as a D2, elsewhere as a P81."""

from __future__ import annotations

from cellherd import faults
from cellherd.reading import Measured
from collectors.drivers import daly_d2 as daly
from collectors.emulators.daly_uart import seen
from collectors.emulators.device import Emulator, Truths, mask_of
from collectors.fields import Table, write
from collectors.kernel import Request, Send
from collectors.modbus_rtu import frame_of

REQUEST_BYTES = 8
REGISTERS = {daly.D2: 0xC9, daly.ASKED: 0x7F}
"""How many registers each dialect has."""
ILLEGAL_ADDRESS = 2


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The answer of the module that is asked; silence for an address that nobody has."""
    if not isinstance(request, Send) or len(request.data) != REQUEST_BYTES:
        return None
    unit = request.data[0]
    module = daly.D2 if unit == daly.D2 else unit - daly.ASKED
    if module not in truths:
        return None
    replies = daly.D2 if unit == daly.D2 else module + daly.ANSWERS
    start, count = (int.from_bytes(request.data[at : at + 2], "big") for at in (2, 4))
    data = registers(truths[module], module)[2 * start : 2 * (start + count)]
    if request.data[1] != daly.READ or len(data) != 2 * count:
        return frame_of(bytes((replies, daly.REFUSED, ILLEGAL_ADDRESS)))
    return frame_of(bytes((replies, daly.READ, len(data))) + data)


def registers(truth: Measured, module: int) -> bytes:
    """Every register of the module as it measures `truth`."""
    dialect = daly.D2 if module == daly.D2 else daly.ASKED
    tables: tuple[Table, ...] = (daly.D2_TABLE, daly.SETTINGS) if dialect == daly.D2 else (daly.P81_TABLE,)
    data = bytearray(2 * REGISTERS[dialect])
    for table in tables:
        write(table, seen(truth), data)
    masks = {
        "failure": mask_of(faults.brand("daly")["failure"], truth.faults),
        "balance": truth.balancing or 0,
    }
    for name, mask in masks.items():
        first, count = daly.RAW[dialect][name]
        for i in range(count):
            data[2 * (first + i) : 2 * (first + i + 1)] = (mask >> 16 * i & 0xFFFF).to_bytes(2, "big")
    if dialect == daly.D2:
        at = 2 * daly.D2_VERSIONS[0]
        data[at : at + 64] = b"".join(_text(truth, name) for name in ("firmware", "model"))
    return bytes(data)


def _text(truth: Measured, name: str) -> bytes:
    return str(truth.info.get(name, "")).encode("ascii", "replace")[:32].ljust(32, b"\0")


def cut(buffer: bytes) -> tuple[bytes | None, bytes]:
    """One request with a sound CRC off the buffer; what stands before it is noise."""
    for at in range(len(buffer) - REQUEST_BYTES + 1):
        request = buffer[at : at + REQUEST_BYTES]
        if frame_of(request[:-2]) == request:
            return request, buffer[at + REQUEST_BYTES :]
    return None, buffer[-REQUEST_BYTES + 1 :]


EMULATOR = Emulator(answer=answer, cut=cut)
