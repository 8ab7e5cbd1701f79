"""An emulated ANT BMS of the kind from 2020 on."""

from __future__ import annotations

from cellherd import faults
from cellherd.reading import Measured
from collectors.drivers import ant_new as ant
from collectors.emulators.device import Emulator, Truths
from collectors.fields import write
from collectors.kernel import Request, Send

REQUEST_BYTES = 10
PERMISSION, IDLE = 5, 1
LFP = 0xFAF2
TEXT_BYTES = 16


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The answer to one read request; there is one BMS and no address."""
    if not isinstance(request, Send) or len(request.data) != REQUEST_BYTES or not truths:
        return None
    truth = next(iter(truths.values()))
    asked = int.from_bytes(request.data[3:5], "little"), request.data[5]
    if request.data == ant.ask(*ant.WHOLE).data:
        return status(truth)
    if asked == ant.INFO:
        return ant.frame_of(ant.SETTING, *asked, _texts(truth)) if _texts(truth).strip(b"\0") else None
    if asked[0] in ant.LIMITS:
        data = bytearray(2)
        write((ant.LIMITS[asked[0]],), truth, data)
        return ant.frame_of(ant.SETTING, *asked, bytes(data))
    return None


def status(truth: Measured) -> bytes:
    """The status frame."""
    cells = b"".join((mv or 0).to_bytes(2, "little") for mv in truth.cell_mv)
    temps = (ant.ABSENT if t is None else t // 10 for t in truth.temp_dc)
    head, tail = bytearray(ant.CELLS_AT), bytearray(ant.LEAST - ant.TAIL_BYTES)
    head[6:10] = bytes((PERMISSION, IDLE, len(truth.temp_dc), len(truth.cell_mv)))
    write(ant.TAIL, truth, tail)
    tail[ant.CHARGE_MOS] = code("charge_mosfet", truth, on=truth.charge_on)
    tail[ant.DISCHARGE_MOS] = code("discharge_mosfet", truth, on=truth.discharge_on)
    tail[ant.BALANCER] = code("balancer", truth, on=False)
    tail[ant.CHEMISTRY : ant.CHEMISTRY + 2] = LFP.to_bytes(2, "little")
    middle = cells + b"".join(t.to_bytes(2, "little", signed=True) for t in temps)
    data = bytes(head[ant.HEAD :]) + middle + bytes(tail[ant.CELLS_AT :])
    return ant.frame_of(ant.STATUS, 0, len(data), data)


def code(word: str, truth: Measured, *, on: bool | None) -> int:
    """The status code that says one of the truth's faults, else on or off."""
    values = faults.brand("ant")[word].values
    said = (int(value) for value, meaning in values.items() if meaning.fault in (truth.faults or ()))
    return next((value for value in said if value), int(bool(on)))


def _texts(truth: Measured) -> bytes:
    texts = (str(truth.info.get(name, "")).encode("ascii", "replace") for name in ("model", "firmware"))
    return b"".join(text[:TEXT_BYTES].ljust(TEXT_BYTES, b"\0") for text in texts)


def cut(buffer: bytes) -> tuple[bytes | None, bytes]:
    """One request off the buffer."""
    at = buffer.find(ant.START)
    if at < 0 or len(buffer) < at + REQUEST_BYTES:
        return None, buffer[max(at, 0) :]
    return buffer[at : at + REQUEST_BYTES], buffer[at + REQUEST_BYTES :]


EMULATOR = Emulator(answer=answer, cut=cut)
