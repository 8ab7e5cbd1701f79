"""Finds the message that breaks the line, without taking a bad line for a bad message.

Who was on the way when the connection broke within seconds, again and again, is a suspect. Suspects go alone, and only
on a connection that has brought others their receipts; what breaks it then goes on in halves, down to a single row.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from collectors.entries import Batch

DEADLY_S = 5.0
DEATHS = 5
"""Breaks that make a suspect."""
CONVICTED = 2
"""Breaks alone that convict."""

Key = tuple[str, tuple[int, ...]]


class Suspects:
    """Times are monotonic seconds."""

    def __init__(self) -> None:
        self.waiting: deque[Batch] = deque()
        self.trial: Batch | None = None
        self._since = 0.0
        self._deaths: Counter[Key] = Counter()
        self._alone: Counter[Key] = Counter()
        self._proved = False

    def receipt(self) -> None:
        """The line works: others had a receipt since the last break."""
        self._proved = True

    def ready(self) -> bool:
        """Whether a trial is due, or under way: nothing else may be sent."""
        return self.trial is not None or (self._proved and bool(self.waiting))

    def begin(self, now: float) -> Batch:
        """The suspect that is sent now, alone."""
        self.trial, self._since = self.waiting.popleft(), now
        return self.trial

    def survived(self, now: float) -> None:
        """End a trial in which nothing broke for long enough."""
        if now - self._since > DEADLY_S:
            self.acquit()

    def acquit(self) -> None:
        """The suspect arrived."""
        if self.trial is not None:
            self._deaths.pop(_key(self.trial), None)
            self.trial = None

    def broke(self, flying: Iterable[Batch]) -> Batch | None:
        """The line broke within seconds of sending these. Gives who is convicted."""
        self._proved = False
        trial, self.trial = self.trial, None
        if trial is not None:
            self._alone[_key(trial)] += 1
            if self._alone[_key(trial)] >= CONVICTED:
                del self._alone[_key(trial)]
                return trial
            self.waiting.append(trial)
            return None
        for batch in flying:
            self._deaths[_key(batch)] += 1
            if self._deaths[_key(batch)] >= DEATHS and batch not in self.waiting:
                self.waiting.append(batch)
        return None


def _key(batch: Batch) -> Key:
    return batch.epoch, batch.seqs
