"""`cellherd scan`: which battery hangs on which port, and what to write into edge.toml."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Event
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cellherd.errors import CellherdError
from collectors.drivers import driver
from collectors.links import Link, open_link, place_of
from collectors.scan import VICTRON, Probe, budget_s, patient, quick, thorough, without_bauds
from collectors.survey import Survey
from collectors.survey.can import survey_can
from collectors.survey.entry import add_to, entries
from collectors.survey.finds import Find, Report, Tell
from collectors.survey.port import Port

BY_PATH = Path("/dev/serial/by-path")
BITRATES = (500_000, 250_000)
ADVICE = (
    "Nothing was found. What helps most often: swap A and B of an RS485 pair; wake the battery by its button;",
    "close the maker's program, which holds the port; set the address by its DIP switch; scan with --all-bauds.",
    "Not asked: `jk_pb` (its question is a write: found only where another JK already asks) and Bluetooth.",
)
SURE = {"sure": "green", "likely": "yellow", "doubtful": "red"}


def scan(
    ports: Annotated[list[str] | None, typer.Argument(metavar="PORT...", help="Without any: all USB adapters.")] = None,
    can: Annotated[list[str] | None, typer.Option(help="can0, or slcan:/dev/ttyACM0; it is only listened to.")] = None,
    tcp: Annotated[list[str] | None, typer.Option(metavar="HOST:PORT", help="A serial server.")] = None,
    write: Annotated[Path | None, typer.Option(help="Add what was found to this edge.toml, after a backup.")] = None,
    all_bauds: Annotated[
        bool, typer.Option("--all-bauds", help="Every baud rate and every address too: takes minutes a port.")
    ] = False,
) -> None:
    """Find out which battery hangs on which port. Ports that talk are listened to; the others are asked, never written.

    Stop `cellherd edge run` first: a port has one master.

    Examples:

    cellherd scan

    cellherd scan /dev/ttyUSB0 --write edge.toml

    cellherd scan --can can0
    """
    console = Console()
    report = Report()
    rounds = [quick(), patient(), *([thorough()] if all_bauds else [])]
    for port in _ports(ports or [], tcp or [], anything=bool(can)):
        _gather(report, partial(_walk, port, rounds, everybody=all_bauds), port.name)
    for bus in can or []:
        _gather(report, partial(survey_can, _can_links(bus), _listener), bus)
    console.print(shown(report))
    if write and report.finds:
        console.print(Text(add_to(write, report.finds)))
    elif report.finds:
        console.print(Text("\nFor edge.toml:\n\n" + "\n\n".join(entries(report.finds))))
    if not report.finds:
        raise typer.Exit(1)


def _ports(serial: Sequence[str], tcp: Sequence[str], *, anything: bool) -> list[Port]:
    servers = [Port(name, tcp=True) for name in tcp]
    for name in tcp:
        place_of(f"tcp:{name}").host()
    if not serial and not servers and not anything:
        found = sorted(str(path) for path in BY_PATH.glob("*"))
        if not found:
            raise CellherdError("no USB serial adapter is plugged in; name a PORT, --can or --tcp")
        return [Port(name) for name in found]
    return [*(Port(_lasting(name)) for name in serial), *servers]


def _lasting(name: str) -> str:
    """The name of the same port that stays when adapters are plugged in another order."""
    here = Path(name).resolve()
    return next((str(path) for path in sorted(BY_PATH.glob("*")) if path.resolve() == here), name)


def _walk(port: Port, rounds: Sequence[Sequence[Probe]], tell: Tell, *, everybody: bool) -> Report:
    asked = [without_bauds(probes) for probes in rounds] if port.tcp else rounds
    at_most = budget_s(probe for probes in asked for probe in probes)

    def doing(what: str) -> None:
        tell(f"{what} (the port takes {at_most:.0f} s at most)")

    return Survey(port, doing, Event(), everybody=everybody).walk(asked)


def _gather(report: Report, walk: partial[Report], name: str) -> None:
    """Walk with a line of progress; a walk that ends in an error is a note, the next port is walked all the same."""
    with Console(stderr=True).status(Text(name)) as status:
        try:
            one = walk(tell=lambda doing: status.update(Text(f"{name}: {doing}")))
        except CellherdError as error:
            one = Report(notes=[str(error)])
    report.finds += one.finds
    report.notes += [note if note.startswith(name) else f"{name}: {note}" for note in one.notes]


def _can_links(bus: str) -> list[str]:
    """The link itself; an slcan adapter can be told both usual bit rates, a kernel interface has its own."""
    if bus.startswith("slcan:") and "?" not in bus:
        return [f"{bus}?bitrate={bitrate}" for bitrate in BITRATES]
    return [bus if ":" in bus else f"can:{bus}"]


def _listener(link: str) -> Link:
    return open_link(link, driver(VICTRON.driver))


def shown(report: Report) -> Table | Text:
    """What was found as a table, and below it everything that is not known."""
    table = Table(*("port", "driver", "baud", "address", "model", "serial", "cells", "how sure"), show_lines=False)
    for found in report.finds:
        table.add_row(*_row(found))
    notes = [*(f"{found.port}: {note}" for found in report.finds for note in found.notes), *report.notes]
    table.caption_justify = "left"
    table.caption = Text("\n".join(dict.fromkeys(notes)) or "")
    if report.finds:
        return table
    return Text("\n".join([*dict.fromkeys(notes), *ADVICE]))


def _row(found: Find) -> Iterator[str | Text]:
    places = [str(measured.module) for measured in found.told if measured.module is not None]
    cells = {str(len(measured.cell_mv)) for measured in found.told if measured.cell_mv}
    yield found.port
    yield found.driver
    yield str(found.baud or "-")
    yield ", ".join(places) or str(found.address)
    yield _list(found.said("model"))
    yield _list(found.said("serial"))
    yield _list(sorted(cells))
    yield Text(f"{found.verdict.sure}: {found.verdict.why}", style=SURE[found.verdict.sure])


def _list(words: Iterable[str]) -> str:
    return ", ".join(words) or "-"
