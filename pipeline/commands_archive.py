"""`cellherd archive`: what lies in the archive, and its upkeep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cellherd.clock import SystemClock
from cellherd.config import load_fleet
from cellherd.paths import default_state

Config = Annotated[Path, typer.Option(help="fleet.toml", envvar="CELLHERD_CONFIG")]
State = Annotated[Path | None, typer.Option(help="State folder.")]


def upkeep(config: Config = Path("fleet.toml"), state: State = None) -> None:
    """Bring the archive into order now: sort closed days, thin and delete what fleet.toml says, throw old files away.

    `cellherd nightly --due` does it once a day by itself. It may run beside the ingester, be killed and be repeated.
    Exit code 75 if a night's work is going on.

    Example: cellherd archive upkeep --config /etc/cellherd/fleet.toml
    """
    from pipeline.nightly.chores import kept  # noqa: PLC0415 - Polars and Delta are heavy; --help must not wait for them
    from pipeline.nightly.diary import Diary  # noqa: PLC0415
    from pipeline.stores.archive import archive_of  # noqa: PLC0415

    fleet, folder = load_fleet(config), state or default_state()
    diary = Diary(folder / "nightly.db")
    try:
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("archive", total=None)
            told = kept(
                archive_of(fleet, folder),
                fleet.archive,
                diary,
                SystemClock(),
                lambda step: bar.update(task, description=step),
            )
    finally:
        diary.close()
    typer.echo(f"days compacted: {told.compacted}, thinned to a minute: {told.thinned}, deleted: {told.deleted}")


def show(config: Config = Path("fleet.toml"), state: State = None) -> None:
    """Show the archive's tables, how many UTC dates and files each has, and what it weighs.

    Example: cellherd archive show
    """
    from pipeline.stores.archive import archive_of  # noqa: PLC0415 - as above
    from pipeline.stores.upkeep import held  # noqa: PLC0415

    fleet = load_fleet(config)
    table = Table("table", "days", "files", "MB", "kept", box=None)
    for name, one in held(archive_of(fleet, state or default_state())).items():
        days = fleet.archive.keep_days.get(name)  # type: ignore[call-overload]  # every table's name is a key
        kept_for = f"{days} days" if days else "for ever"
        table.add_row(name, str(one.days or "-"), str(one.files), f"{one.size / 1e6:.1f}", kept_for)
    Console().print(table)
