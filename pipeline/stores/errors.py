"""The one thing that a store may say instead of taking rows."""

from __future__ import annotations

from cellherd.errors import CellherdError


class StoreAway(CellherdError):
    """A store cannot take rows now: it is down, busy or does not let us in. They stay in the journal; try again."""
