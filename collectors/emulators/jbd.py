"""An emulated JBD BMS."""

from __future__ import annotations

from cellherd import faults
from cellherd.reading import Measured
from collectors.drivers import jbd
from collectors.emulators.device import Emulator, Truths, mask_of
from collectors.fields import write
from collectors.kernel import Request, Send

REQUEST_BYTES = 7
MADE = (2024 - 2000) << 9 | 6 << 5 | 1
FIRMWARE = 0x24
FIXED = 23
"""Bytes of the status before the temperatures."""
TAIL_BYTES = 9
"""Bytes behind them, from firmware 2.3 on: full charge, remaining charge, balance current."""


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The answer to one read request; there is one BMS and no address."""
    if not isinstance(request, Send) or len(request.data) != REQUEST_BYTES or not truths:
        return None
    register, truth = request.data[2], next(iter(truths.values()))
    return frame(register, DATA[register](truth)) if register in DATA else None


def frame(register: int, data: bytes) -> bytes:
    """An answer frame around its data."""
    body = bytes((jbd.OK, len(data))) + data
    return bytes((jbd.START, register)) + body + jbd.checksum(body).to_bytes(2, "big") + bytes((jbd.STOP,))


def status(truth: Measured) -> bytes:
    """Register 0x03."""
    data = bytearray(FIXED)
    write(jbd.MAIN, truth, data)
    balancing = truth.balancing or 0
    data[10:12] = MADE.to_bytes(2, "big")
    data[12:14] = (balancing & 0xFFFF).to_bytes(2, "big")
    data[14:16] = (balancing >> 16 & 0xFFFF).to_bytes(2, "big")
    data[16:18] = mask_of(faults.brand("jbd")["protection"], truth.faults).to_bytes(2, "big")
    data[18], data[20] = FIRMWARE, bool(truth.charge_on) | bool(truth.discharge_on) << 1
    data[21], data[22] = len(truth.cell_mv), len(truth.temp_dc)
    temps = b"".join(((t or 0) - jbd.KELVIN).to_bytes(2, "big") for t in truth.temp_dc)
    tail = bytearray(TAIL_BYTES)
    write(jbd.TAIL, truth, tail)
    return bytes(data) + temps + bytes(tail)


def cells(truth: Measured) -> bytes:
    """Register 0x04."""
    return b"".join((mv or 0).to_bytes(2, "big") for mv in truth.cell_mv)


def model(truth: Measured) -> bytes:
    """Register 0x05."""
    return str(truth.info.get("model", "")).encode("ascii", "replace")


def trips(truth: Measured) -> bytes:
    """Register 0xAA."""
    return b"".join(truth.counters.get(f"trips_{name}", 0).to_bytes(2, "big") for name in jbd.TRIP_COUNTERS)


DATA = {jbd.STATUS: status, jbd.CELLS: cells, jbd.MODEL: model, jbd.TRIPS: trips}


def cut(buffer: bytes) -> tuple[bytes | None, bytes]:
    """One request off the buffer."""
    at = buffer.find(jbd.START)
    if at < 0 or len(buffer) < at + REQUEST_BYTES:
        return None, buffer[max(at, 0) :]
    return buffer[at : at + REQUEST_BYTES], buffer[at + REQUEST_BYTES :]


EMULATOR = Emulator(answer=answer, cut=cut)
