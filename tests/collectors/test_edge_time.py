"""Times are honest on a machine that wakes up in 1970, jumps a year, or never learns the time by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from cellherd import wire
from collectors import outbox as outbox_module
from collectors.absence import Absence, last_seen
from collectors.boots import Span, guess
from collectors.entries import Batch, Entry
from collectors.messages import Whose, message
from collectors.pace import FIRST, MOST, PER_S, Pace
from collectors.poison import DEATHS, Suspects
from collectors.timekeeping import WINDOW_MS, Timekeeper
from tests.collectors.outboxes import MIB, NOW, HandClock, bodies, everything, outbox, reading

YEAR_MS = 365 * 86_400_000


def unset() -> HandClock:
    return HandClock(ts=5_000, bt=5_000, clk="bad")


def test_without_a_clock_the_servers_time_counts_and_the_least_late_one_most() -> None:
    machine = unset()
    keeper = Timekeeper(machine)
    keeper.heard(NOW - 3_000)
    assert keeper.look() == f"the clock went from bad to srv and stepped by {(NOW - 8_000) / 1000:+.1f} s"
    keeper.heard(NOW)
    keeper.heard(NOW - 9_000)
    keeper.heard(1)
    machine.go(1_000)
    assert (keeper.wall(), keeper.quality()) == (NOW + 1_000, "srv")
    machine.ts += 400 * 86_400_000
    assert (keeper.wall(), keeper.look()) == (NOW + 1_000, "the clock stepped by +3.0 s"), (
        "the machine's jump is nothing"
    )
    for _ in range(2):
        machine.go(WINDOW_MS + 1)
        keeper.heard(NOW + machine.bt - 5_000 - 60)
    assert keeper.wall() == NOW + machine.bt - 5_000 - 60, "an old anchor is forgotten: the boot clock drifts"


def test_what_was_read_before_the_clock_was_known_is_sent_with_its_true_time(tmp_path: Path) -> None:
    clock = unset()
    box = outbox(tmp_path, clock=clock)
    early = reading(1)
    (row,) = box.commit([Entry(replace(early.about, ts=2_000, bt=2_000, clk="bad"), early.body)])
    clock.ts, clock.clk = NOW, "ntp"
    box.commit([reading(2)])
    rows = box.placed(box.read(Batch(row.epoch, (1,), row.about)))
    assert rows is not None
    assert (rows[0][0].about.ts, rows[0][0].about.clk) == (NOW - 3_000, "ntp")
    box.close()


def test_rows_of_an_earlier_boot_wait_for_the_time_and_are_then_placed_before_it(tmp_path: Path) -> None:
    box = outbox(tmp_path, clock=unset())
    early = reading(1)
    about = replace(early.about, ts=4_000, bt=4_000, clk="bad")
    (row,) = box.commit([Entry(about, early.body)])
    box.close()
    clock = HandClock(ts=9_000, bt=9_000, boot_name="cafebabe", clk="bad")
    box = outbox(tmp_path, clock=clock)
    batch = Batch(row.epoch, (1,), row.about)
    assert box.placed(box.read(batch)) is None
    clock.ts, clock.clk = NOW, "srv"
    box.commit([reading(2)])
    rows = box.placed(box.read(batch))
    assert rows is not None
    assert (rows[0][0].about.ts, rows[0][0].about.clk) == (NOW - 9_000 - 1_000, "est"), "its boot ended as ours began"
    found = message(Whose("hillside", box.stream), rows, box.instant())
    assert found is not None
    payload = wire.inflate(found[1]) if found[0].split("/")[2] == "rz" else found[1]
    told = json.loads(payload)
    assert NOW - told["sent_bt"] == told["t0"] - told["bt0"], "the server's anchor of that boot agrees"
    wire.unpack(payload)
    box.close()


def test_a_boot_that_never_knew_the_time_lies_between_its_neighbours() -> None:
    now = Span("c", NOW, 10)
    assert guess([Span("b", NOW - 50_000, 20_000), now], {}) == {"b": NOW - 50_000}, "its own claim fits"
    assert guess([Span("b", 0, 20_000), now], {}) == {"b": NOW - 20_000}
    assert guess([Span("a", 0, 1_000), Span("b", NOW - YEAR_MS, 20_000), now], {"a": NOW - 90_000}) == {
        "b": NOW - 20_000
    }


def test_a_jump_of_the_clock_deletes_nothing_for_its_age(tmp_path: Path) -> None:
    clock = HandClock()
    box = outbox(tmp_path, clock=clock)
    box.commit([reading(n) for n in range(5)])
    box.receipt(box.stream, box.last()[0], 5)
    clock.ts += 400 * 86_400_000
    for _ in range(2 * outbox_module.TRIM_EVERY):
        clock.go(5_000)
        box.commit([reading(9)])
    assert {0, 1, 2, 3, 4} <= set(everything(tmp_path / "outbox.db"))
    box.close()


def test_the_time_off_is_told_when_the_time_is_known_and_no_jump_makes_it_a_year(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    box.commit([reading(1)])
    box.close()
    clock = HandClock(ts=10_000, bt=10_000, boot_name="cafebabe", clk="bad")
    box = outbox(tmp_path, clock=clock)
    periods = {("s1", "m1"): 5000}
    absence = Absence(last_seen(box.before(99), periods), periods, box.instant())
    assert absence.told(box.instant(), box.boots) == []
    clock.go(20_000)
    clock.ts, clock.clk = NOW + 85_000, "srv"
    (gap,) = absence.told(box.instant(), box.boots)
    assert (gap.body["slots"], gap.body["to_ts"]) == (12, NOW + 65_000), "up to the start, 20 s ago"
    assert absence.told(box.instant(), box.boots, last=True) == []
    box.close()


def test_at_the_cap_a_week_old_history_is_thinned_to_one_a_minute_and_counted(tmp_path: Path) -> None:
    clock = HandClock()
    box = outbox(tmp_path, MIB, clock)
    old = NOW - 8 * 86_400_000
    for n in range(0, 1200, 60):
        box.commit([reading(i, ts=old + 5_000 * i) for i in range(n, n + 60)])
    n = 1200
    while not box.drops:
        box.commit([reading(i, ts=NOW + i) for i in range(n, n + 10)])
        n += 10
    found = bodies(box, box.pending(99_999))
    gaps = [body for body in found if "slots" in body]
    assert {body["reason"] for body in gaps} == {"decimated"}
    readings = [body["voltage_mv"] for body in found if "voltage_mv" in body]
    assert len(readings) + sum(body["slots"] for body in gaps) == n
    minutes = {(old + 5_000 * i) // 60_000 for i in range(1000)}
    kept = {(old + 5_000 * i) // 60_000 for i in readings if i < 1000}
    assert kept == minutes, "one of each minute stays"
    assert sum(i < 1000 for i in readings) == len(minutes)
    assert set(readings) >= set(range(1200, n)), "nothing young went"
    box.close()


def test_history_slows_down_where_it_fills_the_link_and_never_storms() -> None:
    pace = Pace()
    assert [pace.may(1.0, flying) for flying in (FIRST - 1, FIRST)] == [True, False]
    for _ in range(2 * MOST):
        pace.took(0.1)
    assert [pace.may(2.0, flying) for flying in (MOST - 1, MOST)] == [True, False]
    pace.took(1.5)
    assert [pace.may(3.0, flying) for flying in (MOST - 1, MOST)] == [True, False], "neither slow nor quick"
    for _ in range(5):
        pace.took(9.0)
    assert [pace.may(4.0, flying) for flying in (0, 1)] == [True, False]
    assert sum(pace.may(9.0, 0) for _ in range(1000)) == PER_S


def test_a_message_that_breaks_the_line_is_convicted_only_alone_and_on_a_line_that_works() -> None:
    batch = Batch("e" * 16, (1, 2), reading(1).about)
    other = replace(batch, seqs=(3,))
    suspects = Suspects()
    for _ in range(DEATHS):
        assert suspects.broke([batch, other]) is None
    assert not suspects.ready(), "a line that brings nobody a receipt proves nothing"
    suspects.receipt()
    assert suspects.begin(1.0) == batch
    assert suspects.broke([]) is None
    suspects.receipt()
    assert suspects.begin(2.0) == other
    suspects.survived(9.0)
    suspects.receipt()
    assert suspects.begin(20.0) == batch
    assert suspects.broke([]) == batch
    assert not suspects.waiting
