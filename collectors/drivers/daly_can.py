"""Daly smart BMS on CAN, 250 kbit/s, 29-bit ids: the payloads of A5 frames. Protocol: docs/devices/daly_can.md."""

from __future__ import annotations

from collections.abc import Mapping

from cellherd.errors import BadFrame
from cellherd.reading import CELLS, TEMPS, Measured
from collectors.drivers.daly_uart import (
    BOARDS,
    CELL_PARTS,
    CELLS_A_PART,
    COUNTS,
    LENGTH,
    MEASURING,
    SUMS,
    TEMP_PARTS,
    TEMPS_A_PART,
    measure,
)
from collectors.kernel import CanFrame, Chunk, Conversation, Driver

HOST = 0x40
PRIORITY = 0x18
LONG = (CELL_PARTS, TEMP_PARTS)


def ask(address: int, command: int) -> CanFrame:
    """A read request to one BMS."""
    return CanFrame(PRIORITY << 24 | command << 16 | address << 8 | HOST, bytes(LENGTH), extended=True)


def reply_id(address: int, command: int) -> int:
    """The id of the answer: both addresses change places."""
    return PRIORITY << 24 | command << 16 | HOST << 8 | address


def _split(frame: CanFrame) -> tuple[int, int] | None:
    """Which BMS answers what; None if the frame is no answer of a Daly."""
    priority, command, to, sender = frame.id.to_bytes(4, "big")
    daly = frame.extended and priority == PRIORITY and to == HOST and sender in BOARDS and command in MEASURING
    return (sender, command) if daly else None


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """What one frame says. Raises BadFrame for anything but an answer of a Daly."""
    if not isinstance(frame, CanFrame):
        raise BadFrame("not a CAN frame", frame)
    answer = _split(frame)
    if answer is None:
        raise BadFrame(f"id {frame.id:08x} is not an answer of a Daly, like 18904001", frame.data)
    if len(frame.data) != LENGTH:
        raise BadFrame("an answer of a Daly has 8 bytes", frame.data)
    module, command = answer
    return (measure(((command, frame.data),), module),)


Said = Mapping[tuple[int, int], bytes]
"""Command and part -> payload."""
Sets = Mapping[int, Said]
"""What each BMS said since its last whole set."""


def feed(state: Sets, chunk: Chunk) -> tuple[Sets, tuple[Measured, ...]]:
    """Collect the answers to whoever asks, us or another master.

    A set is told as soon as nothing is missing, else when the next one begins.
    """
    if not isinstance(chunk, CanFrame) or len(chunk.data) != LENGTH or (answer := _split(chunk)) is None:
        return state, ()
    module, command = answer
    said: Said = state.get(module, {})
    told: tuple[Measured, ...] = ()
    if command == SUMS and (SUMS, 0) in said:
        said, told = {}, _whole(said, module)
    said = {**said, (command, chunk.data[0] if command in LONG else 0): chunk.data}
    if _is_whole(said):
        said, told = {}, (*told, *_whole(said, module))
    return {**state, module: said}, told


def _is_whole(said: Said) -> bool:
    commands = [command for command, _ in said]
    if set(commands) != set(MEASURING):
        return False
    cells, temps = said[COUNTS, 0][:2]
    enough = commands.count(CELL_PARTS) * CELLS_A_PART >= min(cells, CELLS)
    return enough and commands.count(TEMP_PARTS) * TEMPS_A_PART >= min(temps, TEMPS)


def _whole(said: Said, module: int) -> tuple[Measured, ...]:
    return (measure([(command, data) for (command, _), data in said.items()], module),)


def poll(address: int) -> Conversation:
    """Send the questions. The answers, of which some have several frames, come in by `feed`."""
    for command in MEASURING:
        yield ask(address, command)
    return ()


DRIVER = Driver(
    name="daly_can",
    brand="daly",
    title="Daly smart BMS on CAN",
    line="CAN 250 kbit/s; silent until somebody asks: another master, or CellHerd with `ask = true`",
    links=("can",),
    decode=decode,
    allow=tuple(ask(n, command) for n in BOARDS for command in MEASURING),
    poll=poll,
    feed=feed,
    fresh=dict,
    default_address=1,
    baud=250_000,
)
