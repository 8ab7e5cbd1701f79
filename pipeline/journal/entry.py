"""One message as the journal keeps it, and what becomes of one that nobody can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Entry(NamedTuple):
    """A message with all that was decided about it when it came, so that every sink reads the same from it.

    A tuple, for there are thousands a second.

    `arrival_ts` is UTC ms. `offset_ms` is the server's anchor of the edge's boot clock (UTC ms = offset + `bt`), None
    where it is not known. `skip` holds the seqs of this message that are stored already.
    """

    topic: str
    payload: bytes
    arrival_ts: int
    site: str
    unit: str
    offset_ms: int | None = None
    skip: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Dead:
    """A message that is not what appendix A of the design allows: its bytes, the receipt's code and the reason."""

    entry: Entry
    code: str
    reason: str
