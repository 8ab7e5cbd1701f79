"""What the engine remembers: a small value for each module and each stack, stored as it is."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from pipeline.live.features import Sample
from pipeline.live.profile import Known

Place = tuple[str, str, str, str]
"""Site, edge, stack, module. Module "" stands for a whole stack, stack "" for a whole site."""


class Episode(msgspec.Struct, frozen=True):
    """A fault that stands: since when (UTC ms), who said so, its cell, and how it is cut."""

    since: int
    origin: str
    name: str
    cuts: str
    cell: int | None = None
    late: bool = False


class Waiting(msgspec.Struct, frozen=True):
    """A fault that has to hold on before it enters: since when, and the reading that showed it first."""

    since: int
    sample: Sample
    cells: list[int | None]
    temps: list[int | None]
    device: bool
    late: bool
    identity: tuple[str, str, int]


class Charge(msgspec.Struct, frozen=True):
    """How a charge, or a discharge, ended: its last reading, and the cell that led."""

    ts: int
    soc_pm: int | None
    lo: int | None
    hi: int | None
    spread: int | None
    at: int | None
    cut: bool
    ma: int | None = None
    med: int | None = None


class Module(msgspec.Struct):
    """One module. A step works on a copy; nobody changes one that others see."""

    place: Place
    unit: str
    kind: str
    known: Known
    firmware: str = ""
    stream: str = ""
    epoch: str = ""
    seq: int = 0
    arrival: int = 0
    period: int = 10_000
    last: Sample | None = None
    said: tuple[str, ...] | None = None
    standing: dict[str, Episode] = {}
    waiting: dict[str, Waiting] = {}
    clearing: dict[str, int] = {}
    entered: dict[str, list[int]] = {}
    left: dict[str, int] = {}
    resets: list[int] = []
    counters: dict[str, tuple[int, int]] = {}
    soc_anchor: tuple[int, int, int] | None = None
    flow: tuple[int, int, int, Sample | None] = (2, 0, 0, None)
    charges: list[Charge] = []
    discharges: list[Charge] = []
    middle_mv: int | None = None
    warmth: list[tuple[int, int]] = []
    sensors: list[tuple[int | None, int, int, int]] = []
    jumps: list[int] = []  # times of leaps apart, and less than 0 of leaps together
    polls: tuple[int, int, int] = (0, 0, 0)
    apart: tuple[int, int] | None = None
    full_since: int = 0
    slept: int = 0

    def fresh(self) -> Module:
        """A copy whose collections may be changed."""
        return replace(
            self, standing=self.standing.copy(), waiting=self.waiting.copy(), clearing=self.clearing.copy(),
            entered=self.entered.copy(), left=self.left.copy(), resets=self.resets.copy(),
            counters=self.counters.copy(), charges=self.charges.copy(), discharges=self.discharges.copy(),
            warmth=self.warmth.copy(), sensors=self.sensors.copy(), jumps=self.jumps.copy(),
        )  # fmt: skip


class Group(msgspec.Struct):
    """A stack, or a site (stack ""): what stands for it as a whole, since when it shows, and how often modules left."""

    place: Place
    standing: dict[str, Episode] = {}
    waiting: dict[str, int] = {}
    clearing: dict[str, int] = {}
    missed: list[int] = []

    def fresh(self) -> Group:
        """A copy whose collections may be changed."""
        return Group(self.place, dict(self.standing), dict(self.waiting), dict(self.clearing), list(self.missed))


def encode(value: Module | Group) -> bytes:
    """A state as bytes for the store."""
    return _ENCODER.encode(value)


def module_of(data: bytes) -> Module:
    """Raises msgspec.DecodeError if the bytes are no module of this version."""
    return _MODULE.decode(data)


def group_of(data: bytes) -> Group:
    """As module_of, for a group."""
    return _GROUP.decode(data)


_ENCODER = msgspec.msgpack.Encoder()
_MODULE = msgspec.msgpack.Decoder(Module)
_GROUP = msgspec.msgpack.Decoder(Group)
