"""What the collectors say of themselves: whether they are there, what waits in their outbox, since when."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cellherd import wire
from cellherd.errors import BadPayload
from cellherd.topics import Topic


@dataclass(slots=True)
class Edge:
    """The last status and health of one collector; `last_seen` is the arrival of anything from it, UTC ms."""

    last_seen: int = 0
    status: dict[str, Any] = field(default_factory=dict)
    health: dict[str, Any] = field(default_factory=dict)


class Edges:
    """All collectors by name. Filled by the committer, read by whoever asks for the state."""

    def __init__(self) -> None:
        self.known: dict[str, Edge] = {}
        self._changed: set[str] = set()

    def came(self, name: str, arrival_ts: int) -> Edge:
        """Something came from an edge."""
        edge = self.known.get(name)
        if edge is None:
            edge = self.known[name] = Edge()
        edge.last_seen = arrival_ts
        self._changed.add(name)
        return edge

    def says(self, topic: Topic, payload: bytes, arrival_ts: int) -> None:
        """Take a status or health message. Raises BadPayload."""
        if len(payload) > wire.MAX_OUT:
            raise BadPayload("too_big", f"{len(payload)} bytes, at most {wire.MAX_OUT} are allowed")
        body = wire.parse_json(payload)
        if body.get("v") != wire.VERSION:
            raise BadPayload("schema", f"version {body.get('v')!r} instead of {wire.VERSION}")
        edge = self.came(topic.edge, arrival_ts)
        if topic.channel == "s":
            edge.status = body
        else:
            edge.health = body

    def changed(self) -> Iterator[tuple[object, ...]]:
        """Rows of the ledger's `edge` table that changed since the last call."""
        changed, self._changed = self._changed, set()
        for name in changed:
            edge = self.known[name]
            yield (
                name,
                edge.last_seen,
                number(edge.status.get("online")),
                number(edge.health.get("depth")),
                json.dumps(edge.status),
                json.dumps(edge.health),
            )


def number(value: object) -> int | None:
    """A whole number that a table can hold, else None; drops may come by reason, and count together."""
    if isinstance(value, dict):
        return sum(number(part) or 0 for part in value.values())
    return value if isinstance(value, int) and abs(value) < wire.INT64 else None
