"""An emulated Victron shunt that answers VE.Direct HEX requests."""

from __future__ import annotations

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Measured
from collectors.drivers import victron_hex as hexes
from collectors.emulators.device import Emulator, Truths, mask_of
from collectors.fields import value_of
from collectors.kernel import Request, Send

WIDTHS = {0x0305: 4, 0x1000: 2, 0xED8C: 4, 0xED8D: 2, 0x0303: 4, 0xEDEC: 2, 0x0FFF: 2}
"""Registers of a shunt that the battery has a value for, and their bytes."""
UNKNOWN = b"\1"


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The register, or that there is none."""
    if not isinstance(request, Send) or not truths:
        return None
    try:
        command, body = hexes.split(request.data)
    except BadFrame:  # somebody else's question
        return None
    if command != hexes.GET:
        return None
    register, truth = int.from_bytes(body[:2], "little"), next(iter(truths.values()))
    data = value(register, truth)
    return hexes.write(hexes.GET, body[:2] + (UNKNOWN if data is None else b"\0" + data))


def value(register: int, truth: Measured) -> bytes | None:
    """The bytes of a register, None for one that a shunt has not."""
    if register == 0x031E:
        return mask_of(faults.brand("victron")["vedirect_alarm"], truth.faults).to_bytes(2, "little")
    if register == hexes.PRODUCT:
        return b"\0\x89\xa3\xfe"
    if register == hexes.SERIAL:
        return str(truth.info.get("serial", "")).encode("ascii", "replace").ljust(20, b"\0")
    if register not in WIDTHS:
        return None
    known, size = hexes.REGISTERS[register], WIDTHS[register]
    ours = (truth.temp_dc or (None,))[0] if known.name == "temp_dc" else _said(truth, known.name)
    if ours is None:
        return ((1 << 8 * size - known.signed) - 1).to_bytes(size, "little")
    return (ours * known.over // known.times - known.plus).to_bytes(size, "little", signed=known.signed)


def _said(truth: Measured, name: str) -> int | None:
    return truth.counters.get("throughput_mah") if name == "counters.drawn_mah" else value_of(truth, name)


def cut(buffer: bytes) -> tuple[bytes | None, bytes]:
    """One request, up to its line feed, off the buffer."""
    end = buffer.find(b"\n") + 1
    return (buffer[max(buffer.rfind(b":", 0, end), 0) : end], buffer[end:]) if end else (None, buffer)


EMULATOR = Emulator(answer=answer, cut=cut)
