"""Lets a child process end when its parent ends, however that came about: killed, crashed or out of memory."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux; looked up now, since after a fork little is safe


def die_with(parent: int, by: signal.Signals) -> None:
    """Called in the child: have this process sent a signal when the thread of `parent` that started it is gone."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:
        os.kill(os.getpid(), by)
