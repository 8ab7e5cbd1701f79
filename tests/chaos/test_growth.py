"""The soak's judge: it finds a leak that was planted, and takes neither a warm-up nor jitter for one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.growth import LEAST, Growth, Sample, growth

FLAT = [Sample(10.0 * at, "e1", 7, 50_000 + at % 3, 20 + at % 2, 9, 900 * (at % 4)) for at in range(80)]


def grown(samples: list[Sample]) -> set[tuple[str, str]]:
    return {(one.name, one.quantity) for one in growth(samples) if one.grows}


@pytest.mark.parametrize(("quantity", "each"), [("rss_kb", 100), ("fds", 0.2), ("threads", 0.1), ("wal_kb", 150)])
def test_what_grows_a_little_each_time_is_told(quantity: str, each: float) -> None:
    leaking = [replace(one, **{quantity: getattr(one, quantity) + int(each * at)}) for at, one in enumerate(FLAT)]
    assert grown(leaking) == {("e1", quantity)}


def test_what_fills_at_the_start_and_what_jitters_does_not_grow() -> None:
    warm = [replace(one, rss_kb=one.rss_kb - max(0, 20 - at) * 1000) for at, one in enumerate(FLAT)]
    assert not grown(warm)


def test_the_longest_life_of_each_name_is_judged() -> None:
    killed = [replace(one, pid=8, fds=one.fds + 5 * at) for at, one in enumerate(FLAT[:LEAST])]
    assert not grown(killed + FLAT)
    assert grown([replace(one, name="e2") for one in killed] + FLAT) == {("e2", "fds")}


def test_a_life_seen_too_seldom_says_nothing() -> None:
    assert not list(growth(FLAT[: LEAST - 1]))


def test_the_rate_is_by_the_hour() -> None:
    (rss,) = (
        one for one in growth([replace(one, rss_kb=int(3 * one.at_s)) for one in FLAT]) if one.quantity == "rss_kb"
    )
    assert rss == Growth("e1", "rss_kb", rss.medians, rss.hours, grows=True)
    assert (rss.medians[3] - rss.medians[1]) / rss.hours == pytest.approx(3 * 3600)
