"""Which battery a reading belongs to: history follows the battery by its serial number, not its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

Place = tuple[str, str, str]
"""Edge, stack, module."""

LAPSE_MS = 2 * 86_400_000
"""A claim not repeated for so long counts no more where another place claims the serial (info comes daily)."""
_LIKE_A_PLACE = re.compile(r"[^.]+\.[^.]+\.[^.]+\.\d+")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a place said last of the battery in it: serial ("" = not usable) and when it said so, UTC ms."""

    serial: str
    ts: int


class Identity:
    """The units of all places. Places are remembered as they said it last; nothing here reads a clock."""

    def __init__(self, claims: dict[Place, Claim] | None = None) -> None:
        self._claims: dict[Place, Claim] = {}
        self._places: dict[str, set[Place]] = {}
        self._changed: set[Place] = set()
        for place, claim in (claims or {}).items():
            self._put(place, claim)

    def learn(self, place: Place, serial: str, ts: int) -> None:
        """A place said at `ts` (UTC ms) which serial its battery has; what it said last stands, whatever comes late."""
        known = self._claims.get(place)
        if known is not None and ts < known.ts:
            return
        self._put(place, Claim(usable(serial), ts))
        self._changed.add(place)

    def unit(self, site: str, place: Place) -> str:
        """The battery's serial where it is the only one of that name, else `<site>.<stack>.<module>.1`."""
        claim = self._claims.get(place)
        if claim is not None and claim.serial and self._alone(claim):
            return claim.serial
        return f"{site}.{place[1]}.{place[2]}.1"

    def changed(self) -> Iterator[tuple[Place, Claim]]:
        """What was learned since the last `settled`, for the ledger."""
        return ((place, self._claims[place]) for place in self._changed)

    def settled(self) -> None:
        """The ledger has it."""
        self._changed.clear()

    def _put(self, place: Place, claim: Claim) -> None:
        before = self._claims.get(place)
        if before is not None:
            self._places.get(before.serial, set()).discard(place)
        self._claims[place] = claim
        if claim.serial:
            self._places.setdefault(claim.serial, set()).add(place)

    def _alone(self, claim: Claim) -> bool:
        rivals = self._places[claim.serial]
        if len(rivals) == 1:
            return True
        times = sorted(self._claims[place].ts for place in rivals)
        return claim.ts == times[-1] and times[-2] < claim.ts - LAPSE_MS


def usable(serial: str) -> str:
    """The serial, stripped; "" where it names nobody: empty, all one character, or in the form of a place's name."""
    text = serial.strip()
    if len(text) > 64 or not text.isprintable() or len(set(text)) < 2 or _LIKE_A_PLACE.fullmatch(text):
        return ""
    return text
