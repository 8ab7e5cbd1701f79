"""An emulated Bluetti station with Modbus TCP, and its packs as a bluetti_mqtt bridge tells them."""

from __future__ import annotations

import json
from dataclasses import replace

from cellherd import faults
from collectors.drivers import bluetti
from collectors.emulators import registers
from collectors.emulators.device import Emulator, Truths
from collectors.kernel import Registers, Request
from collectors.telegrams import message

ALARMS = bluetti.MAP.parts[1]
UNIT = "AC300-2237000000000"


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The registers of one pack and of the station's faults; a slot without a pack answers zeros."""
    if address not in truths:
        return bytes(2 * request.count) if isinstance(request, Registers) else None
    truth = truths[address]
    way = bluetti.DISCHARGING if (truth.current_ma or 0) < 0 else bluetti.CHARGING
    told = replace(truth, extra={"state": way}, info={"n_cells": len(truth.cell_mv)})
    data = registers.answer(request, (bluetti.MAP,), told)
    if (
        data is None
        or not isinstance(request, Registers)
        or not request.start <= bluetti.ERRORS < request.start + request.count
    ):
        return data
    codes = faults.brand("bluetti")["error"].values.items()
    bits = [int(name[1:]) - 1 for name, code in codes if code.fault in (truth.faults or ()) and int(name[1:]) <= 80]
    mask = sum(1 << bit for bit in bits[:1])
    words = b"".join((mask >> 16 * i & 0xFFFF).to_bytes(2, "big") for i in range(bluetti.ERROR_WORDS))
    at = 2 * (bluetti.ERRORS - request.start)
    return data[:at] + words + data[at + len(words) :]


def push(truths: Truths) -> list[bytes]:
    """Each pack in a message, cells in steps of 10 mV."""
    told = []
    for at, truth in truths.items():
        cells = [round((mv or 0) / 10) / 100 for mv in truth.cell_mv]
        body = {
            "percent": (truth.soc_pm or 0) // 10,
            "voltage": round((truth.voltage_mv or 0) / 10) / 100,
            "voltages": cells,
        }
        told.append(message(f"bluetti/state/{UNIT}/pack_details{at}", json.dumps(body).encode()))
    return told


EMULATOR = Emulator(answer=answer, push=push)
