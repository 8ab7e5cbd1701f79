"""Emulated Daly BMSs on CAN, as a bus sounds on which another master asks them in turn."""

from __future__ import annotations

from collectors.drivers import daly_can as can
from collectors.drivers.daly_uart import MEASURING
from collectors.emulators.daly_uart import payloads
from collectors.emulators.device import Emulator, Truths
from collectors.kernel import CanFrame


def broadcast(truths: Truths) -> list[CanFrame]:
    """Every question of the other master with its answers."""
    return [
        frame
        for address, truth in truths.items()
        for command in MEASURING
        for frame in (
            can.ask(address, command),
            *(CanFrame(can.reply_id(address, command), data, extended=True) for data in payloads(truth, command)),
        )
    ]


EMULATOR = Emulator(broadcast=broadcast)
