"""What the live engine must not say of a sound module: each was a false alarm once. Beside it what it must say."""

from __future__ import annotations

from typing import Any

import pytest

from cellherd.settings import Module as Entry
from tests.pipeline.fleets import frame
from tests.pipeline.scenes import Play, play, rows

Steps = list[dict[str, Any]]
PLACE = {"site": "barn", "stack": "s1", "id": "m1"}


def told(steps: Steps) -> list[tuple[str, str]]:
    return [(event.phase, event.fault) for event in play({"step": steps}).events]


def charges(times: int, end: dict[str, Any], rest: dict[str, Any] | None = None) -> Steps:
    """So many charges that end as told, and rests in the middle between them."""
    each: Steps = [
        {"for_s": 600, "every_s": 60, "current_ma": 0, "soc_pm": 500, "cells": 3300, "odd": {}, **(rest or {})},
        {"for_s": 3600, "every_s": 60, "current_ma": 20_000, "soc_pm": "500..970", "cells": "3300..3350", "odd": {}},
        {"for_s": 600, "every_s": 60, "soc_pm": 980, **end},
        {"for_s": 3600, "every_s": 60, "current_ma": -20_000, "soc_pm": "970..500", "cells": 3290, "odd": {}},
    ]
    return each * times + [{"for_s": 60, "current_ma": 0}]


AT_TOP = {"cells": 3390, "odd": {"3": 170}}


@pytest.mark.parametrize(("current_ma", "expected"), [(4_000, []), (20_000, ["top_of_charge_drift"])])
def test_in_the_last_trickle_170_mv_say_nothing_and_in_a_charge_that_breaks_off_they_do(
    current_ma: int, expected: list[str]
) -> None:
    events = told(charges(4, {"current_ma": current_ma, **AT_TOP}))
    assert [fault for phase, fault in events if phase == "enter"] == expected


def test_on_a_sloped_curve_the_trickle_tells_charge_apart() -> None:
    steps = charges(4, {"current_ma": 4_000, "cells": 4100, "odd": {"3": 60}}, {"cells": 3700})
    for chemistry, expected in (("nmc", ["top_of_charge_drift"]), ("lfp", [])):
        shown = Play(Entry.model_validate(PLACE | {"chemistry": chemistry, "nominal_mah": 100_000}))
        flat = [{**step, "odd": {}} if step.get("current_ma") == -20_000 else step for step in steps]
        shown.show(reading=frame(rows([{**s, "faults": ""} for s in flat])))
        assert [e.fault for e in shown.events if e.fault == "top_of_charge_drift" and e.phase == "enter"] == expected


def test_a_full_module_whose_counter_says_80_percent_is_not_judged_as_half_full() -> None:
    apart: Steps = [{"for_s": 3600, "every_s": 60, "current_ma": 3_000, "soc_pm": 790, "odd": {"10": 150}}]
    assert told([{**apart[0], "cells": 3385}]) == []
    assert told([{**apart[0], "cells": 3310, "odd": {"10": -150}}]) == [("enter", "cell_group_failing")]


def test_cells_that_come_together_after_a_charge_are_no_jumping_lead() -> None:
    falls = [{"for_s": 20, "odd": {"4": mv}, "cells": 3320, "soc_pm": 980} for mv in (180, 150, 120, 90, 60, 30, 0)]
    begin = {"for_s": 60, "cells": 3320, "soc_pm": 980}
    assert told([begin, *falls, {"for_s": 600}]) == []
    jumps = [{"for_s": 20, "odd": {"4": mv}, "cells": 3320, "soc_pm": 980} for mv in (45, 0, 45, 0, 45, 0)]
    assert told([begin, *jumps, {"for_s": 60}]) == [("enter", "cell_reading_erratic")]


def test_a_balancer_at_its_start_voltage_is_not_idle_and_one_above_it_stands_until_it_is_seen_to_work() -> None:
    at_start = {"for_s": 1200, "soc_pm": 995, "cells": 3348, "odd": {"14": 53}}
    assert told([at_start]) == []
    idle = {"for_s": 1200, "soc_pm": 995, "cells": 3380, "odd": {"14": 80}}
    emptied = {"for_s": 7200, "every_s": 60, "current_ma": -20_000, "soc_pm": "990..500", "cells": 3290, "odd": {}}
    works = {"for_s": 1200, "current_ma": 0, "soc_pm": 995, "cells": 3380, "odd": {"14": 80}, "balancing": 1 << 14}
    again = {**idle, "current_ma": 0}
    assert told([idle, emptied, again, works]) == [("enter", "balancing_inactive"), ("leave", "balancing_inactive")]


