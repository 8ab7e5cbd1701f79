"""Emulated JBD UP packs on one bus; the first has the port, and answers the status of those behind it."""

from __future__ import annotations

from collections.abc import Callable

from cellherd import faults
from cellherd.reading import Measured
from collectors.drivers import jbd_up16s as up
from collectors.emulators.device import Emulator, Truths, mask_of
from collectors.fields import write
from collectors.kernel import Request, Send
from collectors.modbus_rtu import frame_of

REQUEST_BYTES = 10
FIRMWARE = b"\x0c\x04"
REST = b"\x00\x02"


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The answer frame; silence for a pack that is not there, and for all but the status of one behind the first."""
    if not isinstance(request, Send) or len(request.data) != REQUEST_BYTES:
        return None
    whom, block = request.data[0], (int.from_bytes(request.data[2:4], "big"), int.from_bytes(request.data[4:6], "big"))
    if whom not in truths or block not in DATA or (block != up.STATUS and whom != min(truths)):
        return None
    data = DATA[block](truths[whom])
    return frame_of(request.data[:6] + len(data).to_bytes(2, "big") + data)


def status(truth: Measured) -> bytes:
    """Block 0x1000."""
    data, words = bytearray(up.CELLS_AT), faults.brand("jbd")
    write(up.MAIN, truth, data)
    data[up.FAULTS] = mask_of(words["up16s_fault"], truth.faults).to_bytes(4, "big")
    data[up.ALARMS] = mask_of(words["up16s_alarm"], truth.faults).to_bytes(4, "big")
    data[up.MOSFETS] = (bool(truth.discharge_on) | bool(truth.charge_on) << 1).to_bytes(2, "big")
    tail = bytearray(up.TAIL_BYTES)
    tail[up.BALANCING] = ((truth.balancing or 0) & 0xFFFF).to_bytes(2, "big")
    tail[up.FIRMWARE] = FIRMWARE
    temps = [(t or 0) + up.ZERO_C for t in truth.temp_dc]
    return bytes(data) + _counted([mv or 0 for mv in truth.cell_mv]) + _counted(temps) + bytes(tail) + REST


def _counted(values: list[int]) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in (len(values), *values))


def _limits(truth: Measured) -> bytes:
    data = bytearray(up.LIMIT_BYTES)
    write(up.LIMIT_TABLE, truth, data)
    return bytes(data)


def _product(truth: Measured) -> bytes:
    data = bytearray(up.PRODUCT_BYTES)
    for name, at in up.TEXTS.items():
        text = str(truth.info.get(name, "")).encode("ascii", "replace")[: at.stop - at.start]
        data[at.start : at.start + len(text)] = text
    return bytes(data)


def _totals(truth: Measured) -> bytes:
    data = bytearray(up.TOTAL_BYTES)
    write(up.TOTAL_TABLE, truth, data)
    return bytes(data)


DATA: dict[tuple[int, int], Callable[[Measured], bytes]] = {
    up.STATUS: status,
    up.LIMITS: _limits,
    up.PRODUCT: _product,
    up.TOTALS: _totals,
}


def cut(buffer: bytes) -> tuple[bytes | None, bytes]:
    """One request with a sound CRC off the buffer; what stands before it is noise."""
    for at in range(len(buffer) - REQUEST_BYTES + 1):
        request = buffer[at : at + REQUEST_BYTES]
        if frame_of(request[:-2]) == request:
            return request, buffer[at + REQUEST_BYTES :]
    return None, buffer[1 - REQUEST_BYTES :]


EMULATOR = Emulator(answer=answer, cut=cut)
