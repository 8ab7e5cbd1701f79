"""The console: what it says of modules, faults and history, page by page, and that only reading is ever typed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from hypothesis import given, settings
from typer.testing import CliRunner

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Measured
from collectors.commands import decode, drivers
from collectors.drivers import driver, pylontech_console
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import Truths
from collectors.emulators.fleet import emulator
from collectors.kernel import Request, Send, Unsupported, converse, permits
from tests.collectors.test_emulators import read, truths

NAME = "pylontech_console"
DONE = "\nCommand completed successfully\n$$\npylon>"


def said(text: str, request: str | None = None) -> Measured:
    (one,) = driver(NAME).decode((text + DONE).encode(), request.encode() if request else None)
    return one


@settings(max_examples=40)
@given(truths(), truths())
def test_every_module_says_what_is_true(first: Measured, second: Measured) -> None:
    found = read(NAME, {1: first, 2: second}, 1)
    assert [m.module for m in found] == [1, 2]
    for module, truth in zip(found, (first, second), strict=True):
        assert (module.cell_mv, module.voltage_mv, module.current_ma) == (
            truth.cell_mv,
            truth.voltage_mv,
            truth.current_ma,
        )
        assert (module.remaining_mah, module.full_mah) == (truth.remaining_mah, truth.full_mah)
        assert module.soc_pm == (truth.soc_pm or 0) // 10 * 10
        assert set(module.temp_dc) <= set(truth.temp_dc)
        assert module.mos_temp_dc == truth.mos_temp_dc
        assert module.extra["board_temp_dc"] == truth.temp_dc[0]


def raised(word: str) -> set[str]:
    """Every fault that a state word of the module's line stands for."""
    codes = faults.brand("pylontech")[f"console_{word}"].values.values()
    return {fault for code in codes for fault in code.faults}


TOLD = sorted({fault for word in ("voltage", "current", "temperature") for fault in raised(word)})
MASKED = sorted({c.fault for c in faults.brand("pylontech")["console_fault"].bits.values() if c.fault})


@pytest.mark.parametrize("fault", TOLD)
def test_a_state_word_is_its_fault_and_the_current_tells_the_direction(fault: str) -> None:
    current = -5000 if fault.startswith("discharge") else 5000
    truth = replace(Battery(Plan()).truth(), faults=(fault,), current_ma=current)
    (found,) = read(NAME, {1: truth}, 1)
    assert found.faults == (fault,)


@pytest.mark.parametrize("fault", MASKED)
def test_a_bit_of_the_fault_mask_is_its_fault(fault: str) -> None:
    truth = replace(Battery(Plan()).truth(), faults=(fault,), current_ma=0)
    (found,) = read(NAME, {1: truth}, 1)
    assert fault in (found.faults or ())
    assert int(found.raw["system_fault"], 16)


def test_a_word_that_nobody_knows_is_kept_and_told() -> None:
    one = said("pwr 3\n Basic Status : Charge\n Volt Status : Wobbly\n System Fault : 0x0")
    assert one.faults == ("vendor_code_unknown",)
    assert one.raw["volt_status"] == "Wobbly"


def test_an_error_code_of_a_high_voltage_string_has_no_bits_that_we_claim_to_know() -> None:
    head = "Volt Curr Tempr Base.St Volt.St Curr.St Temp.St CoulombAH Err Code\n"
    one = said(head + "400000 -500 21000 Dischg Normal Normal Normal 78%  28903 mAH 0x20")
    assert (one.faults, one.raw["err_code"], one.soc_pm, one.remaining_mah) == (
        ("vendor_code_unknown",),
        "20",
        780,
        28903,
    )


def test_a_cell_in_trouble_is_named_by_its_index() -> None:
    head = "Battery Volt Curr Tempr Base State Volt. State Curr. State Temp. State SOC Coulomb BAL\n"
    rows = "0 3300 -100 -5000 Dischg Normal Normal Normal 45% 44231 mAH N\n"
    one = said("bat 2\n" + head + rows + "1 2500 -100 -5200 Dischg UV Normal Normal 1% 900 mAH Y")
    assert (one.module, one.faults) == (2, ("cell_undervoltage_protection",))
    assert (one.balancing, one.temp_dc, one.soc_pm, one.remaining_mah) == (0b10, (-50, -52), 10, 900)
    assert one.raw["cell_01_volt_st"] == "UV"


def test_the_request_names_the_module_where_the_echo_was_cut_off() -> None:
    text = "Device address : 0\nIdle Times : 3\nCOC Times : 2"
    assert said(text, "stat 4").module == 4


def test_another_answer_than_the_asked_one_is_refused() -> None:
    with pytest.raises(BadFrame, match="not 'bat 2'"):
        said("bat 1\nBattery Volt Base State\n0 3300 Idle", "bat 2")


def test_a_refused_command_is_unsupported() -> None:
    with pytest.raises(Unsupported):
        driver(NAME).decode(b"unit\r\nInvalid command or fail to excute.\r\npylon>", b"unit")


