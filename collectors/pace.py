"""How much history may be on its way, so that what is new arrives in time and a fleet does not storm its server.

Receipts govern it, as acknowledgements govern the congestion window of a connection (RFC 5681, 6817): a link and a
server that answer quickly get more to do, slow ones less. A thousand edges that come back together so share a server
without knowing of each other: its receipts take longer for all of them.
"""

from __future__ import annotations

FIRST = 4
"""Messages of history on their way on a new connection, until receipts tell what link and server bear."""
MOST = 16
"""The most of them, about 20 kB: a fast link that becomes one of 64 kbit/s is free again after some seconds."""
PER_S = 60.0
"""Messages of history a second, 3,600 readings: an edge has batteries to read meanwhile."""
SLOW_S, QUICK_S = 2.0, 1.0
"""A receipt that takes longer means that history fills the link; one that is quicker, that there is room for more."""


class Pace:
    """Times are monotonic seconds. A new connection begins with a new one."""

    def __init__(self) -> None:
        self._window, self._tokens, self._at = FIRST, PER_S, 0.0

    def may(self, now: float, flying: int) -> bool:
        """Whether one more may go while so many are on their way. One that may counts as gone."""
        self._tokens = min(PER_S, self._tokens + max(now - self._at, 0.0) * PER_S)
        self._at = now
        if flying >= self._window or self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def took(self, seconds: float) -> None:
        """A message of history had its receipt after so long, or has none after so long and is sent again."""
        if seconds > SLOW_S:
            self._window = max(1, self._window // 2)
        elif seconds < QUICK_S:
            self._window = min(MOST, self._window + 1)