@pytest.mark.parametrize(("cells", "odd", "expected"), [
    (3100, {"9": -190, "2": 95}, []),  # one strong cell, and the others nearly as empty as the weak one
    (3195, {"9": -290}, ["cell_capacity_mismatch"]),
])  # fmt: skip
def test_one_strong_cell_does_not_make_another_weak(cells: int, odd: dict[str, int], expected: list[str]) -> None:
    each: Steps = [
        {"for_s": 600, "every_s": 60, "current_ma": 0, "soc_pm": 500, "cells": 3300, "odd": {}},
        {"for_s": 3600, "every_s": 60, "current_ma": -20_000, "soc_pm": "500..200", "cells": f"3300..{cells}",
         "odd": {at: f"0..{mv}" for at, mv in odd.items()}},
        {"for_s": 3600, "every_s": 60, "current_ma": 20_000, "soc_pm": "200..500", "cells": 3300, "odd": {}},
    ]  # fmt: skip
    assert [fault for phase, fault in told(each * 4) if phase == "enter"] == expected


TRIPPED = {"faults": "cell_overvoltage_protection", "charge_on": 0}
FREE = {"faults": "", "charge_on": 1}


@pytest.mark.parametrize(("soc_pm", "returned"), [(500, True), (510, True), (520, False)])
def test_a_reset_ends_a_lockout_at_once_though_it_charges_and_trips_again_within_a_minute(
    soc_pm: int, returned: bool
) -> None:
    charges = {"for_s": 20, "silent_s": 180, "soc_pm": soc_pm, "cells": 3500, "current_ma": 30_000, **FREE}
    events = told(
        [{"for_s": 60}, {"for_s": 600, "cells": 3400, **TRIPPED}, charges, {"for_s": 600, "current_ma": 0, **TRIPPED}]
    )
    once = [("enter", "cell_overvoltage_protection")]
    again = [("note", once[0][1]), ("leave", once[0][1]), *once, ("enter", "repeat_lockout")]
    assert events == (once + again if returned else once)


@pytest.mark.parametrize("every_s", [10, 30, 50])
def test_the_silence_of_a_reset_is_long_against_the_period_before_it(every_s: int) -> None:
    clean = {"for_s": every_s, "silent_s": 180, "every_s": every_s, **FREE}
    steps = [{"for_s": 60 * every_s, "every_s": every_s, **TRIPPED}, clean, {"for_s": 600, **TRIPPED}]
    assert told(steps)[-1] == ("enter", "repeat_lockout")


@pytest.mark.parametrize(("soc_pm", "cells", "expected"), [
    (200, 3100, ["soc_drift"]), (190, 3100, []), (200, 3110, []), (400, 3040, ["soc_drift"]),
])  # fmt: skip
def test_a_counter_that_shows_charge_in_an_empty_module_at_rest_is_off(
    soc_pm: int, cells: int, expected: list[str]
) -> None:
    assert [fault for _, fault in told([{"for_s": 900, "soc_pm": soc_pm, "cells": cells}])] == expected
    under_load = {"for_s": 900, "soc_pm": soc_pm, "cells": cells, "current_ma": -20_000}
    assert told([under_load]) == []


@pytest.mark.parametrize(("hours", "left"), [(23, []), (25, [("leave", "soc_drift")])])
def test_a_counter_that_was_off_is_told_once_a_day_at_most(hours: int, left: list[tuple[str, str]]) -> None:
    off: dict[str, Any] = {"for_s": 900, "soc_pm": 300, "cells": 3050}
    fine = {"for_s": hours * 3600, "every_s": 60, "cells": 3250}
    assert told([off, fine]) == [("enter", "soc_drift"), *left]


def test_cells_that_sank_to_zero_are_no_dead_chip_and_cells_that_are_zero_at_once_are() -> None:
    sinks = [{"for_s": 600, "cells": 1400, "soc_pm": 0}, {"for_s": 600, "cells": 0}]
    assert [fault for _, fault in told(sinks) if fault != "soc_zero"] == ["cell_extreme_voltage_lockout"]
    assert told([{"for_s": 600}, {"for_s": 600, "cells": 0}]) == [("enter", "afe_fault")]


def test_a_lead_that_jumps_again_and_again_is_no_lockout_that_returns() -> None:
    jumps: Steps = [{"for_s": 20, "odd": {"4": mv}, "cells": 3320, "soc_pm": 700} for mv in (45, 0, 45, 0, 45, 0)]
    steps: Steps = [*jumps, {"for_s": 4000, "odd": {}}]
    assert {fault for _, fault in told([{"for_s": 60, "soc_pm": 700}, *(steps * 4)])} == {"cell_reading_erratic"}
