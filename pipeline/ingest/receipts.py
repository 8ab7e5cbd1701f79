"""What the edges are told: which readings are safe on the server's disk, and which will never be taken (design A.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf

import msgspec

from cellherd import topics, wire
from cellherd.runs import Run
from pipeline.ingest.intervals import Intervals

Source = tuple[str, str, str]
"""Edge, stream, epoch: whose numbers these are."""

EVERY_S = 0.2
"""An edge gets its receipts at most so often: with 16 old messages of sixty on their way, 4,800 readings a second."""
MOST = 64
"""Runs, and bad numbers, in one receipt."""


class Receipts:
    """Collects what is owed to each edge until it may be told. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._owed: dict[str, dict[Source, set[int]]] = {}
        self._bad: dict[Source, dict[int, str]] = {}
        self._told: dict[str, float] = {}

    def owe(self, source: Source, seqs: Sequence[int]) -> None:
        """These numbers, in order, are durable; called for duplicates too, since their receipt must have been lost."""
        owed = self._owed.setdefault(source[0], {}).setdefault(source, set())
        if seqs and seqs[-1] - seqs[0] + 1 == len(seqs):
            owed.add(seqs[0])  # one of a run stands for all of it
        else:
            owed.update(seqs)

    def refuse(self, source: Source, seqs: Sequence[int], code: str) -> None:
        """These numbers will not be taken, for the reason that `code` names."""
        self.owe(source, ())
        self._bad.setdefault(source, {}).update(dict.fromkeys(seqs, code))

    def due(self, now: float, srv_ts: int, seen: Callable[[Source], Intervals]) -> Iterator[tuple[str, bytes]]:
        """Topic and payload of every receipt that may go out now; `seen` tells what came of a source so far."""
        for edge in [e for e in self._owed if now - self._told.get(e, -inf) >= EVERY_S]:
            self._told[edge] = now
            for source, seqs in self._owed.pop(edge).items():
                bad = list(self._bad.pop(source, {}).items())
                for body in _bodies(seen(source), seqs, bad):
                    head = {"v": wire.VERSION, "stream": source[1], "epoch": source[2]}
                    yield topics.receipt(edge), msgspec.json.encode({**head, **body, "srv_ts": srv_ts})


def _bodies(known: Intervals, seqs: set[int], bad: list[tuple[int, str]]) -> Iterator[dict[str, object]]:
    """At least one; more where more runs or bad numbers are to be told than a receipt holds."""
    upto = known.upto()
    also: list[Run] = sorted({known.run_of(seq) for seq in seqs if seq > upto})
    for at in range(0, max(len(also), len(bad), 1), MOST):
        yield {"upto": upto, "also": also[at : at + MOST], "bad": bad[at : at + MOST]}
