"""Seeds in three groups, so that nothing is judged on a fleet that it was tuned on.

Thresholds are tuned on `TUNE`, tests and published figures use `TEST`. The held-back seeds come out of a digest and
are large: nobody meets one by counting up, and a change is judged on them once, at its end.
"""

from __future__ import annotations

import hashlib

import numpy as np

TUNE = tuple(range(1, 21))
TEST = tuple(range(101, 121))


def held_back(n: int) -> int:
    """The n-th held-back seed, at least 2**32."""
    digest = hashlib.sha256(f"cellherd, held back, {n}".encode()).digest()
    return 2**32 + int.from_bytes(digest[:4], "big")


def stream(seed: int, *place: int | str) -> np.random.Generator:
    """Random numbers that depend on the seed and the place (purpose, module, day) only, not on what else is drawn."""
    digest = hashlib.sha256("/".join(map(str, (seed, *place))).encode()).digest()
    return np.random.Generator(np.random.SFC64(int.from_bytes(digest[:16], "big")))
