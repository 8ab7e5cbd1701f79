"""Two habits of our processes: a child ends when its parent does, and garbage is looked for seldom."""

from __future__ import annotations

import ctypes
import gc
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


def settle() -> None:
    """Called when everything is loaded: garbage collection leaves that out from now on, and comes less often.

    Messages are many objects but never in circles; without this, decoding takes half as long again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000)
