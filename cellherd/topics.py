"""Where things stand: ids of edges, sites, stacks and modules, and the MQTT topics made of them (design A.1-A.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cellherd.errors import BadPayload

ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
BANK = "bank"
"""Module id of a stack's own aggregate, as low-voltage CAN gives it."""
EDGE = "edge"
"""Stack and module id of records that concern the collector itself."""

EVERYTHING = "fleet/#"
"""What the ingester subscribes to: a topic that we do not know must end as a dead letter, not unheard."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that an edge publishes on: its channel and, for readings and records, the module meant."""

    edge: str
    channel: str
    stack: str = EDGE
    module: str = EDGE


def is_id(text: str) -> bool:
    """Whether the text may name an edge, site, installer, stack or module: ^[a-z0-9][a-z0-9_-]{0,62}$."""
    return ID.fullmatch(text) is not None


def readings(edge: str, stack: str, module: str, *, deflated: bool = False) -> str:
    """Topic of a module's readings."""
    return f"fleet/{edge}/{'rz' if deflated else 'r'}/{stack}/{module}"


def records(edge: str, stack: str = EDGE, module: str = EDGE) -> str:
    """Topic of info, counter, log, gap and edge records."""
    return f"fleet/{edge}/e/{stack}/{module}"


def status(edge: str) -> str:
    """Topic of the retained online/offline message, which is the last will too."""
    return f"fleet/{edge}/s"


def health(edge: str) -> str:
    """Topic of the retained health message."""
    return f"fleet/{edge}/h"


def receipt(edge: str) -> str:
    """Topic of receipts towards an edge."""
    return f"cmd/{edge}/receipt"


def replay(edge: str) -> str:
    """Topic of replay requests towards an edge."""
    return f"cmd/{edge}/replay"


def parse(topic: str) -> Topic:
    """Take a topic apart.

    Raises BadPayload("schema") where it is not one that an edge may publish on.
    """
    parts = topic.split("/")
    shape = (len(parts), parts[2] if len(parts) > 2 else "")
    known = shape in {(5, "r"), (5, "rz"), (5, "e"), (3, "s"), (3, "h")}
    if not known or parts[0] != "fleet" or not all(is_id(part) for part in (parts[1], *parts[3:])):
        raise BadPayload("schema", f"topic {topic[:120]!r} is not one of an edge's")
    return Topic(parts[1], parts[2], *parts[3:])
