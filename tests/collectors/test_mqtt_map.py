"""Presets: a bridge's topics as data, what they say, how they grow old, and what is wrong in somebody's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellherd.errors import BadFrame, CellherdError
from cellherd.reading import Measured
from collectors.drivers import chosen
from collectors.drivers.mqtt_map import STALE_TELLS, mapped, preset, shipped
from collectors.kernel import Driver


def heard(known: Driver, *messages: str) -> list[Measured]:
    assert known.feed
    state, found = known.fresh(), list[Measured]()
    for message in messages:
        state, told = known.feed(state, message.encode())
        found += told
    return found


def test_every_shipped_preset_is_sound_and_listens_to_its_unit_only() -> None:
    assert {"esphome", "homeassistant", "packs"} <= {*shipped()}
    for name in shipped():
        assert preset(name).title
        assert all("{unit}" in topic for topic in mapped(name).topics)


def test_numbers_of_one_topic_each_become_one_reading() -> None:
    cells = [f"jk/sensor/jk_cell_voltage_{i}/state 3.3{i:02}" for i in range(1, 5)]
    (said,) = heard(
        mapped("esphome"), *cells, "jk/sensor/jk_current/state -4.2", "jk/sensor/jk_total_voltage/state 13.2"
    )
    assert (said.cell_mv, said.current_ma, said.voltage_mv) == ((3301, 3302, 3303, 3304), -4200, 13_200)


def test_a_value_that_is_no_longer_renewed_is_no_longer_told() -> None:
    volts = ["jk/sensor/jk_total_voltage/state 13.2"] * (STALE_TELLS + 2)
    found = heard(mapped("esphome"), "jk/sensor/jk_current/state -4.2", *volts)
    assert found[STALE_TELLS].current_ma == -4200
    assert found[-1].current_ma is None


def test_unavailable_is_no_value_and_an_error_number_a_fault() -> None:
    level = "homeassistant/sensor/e_battery_level/state"
    found = heard(
        mapped("homeassistant"), "homeassistant/sensor/e_error_code/state 0", f"{level} 55", f"{level} unavailable"
    )
    assert [(one.soc_pm, one.faults) for one in found] == [(550, ())]
    (said,) = heard(mapped("homeassistant"), "homeassistant/sensor/e_error_code/state 12", f"{level} 55")
    assert said.faults == ("vendor_code_unknown",)


def test_a_list_with_a_hole_and_a_number_out_of_bounds_say_nothing() -> None:
    (said,) = heard(mapped("packs"), 'battery/x/pack3 {"cells": [3.3, null, 3.3], "soc": 250, "voltage": 51.2}')
    assert (said.module, said.cell_mv, said.soc_pm, said.voltage_mv) == (3, (), None, 51_200)


def test_a_topic_of_nobody_is_no_frame() -> None:
    with pytest.raises(BadFrame):
        mapped("packs").decode(b"battery/x/other 5", None)


OWN = '[[read]]\ntopic = "shed/{unit}/soc"\ntells = true\nfields = [{ name = "soc_pm", times = 10 }]\n'


def test_somebodys_own_preset_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'title = "mine"\nkind = "module"\n{OWN}')
    assert heard(chosen("mqtt_map", str(file)), "shed/a/soc 51")[0].soc_pm == 510


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('title = "x"\nkind = "tank"\n', "'tank'"),
        ('title = "x"\nkind = "module"\n' + OWN.replace("soc_pm", "soc"), "'soc' is no quantity"),
        ('title = "x"\nkind = "module"\n' + OWN + 'faults = { "1" = ["fire"] }\n', "no such fault: fire"),
        ("title = ", "TOMLDecodeError"),
    ],
)
def test_what_is_wrong_in_a_preset_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(CellherdError, match=said):
        preset(str(file))


def test_a_preset_goes_with_mqtt_map_and_with_nothing_else() -> None:
    for name, told in (("mqtt_map", None), ("jbd", "packs")):
        with pytest.raises(CellherdError, match="`preset` belongs to mqtt_map"):
            chosen(name, told)
    with pytest.raises(CellherdError, match="no preset 'pakcs'"):
        chosen("mqtt_map", "pakcs")
