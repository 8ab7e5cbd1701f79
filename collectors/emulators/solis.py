"""An emulated Solis hybrid inverter with a battery."""

from __future__ import annotations

from dataclasses import replace

from collectors.drivers import solis
from collectors.emulators import registers
from collectors.emulators.device import Emulator, Truths
from collectors.kernel import Request


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The current without a sign, its direction beside it."""
    truth = truths[min(truths)]
    current = truth.current_ma or 0
    extra = {"direction": int(current < 0), "bms_mv": truth.voltage_mv or 0}
    return registers.answer(request, (solis.MAP,), replace(truth, current_ma=abs(current), extra=extra))


EMULATOR = Emulator(answer=answer)
