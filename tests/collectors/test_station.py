"""Polling: schedules, gaps to the slot, back-off, and devices that must not harm their neighbours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellherd.clock import Quality, SystemClock
from cellherd.errors import BadFrame, CellherdError, LinkError, Silent
from cellherd.reading import LogEntry, Measured
from collectors.course import Course
from collectors.drivers import jbd, jk_modbus, pylontech_can, pylontech_force_modbus, pylontech_rs485
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import EmulatedDevice
from collectors.emulators.fleet import emulator, start
from collectors.emulators.wires import PtyWire
from collectors.events import Device, Record, Sample, modules_by_address
from collectors.kernel import Answer, Chunk, Conversation, Driver, Request, Send, refuse_unless_permitted
from collectors.links import Link
from collectors.notices import FROZEN_AFTER, Notices
from collectors.station import Port, Station

BOOT = 1_000_000
WALL = 1_790_000_000_000
JK = replace(jk_modbus.DRIVER, identify=None, seldom=None)
JBD = replace(jbd.DRIVER, identify=None, seldom=None)
PYLON = replace(pylontech_rs485.DRIVER, identify=None, seldom=None)


@dataclass(slots=True)
class Hand:
    """A clock that moves when a test, or a slow device, moves it."""

    now: int = BOOT

    def wall(self) -> int:
        return WALL + self.now - BOOT

    def boot(self) -> int:
        return self.now

    def boot_id(self) -> str:
        return "00000000"

    def quality(self) -> Quality:
        return "ntp"


@dataclass(slots=True)
class Bus:
    """A link to emulated modules. `plan(address, poll)` says what happens: ok or which error, and after how many ms."""

    clock: Hand
    driver: Driver
    modules: dict[int, Measured]
    plan: Callable[[int, int], tuple[str, int]] = lambda address, turn: ("ok", 0)
    polls: Counter[int] = field(default_factory=Counter)
    asked_at: dict[int, list[int]] = field(default_factory=dict)
    open: bool = True
    opened: int = 0

    def opener(self, text: str, driver: Driver, halt: Event) -> Link:
        if not self.open:
            raise LinkError(f"{text}: there is no such port")
        self.opened += 1
        return self

    def ask(self, request: Request, *, address: int) -> Answer:
        first = request in (jk_modbus.MAIN, jbd.ask(jbd.STATUS))
        if first:
            self.polls[address] += 1
            self.asked_at.setdefault(address, []).append(self.clock.now - BOOT)
        what, ms = self.plan(address, self.polls[address])
        self.clock.now += ms if first else 0
        if what == "silent":
            raise Silent("no answer")
        if what == "broken":
            raise BadFrame("only rubbish", b"\1")
        if what == "gone":
            raise LinkError("the port went away")
        answer = emulator(self.driver.name).answer(request, address, self.modules)
        if answer is None:
            raise Silent("nobody has this address")
        return answer

    def hear(self, timeout: float) -> Chunk | None:
        self.clock.now += round(timeout * 1000)
        return None

    def close(self) -> None:
        return


def truth(**values: object) -> Measured:
    return replace(Battery(Plan()).truth(), **values)  # type: ignore[arg-type]


def run(port: Port, clock: Hand, until_ms: int) -> None:
    """Turn the port until a time, then stop it cleanly."""
    while clock.now < BOOT + until_ms:
        clock.now = max(min(port.turn(), BOOT + until_ms), clock.now)
    port.halt.set()
    port.run()


def jk(address: int, period_s: float = 5.0) -> Device:
    return Device("cellar", JK, "modbus:bus", address, {address: f"m{address}"}, period_s)


def slots_of(told: list[Sample | Record], module: str, period_ms: int) -> list[int]:
    """Every slot that the events of a module account for, by a reading or in a gap, in order of telling."""
    slots: list[int] = []
    for event in told:
        if isinstance(event, Sample) and event.module == module:
            slots.append((event.bt - BOOT) // period_ms)
        elif isinstance(event, Record) and event.module == module and event.event == "gap":
            first = (int(str(event.body["from_ts"])) - WALL) // period_ms
            slots += range(first, first + int(str(event.body["slots"])))
    return slots


def gaps(told: list[Sample | Record], module: str) -> list[tuple[str, int]]:
    records = (e for e in told if isinstance(e, Record) and e.module == module and e.event == "gap")
    return [(str(e.body["reason"]), int(str(e.body["slots"]))) for e in records]


def codes(told: list[Sample | Record]) -> list[str]:
    return [str(e.body["code"]) for e in told if isinstance(e, Record) and e.event == "edge"]


def test_a_silent_device_costs_its_neighbour_no_reading() -> None:
    clock, told = Hand(), list[Sample | Record]()
    bus = Bus(clock, JK, {1: truth(), 2: truth()}, lambda a, n: ("silent", 500) if a == 2 else ("ok", 100))
    run(Port([jk(2), jk(1)], told.append, clock, bus.opener), clock, 300_000)
    assert slots_of(told, "m1", 5000) == list(range(60))
    assert slots_of(told, "m2", 5000) == list(range(60))
    assert {reason for reason, _ in gaps(told, "m2")} == {"timeout"}
    assert codes(told) == ["device_timeout"]


outcomes = st.lists(
    st.tuples(st.sampled_from(["ok", "ok", "silent", "broken", "gone"]), st.integers(0, 9000)), min_size=1, max_size=30
)


@settings(max_examples=80)
@given(outcomes, outcomes, st.integers(1, 400))
def test_every_slot_is_a_reading_or_part_of_a_gap_whatever_happens(
    first: list[tuple[str, int]], second: list[tuple[str, int]], seconds: int
) -> None:
    clock, told = Hand(), list[Sample | Record]()
    plans = {1: first, 2: second}
    bus = Bus(clock, JK, {1: truth(), 2: truth()}, lambda a, n: plans[a][n % len(plans[a])])
    run(Port([jk(1), jk(2)], told.append, clock, bus.opener), clock, seconds * 1000)
    ended = (clock.now - BOOT) // 5000
    for module in ("m1", "m2"):
        slots = slots_of(told, module, 5000)
        assert slots == list(range(len(slots)))
        assert len(slots) in (ended, ended + 1)  # the slot under way may have been asked for already


def test_the_schedule_does_not_drift_with_slow_answers() -> None:
    clock, told = Hand(), list[Sample | Record]()
    bus = Bus(clock, JK, {1: truth()}, lambda a, n: ("ok", 1700))
    run(Port([jk(1, 2.0)], told.append, clock, bus.opener), clock, 60_000)
    assert bus.asked_at[1] == list(range(0, 60_000, 2000))


def test_a_device_slower_than_its_period_has_gaps_for_the_slots_it_cost() -> None:
    clock, told = Hand(), list[Sample | Record]()
    bus = Bus(clock, JK, {1: truth()}, lambda a, n: ("ok", 2500))
    run(Port([jk(1, 1.0)], told.append, clock, bus.opener), clock, 20_000)
    assert slots_of(told, "m1", 1000) == list(range(20))
    assert {reason for reason, _ in gaps(told, "m1")} == {"timeout"}


def test_a_silent_device_is_asked_ever_more_rarely_up_to_once_a_minute() -> None:
    clock, told = Hand(), list[Sample | Record]()
    bus = Bus(clock, JK, {1: truth()}, lambda a, n: ("silent", 0))
    run(Port([jk(1, 1.0)], told.append, clock, bus.opener), clock, 400_000)
    times = bus.asked_at[1][1:]  # the first poll of a device that was well is tried twice
    pauses = [after - before for before, after in pairwise(times)]
    assert pauses[:6] == [1000, 2000, 4000, 8000, 16_000, 32_000]
    assert set(pauses[6:]) == {60_000}


def test_a_gap_that_goes_on_is_told_every_minute_and_ends_with_the_first_reading() -> None:
    clock, told = Hand(), list[Sample | Record]()
    bus = Bus(clock, JK, {1: truth()}, lambda a, n: ("silent" if 2 < n < 9 else "ok", 0))
    run(Port([jk(1)], told.append, clock, bus.opener), clock, 200_000)
    found = gaps(told, "m1")
    assert all(slots * 5 <= 65 for _, slots in found)
    assert codes(told) == ["device_timeout", "device_back"]
    assert slots_of(told, "m1", 5000) == list(range(40))


@pytest.mark.parametrize(("what", "reason"), [("broken", "crc"), ("silent", "timeout"), ("gone", "port_down")])
def test_a_gap_has_the_reason_of_its_trouble(what: str, reason: str) -> None:
    clock, told = Hand(), list[Sample | Record]()
    bus = Bus(clock, JK, {1: truth()}, lambda a, n: (what if n > 1 else "ok", 0))
    run(Port([jk(1)], told.append, clock, bus.opener), clock, 100_000)
    assert {found for found, _ in gaps(told, "m1")} == {reason}
    assert sum(slots for _, slots in gaps(told, "m1")) == 19


def test_silence_after_the_bms_cut_both_paths_is_sleep() -> None:
    clock, told = Hand(), list[Sample | Record]()
    asleep = truth(charge_on=False, discharge_on=False)
    bus = Bus(clock, JK, {1: asleep}, lambda a, n: ("silent" if n > 2 else "ok", 0))
    run(Port([jk(1)], told.append, clock, bus.opener), clock, 60_000)
    assert {reason for reason, _ in gaps(told, "m1")} == {"sleeping"}


def test_one_failure_of_a_device_that_was_well_is_tried_again_at_once() -> None:
    clock, told = Hand(), list[Sample | Record]()
    bus = Bus(clock, JK, {1: truth()}, lambda a, n: ("broken" if n % 3 == 0 else "ok", 10))
    port = Port([jk(1)], told.append, clock, bus.opener)
    run(port, clock, 60_000)
    assert gaps(told, "m1") == []
    assert port.counts.crc > 0


def test_a_port_that_is_not_there_is_tried_again_and_its_slots_are_counted() -> None:
    clock, told = Hand(), list[Sample | Record]()
    bus = Bus(clock, JK, {1: truth()}, open=False)
    port = Port([jk(1)], told.append, clock, bus.opener)
    for _ in range(4):
        clock.now = max(port.turn(), clock.now)
    bus.open = True
    run(port, clock, 60_000)
    assert codes(told) == ["device_port_down", "device_back"]
    assert slots_of(told, "m1", 5000) == list(range(12))
    assert {reason for reason, _ in gaps(told, "m1")} == {"port_down"}


def test_a_port_whose_devices_are_all_silent_is_opened_anew() -> None:
    clock, told = Hand(), list[Sample | Record]()
    bus = Bus(clock, JK, {1: truth()}, lambda a, n: ("silent", 0))
    run(Port([jk(1)], told.append, clock, bus.opener), clock, 900_000)
    assert bus.opened >= 2


def test_slots_in_which_the_machine_stood_still_are_not_blamed_on_the_device() -> None:
    clock, told = Hand(), list[Sample | Record]()
    bus = Bus(clock, JK, {1: truth()})
    port = Port([jk(1)], told.append, clock, bus.opener)
    clock.now = port.turn()
    clock.now += 60_000
    run(port, clock, 90_000)
    assert gaps(told, "m1") == [("edge_off", 12)]
    assert slots_of(told, "m1", 5000) == list(range(18))


def test_a_module_that_is_missing_from_its_bus_answer_has_a_gap_of_its_own() -> None:
    clock, told = Hand(), list[Sample | Record]()
    bus = Bus(clock, PYLON, {2: truth(module=2), 3: truth(module=3)})
    device = Device("cellar", PYLON, "serial:bus", 2, modules_by_address(PYLON, None, ["m1", "m2", "m3"]), 5.0)
    run(Port([device], told.append, clock, bus.opener), clock, 30_000)
    assert slots_of(told, "m1", 5000) == slots_of(told, "m2", 5000) == list(range(6))
    assert gaps(told, "m3") == [("timeout", 6)]


def test_a_module_that_nobody_named_is_read_under_its_address_and_reported_once() -> None:
    clock, told = Hand(), list[Sample | Record]()
    bus = Bus(clock, PYLON, {2: truth(module=2), 3: truth(module=3)})
    device = Device("cellar", PYLON, "serial:bus", 2, {2: "m1"}, 5.0)
    run(Port([device], told.append, clock, bus.opener), clock, 30_000)
    assert slots_of(told, "address-3", 5000) == list(range(6))
    assert codes(told) == ["unknown_module"]


def test_a_bank_whose_modules_were_named_otherwise_takes_over_their_slots() -> None:
    clock, told = Hand(), list[Sample | Record]()
    course = Course(Device("cellar", JK, "can:bus", 0, {0: "m1"}, 5.0), told.append, clock, BOOT)
    course.miss(3, "timeout")
    course.read(Measured(kind="bank", voltage_mv=50_000), 3, BOOT + 15_000)
    assert slots_of(told, "bank", 5000) == [0, 1, 2, 3]


def test_a_bank_beside_its_modules_has_no_slots_of_its_own() -> None:
    clock, told = Hand(), list[Sample | Record]()
    course = Course(Device("cellar", JK, "can:bus", 0, {0: "m1"}, 5.0), told.append, clock, BOOT)
    course.read(Measured(voltage_mv=50_000), 0, BOOT)
    course.read(Measured(kind="bank", voltage_mv=50_000), 0, BOOT)
    clock.now += 60_000
    course.end(clock.now, "timeout")
    assert slots_of(told, "bank", 5000) == [0]
    assert gaps(told, "m1") == [("timeout", 11)]


def test_what_is_asked_seldom_joins_the_reading_of_its_slot() -> None:
    clock, told = Hand(), list[Sample | Record]()
    driver = jk_modbus.DRIVER
    bus = Bus(clock, driver, {1: truth()})
    run(Port([replace(jk(1), driver=driver)], told.append, clock, bus.opener), clock, 60_000)
    samples = [e for e in told if isinstance(e, Sample)]
    assert len(samples) == 12
    assert ["wire_00_mohm" in e.measured.extra for e in samples] == [True, *[False] * 5] * 2


def test_a_long_bus_says_who_they_are_before_their_readings_and_has_its_schedule_from_the_second_round_on() -> None:
    clock, told = Hand(), list[Sample | Record]()
    slow = replace(jk_modbus.DRIVER, gap_s=0.0)

    class Slow(Bus):
        def ask(self, request: Request, *, address: int) -> Answer:
            self.clock.now += 120
            return Bus.ask(self, request, address=address)

    addresses = range(1, 9)
    bus = Slow(clock, slow, {address: truth() for address in addresses})
    run(Port([replace(jk(a), driver=slow) for a in addresses], told.append, clock, bus.opener), clock, 120_000)
    for name in (f"m{a}" for a in addresses):
        first = next(e for e in told if e.module == name and getattr(e, "event", "") != "gap")
        assert isinstance(first, Record)
        assert first.event == "info"
        assert sum(slots for _, slots in gaps(told, name)) <= 1, "what it took to ask them all"
        assert slots_of(told, name, 5000) == list(range(24))


def test_a_device_that_was_silent_at_the_start_says_who_it_is_before_its_first_reading_too() -> None:
    clock, told = Hand(), list[Sample | Record]()
    bus = Bus(clock, jk_modbus.DRIVER, {1: truth()}, lambda a, n: ("silent" if n < 4 else "ok", 0))
    run(Port([replace(jk(1), driver=jk_modbus.DRIVER)], told.append, clock, bus.opener), clock, 60_000)
    said = [e for e in told if isinstance(e, Sample) or e.event == "info"]
    assert [type(e) for e in said[:2]] == [Record, Sample]


def test_a_bank_whose_modules_speak_too_is_no_reason_to_call_them_unknown() -> None:
    clock, told = Hand(), list[Sample | Record]()
    force = pylontech_force_modbus.DRIVER
    device = Device("cellar", force, "modbus:bus", 1, {1: "m1", 2: "m2"}, 5.0)
    run(Port([device], told.append, clock, Bus(clock, force, {1: truth(), 2: truth()}).opener), clock, 10_000)
    assert codes(told) == []
    assert {e.module for e in told if isinstance(e, Sample)} == {"bank", "m1", "m2"}


def test_every_module_that_is_heard_says_who_it_is_before_its_first_reading() -> None:
    clock, told = Hand(), list[Sample | Record]()
    course = Course(Device("cellar", JK, "modbus:bus", 1, {1: "m1", 2: "m2"}, 5.0), told.append, clock, BOOT)
    port = Port([course.device], told.append, clock)
    for address in (1, 2):
        port._overheard(course, [Measured(module=address, voltage_mv=50_000, info={"serial": f"S{address}"})], BOOT)
    assert [(type(e), e.module) for e in told] == [(Record, "m1"), (Sample, "m1"), (Record, "m2"), (Sample, "m2")]


def test_a_device_of_another_address_is_a_gap_not_somebody_elses_reading() -> None:
    clock, told = Hand(), list[Sample | Record]()
    bus = Bus(clock, JK, {4: truth()})
    run(Port([jk(1)], told.append, clock, bus.opener), clock, 30_000)
    assert not [e for e in told if isinstance(e, Sample)]
    assert gaps(told, "m1") == [("timeout", 6)]


def test_who_it_is_comes_at_the_start_and_daily_and_counters_when_they_change() -> None:
    clock, told = Hand(), list[Sample | Record]()
    bus = Bus(clock, jbd.DRIVER, {0: truth()})
    device = Device("cellar", jbd.DRIVER, "serial:port", 0, {0: "m1"}, 60.0)
    port = Port([device], told.append, clock, bus.opener)
    while clock.now < BOOT + 3_600_000:
        clock.now = port.turn()
    bus.modules = {0: truth(counters={"trips_cell_overvoltage": 3})}
    run(port, clock, 25 * 3_600_000)
    info = [e for e in told if isinstance(e, Record) and e.event == "info"]
    counters = [e.body for e in told if isinstance(e, Record) and e.event == "counter"]
    assert [e.body["model"] for e in info] == ["Emulated LFP"] * 2
    assert counters[-1] == {"name": "trips_cell_overvoltage", "value": 3}
    assert len(counters) == 12


def test_cells_that_do_not_move_while_current_flows_are_told_once() -> None:
    notices, still = Notices(), truth(current_ma=-20_000)
    told = [n for _ in range(FROZEN_AFTER + 30) for n in notices.stuck(still)]
    moved = list(notices.stuck(replace(still, cell_mv=(3300,) * 16)))
    assert [body["code"] for _, body in (*told, *moved)] == ["data_frozen", "data_moving"]


@pytest.mark.parametrize("current_ma", [0, 900, -1500])
def test_cells_at_rest_may_stand_still(current_ma: int) -> None:
    notices, resting = Notices(), truth(current_ma=current_ma)
    assert not [n for _ in range(100) for n in notices.stuck(resting)]


def test_another_serial_on_the_same_wire_is_told() -> None:
    notices = Notices()
    list(notices.of(Measured(info={"serial": "A"})))
    told = dict(notices.of(Measured(info={"serial": "B"})))
    assert told["edge"]["code"] == "identity_changed"
    assert told["info"]["serial"] == "B"


def test_an_entry_of_the_devices_log_is_told_once() -> None:
    notices = Notices()
    first, second = LogEntry("12", "trip", 1), LogEntry("13", "release", 2)
    assert [body["code"] for _, body in notices.of(Measured(log=(first,)))] == ["12"]
    assert [body["code"] for _, body in notices.of(Measured(log=(first, second)))] == ["13"]


def test_drivers_that_speak_differently_cannot_share_a_port() -> None:
    devices = [jk(1), Device("cellar", JBD, "modbus:bus", 0, {0: "m9"})]
    with pytest.raises(CellherdError, match="jbd, jk_modbus cannot share a port"):
        Port(devices, lambda event: None, Hand())


def test_a_link_that_cannot_be_is_refused_before_polling_begins() -> None:
    with pytest.raises(CellherdError, match="jk_modbus does not speak over serial:"):
        Station([replace(jk(1), link="serial:/dev/ttyUSB0")], lambda event: None, Hand())


def test_a_listener_gives_one_reading_a_slot_and_changed_faults_at_once() -> None:
    clock, told = Hand(), list[Sample | Record]()
    acts, modules = emulator("pylontech_can"), {2: truth()}

    class Ear(Bus):
        def hear(self, timeout: float) -> Chunk | None:
            frames = acts.broadcast(self.modules)
            turn = self.polls[0]
            self.polls[0] += 1
            self.clock.now += 1000 if turn % len(frames) == 0 else 0
            return frames[turn % len(frames)]

    bus = Ear(clock, pylontech_can.DRIVER, modules)
    device = Device("cellar", pylontech_can.DRIVER, "can:can0", 0, {0: "bank"}, 5.0)
    port = Port([device], told.append, clock, bus.opener)
    while clock.now < BOOT + 30_000:
        port.turn()
    calm = slots_of(told, "bank", 5000)
    bus.modules = {2: truth(faults=("cell_overvoltage_protection",))}
    run(port, clock, 33_000)
    assert calm == sorted(set(calm)) == list(range(len(calm)))
    assert [e for e in told if isinstance(e, Sample)][-1].measured.faults == ("cell_overvoltage_protection",)


def test_a_listener_that_hears_nothing_has_gaps() -> None:
    clock, told = Hand(), list[Sample | Record]()
    bus = Bus(clock, pylontech_can.DRIVER, {})
    device = Device("cellar", pylontech_can.DRIVER, "can:can0", 0, {0: "bank"}, 5.0)
    run(Port([device], told.append, clock, bus.opener), clock, 120_000)
    assert sum(slots for _, slots in gaps(told, "bank")) == 24
    assert codes(told) == ["device_timeout"]
    assert bus.opened == 2


def test_a_station_survives_an_unplugged_port_and_stops_cleanly() -> None:
    first, second = start([EmulatedDevice("jbd", {0: Battery(Plan(seed=s))}) for s in (1, 2)])
    told: list[Sample | Record] = []
    patient = replace(JBD, gap_s=0.0, timeout_s=0.3)
    devices = [Device(f"s{i}", patient, r.link, 0, {0: "m1"}, 0.2) for i, r in enumerate((first, second))]
    seen: dict[str, Event] = {name: Event() for name in ("begun", "gone", "back")}

    def sink(event: Sample | Record) -> None:
        told.append(event)
        if event.device.stack == "s0" and isinstance(event, Sample):
            seen["back" if seen["gone"].is_set() else "begun"].set()
        elif isinstance(event, Record) and event.body.get("code") == "device_port_down":
            seen["gone"].set()

    station = Station(devices, sink, SystemClock())
    station.start()
    assert isinstance(first.wire, PtyWire)
    assert seen["begun"].wait(10)
    first.wire.unplug()
    assert seen["gone"].wait(10)
    first.wire.plug()
    assert seen["back"].wait(20)
    station.stop()
    first.stop()
    second.stop()
    assert {e.device.stack for e in told if isinstance(e, Record) and e.event == "gap"} == {"s0"}
    assert station.counts()[first.link]["port_down"] >= 1
    assert station.counts()[second.link] == {
        "ok": station.counts()[second.link]["ok"],
        "timeout": 0,
        "crc": 0,
        "port_down": 0,
    }


def test_a_question_that_must_not_be_put_costs_no_reading_and_is_told_once() -> None:
    clock, told = Hand(), list[Sample | Record]()

    def seldom(address: int) -> Conversation:
        yield Send(b"forbidden")
        return ()

    nosy = replace(JBD, seldom=seldom)
    bus = Guarded(clock, nosy, {0: truth()})
    run(Port([Device("s1", nosy, "serial:x", 0, {0: "m1"})], told.append, clock, bus.opener), clock, 120_000)
    assert sum(isinstance(event, Sample) for event in told) == 24
    refused = [event for event in told if isinstance(event, Record) and event.body.get("code") == "refused"]
    assert len(refused) == 1
    assert "allow-list" in str(refused[0].body["text"])


def test_every_module_of_a_pylontech_group_is_read_however_long_it_is() -> None:
    clock, told = Hand(), list[Sample | Record]()
    driver, count = pylontech_rs485.DRIVER, 15
    modules = {2 + place: truth() for place in range(count)}
    names = {address: f"m{address}" for address in modules}
    bus = Guarded(clock, driver, modules)
    run(Port([Device("s1", driver, "serial:x", 2, names)], told.append, clock, bus.opener), clock, 60_000)
    assert Counter(event.module for event in told if isinstance(event, Sample)) == dict.fromkeys(names.values(), 12)
    assert not [event for event in told if isinstance(event, Record) and event.body.get("code") == "refused"]


@dataclass(slots=True)
class Guarded(Bus):
    """A link as ours: nothing leaves it that is not on the allow-list."""

    def ask(self, request: Request, *, address: int) -> Answer:
        refuse_unless_permitted(self.driver, request)
        return Bus.ask(self, request, address=address)
