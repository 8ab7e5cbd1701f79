"""`cellherd archive import`: measured data of others into the archive, for analysts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellherd.config import load_fleet
from cellherd.paths import default_state
from cellherd.topics import is_id
from pipeline.measured.mapping import mapping, presets


def import_(  # noqa: PLR0913, PLR0917 - each parameter is an option that a person types
    files: Annotated[list[Path], typer.Argument(help="CSV or Parquet files.", metavar="FILE...")],
    how: Annotated[str, typer.Option("--as", help=f"The data's form: {', '.join(presets())}, or a mapping file.")],
    site: Annotated[str, typer.Option(help="The site it shall belong to; put it into fleet.toml for the nightly.")],
    stack: Annotated[str, typer.Option(help="The stack.")] = "s1",
    module: Annotated[str | None, typer.Option(help="The module; default: the file's name.")] = None,
    config: Annotated[Path, typer.Option(help="fleet.toml", envvar="CELLHERD_CONFIG")] = Path("fleet.toml"),
    state: Annotated[Path | None, typer.Option(help="State folder.")] = None,
) -> None:
    """Bring measured data into the archive, so that every analysis runs on it. The same file twice is there once.

    Example: cellherd archive import data_sys_7.csv --as battgp --site returned --module sys7
    """
    from pipeline.measured.bring import bring, opened, readings, stream_of  # noqa: PLC0415 - Polars is heavy; --help must not wait
    from pipeline.stores.archive import archive_of  # noqa: PLC0415

    form, archive = mapping(how), archive_of(load_fleet(config), state or default_state())
    for path in files:
        name = (module or path.stem).lower()
        for value in (site, stack, name):
            if not is_id(value):
                raise typer.BadParameter(f"{value!r} is no id: lower-case letters, digits, - and _, at most 63")
        stream, place = stream_of(path), {"edge": site, "site": site, "stack": stack, "module": name, "kind": "module"}
        frame = readings(opened(path), form, place, stream)
        added = bring(archive, frame, stream)
        dates = [str(day) for day in (frame["date"].min(), frame["date"].max())]
        days = f"{dates[0]} to {dates[1]}" if frame.height else "no row with a time"
        typer.echo(f"{path}: {frame.height:,} readings, {days}; {added:,} of them are new here")
