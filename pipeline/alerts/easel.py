"""Pictures and latest values, with what they need loaded when it is needed: who only sends loads no tables.

Polars, the archive and the painter are most of the notifier's memory and of its start. `warm` loads them beside the
first steps, so that the first picture keeps no message waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, TypeAlias

from cellherd.config import FleetConfig

if TYPE_CHECKING:
    from pipeline.report.facts import Tables

Key: TypeAlias = tuple[str, str, str]
Draw = Callable[[Mapping[str, Any]], bytes | None]
Look = Callable[[Key], Mapping[str, Any] | None]


class Easel:
    """Draws, and looks up, from what `archive` opens when it is first asked for."""

    def __init__(self, fleet: FleetConfig, archive: Callable[[], Tables]) -> None:
        self._fleet, self._archive = fleet, archive
        self._loading = Lock()

    def draw(self, plot: Mapping[str, Any]) -> bytes | None:
        """The picture of what a delivery's `plot` names, None where there is too little to draw."""
        return self._loaded[0](plot)

    def look(self, key: Key) -> Mapping[str, Any] | None:
        """A module's latest values of today and yesterday; None where there are none."""
        return self._loaded[1](key)

    def warm(self, _stop: Event | None = None) -> None:
        """Load it now. Takes a second or two."""
        self._loaded  # noqa: B018 - it is loaded by being asked for

    @property
    def _loaded(self) -> tuple[Draw, Look]:
        with self._loading:  # senders and listeners are threads
            return self._tools

    @cached_property
    def _tools(self) -> tuple[Draw, Look]:
        from pipeline.alerts.deliver import painted  # noqa: PLC0415 - the point of this module
        from pipeline.alerts.picture import latest, painter  # noqa: PLC0415

        archive = self._archive()
        draw = painted(painter(archive, self._fleet))
        return draw or (lambda _plot: None), latest(archive, self._fleet)
