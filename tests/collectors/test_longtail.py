"""Bluetooth batteries through aiobmsble: a stand-in for it here, and the real one where another Python has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import which
from threading import Event
from typing import Any

import pytest

from cellherd import faults
from cellherd.errors import LinkError, Refused, Silent
from collectors.asking import configured
from collectors.drivers import ble, driver
from collectors.events import Device, joined
from collectors.kernel import Login, Send, converse
from collectors.links import Link, open_link
from tests.fakes.longtail import ADDRESS, NATIVE, TRUTH, Library, Sensor

LINK = f"ble:{ADDRESS}"
SAMPLE: dict[str, Any] = {  # names and units: aiobmsble 0.31.0, BMSSample
    "voltage": 13.13,
    "current": -1.15,
    "battery_level": 42,
    "battery_health": 100,
    "cycle_charge": 63.46,
    "design_capacity": 150,
    "cycles": 3,
    "cell_count": 4,
    "cell_voltages": [3.281, 3.291, 3.284, 3.28],
    "temp_values": [Sensor(35.0, Sensor.T.CELL), Sensor(26.5), Sensor(44.0, Sensor.T.MOSFET)],
    "chrg_mosfet": True,
    "dischrg_mosfet": False,
    "balancer": False,
    "problem_code": 0,
}
Patch = pytest.MonkeyPatch


def opened(link: str = f"{LINK}/redodo", login: Login | None = None) -> Link:
    return open_link(link, configured(driver("ble"), link=link, login=login), Event())


def polled(line: Link) -> Any:
    return converse(ble.poll(0), lambda request: line.ask(request, address=0))


def said(kind: str, **sample: Any) -> Any:
    frame = json.dumps({"kind": kind, "sample": {"voltage": 50, **sample}}).encode()
    return ble.decode(frame)


# ---- through the stand-in ----


@pytest.mark.parametrize("link", [f"{LINK}/redodo", LINK])
def test_a_battery_is_read_by_its_kind_or_by_what_it_advertises(link: str, monkeypatch: Patch) -> None:
    library = Library(sample=SAMPLE, info={"model": "R-12", "serial_number": "0815", "sw_version": "1.2"})
    library.install(monkeypatch)
    line = opened(link)
    (one,) = polled(line)
    (about,) = converse(ble.identify(0), lambda request: line.ask(request, address=0))
    assert library.open == 1, "kept between two readings"
    line.close()
    assert library.open == 0
    assert (one.voltage_mv, one.current_ma, one.soc_pm, one.soh_pm) == (13_130, -1_150, 420, 1_000)
    assert (one.cell_mv, one.temp_dc, one.mos_temp_dc) == ((3281, 3291, 3284, 3280), (350, 265), 440)
    assert (one.charge_on, one.discharge_on, one.faults) == (True, False, ())
    assert (one.remaining_mah, one.cycles, one.extra["balancer"]) == (63_460, 3, 0)
    assert (one.info, about.info) == (
        {"nominal_mah": 150_000, "n_cells": 4},
        {"serial": "0815", "model": "R-12", "firmware": "1.2"},
    )


def test_a_password_comes_from_its_file(monkeypatch: Patch, tmp_path: Path) -> None:
    library, file = Library(sample=SAMPLE), tmp_path / "pin"
    file.write_text("123456")
    file.chmod(0o600)
    library.install(monkeypatch)
    opened(login=Login(password_file=str(file))).close()
    opened().close()
    assert library.secrets == ["123456", ""]


def test_only_two_calls_are_made_of_it(monkeypatch: Patch) -> None:
    library = Library(sample=SAMPLE)
    library.install(monkeypatch)
    line = opened()
    for data in (b"disconnect", b"", b"sample ", b"SAMPLE", b"set", bytes(20)):
        with pytest.raises(Refused):
            line.ask(Send(data), address=0)
    line.close()
    assert library.open == 0
    assert [permit.pattern for permit in driver("ble").allow] == [b"sample", b"info"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fails", "error"), [(TimeoutError(), Silent), (ValueError("odd"), LinkError), (ConnectionError("gone"), LinkError)]
)
def test_what_fails_inside_is_silence_or_a_lost_link(fails: Exception, error: type, monkeypatch: Patch) -> None:
    library = Library(sample=SAMPLE, fails=fails)
    library.install(monkeypatch)
    line = opened()
    with pytest.raises(error, match="redodo"):
        polled(line)
    library.fails = None
    assert polled(line)
    line.close()


@pytest.mark.parametrize(
    ("library", "link", "says"),
    [
        (Library(heard=False), LINK, "is not heard"),
        (Library(known=False), LINK, "does not know what this is; name its kind"),
        (Library(), f"{LINK}/renogi", "knows no 'renogi'"),
        (Library(), f"{LINK}/..os", "is no kind"),
    ],
)
def test_a_battery_that_cannot_be_opened_is_told(library: Library, link: str, says: str, monkeypatch: Patch) -> None:
    library.install(monkeypatch)
    with pytest.raises(LinkError, match=says):
        opened(link)


def test_an_older_python_is_told_what_does_without(monkeypatch: Patch) -> None:
    monkeypatch.setattr("collectors.links.longtail.LEAST_PYTHON", (99, 0))
    with pytest.raises(LinkError, match=r"Python 3.12 or newer and this is 3.*jk_ble, jbd, daly_d2 and ant_new"):
        opened()


def test_a_machine_without_the_extra_is_told(monkeypatch: Patch) -> None:
    Library().install(monkeypatch)
    monkeypatch.setitem(sys.modules, "aiobmsble", None)
    with pytest.raises(LinkError, match=r"cellherd\[ble\]"):
        opened()


# ---- signs and names ----


def test_the_sign_of_an_ant_is_put_right_and_of_no_other() -> None:
    assert [said(kind, current=1.0)[0].current_ma for kind in ("ant", "ant_leg", "jbd", "redodo")] == [
        -1000,
        1000,
        1000,
        1000,
    ]


@pytest.mark.parametrize(
    ("kind", "code", "told"),
    [
        ("jbd", 1 << 0, ("cell_overvoltage_protection",)),
        ("jikong", 1 << 4, tuple(faults.brand("jk")["alarm"].of_mask(1 << 4))),
        ("ant", 0x002, tuple(faults.brand("ant")["discharge_mosfet"].of_value("2"))),
        ("ant", 0x300, tuple(faults.brand("ant")["charge_mosfet"].of_value("3"))),
        ("daly", 2 << 48, tuple(faults.brand("daly")["failure"].of_mask(2))),
        ("daly", 4, (faults.UNKNOWN,)),
        ("redodo", 4, (faults.UNKNOWN,)),
        ("redodo", 0, ()),
        ("redodo", 2**70, (faults.UNKNOWN,)),
        ("jbd", -1, None),
        ("jbd", True, None),
        ("jbd", "1", None),
    ],
)  # fmt: skip
def test_a_problem_code_has_a_name_where_its_brand_is_known(kind: str, code: object, told: object) -> None:
    (one,) = said(kind, problem_code=code)
    assert one.faults == told
    assert ("problem" in one.raw) == (told is not None)


def test_a_battery_that_says_nothing_of_problems_has_none_to_tell() -> None:
    (one,) = said("redodo", problem=True)
    assert one.faults is None


def test_packs_are_modules_behind_a_bank() -> None:
    found = said("seplos", battery_level=50, packs=[{"voltage": 51.2, "current": 1.0}, {"voltage": 51.3}])
    device = Device("shed", driver("ble"), LINK, 0, {1: "left", 2: "right"})
    told = joined(device, found)
    assert [device.module_of(one) for one in told] == ["bank", "left", "right"]
    assert [one.voltage_mv for one in told] == [50_000, 51_200, 51_300]


def test_numbers_that_are_none_say_nothing() -> None:
    (one,) = said("x", current=float("nan"), battery_level=250, cell_voltages=[3.3, None], temp_values=["x", 1e9])
    assert (one.current_ma, one.soc_pm, one.cell_mv, one.temp_dc) == (None, None, (), (None, None))


# ---- the real one ----


def other_python() -> str:
    """An interpreter that has aiobmsble and what our link needs. Skips where there is none."""
    found = os.environ.get("CELLHERD_AIOBMSBLE_PYTHON") or which("python3.13") or which("python3.12")
    modules = "import aiobmsble, pydantic, serial"
    if not found or subprocess.run([found, "-c", modules], capture_output=True, check=False).returncode:
        pytest.skip("name a Python >= 3.12 with cellherd[ble] by CELLHERD_AIOBMSBLE_PYTHON")
    return found


def test_the_real_library_says_through_our_link_what_our_own_drivers_say() -> None:
    house = Path(__file__).parents[2]
    words = [other_python(), "-m", "tests.fakes.longtail"]
    run = subprocess.run(words, cwd=house, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    found = {line["kind"]: line for line in map(json.loads, run.stdout.splitlines())}
    assert {*found} == {*NATIVE, "humsienk"}
    for kind in NATIVE:
        one = found[kind]
        assert one["current_ma"] == TRUTH.current_ma, kind
        assert (one["soc_pm"], tuple(one["cell_mv"])) == (TRUTH.soc_pm, TRUTH.cell_mv), kind
        assert one["faults"] == ["cell_overvoltage_protection"], kind
        assert one["discharge_on"], kind
        assert one["info"], kind
    pack = found["humsienk"]
    assert (pack["voltage_mv"], pack["current_ma"], pack["soc_pm"]) == (13_130, -1_150, 420)
    assert pack["cell_mv"] == [3281, 3291, 3284, 3280]
    assert (pack["mos_temp_dc"], pack["temp_dc"]) == (440, [350, 260, 260, 260])
    assert (pack["info"], pack["faults"]) == ({"model": "BMC-04S001", "hardware": "V02"}, [])
