"""Emulated JK BMSs of the PB series, as their Modbus register tables."""

from __future__ import annotations

from functools import cache

from cellherd import faults
from cellherd.reading import Measured
from collectors.drivers import jk_modbus as jk
from collectors.drivers.jk import maps
from collectors.emulators.device import Emulator, Truths, mask_of
from collectors.fields import Table, write
from collectors.kernel import Registers, Request, Unsupported

RUNTIME_BYTES, SETTINGS_BYTES, DEVICE_BYTES = 276, 292, 160
AT_ITS_LIMIT = 4
"""Alarm bit "fully charged": JK has no bit of its own for a cell overvoltage and sets this one."""
WIRE_MOHM = 45


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The register bytes; silence for an address that nobody has, Unsupported outside the tables."""
    if not isinstance(request, Registers) or address not in truths:
        return None
    truth = truths[address]
    for base, make in ((jk.DEVICE, device), (jk.RUNTIME, runtime), (jk.SETTINGS, settings)):
        at = request.start - base
        if at >= 0:
            part = slice(at, at + 2 * request.count)
            image = make(truth, part)
            if part.stop <= len(image):
                return image[part]
            break
    raise Unsupported(f"no registers {request.start:#06x}+{request.count}")


@cache
def _within(table: Table, first: int, end: int) -> Table:
    """The fields that stand in these bytes, or in part."""
    return tuple(field for field in table if field.offset < end and field.end > first)


def runtime(truth: Measured, part: slice = slice(RUNTIME_BYTES)) -> bytes:
    """Table 0x1200, of which at least this part is filled in."""
    data = bytearray(RUNTIME_BYTES)
    first, end = part.start or 0, part.stop
    write(_within(maps.MEASURED, first, end), truth, data)
    present = (1 << len(truth.cell_mv)) - 1
    masks = {"cells_present": present, "alarm": alarm(truth), "sensors_present": 0xFF}
    for field in _within(maps.MASKS, first, end):
        field.write(data, masks.get(field.name.removeprefix("raw."), 0))
    for field in _within(maps.WIRES[: len(truth.cell_mv)], first, end):
        field.write(data, WIRE_MOHM)
    return bytes(data)


def alarm(truth: Measured) -> int:
    """The alarm word for the faults of the truth."""
    overcharged = "cell_overvoltage_protection" in (truth.faults or ())
    return mask_of(faults.brand("jk")["alarm"], truth.faults) | overcharged << AT_ITS_LIMIT


def settings(truth: Measured, _part: slice) -> bytes:
    """Table 0x1000."""
    data = bytearray(SETTINGS_BYTES)
    write(maps.LIMITS, truth, data)
    return bytes(data)


def device(truth: Measured, _part: slice) -> bytes:
    """Table 0x1400."""
    data = bytearray(DEVICE_BYTES)
    for name, at, size in maps.TEXTS:
        text = str(truth.info.get(name, "")).encode("ascii", "replace")[:size]
        data[at : at + len(text)] = text
    return bytes(data)


EMULATOR = Emulator(answer=answer)
