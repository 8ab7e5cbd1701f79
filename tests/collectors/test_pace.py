"""Edges that know nothing of each other share a server or a link, in a simulation without a clock."""

from __future__ import annotations

from collections import deque

import pytest

from collectors.pace import FIRST, MOST, QUICK_S, SLOW_S, Pace

TICK_S = 0.1
"""The server commits, and gives receipts, so often."""


def waits(edges: int, each_tick: int, seconds: float) -> tuple[list[float], float]:
    """Seconds that messages waited at a server that takes so many a tick, and how busy it was.

    Every edge comes back in the first moment and has more to send than it can.
    """
    paces = [Pace() for _ in range(edges)]
    flying, queue, took, ticks = [0] * edges, deque[tuple[int, float]](), list[float](), round(seconds / TICK_S)
    for tick in range(ticks):
        now = 1.0 + tick * TICK_S
        for at, pace in enumerate(paces):
            while pace.may(now, flying[at]):
                flying[at] += 1
                queue.append((at, now))
        for _ in range(min(each_tick, len(queue))):
            at, sent = queue.popleft()
            flying[at] -= 1
            took.append(now + TICK_S - sent)
            paces[at].took(took[-1])
    return took, len(took) / (ticks * each_tick)


@pytest.mark.parametrize("edges", [20, 300, 1000])
def test_edges_that_all_come_back_at_once_keep_a_server_busy_and_their_queue_short(edges: int) -> None:
    """100 messages a tick are 60,000 readings a second."""
    took, busy = waits(edges, 100, 30)
    assert max(took) <= edges * FIRST / 1000 + SLOW_S, "the first moment is the worst"
    assert max(took[len(took) // 2 :]) <= SLOW_S + QUICK_S
    assert busy > 0.95


def test_a_single_edge_is_bounded_by_its_window_where_receipts_take_their_time() -> None:
    """At one message of 60 readings a tick, as on a thin link, a few on their way suffice."""
    took, busy = waits(1, 1, 30)
    assert max(took) <= SLOW_S
    assert busy > 0.95
    assert max(waits(1, 100, 30)[0]) <= TICK_S * 2, f"{MOST} are no queue where the server takes them at once"
