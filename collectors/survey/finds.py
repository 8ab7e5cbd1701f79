"""What came out of a port: devices, how sure we are of each, and what cannot be known from here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from cellherd.reading import Measured
from collectors import scan
from collectors.kernel import Driver

Tell = Callable[[str], None]
"""Told what is being done now, for a person who waits."""


@dataclass(frozen=True, slots=True)
class Find:
    """A device, or a bus of several, as far as it told of itself. `baud` is 0 where nobody knows it."""

    port: str
    link: str
    driver: str
    baud: int
    address: int
    verdict: scan.Verdict
    told: tuple[Measured, ...] = ()
    notes: tuple[str, ...] = ()

    def said(self, name: str) -> list[str]:
        """What its modules say of themselves: serial, model."""
        return list(dict.fromkeys(str(measured.info[name]) for measured in self.told if measured.info.get(name)))


@dataclass(slots=True)
class Report:
    """Everything that came out of one port."""

    finds: list[Find] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def unknown(known: Driver, told: Sequence[Measured]) -> Iterator[str]:
    """What cannot be known from what was found."""
    if any(measured.kind == "bank" for measured in told) and len(told) == 1:
        yield f"{known.name} speaks for the whole bank; which modules stand behind it, nobody says here"
    if not any(measured.info.get("serial") for measured in told):
        yield f"{known.name} did not tell its serial number, so two swapped cables would go unnoticed"
    if known.name == "jk_modbus":
        yield "a JK at address 0 polls the others by itself; it cannot be asked, only overheard (`jk_pb`)"
    if scan.shares_a_bus(known):
        yield f"further devices of {known.name} may be behind a gap of addresses; --all-bauds asks them all"
