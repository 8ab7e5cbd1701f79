"""Emulated Daly boards that answer A5 frames; on CAN the same payloads travel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cellherd import faults
from cellherd.reading import Measured
from collectors.drivers import daly_uart as daly
from collectors.emulators.device import Emulator, Truths, mask_of
from collectors.fields import write
from collectors.kernel import Request, Send

MADE = bytes((0, 0, 24, 6, 1, 0, 0, 0))
STEP_MV = 100
"""Level 1 of a voltage warns this much before level 2 cuts, at each cell."""


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """Every frame of the answer of the board that is asked; silence if there is none, or it does not know."""
    if not isinstance(request, Send) or len(request.data) != daly.SIZE:
        return None
    board, command = request.data[1] - daly.HOST, request.data[2]
    if board not in truths:
        return None
    return b"".join(frame(board, command, data) for data in payloads(truths[board], command)) or None


def frame(board: int, command: int, data: bytes) -> bytes:
    """An answer frame around its eight bytes."""
    body = bytes((daly.START, board, command, daly.LENGTH)) + data
    return body + bytes((sum(body) & 0xFF,))


def payloads(truth: Measured, command: int) -> list[bytes]:
    """What stands in each frame of an answer; nothing for a command that a Daly does not know."""
    if command in SPECIAL:
        return SPECIAL[command](truth)
    if command not in daly.TABLES:
        return []
    data = bytearray(daly.LENGTH)
    write(daly.TABLES[command], seen(truth), data)
    return [bytes(data)]


def _cells(truth: Measured) -> list[bytes]:
    return _parts([(mv or 0).to_bytes(2, "big") for mv in truth.cell_mv], daly.CELLS_A_PART)


def _temps(truth: Measured) -> list[bytes]:
    raw = ((t - daly.ZERO_DC) // 10 if t is not None else 0 for t in truth.temp_dc)
    return _parts([bytes((each,)) for each in raw], daly.TEMPS_A_PART)


def _code(truth: Measured) -> list[bytes]:
    whole = 7 * daly.CODE_PARTS
    code = str(truth.info.get("serial", "")).encode("ascii", "replace")[:whole].ljust(whole)
    return _parts([bytes((byte,)) for byte in code], 7)


def _failure(truth: Measured) -> list[bytes]:
    return [mask_of(faults.brand("daly")["failure"], truth.faults).to_bytes(8, "little")]


def _parts(items: list[bytes], size: int) -> list[bytes]:
    parts = (b"".join(items[at : at + size]) for at in range(0, len(items), size))
    return [(bytes((n,)) + part).ljust(daly.LENGTH, b"\0") for n, part in enumerate(parts, 1)]


SPECIAL: dict[int, Callable[[Measured], list[bytes]]] = {
    daly.CELL_PARTS: _cells,
    daly.TEMP_PARTS: _temps,
    daly.CODE: _code,
    daly.FAILURE: _failure,
    daly.BALANCE: lambda truth: [(truth.balancing or 0).to_bytes(8, "little")],
    daly.MAKE: lambda truth: [MADE],
}


def seen(truth: Measured) -> Measured:
    """The truth with everything else that a Daly tells: counts, states, both levels of each limit."""
    current, cells, temps = truth.current_ma or 0, [mv or 0 for mv in truth.cell_mv], [t or 0 for t in truth.temp_dc]
    extra = {
        "state": 1 if current > 0 else 2 if current < 0 else 0,
        "charger": int(current > 0),
        "load": int(current < 0),
        "temp_sensors": len(temps),
        "temp_max_at": temps.index(max(temps)),
        "temp_min_at": temps.index(min(temps)),
        "cell_mean_mv": sum(cells) // len(cells),
        "cell_spread_mv": max(cells) - min(cells),
        "power_w": abs((truth.voltage_mv or 0) * current) // 1_000_000 & 0xFFFF,
    }
    return replace(truth, extra=extra, info={**truth.info, "n_cells": len(cells)}, limits=_levels(truth, len(cells)))


def _levels(truth: Measured, cells: int) -> dict[str, int]:
    told = dict(truth.limits)
    highest, lowest = told.get("cell_max_mv", 0), told.get("cell_min_mv", 0)
    told |= {"cell_high_mv": max(highest - STEP_MV, 0), "cell_low_mv": lowest + STEP_MV}
    for side in ("high", "max", "low", "min"):
        told[f"voltage_{side}_mv"] = cells * told.get(f"cell_{side}_mv", 0)
    for way in ("charge", "discharge"):
        told[f"{way}_high_ma"] = told.setdefault(f"{way}_ma", 0) * 9 // 10
        told[f"{way}_temp_high_dc"] = told.setdefault(f"{way}_temp_max_dc", 0) - 50
        told[f"{way}_temp_low_dc"] = told.setdefault(f"{way}_temp_min_dc", 0) + 50
    return told


def cut(buffer: bytes) -> tuple[bytes | None, bytes]:
    """One request with a sound checksum off the buffer; what stands before it is noise."""
    for at in range(len(buffer) - daly.SIZE + 1):
        request = buffer[at : at + daly.SIZE]
        if request[0] == daly.START and sum(request[:-1]) & 0xFF == request[-1]:
            return request, buffer[at + daly.SIZE :]
    return None, buffer[-daly.SIZE + 1 :]


EMULATOR = Emulator(answer=answer, cut=cut)
