"""An emulated GivEnergy inverter's network adapter with its battery packs."""

from __future__ import annotations

from dataclasses import replace

from cellherd.reading import Measured
from collectors.drivers import givenergy
from collectors.emulators.device import Emulator, Truths
from collectors.emulators.registers import image
from collectors.kernel import Request, Send
from collectors.modbus_rtu import crc
from collectors.registers import Part, RegisterMap

BLOCK = RegisterMap("givenergy", "module", (Part(4, givenergy.BASE, givenergy.COUNT),), givenergy.TABLE)
ADAPTER, INVERTER = b"WG2147G000", b"SA2114G000"


def registers(truth: Measured | None) -> bytes:
    """Registers 60 to 119 of a pack, zeros for a slot without one."""
    if truth is None:
        return bytes(2 * givenergy.COUNT)
    cells = truth.cell_mv[:16]
    info = {"n_cells": len(cells), "nominal_mah": truth.full_mah or 0}
    extra = {"cell_sum_mv": sum(mv or 0 for mv in cells), "bms_firmware": 3020}
    data = bytearray(
        image(BLOCK, givenergy.BASE, givenergy.COUNT, replace(truth, cell_mv=cells, info=info, extra=extra))
    )
    if truth.faults:
        data[givenergy.WARNING] = b"\0\1"
    return bytes(data)


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The frame with a pack's block."""
    if not isinstance(request, Send) or len(request.data) < 32:
        return None
    pack = request.data[26]
    body = request.data[26:28] + INVERTER + request.data[28:32] + registers(truths.get(pack))
    pdu = b"\x01\x02" + ADAPTER + (len(body) + 2).to_bytes(8, "big") + body + crc(body).to_bytes(2, "little")
    return givenergy.HEAD + len(pdu).to_bytes(2, "big") + pdu


def cut(buffer: bytes) -> tuple[bytes | None, bytes]:
    """The first whole request."""
    for frame in givenergy.frames(buffer):
        return frame, buffer[buffer.find(frame) + len(frame) :]
    return None, buffer[-500:]


EMULATOR = Emulator(answer=answer, cut=cut)
