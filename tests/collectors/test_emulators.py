"""Emulated devices: what they encode, the drivers decode to the same state; and the batteries behave like batteries."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellherd.reading import Measured
from collectors.drivers import driver
from collectors.emulators.battery import Battery, Plan, ocv_mv
from collectors.emulators.captured import from_capture
from collectors.emulators.device import EmulatedDevice, Truths
from collectors.emulators.fleet import emulator, history, identities, start
from collectors.emulators.protection import PROTECTIONS
from collectors.kernel import Send, converse
from collectors.links import open_link

VECTOR = Path(__file__).parent.parent / "vectors" / "jbd" / "status-with-three-sensors.toml"
DAY = 86_400_000
NOON = 1_760_000_000_000 // DAY * DAY + DAY // 2
FAULTS = [p.fault for p in PROTECTIONS]


def truths(*, current: int = 3_000_000) -> st.SearchStrategy[Measured]:
    """Anything that a module may measure, within the widest range that every protocol carries."""
    cells = st.lists(st.integers(1_500, 3_900), min_size=4, max_size=16)

    def build(mv: list[int], rest: tuple[int, int, int, list[int], bool, bool]) -> Measured:
        current_ma, full, soc_pm, temps, charge_on, discharge_on = rest
        return Measured(
            cell_mv=tuple(mv),
            voltage_mv=sum(mv),
            cell_min_at=mv.index(min(mv)),
            cell_max_at=mv.index(max(mv)),
            current_ma=current_ma,
            full_mah=full,
            remaining_mah=full * soc_pm // 1000,
            soc_pm=soc_pm,
            soh_pm=900,
            cycles=312,
            temp_dc=tuple(temps),
            mos_temp_dc=temps[0],
            charge_on=charge_on,
            discharge_on=discharge_on,
            faults=(),
        )

    rest = st.tuples(
        st.integers(-current, current),
        st.integers(20_000, 600_000),
        st.integers(0, 1000),
        st.lists(st.integers(-400, 900), min_size=4, max_size=4),
        st.booleans(),
        st.booleans(),
    )
    return st.builds(build, cells, rest)


def read(name: str, modules: Truths, address: int) -> tuple[Measured, ...]:
    """Poll the emulated device through its driver, without a wire."""
    known, acts = driver(name), emulator(name)
    assert known.poll is not None

    def ask(request: object) -> bytes:
        answer = acts.answer(request, address, modules)  # type: ignore[arg-type]
        assert answer is not None
        return answer

    return converse(known.poll(address), ask)


def same(found: Measured, truth: Measured, steps: dict[str, int]) -> None:
    """Every named value, floored to the step in which the protocol counts it."""
    for name, step in steps.items():
        assert getattr(found, name) == getattr(truth, name) // step * step, name
    assert found.cell_mv == truth.cell_mv
    assert (found.charge_on, found.discharge_on) == (truth.charge_on, truth.discharge_on)


@settings(max_examples=60)
@given(truths(current=300_000))
def test_jbd_says_what_is_true(truth: Measured) -> None:
    (found,) = read("jbd", {0: truth}, 0)
    same(found, truth, {"voltage_mv": 10, "current_ma": 10, "full_mah": 10, "remaining_mah": 10, "soc_pm": 10})
    assert found.temp_dc == truth.temp_dc
    assert found.cycles == 312


@settings(max_examples=60)
@given(truths())
def test_jk_says_what_is_true(truth: Measured) -> None:
    (found,) = read("jk_modbus", {1: truth}, 1)
    same(found, truth, {"voltage_mv": 1, "current_ma": 1, "full_mah": 1, "remaining_mah": 1, "soc_pm": 10})
    assert found.temp_dc[:4] == truth.temp_dc
    assert (found.mos_temp_dc, found.soh_pm, found.cycles) == (truth.mos_temp_dc, 900, 312)


@settings(max_examples=60)
@given(truths(), truths())
def test_every_module_of_a_pylontech_group_says_what_is_true(first: Measured, second: Measured) -> None:
    found = read("pylontech_rs485", {2: first, 3: second}, 2)
    assert [m.module for m in found] == [2, 3]
    for module, truth in zip(found, (first, second), strict=True):
        same(module, truth, {"voltage_mv": 1, "current_ma": 100, "full_mah": 1, "remaining_mah": 1})
        assert module.temp_dc[1:] == truth.temp_dc


@settings(max_examples=40)
@given(truths(current=1_000_000))
def test_a_pylontech_bank_on_can_says_what_is_true(truth: Measured) -> None:
    known, acts = driver("pylontech_can"), emulator("pylontech_can")
    assert known.feed is not None
    state, found = known.fresh(), list[Measured]()
    for frame in acts.broadcast({2: truth}) * 2:
        state, heard = known.feed(state, frame)
        found += heard
    (bank,) = found
    assert bank.kind == "bank"
    assert abs((bank.voltage_mv or 0) - (truth.voltage_mv or 0)) <= 5
    assert abs((bank.current_ma or 0) - (truth.current_ma or 0)) <= 50
    assert (bank.charge_on, bank.discharge_on) == (truth.charge_on, truth.discharge_on)


SAID = {
    "jbd": set(FAULTS),
    "jk_modbus": set(FAULTS) - {"cell_overvoltage_protection"},  # it says full_charge_reached instead
    "pylontech_rs485": set(FAULTS) - {"discharge_undertemperature_protection"},  # one bit for all cold
}


@pytest.mark.parametrize(("name", "fault"), [(name, fault) for name in SAID for fault in sorted(SAID[name])])
def test_a_trip_arrives_as_the_same_fault(name: str, fault: str) -> None:
    address = max(driver(name).default_address, 0)
    truth = replace(Battery(Plan()).truth(), faults=(fault,), current_ma=-5000)
    (found,) = read(name, {address: truth}, address)
    assert found.faults == (fault,)


def test_the_same_seed_and_steps_give_the_same_battery() -> None:
    first, second = (Battery(Plan(seed=9)) for _ in range(2))
    for battery in (first, second):
        for minute in range(300):
            battery.step(NOON + minute * 60_000, 60)
    assert first.truth() == second.truth()


def live(battery: Battery, days: int) -> list[Measured]:
    told = []
    for minute in range(0, days * 1440, 5):
        battery.step(NOON + minute * 60_000, 300)
        told.append(battery.truth())
    return told


def test_a_healthy_battery_cycles_for_days_without_a_trip() -> None:
    told = live(Battery(Plan(seed=4)), 3)
    assert all(m.faults == () for m in told)
    socs = [m.soc_pm or 0 for m in told]
    assert max(socs) > 950
    assert min(socs) < 600


def test_a_charger_set_too_high_makes_a_lockout_that_repeats() -> None:
    told = live(Battery(Plan.repeating_lockout()), 3)
    trips = [m.counters["trips_cell_overvoltage"] for m in told]
    assert trips[-1] >= 2
    tripped = next(m for m in told if m.faults)
    assert tripped.charge_on is False
    assert tripped.discharge_on is True
    assert tripped.cell_max_at == 6


def test_a_weak_cell_falls_behind_at_the_bottom() -> None:
    battery = Battery(Plan(weak={3: 0.8}, soc=0.35, sun=0.0))
    assert live(battery, 1)[-1].cell_min_at == 3


def test_a_frozen_battery_does_not_charge() -> None:
    told = live(Battery(Plan(ambient_dc=-80)), 1)
    assert "charge_undertemperature_protection" in (told[-1].faults or ())
    assert all((m.current_ma or 0) <= 0 for m in told if m.charge_on is False)


def test_the_open_circuit_voltage_rises_with_the_charge() -> None:
    curve = [ocv_mv(i / 1000) for i in range(1010)]
    assert curve == sorted(curve)
    assert (ocv_mv(0.5), ocv_mv(-1) < 2000) == (3299, True)


@pytest.mark.parametrize("name", ["jbd", "jk_modbus", "pylontech_rs485", "pylontech_can", "pylontech_hv_can"])
def test_history_is_read_through_the_driver_at_every_step(name: str) -> None:
    device = EmulatedDevice(name, {2: Battery(Plan(seed=2)), 3: Battery(Plan(seed=3))})
    if name == "jbd":
        del device.batteries[3]
    rows = list(history(device, NOON, NOON + 600_000, 60))
    steps = sorted({ts for ts, _, _ in rows})
    assert steps == list(range(NOON, NOON + 600_000, 60_000))
    modules = {"jk_modbus": 2, "pylontech_rs485": 2}.get(name, 1)
    assert len(rows) == modules * len(steps)
    assert len({m.voltage_mv for _, _, m in rows}) > 1
    assert {at for at, _ in identities(device, NOON)} <= {2, 3}


@pytest.mark.parametrize("wire", ["pty", "tcp"])
def test_a_captured_device_says_what_it_said(tmp_path: Path, wire: str) -> None:
    vector = tomllib.loads(VECTOR.read_text(encoding="utf-8"))
    capture = tmp_path / "real.jsonl"
    line = {"ts": 1, "address": 0, "request": vector["request"], "answer": vector["frame"]}
    capture.write_text(json.dumps({"capture": 1, "driver": "jbd"}) + "\n" + json.dumps(line), encoding="utf-8")
    (running,) = start([EmulatedDevice("jbd", {}, wire, acts=from_capture(capture))])
    link = open_link(running.link, driver("jbd"))
    answers = [link.ask(Send(bytes.fromhex(vector["request"])), address=0).hex() for _ in range(2)]
    link.close()
    running.stop()
    assert answers == [vector["frame"]] * 2


def test_a_device_goes_on_live_from_where_its_history_ended() -> None:
    class Stopped:
        def wall(self) -> int:
            return NOON + 3_600_000

    device = EmulatedDevice("jbd", {0: Battery(Plan())})
    *_, (_, _, last) = history(device, NOON, NOON + 3_600_000, 60)
    (running,) = start([device], Stopped())  # type: ignore[arg-type]
    link = open_link(running.link, driver("jbd"))
    (live_one,) = converse(driver("jbd").poll(0), lambda r: link.ask(r, address=0))  # type: ignore[misc]
    link.close()
    running.stop()
    assert abs((live_one.remaining_mah or 0) - (last.remaining_mah or 0)) < 2000
    assert live_one.remaining_mah != 50_000
