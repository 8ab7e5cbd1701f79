"""`cellherd alerts`: what stands, what was told to whom, and what operators decide about it."""

from __future__ import annotations

import getpass
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cellherd.clock import SystemClock, as_text
from cellherd.config import FleetConfig, load_fleet
from cellherd.errors import CellherdError
from cellherd.paths import default_state
from cellherd.spans import span_ms
from pipeline.words import Told, tell

if TYPE_CHECKING:
    from pipeline.alerts.state import Action, Alert

Config = Annotated[Path, typer.Option(help="fleet.toml", envvar="CELLHERD_CONFIG")]
State = Annotated[Path | None, typer.Option(help="State folder.")]
Name = Annotated[str, typer.Argument(metavar="ALERT", help="An alert's id, or the beginning of it.")]
ALIVE_MS = 180_000


def list_alerts(
    site: Annotated[str | None, typer.Option(help="Only this site.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    config: Config = Path("fleet.toml"),
    state: State = None,
) -> None:
    """List the alerts that are open, the most urgent first, and say if nobody is there to tell or to hear them.

    Example: cellherd alerts list --site barn
    """
    from pipeline.alerts import addresses, ledger  # noqa: PLC0415 - msgspec takes a moment; --help must not wait
    from pipeline.alerts.news import words  # noqa: PLC0415

    fleet, folder = load_fleet(config), state or default_state()
    with _file(folder) as database:
        found, beat = ledger.alerts(database), int(ledger.note(database, "heartbeat") or 0)
        shut = addresses.all_closed(database)
        waiting = database.execute("SELECT count(*) FROM delivery WHERE state IN ('due', 'sending')").fetchone()[0]
    shown = [a for a in found.values() if (everything or a.open) and site in (None, a.site)]
    table = Table("id", "state", "what", "where", "since", "told", box=None)
    for alert in sorted(shown, key=lambda a: (not a.open, a.priority, a.at)):
        told = words(alert.worst, fleet, "UTC")
        more = f" and {len(alert.members) - 1} more" if len(alert.members) > 1 else ""
        since = as_text(alert.worst.since) if alert.worst.since else told.since
        table.add_row(alert.id[:8], _state(alert), told.what, escape(told.where) + more, since, f"{alert.turn} times")
    console = Console(soft_wrap=True)
    console.print(table) if shown else console.print("no alerts are open")
    if SystemClock().wall() - beat > ALIVE_MS:
        console.print("cellherd notify run is not at work: nobody is told of live events", style="red")
    for one in shut:
        console.print(
            f"nothing reaches {one.way.channel} {one.way.address} since {as_text(one.at)}: {one.said}", markup=False
        )
    if waiting:
        console.print(f"{waiting} messages wait; cellherd alerts history shows why")


def show(alert: Name, config: Config = Path("fleet.toml"), state: State = None) -> None:
    """Show one alert: its troubles, why it is kept back if it is, and every message about it.

    Example: cellherd alerts show 3f9a
    """
    from pipeline.alerts import ledger  # noqa: PLC0415
    from pipeline.alerts.news import words  # noqa: PLC0415

    fleet, folder = load_fleet(config), state or default_state()
    with _file(folder) as database:
        one = _one(ledger.alerts(database), alert)
        sent = list(_history(database, one.id, 50))
    console = Console(soft_wrap=True)
    console.print(f"{one.id}: {_state(one)} since {as_text(one.at)}", markup=False)
    for member in one.members:
        told = words(member, fleet, "UTC")
        stands = "stands" if member.standing else f"gone since {as_text(member.left)}" if member.left else "gone"
        console.print(f"  {told.what}: {told.where} {told.numbers} [{stands}]", markup=False)
    told = words(one.worst, fleet, "UTC")
    for step in told.actions:
        console.print(f"  do: {step}", markup=False)
    _print_history(console, sent)


def ack(
    alert: Name,
    by: Annotated[str | None, typer.Option(help="Who takes it on; default: your user name.")] = None,
    snooze: Annotated[str | None, typer.Option(help="Hear of it again after 30m, 4h or 7d if it still stands.")] = None,
    config: Config = Path("fleet.toml"),
    state: State = None,
) -> None:
    """Take an alert on: nobody else is asked about it. You still hear when it is over.

    Examples:

    cellherd alerts ack 3f9a --by Anna

    cellherd alerts ack 3f9a --snooze 4h
    """
    from pipeline.alerts import ledger  # noqa: PLC0415
    from pipeline.alerts.state import Action  # noqa: PLC0415

    fleet, folder = load_fleet(config), state or default_state()
    until = SystemClock().wall() + span_ms(snooze) if snooze else 0
    with _file(folder) as database:
        one = _one(ledger.alerts(database), alert)
        if not one.open:
            raise CellherdError(f"alert {one.id[:8]} is over since {as_text(one.at)}")
        if one.state == "pending":
            raise CellherdError(f"nobody was told of alert {one.id[:8]} yet ({one.hidden or 'it is being collected'})")
    _decide(fleet, folder, Action("snooze" if snooze else "ack", one.id, by or getpass.getuser(), until))
    typer.echo(f"{one.id[:8]}: " + (f"snoozed until {as_text(until)}" if snooze else "acknowledged"))


def silence(  # noqa: PLR0913, PLR0917 - each parameter is an option that a person types
    span: Annotated[str, typer.Argument(metavar="SPAN", help="How long from now: 30m, 4h, 7d; 0 ends a silence.")],
    site: Annotated[str, typer.Option(help="This site.")],
    stack: Annotated[str | None, typer.Option(help="Only this stack.")] = None,
    module: Annotated[str | None, typer.Option(help="Only this module.")] = None,
    fault: Annotated[list[str] | None, typer.Option(help="Only this fault; may be given several times.")] = None,
    why: Annotated[str, typer.Option(help="For those who wonder.")] = "",
    config: Config = Path("fleet.toml"),
    state: State = None,
) -> None:
    """Keep troubles back while somebody works on the batteries. What still stands at the end is told then.

    Examples:

    cellherd alerts silence 4h --site barn --stack cellar --why "cells balanced by hand"

    cellherd alerts silence 0 --site barn --stack cellar
    """
    from cellherd.faults import catalogue  # noqa: PLC0415
    from pipeline.alerts import ledger  # noqa: PLC0415
    from pipeline.alerts.state import Silence  # noqa: PLC0415

    fleet, folder, now = load_fleet(config), state or default_state(), SystemClock().wall()
    if site not in {entry.id for entry in fleet.site}:
        raise CellherdError(f"no site {site!r} in {config}; there are {', '.join(s.id for s in fleet.site) or 'none'}")
    if unknown := [name for name in fault or () if name not in catalogue()]:
        raise CellherdError(f"no fault {unknown[0]!r}; cellherd faults show WORDS finds its name")
    end, name = now + span_ms(span), "/".join(part for part in (site, stack, module, *(fault or ())) if part)
    with ledger.opened(folder) as database:
        ledger.put_silence(database, Silence(name, now, end, site, stack or "", module or "", tuple(fault or ()), why))
    typer.echo(f"{name}: silent until {as_text(end)}" if end > now else f"{name}: no longer silent")


def history(
    alert: Annotated[str | None, typer.Argument(metavar="ALERT", help="Only this alert; default: all.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, the newest.")] = 50,
    state: State = None,
) -> None:
    """Show who was sent what, when, by which way, and what became of it.

    Example: cellherd alerts history --limit 20
    """
    from pipeline.alerts import ledger  # noqa: PLC0415

    with _file(state or default_state()) as database:
        thread = _one(ledger.alerts(database), alert).id if alert else None
        sent = list(_history(database, thread, limit))
    _print_history(Console(soft_wrap=True), sent)


def test(config: Config = Path("fleet.toml")) -> None:  # noqa: PT028 - a command, no test
    """Send a sample alert by every way to every person and address of the routes, and say whether it left.

    Exit code 1 if any did not.

    Example: cellherd alerts test --config fleet.toml
    """
    fleet = load_fleet(config)
    if not any(route.telegram or route.mail or route.people for route in fleet.route):
        raise CellherdError(f"{config} has no [[route]] with a recipient; docs/alerts.md shows one")
    results = list(_tried(fleet))
    table = Table("channel", "to", "", box=None)
    for channel, address, trouble in results:
        table.add_row(channel, escape(address), escape(trouble) or "sent", style="red" if trouble else "green")
    Console(soft_wrap=True).print(table)
    if any(trouble for _, _, trouble in results):
        raise typer.Exit(1)


def _tried(fleet: FleetConfig) -> Iterator[tuple[str, str, str]]:
    from pipeline.alerts.channel import NotSent  # noqa: PLC0415 - httpx is heavy; --help must not wait for it
    from pipeline.alerts.deliver import channels  # noqa: PLC0415
    from pipeline.alerts.messages import News, message  # noqa: PLC0415
    from pipeline.alerts.people import as_person, of_route  # noqa: PLC0415

    sample, ways = message(News(f"test.{uuid4().hex[:12]}", "test", (_sample(fleet),))), channels(fleet)
    now = SystemClock().wall()
    people = [person for route in fleet.route for person in of_route(route, fleet, now)]
    people += [as_person(entry) for entry in fleet.person]
    for way in dict.fromkeys(way for person in people for way in person.ways):
        try:
            ways[way.channel].send(way.address, sample)
        except NotSent as error:
            yield way.channel, way.address, str(error)
        else:
            yield way.channel, way.address, ""


def _sample(fleet: FleetConfig) -> Told:
    site = fleet.site[0].id if fleet.site else None
    found = {"fault": "cell_imbalance_warning", "site": site, "stack": "stack", "module": "module", "cell": 6}
    numbers = {"value": 118.0, "threshold": 100.0, "value_unit": "mV", "confidence": 0.9, "priority": 3}
    told = tell(found | numbers, fleet)
    return replace(told, what=f"This is a test. {told.what}")


def _decide(fleet: FleetConfig, folder: Path, action: Action) -> None:
    """Hand a decision to the notifier, or carry it out here if there is none."""
    from pipeline.alerts import ledger  # noqa: PLC0415
    from pipeline.alerts.deliver import channels, work_off  # noqa: PLC0415

    with ledger.opened(folder) as database:
        work_off(database, fleet, folder, ledger.act(database, action), channels(fleet))


def _file(folder: Path) -> closing[sqlite3.Connection]:
    from pipeline.alerts import ledger  # noqa: PLC0415

    if not (folder / ledger.DATABASE).exists():
        raise CellherdError(f"{folder} knows no alerts; give the server's state folder with --state")
    return closing(ledger.connect(folder))


def _one(found: dict[str, Alert], name: str) -> Alert:
    fitting = [alert for alert in found.values() if alert.id.startswith(name)]
    if len(fitting) != 1:
        many = f"{len(fitting)} alerts begin with {name!r}; give more of it" if fitting else f"no alert {name!r}"
        raise CellherdError(f"{many}; cellherd alerts list shows them")
    return fitting[0]


def _state(alert: Alert) -> str:
    return f"kept back: {alert.hidden}" if alert.state == "pending" and alert.hidden else alert.state


def _history(database: sqlite3.Connection, thread: str | None, limit: int) -> Iterator[tuple[str, ...]]:
    asked = (
        "SELECT d.key, d.kind, d.channel, d.address, d.state, d.attempts, d.repeat, coalesce(a.at, d.queued), "
        "coalesce(a.outcome, d.state), coalesce(nullif(a.said, ''), d.said) FROM delivery d "
        "LEFT JOIN attempt a ON a.delivery = d.number WHERE ?1 IS NULL OR d.thread = ?1 "
        "ORDER BY coalesce(a.at, d.queued) DESC, d.number DESC LIMIT ?2"
    )
    for key, kind, channel, address, _, attempts, repeat, at, outcome, said in database.execute(asked, (thread, limit)):
        again = " (may be a repeat)" if repeat and attempts > 1 else ""
        yield as_text(at), key[:8] + key[key.rfind(".") :], kind, f"{channel} {address}", outcome + again, said


def _print_history(console: Console, rows: list[tuple[str, ...]]) -> None:
    table = Table("when", "alert", "why", "to", "result", "", box=None)
    for row in reversed(rows):
        table.add_row(*(escape(cell) for cell in row))
    console.print(table) if rows else console.print("nothing was sent")
