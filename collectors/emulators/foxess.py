"""An emulated Fox ESS H3 inverter with a battery: registers of other families are refused."""

from __future__ import annotations

from dataclasses import replace

from collectors.drivers import foxess
from collectors.emulators import registers
from collectors.emulators.device import Emulator, Truths
from collectors.kernel import Request


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The registers of an H3."""
    truth = replace(truths[min(truths)], extra={"bms_connected": 1})
    return registers.answer(request, (foxess.FAMILIES["h3"],), truth)


EMULATOR = Emulator(answer=answer)
