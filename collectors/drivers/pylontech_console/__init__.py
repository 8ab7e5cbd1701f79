"""Pylontech's text console, the port of BatteryView. Protocol: docs/devices/pylontech_console.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from dataclasses import replace

from cellherd.errors import BadFrame, Silent
from cellherd.reading import Measured, combine
from collectors.drivers.pylontech_console import history, live, text
from collectors.drivers.pylontech_console.text import Answer, Row
from collectors.kernel import Answer as Bytes
from collectors.kernel import Chunk, Conversation, Driver, Send, Unsupported, Wake

Reader = Callable[[Answer, Row, int | None], tuple[Measured, ...]]
SHAPES: tuple[tuple[str, Reader], ...] = (  # a name that stands in this answer only
    ("Basic Status", live.detail),
    ("ModID", history.log),
    ("Idle Times", history.stat),
    ("Device name", history.info),
    ("Max Chg Curr", history.limits),
    ("System SOC", history.stack),
    ("CAN Tx", history.ports),
)
REQUEST = re.compile(rf"\s*({text.READS})(?:\s+(\d{{1,2}}))?\s*")
LAST = re.compile(rf"(?:{re.escape(text.END)}|{text.FAILED}[^\r\n]{{0,80}})\s*{text.PROMPT}".encode())
MORE = re.compile(rf"{text.PAGE}[^\r\n]{{0,80}}exit".encode())
NEXT_PAGE = b"\r"
WAKE = Wake(1200, Send(b"~20014682C0048520FCC3\r"), Send(b"\n"))
MODULES = 16
MOST = 64 * 1024
"""Bytes after which an answer in pages is babble; 240 cells have about 26,000."""


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """A whole answer, or several of one session. The echo tells its module, else the request.

    Raises BadFrame for one that was cut or has another echo than the request, Unsupported if the device refuses.
    """
    if not isinstance(frame, bytes):
        raise BadFrame("a console is no CAN", frame.data)
    asked = REQUEST.fullmatch(request.decode("latin-1")) if request else None
    found: list[Measured] = []
    for answer in text.answers(frame):
        if asked and answer.command and (answer.command, answer.number) != _command(asked):
            raise BadFrame(f"answers {answer.command!r}, not {asked[0].strip()!r}", frame[:200])
        found += read(answer, _command(asked)[1] if asked else None)
    return tuple(found)


def _command(asked: re.Match[str]) -> tuple[str, int | None]:
    return asked[1], int(asked[2]) if asked[2] else None


def read(answer: Answer, asked: int | None) -> tuple[Measured, ...]:
    """What one answer says; its shape tells what it is, for not every dump has its echo. Raises BadFrame."""
    module = answer.number if answer.number is not None else asked
    table, said = text.rows(answer), text.pairs(answer)
    if table:
        if "SOHStatus" in table[0]:
            return history.health(table, module)
        if table[0].keys() & {"Battery", "Bat"}:
            return (live.cells(table, said, module),)
        return live.lines(table, said)
    if any("#" in line for line in answer.lines):
        return live.machine(answer, module)
    for name, reader in SHAPES:
        if name in said:
            return reader(answer, said, module)
    raise BadFrame("an answer of no known shape", "\n".join(answer.lines[:4]).encode("latin-1"))


def extract(request: bytes, buffer: bytes) -> bytes | None:
    """The answer from its echo to the next prompt, or a page of it; see kernel.Extract."""
    echoes = re.finditer(re.escape(request.strip()) + rb"\s*[\r\n@]" if request.strip() else b"^", buffer)
    start = max((echo.start() for echo in echoes), default=None)
    if start is None:
        return None
    end = LAST.search(buffer, start) or MORE.search(buffer, start)
    return buffer[start : end.end()] if end else None


Step = Generator[Send, Bytes, tuple[Measured, ...]]


def _get(command: str) -> Step:
    """One answer with all its pages. Raises BadFrame where they find no end."""
    answer = yield Send(f"{command}\n".encode())
    while MORE.search(answer[-120:]):
        if len(answer) > MOST:
            raise BadFrame(f"the answer to {command!r} has no end after {len(answer)} bytes", answer[:200])
        answer += yield Send(NEXT_PAGE)
    return decode(answer, command.encode())


def _get_if_known(command: str) -> Step:
    try:
        return (yield from _get(command))
    except (Silent, Unsupported):
        return ()


def poll(address: int) -> Conversation:
    """Every module with its cells; the master, or the high-voltage BMS, speaks for all."""
    found = yield from _get("pwr")
    if found and found[0].kind == "bank":
        return found + (yield from _string())
    modules = []
    for module in found:
        at = module.module
        parts = (yield from _get_if_known(f"pwr {at}")) + (yield from _get_if_known(f"bat {at}"))
        modules.append(combine(*parts, _beside_cells(module) if any(part.cell_mv for part in parts) else module))
    return tuple(modules)


def _beside_cells(line: Measured) -> Measured:
    """A line of `pwr` whose temperature, that of the board, makes room for those of the cells."""
    board = {"board_temp_dc": line.temp_dc[0]} if line.temp_dc and line.temp_dc[0] is not None else {}
    return replace(line, temp_dc=(), extra={**line.extra, **board})


def _string() -> Step:
    """The units of a high-voltage string; its cells are listed in one run, the same number in each unit."""
    units = yield from _get_if_known("unit")
    listed = yield from _get_if_known("bat")
    if not units or not listed or len(listed[0].cell_mv) % len(units):
        return units
    share = len(listed[0].cell_mv) // len(units)
    return tuple(combine(_share(listed[0], i * share, share), unit) for i, unit in enumerate(units))


def _share(string: Measured, first: int, count: int) -> Measured:
    """The cells of one unit out of the whole string, with their numbers in it."""
    places = range(first, first + count)
    of_cells = [(name, word) for name, word in string.raw.items() if name.startswith("cell_")]
    told = {name: word for name, word in of_cells if int(name.split("_")[1]) in places}
    return Measured(
        cell_mv=string.cell_mv[first : first + count],
        temp_dc=string.temp_dc[first : first + count],
        balancing=None if string.balancing is None else string.balancing >> first & (1 << count) - 1,
        raw=told,
    )


def identify(address: int) -> Conversation:
    """Serial, model, firmware and limits of every module; thresholds of a high-voltage string."""
    found = yield from _get("pwr")
    if found and found[0].kind == "bank":
        return (yield from _get_if_known("info")) + (yield from _get_if_known("sysinfo"))
    parts: list[Measured] = []
    for module in found:
        parts += yield from _get_if_known(f"info {module.module}")
    return tuple(parts)


def seldom(address: int) -> Conversation:
    """Lifetime counters, which prove a trip that no poll saw, cell health, the log and the stack's own sums."""
    found = yield from _get("pwr")
    high = bool(found) and found[0].kind == "bank"
    parts: list[Measured] = []
    for suffix in [""] if high else [f" {module.module}" for module in found]:
        parts += yield from _get_if_known(f"stat{suffix}")
        parts += yield from _get_if_known(f"soh{suffix}")
    parts += yield from _get_if_known("log")
    return tuple(parts) + (() if high else (yield from _get_if_known("pwrsys")))


DRIVER = Driver(
    name="pylontech_console",
    brand="pylontech",
    title="Pylontech console (US series, Force H2, SC; also Pytes)",
    line="RS232 on the Console port of the master, 115200 8N1; a sleeping pack is woken at 1200 baud",
    links=("serial", "tcp"),
    decode=decode,
    allow=(
        re.compile(rf"(?:{text.READS})(?: (?:[1-9]|1[0-6]))?\n".encode()),
        re.compile(NEXT_PAGE),
        *(re.compile(re.escape(send.data)) for send in (WAKE.call, WAKE.then)),
    ),
    wake=WAKE,
    poll=poll,
    identify=identify,
    seldom=seldom,
    extract=extract,
    default_address=1,
    baud=115200,
    timeout_s=3.0,
    spans_lines=True,
    whole_bus=True,
)
