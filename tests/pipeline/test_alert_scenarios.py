"""Every scenario from the reading to the chat: the right fault, side, cell and person, one message, and silence.

The scenes stand in tests/pipeline/scenarios: derived.toml (what the engine sees in one module), stack.toml (what it
sees in a stack or by the clock). What a device says by itself has a scene for every fault that a code stands for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cellherd.faults import brand, catalogue
from cellherd.settings import Module as Entry
from pipeline.alerts.channel import Message
from tests.pipeline.scenes import flag_steps, scenes, telemetry_ids
from tests.pipeline.telling import HOUR, Silence, Theatre, fleet, play, scene_rows, tell, theatre

DERIVED, STACK = scenes("derived.toml"), scenes("stack.toml")
PAIR = ("m1", "m2")
Told = tuple[str, str, int]
"""Fault, cut side, and cell (from 0, -1 = none)."""


def told(message: Message) -> dict[str, set[Told]]:
    """What a message says, by module ("" = the stack or site as a whole)."""
    found: dict[str, set[Told]] = {}
    for one in message.facts["members"]:
        cell = -1 if one["cell"] is None else one["cell"]
        found.setdefault(one["module"], set()).add((one["fault"], one["cuts"], cell))
    return found


def expected(scene: dict[str, Any]) -> set[Told]:
    """What people must hear of a scene: what enters, unless nobody is ever told of it."""
    entered = [one[1:] for one in scene.get("expect", []) if one[0] == "enter"]
    return {(fault, cuts, cell) for fault, cuts, cell in entered if catalogue()[fault].priority < 4}


def once_to_sun(here: Theatre, scene: dict[str, Any], wanted: set[Told], modules: tuple[str, ...]) -> None:
    """Each wanted fault is one message to sun's chat that names every module; nothing else comes, not even to wind."""
    also, heard = scene.get("also", []), here.raised()
    assert {who for who, _ in heard} <= {"sun"}
    messages = [told(one) for _, one in heard]
    mine = [one for one in messages if {fault for of in one.values() for fault, _, _ in of} - {*also}]
    assert sorted(map(repr, mine)) == sorted(repr({name: {one} for name in modules}) for one in wanted)


@pytest.mark.parametrize("name", sorted(DERIVED))
def test_two_modules_with_the_same_trouble_are_one_message_to_their_installer(name: str, tmp_path: Path) -> None:
    scene = DERIVED[name]
    entries = [Entry(site="barn", stack="s1", id=one, **scene["module"]) for one in PAIR if "module" in scene]
    with theatre(tmp_path, entries=entries) as here:
        tell(here, dict.fromkeys(PAIR, scene_rows(scene)))
        once_to_sun(here, scene, expected(scene), PAIR)


@pytest.fixture(scope="module")
def flagged(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Message]]:
    """What is told where each fault that a device can report is reported by two modules of the same stack."""
    modules = {f"{fault}-{n}": scene_rows({"step": flag_steps(fault)[0]}) for fault in telemetry_ids() for n in (1, 2)}
    with theatre(tmp_path_factory.mktemp("flagged"), fleet(alerts={"flood_per_hour": 1000})) as here:
        tell(here, modules)
        return here.raised()


@pytest.mark.parametrize("fault", sorted(telemetry_ids()))
def test_what_a_device_says_is_one_message_unless_it_is_benign(fault: str, flagged: list[tuple[str, Message]]) -> None:
    _, side, cell = flag_steps(fault)
    both = {f"{fault}-{n}": {(fault, side, cell)} for n in (1, 2)}
    heard = [(who, told(one)) for who, one in flagged if told(one).keys() & both.keys()]
    assert heard == ([("sun", both)] if catalogue()[fault].priority < 4 else [])


@pytest.mark.parametrize("name", sorted(STACK))
def test_what_the_clock_and_the_stack_tell_is_told_once(name: str, tmp_path: Path) -> None:
    scene = STACK[name]
    with theatre(tmp_path) as here:
        offline = 1000 * scene["offline_s"] if "offline_s" in scene else None
        silence = Silence(1000 * scene.get("silent_s", 0), offline)
        play(here, {one: scene_rows(of) for one, of in scene["modules"].items()}, silence)
        heard = [(fault, module) for _, one in here.raised() for module, of in told(one).items() for fault, _, _ in of]
        assert sorted(heard) == sorted((fault, module) for fault, module in scene["expect"])


TRIP = {"step": flag_steps("cell_overvoltage_protection")[0]}


