"""An emulated ANT BMS of the kind before 2020."""

from __future__ import annotations

from cellherd.reading import Measured
from collectors.drivers import ant_old as ant
from collectors.emulators.ant_new import code
from collectors.emulators.device import Emulator, Truths
from collectors.fields import write
from collectors.kernel import Request


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The status frame; there is one BMS, one request and no address."""
    if request != ant.REQUEST or not truths:
        return None
    return status(next(iter(truths.values())))


def status(truth: Measured) -> bytes:
    """The status frame."""
    data = bytearray(ant.SIZE)
    data[: len(ant.START)] = ant.START
    write(ant.MAIN, truth, data)
    data[ant.CELL_COUNT] = len(truth.cell_mv)
    on = {"charge_mosfet": truth.charge_on, "discharge_mosfet": truth.discharge_on}
    for name, at in ant.CODES.items():
        data[at] = code(name, truth, on=on.get(name))
    data[-2:] = ant.checksum(bytes(data)).to_bytes(2, "big")
    return bytes(data)


def cut(buffer: bytes) -> tuple[bytes | None, bytes]:
    """One request off the buffer."""
    asked = ant.REQUEST.data
    at = buffer.find(asked)
    if at < 0:
        return None, buffer[-len(asked) :]
    return asked, buffer[at + len(asked) :]


EMULATOR = Emulator(answer=answer, cut=cut)
