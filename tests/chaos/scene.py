"""Where a fault happens, and what it did that the books must allow for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from threading import Event

from tests.chaos.herd import Edge, Herd


@dataclass(frozen=True)
class Shape:
    """What the faults did that the books must allow for: nothing else may be missing or told twice."""

    thrown_away: set[tuple[str, int]] = field(default_factory=set)
    """Rows (epoch, seq) without a receipt that were taken away with their disk."""
    spoiled: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """From when to when an edge's outbox forgot, ms since boot, so that it does not know when it ran last."""
    forgot: set[str] = field(default_factory=set)
    """Epochs that stood in a file as it was damaged: their last numbers may be time off."""
    known: dict[str, int] = field(default_factory=dict)
    """The last number of each epoch that the outboxes know of in the end."""
    doubtful: set[str] = field(default_factory=set)
    """Epochs whose disk told errors: what stands in the file need not be what the edge holds for committed."""
    in_memory: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """From when to when an edge that died held its readings in memory, ms since boot."""
    shaken: dict[str, int] = field(default_factory=dict)
    """Edges whose disk was hurt, and when that ended: nobody may kill them before they wrote again."""


@dataclass(frozen=True)
class Scene:
    """Where a fault happens."""

    herd: Herd
    random: Random
    shape: Shape

    def edge(self, fits: Callable[[Edge], object] = lambda edge: True) -> Edge:
        """Any edge that fits."""
        return self.random.choice([edge for edge in self.herd.edges.values() if fits(edge)])

    def hold(self, least: float, most: float) -> None:
        """Let it last."""
        Event().wait(self.random.uniform(least, most))


Strike = Callable[[Scene], None]
