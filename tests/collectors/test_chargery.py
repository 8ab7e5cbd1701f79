"""Chargery: a stream that nobody asks for, cut and glued anywhere, and an emulator that pushes one."""

from __future__ import annotations

import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Measured
from collectors.drivers import chargery
from collectors.emulators import chargery as emulated
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import EmulatedDevice
from collectors.emulators.fleet import history, start
from collectors.kernel import CanFrame
from collectors.links import open_link

VECTORS = Path(__file__).parents[1] / "vectors" / "chargery"
STREAM = bytes.fromhex(tomllib.loads((VECTORS / "stream-from-the-middle-of-a-frame.toml").read_text())["frame"])
NOISE = b"h::3\r\n"


def heard(*chunks: bytes) -> list[Measured]:
    state, found = chargery.DRIVER.fresh(), []
    for chunk in chunks:
        state, told = chargery.feed(state, chunk)
        found += told
    return found


@st.composite
def truths(draw: st.DrawFn) -> Measured:
    """Anything that a Chargery of V1.26 can say."""
    cells = (*draw(st.lists(st.integers(1, 5_000), max_size=23)), draw(st.integers(1_000, 5_000)))
    told = draw(st.sets(st.sampled_from(sorted(emulated.PROTECTIONS.values()))))
    return Measured(
        cell_mv=cells,
        voltage_mv=sum(cells),
        current_ma=draw(st.integers(-6_553_500, 6_553_500)),
        soc_pm=10 * draw(st.integers(0, 100)),
        remaining_mah=draw(st.integers(0, 2**31)) // 100,
        temp_dc=tuple(draw(st.lists(st.integers(-400, 1200).filter(lambda t: t != -223), min_size=2, max_size=2))),
        faults=tuple(told),
    )


@settings(max_examples=80)
@given(truths())
def test_a_chargery_says_what_is_true(truth: Measured) -> None:
    (found,) = heard(*emulated.push({0: truth}))
    current = truth.current_ma or 0
    assert found.current_ma == (abs(current) // 100 * 100) * (1 if current > 0 else -1)
    for name in ("cell_mv", "voltage_mv", "soc_pm", "remaining_mah", "temp_dc"):
        assert getattr(found, name) == getattr(truth, name), name
    assert set(found.faults or ()) == set(truth.faults or ())
    assert found.charge_on == (False if "cell_overvoltage_protection" in (truth.faults or ()) else None)
    assert found.extra["resistance_00_uohm"] == 900


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_a_stream_cut_anywhere_says_the_same(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in pairwise(places)]
    assert heard(*pieces) == heard(STREAM)


def test_the_captured_stream_gives_one_reading_for_each_frame_of_voltages() -> None:
    found = heard(STREAM)
    assert len(found) == STREAM.count(b"\x24\x24\x56")
    assert {reading.soc_pm for reading in found} == {0}
    assert all(len(reading.cell_mv) == 3 and (reading.current_ma or 0) < 0 for reading in found)


@given(
    before=st.binary(max_size=40),
    other=st.sampled_from([b"", NOISE, b"\x24\x24\x57", b"\x24\x24\x57\xff", b"\x24" * 7]),
)
def test_noise_before_a_frame_does_not_hide_it(before: bytes, other: bytes) -> None:
    frame = bytes.fromhex("2424570f0e240100e4008300845b27")
    assert chargery.decode(before + other + frame)[-1] == chargery.decode(frame)[0]


@given(command=st.sampled_from(list(chargery.READERS)), data=st.binary(max_size=250))
def test_sound_frames_of_any_payload_are_harmless(command: int, data: bytes) -> None:
    try:
        assert len(chargery.decode(emulated.frame(command, data))) >= 1
    except BadFrame:
        assert len(data) < 10 or command == chargery.RESISTANCES


def test_voltages_without_a_status_are_no_reading() -> None:
    truth = Battery(Plan()).truth()
    voltages = emulated.push({0: truth})[-1]
    assert heard(voltages, voltages) == []


@pytest.mark.parametrize("cut", range(15))
def test_a_frame_cut_anywhere_is_no_frame(cut: int) -> None:
    with pytest.raises(BadFrame):
        chargery.decode(bytes.fromhex("2424570f0e240100e4008300845b27")[:cut])


def test_a_relay_that_its_status_does_not_name_is_an_unknown_fault() -> None:
    data = bytearray(emulated.status(Battery(Plan()).truth()))
    data[13] = 4
    (said,) = chargery.decode(emulated.frame(chargery.STATUS, bytes(data)))
    assert (said.faults, said.discharge_on, said.raw["discharge_status"]) == ((faults.UNKNOWN,), None, "04")


def test_older_firmware_does_not_speak_of_faults() -> None:
    (said,) = chargery.decode(bytes.fromhex("2424570f0e240100e4008300845b27"))
    assert said.faults is None


def test_a_sensor_that_is_not_there_keeps_its_place() -> None:
    (said,) = chargery.decode(bytes.fromhex("242457130e240000e4ff2100845b0bb801008b"))
    assert said.temp_dc == (None, 132)


def test_resistances_are_told_with_the_current_at_which_they_were_measured() -> None:
    truth = Measured(cell_mv=(3300,), current_ma=-22_800)
    (said,) = chargery.decode(emulated.frame(chargery.RESISTANCES, emulated.resistances(truth)))
    assert said.extra == {"resistance_mode": 0, "resistance_at_ma": -22_800, "resistance_00_uohm": 900}


def test_a_can_frame_is_nothing_to_it() -> None:
    assert chargery.feed(chargery.Heard(), CanFrame(1, b"")) == (chargery.Heard(), ())


def test_history_has_one_reading_a_step() -> None:
    device = EmulatedDevice("chargery", {0: Battery(Plan(cells=8))})
    rows = list(history(device, 1_760_000_000_000, 1_760_000_300_000, 60))
    assert [ts for ts, _, _ in rows] == list(range(1_760_000_000_000, 1_760_000_300_000, 60_000))


def test_it_is_heard_over_a_wire() -> None:
    (running,) = start([EmulatedDevice("chargery", {0: Battery(Plan(cells=8))})], can_s=0.05)
    link = open_link(running.link, chargery.DRIVER)
    state, found = chargery.DRIVER.fresh(), ()
    try:
        for _ in range(50):
            if found or (chunk := link.hear(1)) is None:
                break
            state, found = chargery.feed(state, chunk)
    finally:
        link.close()
        running.stop()
    assert len(found[0].cell_mv) == 8
