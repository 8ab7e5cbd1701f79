"""An emulated chain of PACE modules: the one that is asked answers for all, or for the one that is named."""

from __future__ import annotations

from collections.abc import Callable

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Measured
from collectors.drivers import pace
from collectors.drivers.pylontech_rs485 import frames
from collectors.emulators.device import Emulator, Truths, mask_of
from collectors.emulators.pylontech_rs485 import cut
from collectors.emulators.seplos_v2 import cell_voltages, kelvin, temperatures
from collectors.fields import write
from collectors.kernel import Request, Send

VARIANT = 3


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The answer frame; silence for a module that is not there or a request that is broken."""
    if not isinstance(request, Send):
        return None
    try:
        asked = frames.split(request.data)
    except BadFrame:
        return None
    if asked.version != pace.VERSION or asked.address not in truths:
        return None
    if asked.code in EACH:
        info = _modules(asked, truths)
    elif asked.code in TEXTS:
        info = TEXTS[asked.code](truths[asked.address])
    else:
        return frames.write(asked.address, frames.UNKNOWN_COMMAND, version=pace.VERSION)
    return frames.write(asked.address, 0, info, pace.VERSION) if info else None


def _modules(asked: frames.Frame, truths: Truths) -> bytes:
    one = EACH[asked.code]
    if asked.info == frames.GROUP:
        return bytes((0, len(truths))) + b"".join(one(truths[address]) for address in sorted(truths))
    named = asked.info[0] if asked.info else asked.address
    return bytes((0, named)) + one(truths[named]) if named in truths else b""


def _analog(truth: Measured) -> bytes:
    *cells, outside, mosfets = temperatures(truth)
    values = bytearray(pace.VALUES_BYTES)
    write(pace.VALUES, truth, values)
    values[6] = VARIANT
    return cell_voltages(truth) + kelvin((*cells, mosfets, outside)) + bytes(values)


def _status(truth: Measured) -> bytes:
    words = faults.brand("pace")
    states = dict.fromkeys(pace.STATES, 0)
    states |= {name: mask_of(words[name], truth.faults) for name in pace.NAMED}
    states["system"] |= bool(truth.charge_on) << 1 | bool(truth.discharge_on) << 2
    states["balancing"], states["balancing_low"] = divmod((truth.balancing or 0) & 0xFFFF, 256)
    cells, temps = bytes(len(truth.cell_mv)), bytes(len(temperatures(truth)))
    return bytes((len(cells),)) + cells + bytes((len(temps),)) + temps + bytes(3) + bytes(states.values())


def _text(truth: Measured, name: str, size: int) -> bytes:
    return str(truth.info.get(name, "")).encode("ascii", "replace")[:size].ljust(size)


EACH: dict[int, Callable[[Measured], bytes]] = {pace.ANALOG: _analog, pace.STATUS: _status}
TEXTS: dict[int, Callable[[Measured], bytes]] = {
    pace.HARDWARE: lambda truth: _text(truth, "model", pace.HARDWARE_BYTES),
    pace.SERIAL: lambda truth: _text(truth, "serial", pace.NUMBER_BYTES) + bytes(pace.NUMBER_BYTES),
}
EMULATOR = Emulator(answer=answer, cut=cut)
