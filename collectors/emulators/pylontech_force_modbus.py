"""An emulated Pylontech Force as its Modbus registers: one pile of modules in series."""

from __future__ import annotations

from dataclasses import replace

from cellherd import faults
from cellherd.reading import Measured
from collectors.drivers import pylontech_force_modbus as force
from collectors.emulators.device import Emulator, Truths, mask_of
from collectors.fields import write
from collectors.kernel import Registers, Request, Unsupported

PILE_SIZE = force.PILE_STRIDE


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The register bytes, Unsupported outside the map. Unit 1 answers for every module."""
    if not isinstance(request, Registers) or not truths:
        return None
    parts = ((force.DEVICE, device(truths)), (force.SYSTEM, block(truths)), (force.PILE, pile(truths)))
    for base, image in parts:
        at = 2 * (request.start - base)
        if at >= 0 and at + 2 * request.count <= len(image):
            return image[at : at + 2 * request.count]
    raise Unsupported(f"no registers {request.start:#06x}+{request.count}")


def whole(truths: Truths) -> Measured:
    """The string: voltages add up, one current flows through all."""
    modules = list(truths.values())
    cells = [mv or 0 for m in modules for mv in m.cell_mv]
    temps = [t or 0 for m in modules for t in m.temp_dc] or [0]
    first = modules[0]
    return replace(
        first,
        voltage_mv=sum(m.voltage_mv or 0 for m in modules),
        cell_max_mv=max(cells),
        cell_min_mv=min(cells),
        cell_max_at=cells.index(max(cells)),
        cell_min_at=cells.index(min(cells)),
        temp_max_dc=max(temps),
        temp_min_dc=min(temps),
        charge_on=all(m.charge_on is not False for m in modules),
        discharge_on=all(m.discharge_on is not False for m in modules),
        faults=tuple(dict.fromkeys(fault for m in modules for fault in m.faults or ())),
        info={"modules": len(modules), "n_cells": len(cells), "piles": 1},
        extra={
            "charge_limit_ma": first.limits.get("charge_ma", 0),
            "discharge_limit_ma": -first.limits.get("discharge_ma", 0),
        },
    )


def block(truths: Truths) -> bytes:
    """The system block, which for one pile is that of the pile too."""
    truth = whole(truths)
    data = bytearray(2 * force.BLOCK_SIZE)
    write(force.BLOCK_TABLE, truth, data)
    write(force.PILES, truth, data)
    for field, word in force.WORDS.values():
        field.write(data, mask_of(faults.brand("pylontech")[word], truth.faults))
    force.MASKS["switches"].write(data, bool(truth.discharge_on) | bool(truth.charge_on) << 1)
    return bytes(data)


def device(truths: Truths) -> bytes:
    """Brand, name, firmware."""
    data = bytearray(2 * force.DEVICE_SIZE)
    data[0:6], data[10:20] = b"PYLON ", b"Force_H2".ljust(10, b"\0")
    data[20:22], data[24:26] = b"\x01\x06", b"\0\1"
    return bytes(data)


def pile(truths: Truths) -> bytes:
    """Block, serial, modules and cells; temperatures of a module stand for its cells in turn."""
    data = bytearray(2 * PILE_SIZE)
    image = block(truths)
    data[: len(image)] = image
    serial = str(next(iter(truths.values())).info.get("serial", "")).encode("ascii", "replace")[:16]
    _put(data, force.SERIAL, serial.ljust(16, b"\0"))
    at = 0
    for i, truth in enumerate(truths.values()):
        temps = [t or 0 for t in truth.temp_dc] or [0]
        _put(data, force.VOLTAGES + i, ((truth.voltage_mv or 0) // 10).to_bytes(2, "big"))
        _put(data, force.TEMPERATURES + i, temps[0].to_bytes(2, "big", signed=True))
        for j, mv in enumerate(truth.cell_mv):
            _put(data, force.CELLS + at, (mv or 0).to_bytes(2, "big"))
            _put(data, force.CELL_TEMPERATURES + at, temps[j % len(temps)].to_bytes(2, "big", signed=True))
            at += 1
    return bytes(data)


def _put(data: bytearray, register: int, part: bytes) -> None:
    data[2 * register : 2 * register + len(part)] = part


EMULATOR = Emulator(answer=answer)
