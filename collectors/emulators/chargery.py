"""An emulated Chargery of firmware V1.26, which sends by itself."""

from __future__ import annotations

from dataclasses import replace

from cellherd.reading import Measured
from collectors.drivers import chargery
from collectors.emulators.device import Emulator, Truths
from collectors.fields import write

CHANNELS = (8, 16, 24)
"""BMS8T, BMS16T, BMS24T."""
CHARGE, DISCHARGE = 1, 0
PROTECTIONS = {"charge": "cell_overvoltage_protection", "discharge": "cell_undervoltage_protection"}
STATUS_BYTES = 14
RESISTANCE = 9
"""0.9 mOhm a cell."""


def push(truths: Truths) -> list[bytes]:
    """Status, resistances and voltages, in the order in which a reading wants them."""
    truth = next(iter(truths.values()))
    return [frame(chargery.STATUS, status(truth)), frame(chargery.RESISTANCES, resistances(truth)), voltages(truth)]


def frame(command: int, data: bytes) -> bytes:
    """A frame around its data."""
    body = chargery.START + bytes((command, len(data) + 5)) + data
    return body + bytes((sum(body) & 0xFF,))


def status(truth: Measured) -> bytes:
    """0x57. The temperatures of two sensors; a path is shut by its own protection only, as far as it tells."""
    current = truth.current_ma or 0
    data = bytearray(STATUS_BYTES)
    told = replace(truth, current_ma=abs(current), extra={"mode": CHARGE if current > 0 else DISCHARGE})
    write(chargery.STATUS_TABLE, told, data)
    for path, at in chargery.PATHS.items():
        data[at] = PROTECTIONS[path] in (truth.faults or ())
    return bytes(data)


def voltages(truth: Measured) -> bytes:
    """0x56, with zeros on the channels that have no cell."""
    channels = next(n for n in CHANNELS if n >= len(truth.cell_mv))
    cells = [*(mv or 0 for mv in truth.cell_mv), *[0] * (channels - len(truth.cell_mv))]
    remaining = truth.remaining_mah or 0
    energy = remaining * (truth.voltage_mv or 0) // 1000
    end = (number.to_bytes(4, "little") for number in (energy, remaining))
    return frame(chargery.VOLTAGES, b"".join(mv.to_bytes(2, "big") for mv in cells) + b"".join(end))


def resistances(truth: Measured) -> bytes:
    """0x58."""
    current = truth.current_ma or 0
    head = bytes((CHARGE if current > 0 else DISCHARGE,)) + (abs(current) // 100).to_bytes(2, "little")
    return head + RESISTANCE.to_bytes(2, "little") * len(truth.cell_mv)


EMULATOR = Emulator(push=push)