def test_another_installers_battery_is_told_to_that_installer(tmp_path: Path) -> None:
    with theatre(tmp_path, fleet(site="mill")) as here:
        tell(here, {"m1": scene_rows(TRIP)})
        assert [(who, one.facts["members"][0]["fault"]) for who, one in here.raised()] == [
            ("wind", "cell_overvoltage_protection")
        ]


def test_planned_balancing_is_silent_until_its_window_ends(tmp_path: Path) -> None:
    window = {"site": "barn", "kind": "balancing", "begin": "2026-06-01T00:00:00Z", "end": "2026-06-01T01:30:00Z"}
    apart = {"for_s": 5000, "odd": {"11": 60}, "faults": "cell_imbalance_warning"}
    with theatre(tmp_path, fleet(window=[window])) as here:
        tell(here, {"m1": scene_rows({"step": [{"for_s": 300}, apart]})})
        assert here.raised() == []
        assert {row["fault"] for row in here.events()} == {"cell_imbalance_warning"}
    folder = tmp_path / "longer"
    folder.mkdir()
    with theatre(folder, fleet(window=[window])) as here:
        tell(here, {"m1": scene_rows({"step": [{"for_s": 300}, {**apart, "for_s": 6000}]})})
        assert [one.facts["members"][0]["fault"] for _, one in here.raised()] == ["cell_imbalance_warning"]


def test_old_data_that_an_edge_sends_later_are_history_and_no_message(tmp_path: Path) -> None:
    with theatre(tmp_path) as here:
        tell(here, dict.fromkeys(PAIR, scene_rows(TRIP)), delay_ms=2 * HOUR)
        assert here.chat.sent == []
        assert {row["fault"] for row in here.events()} == {"cell_overvoltage_protection"}


def test_ecoflows_code_6_means_full_and_is_told_to_nobody(tmp_path: Path) -> None:
    codes = {str(number): code.fault for number, code in brand("ecoflow")["bms_error"].codes()}
    steps, _, _ = flag_steps(str(codes["6"]))
    with theatre(tmp_path) as here:
        tell(here, {"m1": scene_rows({"step": [{**one, "driver": "ecoflow"} for one in steps]})})
        assert here.chat.sent == []
        assert {row["fault"] for row in here.events()} == {"full_charge_reached"}


NOT_IN_TELEMETRY = {
    "balancing_slow": "a course of days: pipeline/analyses find it by night",
    "cell_spread_normal": "it says that nothing is wrong: an analysis' answer, never an event",
    "resistance_growth": "a course of months: pipeline/analyses find it by night",
    "possible_internal_short": "a leak shows over days of rest: pipeline/analyses find it by night",
    "inverter_settings_mismatch": "follows from how lockouts gather: pipeline/analyses find it by night",
    "counterfeit_suspect": "an overcurrent trip far below the limit hints at it: stated in the trip's evidence",
    "discharge_stop_unspecified": "what a person sees; telemetry shows the reason, or protection_shutdown",
    "firmware_update_failed": "seen by whoever updates; the battery is silent then, which is comm_lost",
    "user_interaction": "what a person did: nothing that a device sends",
    "station_no_power": "a dead station sends nothing: it is comm_lost, or deep_sleep",
}  # fmt: skip
"""Faults of the catalogue that no reading can show live, and why."""


def test_every_fault_of_the_catalogue_has_a_scenario_or_a_reason_for_none() -> None:
    played = {one[1] for scene in DERIVED.values() for one in scene.get("expect", [])}
    played |= {fault for scene in STACK.values() for fault, _ in scene["expect"]}
    shown = played | telemetry_ids()
    assert {*catalogue()} - shown == {*NOT_IN_TELEMETRY}
    assert not shown & {*NOT_IN_TELEMETRY}


PATTERNS = {
    "one cell low, the others together": "cell_group_failing",
    "apart at the top of charge": "top_of_charge_drift",
    "apart at the bottom": "cell_capacity_mismatch",
    "one cell jumps": "cell_reading_erratic",
    "evenly spread": "",
}
"""Each pattern of the guide and what it is called; "" = nothing."""


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_of_the_guide_has_a_scene_of_its_own(pattern: str) -> None:
    name = PATTERNS[pattern] or "even_spread_is_silent"
    assert [one[1] for one in DERIVED[name].get("expect", [])][:1] == ([PATTERNS[pattern]] if PATTERNS[pattern] else [])
