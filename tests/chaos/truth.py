"""Emulated banks of batteries that remember every answer they gave: what the archive says is held against this.

Each answer carries its own number in three cell voltages, the same for all modules of the bank.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from cellherd.errors import BadFrame
from cellherd.reading import Measured
from collectors.drivers.pylontech_rs485 import frames
from collectors.emulators import pylontech_rs485
from collectors.emulators.device import EmulatedDevice, Emulator, Truths
from collectors.emulators.fleet import Running, start
from collectors.kernel import Answer, Request, Send

ADDRESS = 2
LOWEST_MV, SPAN_MV = 2500, 1000
"""Three cells between 2.5 and 3.5 V count a thousand million answers."""
ANALOG = 0x42
STRANGE = 999_999_999
"""A number that no bank of ours comes to."""
_CELLS = Measured(
    voltage_mv=48_000, current_ma=-1000, remaining_mah=40_000, full_mah=50_000, cycles=7,
    cell_mv=(3300,) * 15, temp_dc=(250, 251, 252, 253), mos_temp_dc=260,
)  # fmt: skip


@dataclass
class Bank:
    """A stack of modules behind one port. `said` is how many answers were given."""

    stack: str
    modules: tuple[str, ...]
    period_s: float
    wire: str
    said: int = 0
    stranger: bool = False
    """Whether another unit answers in its place; what that says must never be taken for ours."""
    running: Running = field(init=False)

    def __post_init__(self) -> None:
        self._tail = pylontech_rs485.analog(_CELLS)[1 + 2 * 3 :]
        device = EmulatedDevice(
            "pylontech_rs485", {}, acts=Emulator(answer=self.answer, cut=pylontech_rs485.EMULATOR.cut), wire=self.wire
        )
        (self.running,) = start([device])

    def answer(self, request: Request, address: int, truths: Truths) -> Answer | None:
        """The next numbered answer; older units know nothing but the analog values, and so does this one."""
        try:
            asked = frames.split(request.data) if isinstance(request, Send) else None
        except BadFrame:
            return None
        if asked is None:
            return None
        if asked.code != ANALOG:
            return frames.write(asked.address, frames.UNKNOWN_COMMAND)
        if self.stranger:
            return frames.write(ADDRESS + 1, 0, bytes((0, 1)) + self._cells(STRANGE))
        self.said += 1
        return frames.write(ADDRESS, 0, bytes((0, len(self.modules))) + self._cells(self.said) * len(self.modules))

    def _cells(self, number: int) -> bytes:
        return bytes((15,)) + b"".join(mv.to_bytes(2, "big") for mv in digits(number)) + self._tail

    def toml(self) -> str:
        """Its part of edge.toml."""
        return (
            f'\n[[device]]\nstack = "{self.stack}"\ndriver = "pylontech_rs485"\nlink = "{self.running.link}"\n'
            f"modules = {list(self.modules)}\nperiod_s = {self.period_s}\n"
        ).replace("'", '"')


def digits(number: int) -> tuple[int, int, int]:
    """The number of an answer as three cell voltages, mV."""
    low, rest = number % SPAN_MV, number // SPAN_MV
    return LOWEST_MV + low, LOWEST_MV + rest % SPAN_MV, LOWEST_MV + rest // SPAN_MV


def number(c00: int, c01: int, c02: int) -> int:
    """Undo `digits`."""
    return c00 - LOWEST_MV + SPAN_MV * (c01 - LOWEST_MV + SPAN_MV * (c02 - LOWEST_MV))


def banks(count: int, modules: int, period_s: float) -> list[Bank]:
    """So many banks, on a pty and on TCP by turns."""
    names = tuple(f"m{i}" for i in range(1, modules + 1))
    return [Bank(f"s{i}", names, period_s, wire) for i, wire in enumerate(islice(_wires(), count), 1)]


def _wires() -> Iterator[str]:
    while True:
        yield "pty"
        yield "tcp"
