"""Named points at which a test may kill the process, to show that no moment is a bad one. Free when not asked for."""

from __future__ import annotations

import os
import signal

_KILL_AT, _, _AFTER = os.environ.get("CELLHERD_FAILPOINT", "").partition(":")
_left = int(_AFTER or 1)


def failpoint(name: str) -> None:
    """Die by SIGKILL here if CELLHERD_FAILPOINT is `name`, or `name:n` at the n-th passing."""
    global _left  # noqa: PLW0603 - one process dies once; there is nobody to hand the count to
    if name != _KILL_AT:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
