"""Emulated Daly BMSs on CAN: silent until they are asked, by us or by another master."""

from __future__ import annotations

from collectors.drivers import daly_can as can
from collectors.drivers.daly_uart import MEASURING
from collectors.emulators.daly_uart import payloads
from collectors.emulators.device import Emulator, Truths
from collectors.kernel import CanFrame


def hear(frame: CanFrame, truths: Truths) -> list[CanFrame]:
    """The answers to a question, of which some have several frames."""
    for address, truth in truths.items():
        for command in MEASURING:
            if frame == can.ask(address, command):
                reply = can.reply_id(address, command)
                return [CanFrame(reply, data, extended=True) for data in payloads(truth, command)]
    return []


def broadcast(truths: Truths) -> list[CanFrame]:
    """Every question of another master with its answers."""
    questions = [can.ask(address, command) for address in truths for command in MEASURING]
    return [frame for question in questions for frame in (question, *hear(question, truths))]


EMULATOR = Emulator(broadcast=broadcast, hear=hear)
