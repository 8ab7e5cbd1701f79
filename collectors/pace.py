"""How much history may be on its way, so that what is new arrives in time and a fleet does not storm its server."""

from __future__ import annotations

MOST = 6
"""Messages of history on their way, of the ten that a window holds."""
PER_S = 20.0
"""Messages of history a second, 1,200 readings: after an outage thousands of edges may have a backlog."""
SLOW_S, QUICK_S = 2.0, 1.0
"""A receipt that takes longer means that history fills the link; one that is quicker, that there is room for more."""


class Pace:
    """Times are monotonic seconds."""

    def __init__(self) -> None:
        self._window, self._tokens, self._at = MOST, PER_S, 0.0

    def may(self, now: float, flying: int) -> bool:
        """Whether one more may go while so many are on their way. One that may counts as gone."""
        self._tokens = min(PER_S, self._tokens + max(now - self._at, 0.0) * PER_S)
        self._at = now
        if flying >= self._window or self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def took(self, seconds: float) -> None:
        """A message of history had its receipt after so long."""
        if seconds > SLOW_S:
            self._window = max(1, self._window // 2)
        elif seconds < QUICK_S:
            self._window = min(MOST, self._window + 1)
