"""Pylontech low-voltage batteries over RS485 (US, UP, Phantom, Force L). Protocol: docs/devices/pylontech_rs485.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Any

from cellherd.errors import BadFrame, Silent
from cellherd.reading import Measured, combine
from collectors.drivers.pylontech_rs485 import answers
from collectors.drivers.pylontech_rs485.answers import (
    ALARMS,
    ANALOG,
    LENGTHS,
    LIMITS,
    MAKER,
    REQUESTS,
    SERIAL,
    SOFTWARE,
    SYSTEM,
    SYSTEM_ALARMS,
    SYSTEM_REQUESTS,
)
from collectors.drivers.pylontech_rs485.frames import GROUP, Frame, ask, find, said
from collectors.kernel import Answer, Chunk, Conversation, Driver, Send, Unsupported

MODULES: dict[int, answers.One] = {ANALOG: answers.analog, ALARMS: answers.alarms}
OF_A_MODULE: dict[int, Callable[[bytes], dict[str, Any]]] = {  # the payload begins with the address
    REQUESTS: answers.requests,
    SERIAL: answers.serial,
    SOFTWARE: answers.software,
}
OF_THE_ADDRESSED: dict[int, Callable[[bytes], dict[str, Any]]] = {LIMITS: answers.limits, MAKER: answers.maker}
OF_THE_STACK: dict[int, Callable[[bytes], dict[str, Any]]] = {
    SYSTEM: answers.system,
    SYSTEM_ALARMS: answers.system_alarms,
    SYSTEM_REQUESTS: answers.requests,
}
ADDRESS = rb"[0-7][2-9A-D]"
HIGHEST = 0x0D
"""Of a group, by the protocol document: 2 is the master. Modules that count on behind it are asked nothing alone."""
READS = rb"~20" + ADDRESS + rb"46(?:4[24]E002(?:FF|%b)|(?:4[7F]|51|6[123])0000|9[236]E002%b)[0-9A-F]{4}\r"


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """One answer; it does not name its command, so the request tells, or else the payload's shape.

    Raises BadFrame, Unsupported for return code 04.
    """
    if not isinstance(frame, bytes):
        raise BadFrame("Pylontech RS485 is no CAN", frame.data)
    return said(frame, request, (*MODULES, *LENGTHS), _read)


def _read(command: int, answer: Frame, group: bool | None) -> tuple[Measured, ...]:
    """The payload as an answer to `command`. Raises BadFrame where it cannot be one."""
    info = answer.info
    if command in MODULES:
        return answers.modules(answer, group, MODULES[command])
    if len(info) != LENGTHS.get(command):
        raise BadFrame(f"{len(info)} bytes are no answer to {command:02X}", info)
    if command in OF_A_MODULE:
        return (Measured(module=info[0], **OF_A_MODULE[command](info[1:])),)
    if command in OF_THE_STACK:
        return (Measured(kind="bank", **OF_THE_STACK[command](info)),)
    if command in OF_THE_ADDRESSED:
        return (Measured(module=answer.address, **OF_THE_ADDRESSED[command](info)),)
    return (Measured(module=answer.address, info={"protocol": f"{answer.version >> 4}.{answer.version & 15}"}),)


def extract(request: bytes, buffer: bytes) -> bytes | None:
    """The answer to `request` inside the buffer; see kernel.Extract."""
    return find(request, buffer, _read)


Step = Generator[Send, Answer, tuple[Measured, ...]]


def _get(address: int, command: int, info: bytes = b"") -> Step:
    request = ask(address, command, info)
    return decode((yield request), request.data)


def _get_if_known(address: int, command: int, info: bytes = b"") -> Step:
    try:
        return (yield from _get(address, command, info))
    except (Silent, Unsupported):
        return ()


def poll(address: int) -> Conversation:
    """Every module of the group whose first module has `address` (2, or 18 for group 1 and so on)."""
    found = yield from _get(address, ANALOG, GROUP)
    alarms = yield from _get_if_known(address, ALARMS, GROUP)
    said = {alarm.module: alarm for alarm in alarms}
    return tuple(combine(module, said.get(module.module, Measured())) for module in found)


def _asked_alone(module: int, first: int) -> bool:
    """Whether a module of the group that begins at `first` has an address of its own by the protocol."""
    return module - first <= HIGHEST - 2


def identify(address: int) -> Conversation:
    """Serial, model, firmware and limits of every module of the group."""
    parts = []
    for module in (yield from _get(address, ANALOG, GROUP)):
        at = module.module or address
        known = [Measured(module=at)]
        for command, info in _of_one(at) if _asked_alone(at, address) else ():
            known += yield from _get_if_known(at, command, info)
        parts.append(combine(*known, Measured(info={"n_cells": len(module.cell_mv)})))
    return tuple(parts)


def _of_one(at: int) -> tuple[tuple[int, bytes], ...]:
    return (MAKER, b""), (LIMITS, b""), (SERIAL, bytes((at,))), (SOFTWARE, bytes((at,)))


def seldom(address: int) -> Conversation:
    """What each module asks of the inverter, and the stack's own words where it speaks protocol 3.5."""
    parts: list[Measured] = []
    for module in (yield from _get(address, ANALOG, GROUP)):
        at = module.module or address
        if _asked_alone(at, address):
            parts += yield from _get_if_known(at, REQUESTS, bytes((at,)))
    stack = yield from _get_if_known(address, SYSTEM)
    if stack:
        stack += yield from _get_if_known(address, SYSTEM_ALARMS)
        stack += yield from _get_if_known(address, SYSTEM_REQUESTS)
        parts.append(combine(*stack))
    return tuple(parts)


DRIVER = Driver(
    name="pylontech_rs485",
    brand="pylontech",
    title="Pylontech low voltage (US2000 to US5000, UP2500, Phantom)",
    line="RS485, pins 7 and 8 of the RS485 port, 115200 8N1 (9600 by DIP 1)",
    links=("serial", "tcp"),
    decode=decode,
    allow=(re.compile(READS % (ADDRESS, ADDRESS)),),
    poll=poll,
    identify=identify,
    seldom=seldom,
    extract=extract,
    default_address=2,
    baud=115200,
    timeout_s=2.0,  # twelve modules at 9600 take 1.6 s
    ascii=True,
    whole_bus=True,
)
