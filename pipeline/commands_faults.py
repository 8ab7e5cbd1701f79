"""`cellherd faults add`: what a person saw at a battery, for display codes and lights never come over a wire."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cellherd.clock import SystemClock, as_text
from cellherd.config import load_fleet
from cellherd.errors import CellherdError
from cellherd.fault_search import Use, find, nearest
from cellherd.faults import UNKNOWN, Fault, catalogue
from cellherd.paths import default_state


def add(  # noqa: PLR0913, PLR0917 - each parameter is an option that a person types
    code: Annotated[list[str], typer.Argument(help="What the display or the lights show, or a fault's id.")],
    site: Annotated[str, typer.Option(help="Site id.")],
    stack: Annotated[str, typer.Option(help="Stack id.")],
    module: Annotated[str, typer.Option(help="Module id.")],
    brand: Annotated[str | None, typer.Option("--brand", "-b", help="Whose code it is.")] = None,
    cell: Annotated[int | None, typer.Option(min=1, help="Cell, counted from 1.")] = None,
    at: Annotated[datetime | None, typer.Option(help="When it was seen, UTC; default now.")] = None,
    note: Annotated[str, typer.Option(help="In your own words.")] = "",
    config: Annotated[Path, typer.Option(help="fleet.toml", envvar="CELLHERD_CONFIG")] = Path("fleet.toml"),
    state: Annotated[Path | None, typer.Option(help="State folder.")] = None,
) -> None:
    """Enter a code that a person read off a battery; it becomes an event of origin "operator".

    The same code at the same moment is one event, however often it is entered.

    Example: cellherd faults add --site barn --stack s1 --module m2 --brand ecoflow E6
    """
    from pipeline.stores.archive import archive_of  # noqa: PLC0415 - Polars is heavy; --help must not wait for it
    from pipeline.stores.typed_in import OPERATOR, place, store  # noqa: PLC0415

    fleet = load_fleet(config)
    use, fault = meaning(" ".join(code), brand)
    seen = at.replace(tzinfo=UTC) if at else datetime.fromtimestamp(SystemClock().wall() // 1000, UTC)
    ts, archive = round(seen.timestamp() * 1000), archive_of(fleet, state or default_state())
    event = {
        **place(fleet, archive, site, stack, module),
        "ts": ts,
        "date": seen.date(),
        "cell": None if cell is None else cell - 1,
        **said(use, fault, " ".join(code)),
        "origin": OPERATOR,
        "evidence": json.dumps({"note": note}) if note else None,
    }
    store(archive, event)
    typer.echo(f"{as_text(ts)} {site} {stack} {module}: {fault.title} ({fault.id})")


def meaning(query: str, brand: str | None) -> tuple[Use | None, Fault]:
    """The code and its fault; a code that nobody has explained is `vendor_code_unknown` and keeps its own words.

    Raises CellherdError where the query may mean several faults.
    """
    found = find(query, brand)
    if found.faults:
        return None, found.faults[0]
    ids = {use.code.fault for use in found.uses if use.code.fault}
    if len(ids) > 1:
        several = ", ".join(sorted({f"{use.brand} {use.name} = {use.code.fault}" for use in found.uses}))
        raise CellherdError(f"{query!r} may mean {several}; say which with --brand, or give the fault's id")
    if not found.uses and brand is None:
        near = ", ".join(nearest(query)) or "cellherd faults show"
        raise CellherdError(f"nobody has explained {query!r} yet; nearest: {near}; with --brand it is kept as it is")
    return (found.uses[0] if found.uses else None), catalogue()[ids.pop() if ids else UNKNOWN]


def said(use: Use | None, fault: Fault, code: str) -> dict[str, object]:
    """The columns that say what."""
    return {
        "phase": "note",
        "fault": fault.id,
        "severity": fault.severity,
        "priority": fault.priority,
        "cuts": fault.cuts,
        "vendor": use.brand if use else None,
        "interface": use.word.where if use else None,
        "code": use.name if use else code,
    }
