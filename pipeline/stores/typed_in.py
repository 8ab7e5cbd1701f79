"""Events that a person typed in: whose battery it is, and each only once."""

from __future__ import annotations

from hashlib import sha256

import polars as pl

from cellherd.errors import CellherdError
from cellherd.settings import FleetConfig
from pipeline.schema import EVENT
from pipeline.stores.archive import Archive

OPERATOR = "operator"
"""Origin of these events, and the name under which they are written."""


def place(fleet: FleetConfig, archive: Archive, site: str, stack: str, module: str) -> dict[str, str]:
    """The columns that say where, and which battery stands there. Raises CellherdError for an unknown site."""
    edges = {known.id: known.edge for known in fleet.site}
    if site not in edges:
        raise CellherdError(f"no site {site!r} in fleet.toml; there are {', '.join(edges) or 'none yet'}")
    here = (pl.col("site") == site) & (pl.col("stack") == stack) & (pl.col("module") == module)
    known = archive.scan("device_info").filter(here).sort("ts").select(pl.col("unit").last()).collect()
    unit = str(known["unit"].first() or f"{site}.{stack}.{module}.1")
    return {"edge": edges[site], "site": site, "stack": stack, "module": module, "unit": unit, "kind": "module"}


def store(archive: Archive, event: dict[str, object]) -> None:
    """Append the event, unless it is there already."""
    named = "|".join(str(event[key]) for key in ("site", "stack", "module", "code", "ts"))
    name = sha256(named.encode()).hexdigest()[:32]
    known = archive.scan("event").filter(pl.col("event_id") == name).select(pl.len()).collect().item()
    if not known:
        frame = pl.DataFrame([{**event, "event_id": name, "episode": name}], schema=EVENT)
        archive.append("event", frame, app_id=OPERATOR, version=(archive.version("event", OPERATOR) or 0) + 1)