def test_machine_format_without_names() -> None:
    """Layout of getpwr as a US2000C prints it."""
    one = said(">pylon_debug>getpwr\n@\n49768#  -2632#  29300# 43259# Dischg# Normal# Normal# Normal#\n"
               "3317#  26300# Normal# Normal#\n3318#  26500# Normal# High#\n0#\n666#")  # fmt: skip
    assert (one.voltage_mv, one.current_ma, one.remaining_mah, one.cycles) == (49_768, -2632, 43_259, 666)
    assert (one.cell_mv, one.temp_dc, one.faults) == ((3317, 3318), (263, 265), ("discharge_overtemperature_warning",))


def asked(request: Request, modules: Truths) -> bytes:
    answer = emulator(NAME).answer(request, 1, modules)
    assert answer is not None
    return answer


def test_a_long_answer_is_asked_for_page_by_page() -> None:
    modules, typed = {1: Battery(Plan()).truth()}, list[bytes]()

    def ask(request: Request) -> bytes:
        assert isinstance(request, Send)
        typed.append(request.data)
        if request.data == b"log\n":
            return b"log\r\n Index : 1\r\n ModID : BMM\r\n Code : 5\r\nPress [Enter] to be continued,other key to exit"
        if request.data == b"\r":
            return b"\r   \r\n Index : 0\r\n ModID : X\r\n Code : 6\r\n Info : b\r" + DONE.encode()
        return asked(request, modules)

    assert driver(NAME).seldom
    found = converse(driver(NAME).seldom(1), ask)  # type: ignore[misc]
    log = [entry for one in found for entry in one.log]
    assert [(entry.code, entry.text) for entry in log] == [("5", ""), ("6", "X: b")]
    assert b"\r" in typed


def test_pages_without_end_are_given_up_with_the_command_that_asked_for_them() -> None:
    def ask(request: Request) -> bytes:
        assert isinstance(request, Send)
        return b"log\r\n" + b" Index : 1\r\n" * 300 + b"Press [Enter] to be continued,other key to exit"

    with pytest.raises(BadFrame, match="the answer to 'log' has no end after"):
        converse(pylontech_console._get("log"), ask)


def test_a_page_is_an_answer_of_its_own() -> None:
    page = b"log\r\n Index : 1\r\nPress [Enter] to be continued,other key to exit"
    assert pylontech_console.extract(b"log\n", b"noise" + page + b"    ") == page
    assert pylontech_console.extract(b"log\n", page[:-1]) is None


def test_a_high_voltage_string_gives_its_units_their_cells() -> None:
    pile = "pwr\nVolt Curr Tempr BVlow BVhigh Base.St Volt.St\n400000 -500 21000 3300 3303 Dischg Normal"
    units = "unit\nIndex Volt Curr Base.St Volt.St\n1 6600 -500 Dischg Normal\n2 6606 -500 Dischg Normal"
    head = "bat\nB.State: Dischg\nBat Volt Curr Tempr V.State T.State AH(mAH) WH(mWH) Bal\n"
    cells = "".join(f"{i} {3300 + i} -500 20000 Normal Normal 68% 25042 70% 82677 {'NNYN'[i]}\n" for i in range(4))
    answers = {"pwr": pile, "unit": units, "bat": head + cells}

    def ask(request: Request) -> bytes:
        assert isinstance(request, Send)
        return (answers[request.data.decode().strip()] + DONE).encode()

    assert driver(NAME).poll
    whole, first, second = converse(driver(NAME).poll(1), ask)  # type: ignore[misc]
    assert (whole.kind, whole.voltage_mv) == ("bank", 400_000)
    assert (first.module, first.cell_mv, first.balancing) == (1, (3300, 3301), 0)
    assert (second.module, second.cell_mv, second.balancing) == (2, (3302, 3303), 1)


FORBIDDEN = [
    "config set",
    "ctrl",
    "prot",
    "shut",
    "log clear",
    "stat clear",
    "soc 1",
    "updata",
    "pwr 1\nshut",
    "pwr 17",
]


@pytest.mark.parametrize("command", FORBIDDEN)
def test_no_command_that_changes_anything_is_permitted(command: str) -> None:
    assert not permits(driver(NAME), Send(f"{command}\n".encode()))


app = typer.Typer()
app.command()(decode)
app.command()(drivers)


def test_the_command_line_takes_a_whole_answer_from_a_file_or_standard_input(tmp_path: Path) -> None:
    file = tmp_path / "pwr.txt"
    file.write_bytes(asked(Send(b"pwr\n"), {n: Battery(Plan(seed=n)).truth() for n in (1, 2)}))
    from_file = CliRunner().invoke(app, ["decode", NAME, "--text", str(file)])
    from_input = CliRunner().invoke(app, ["decode", NAME, "-"], input=file.read_bytes())
    assert from_file.exit_code == from_input.exit_code == 0
    assert from_file.stdout == from_input.stdout
    assert [json.loads(line)["module"] for line in from_file.stdout.splitlines()] == [1, 2]
