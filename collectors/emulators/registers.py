"""An emulated device that is nothing but Modbus registers, written with the tables that its driver reads with."""

from __future__ import annotations

from collections.abc import Sequence

from cellherd import faults
from cellherd.reading import Measured
from collectors.emulators.device import mask_of
from collectors.fields import Field, value_of
from collectors.kernel import Registers, Request, Unsupported
from collectors.registers import RegisterMap


def answer(request: Request, maps: Sequence[RegisterMap], truth: Measured) -> bytes | None:
    """The register bytes of a part that one of the maps has. Raises Unsupported for registers that none has."""
    if not isinstance(request, Registers):
        return None
    for known in maps:
        for part in known.parts:
            if part.function == request.function and part.start <= request.start < part.start + part.count:
                return image(known, request.start, request.count, truth)
    raise Unsupported(f"no registers {request.start}+{request.count}")


def image(known: RegisterMap, start: int, count: int, truth: Measured) -> bytes:
    """What stands in `count` registers from `start` on."""
    data = bytearray(2 * count)
    for field in known.table:
        if 2 * start <= field.offset and field.end <= 2 * (start + count):
            _write(field, data, field.offset - 2 * start, value_of(truth, field.name))
    for register, word in known.words.values():
        if start <= register < start + count:
            mask = mask_of(faults.brand(known.brand)[word], truth.faults)
            data[2 * (register - start) : 2 * (register - start) + 2] = mask.to_bytes(2, "big")
    return bytes(data)


def _write(field: Field, data: bytearray, at: int, value: int | None) -> None:
    raw = field.absent if value is None else round((value - field.plus) * field.over / field.times)
    size = 8 * field.code.size
    low, high = (-(1 << size - 1), (1 << size - 1) - 1) if field.form[1].islower() else (0, (1 << size) - 1)
    field.code.pack_into(data, at, min(max(raw or 0, low), high))
