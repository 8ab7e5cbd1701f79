"""Commands of the server's intake."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cellherd.clock import as_text
from cellherd.config import load_fleet
from cellherd.errors import CellherdError
from cellherd.paths import default_state
from cellherd.secrecy import begin_log
from cellherd.signals import sets
from pipeline.journal.deadletters import DeadLetters, Letter
from pipeline.storing.storeroom import LOG_FORMAT

State = Annotated[Path | None, typer.Option(help="State folder.")]


def ingest_run(
    config: Annotated[Path, typer.Option(help="fleet.toml")] = Path("fleet.toml"),
    state: State = None,
) -> None:
    """Take readings in from MQTT and write them to every store, losing none and counting none twice.

    Starts its own broker unless fleet.toml names another (`broker.embedded = false`). Ends at SIGTERM or Ctrl-C. Sites
    and edges that are written into fleet.toml, enrolled or revoked count within a second; SIGHUP reads it at once.

    Example: cellherd ingest run --config /etc/cellherd/fleet.toml --state /var/lib/cellherd
    """
    from pipeline.ingest.registry import Registry  # noqa: PLC0415 - as the next one
    from pipeline.ingest.service import run  # noqa: PLC0415 - paho, msgspec and bcrypt take a moment; `deadletter list` must not

    begin_log(LOG_FORMAT)
    stop = Event()
    sets(stop, signal.SIGTERM, signal.SIGINT)
    loaded, home = load_fleet(config), state or default_state()
    registry = Registry(config, home, loaded)
    sets(registry.asked, signal.SIGHUP)
    run(loaded, home, stop, registry)


def ingest_status(
    state: State = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show each edge: when it was heard of, what waits in its outbox, and how many of its numbers never came.

    Numbers that never came are on their way, wait in the edge's backlog, or are asked for again by the running ingester
    (`replay.after_s`). As of the last few seconds; the ingester need not run.

    Example: cellherd ingest status --state /var/lib/cellherd
    """
    from pipeline.edges import Edge  # noqa: PLC0415 - as the next one
    from pipeline.ingest.ledger import Ledger  # noqa: PLC0415 - msgspec takes a moment; `deadletter list` must not
    from pipeline.ingest.replays import missing  # noqa: PLC0415 - as above

    path = _home(state, "ledger.sqlite")
    ledger, table = Ledger(path), Table("edge", "online", "last heard of", "waits there", "never came", box=None)
    found = ledger.edges()
    for told in found:
        edge = Edge(status=dict(told["status"]))
        count = sum(last - first + 1 for _, first, last in missing(ledger, str(told["edge"]), edge))
        names = ("edge", "online", "last_seen", "depth")
        shown = {name: told[name] for name in names} | {"missing": count}
        if as_json:
            typer.echo(json.dumps(shown))
        online, depth = {1: "yes", 0: "no"}.get(told["online"], "?"), told["depth"]
        table.add_row(
            str(told["edge"]), online, as_text(told["last_seen"]), "?" if depth is None else str(depth), str(count)
        )
    ledger.close()
    if not as_json:
        Console().print(table if found else "no edge was heard of yet", markup=False)


def deadletter_list(
    state: State = None,
    limit: Annotated[int, typer.Option(help="At most so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with the bytes as hex.")] = False,
) -> None:
    """Show messages that could not be taken in, the newest first, and why.

    Example: cellherd deadletter list --limit 10
    """
    letters = _letters(state)
    found, counts = letters.newest(limit), letters.counts()
    if as_json:
        for letter in found:
            typer.echo(json.dumps(_told(letter)))
        return
    table = Table("id", "last seen", "times", "topic", "why", box=None)
    for letter in found:
        dead = letter.dead
        why = f"{dead.code}: {dead.reason}"
        table.add_row(str(letter.id), as_text(letter.last_ts), str(letter.times), repr(dead.entry.topic), repr(why))
    console = Console()
    console.print(table, markup=False) if found else console.print("no dead letters")
    if counts["dropped"]:
        console.print(f"{counts['dropped']} more were dropped for want of room")


def deadletter_replay(
    number: Annotated[int | None, typer.Argument(metavar="ID", help="One letter; without it, all.")] = None,
    state: State = None,
) -> None:
    """Try dead letters again, after the reason is gone: an edge was added to fleet.toml, or cellherd can read them now.

    The running ingester takes them within seconds, else the next one; what still cannot be read comes back.

    Example: cellherd deadletter replay 17
    """
    asked = _letters(state).want(number)
    if number is not None and not asked:
        raise CellherdError(f"there is no dead letter {number}; cellherd deadletter list shows them")
    typer.echo(f"{asked} dead letters will be tried again")


def _letters(state: Path | None) -> DeadLetters:
    return DeadLetters(_home(state, "deadletters.sqlite"))


def _home(state: Path | None, file: str) -> Path:
    path = (state or default_state()) / file
    if not path.exists():
        raise CellherdError(f"{path.parent} is no ingester's state folder; give the right one with --state")
    return path


def _told(letter: Letter) -> dict[str, object]:
    dead = letter.dead
    return {
        "id": letter.id,
        "first": datetime.fromtimestamp(dead.entry.arrival_ts / 1000, UTC).isoformat(),
        "last": datetime.fromtimestamp(letter.last_ts / 1000, UTC).isoformat(),
        "times": letter.times,
        "topic": dead.entry.topic,
        "code": dead.code,
        "reason": dead.reason,
        "payload": dead.entry.payload.hex(),
    }
