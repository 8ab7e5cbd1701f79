"""`cellherd scan`: every emulated device is found for what it is, nothing dangerous is sent, and doubt is told."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

import pytest
from typer.testing import CliRunner

from cellherd.cli import app_for
from cellherd.config import load_edge
from cellherd.errors import ConfigError, LinkError
from cellherd.reading import Measured
from collectors import drivers, scan
from collectors.drivers import WHERE, driver
from collectors.emulators import framing
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import EmulatedDevice
from collectors.emulators.fleet import emulator, start
from collectors.emulators.wires import Serve
from collectors.kernel import CanFrame, Conversation, Request
from collectors.links.wires import Wire
from collectors.survey import Survey
from collectors.survey.entry import add_to, entries
from collectors.survey.finds import Find, Report
from collectors.survey.port import Port

ASKED = [asks.driver for asks in scan.TABLE]
USUAL = [scan.quick(), scan.patient()]


def truths(name: str, count: int = 1, **plan: object) -> dict[int, Measured]:
    first = driver(name).default_address
    return {
        first + i: replace(Battery(Plan(seed=1 + i, **plan)).truth(), module=first + i)  # type: ignore[arg-type]
        for i in range(count)
    }


def serving(name: str, modules: dict[int, Measured]) -> Serve:
    acts = emulator(name)

    def reply(request: Request, address: int) -> bytes | None:
        return acts.answer(request, address, modules)

    return framing.rtu(reply) if "modbus" in driver(name).links else framing.plain(acts, reply)


@dataclass(slots=True)
class Bench:
    """A port whose time passes only by quiet slices: `serve` answers, `says` is what is said unasked."""

    serve: Serve = field(default=lambda buffer: (b"", b"", b""))
    says: list[bytes] = field(default_factory=list)
    name: str = "bench"
    tcp: bool = False
    sent: list[bytes] = field(default_factory=list)
    bauds: list[int] = field(default_factory=list)
    coming: bytes = b""
    rest: bytes = b""
    slices: int = 0

    def open(self, baud: int) -> Wire:
        self.bauds.append(baud)
        return self

    def write(self, data: bytes) -> None:
        self.sent.append(data)
        request, self.rest = data, self.rest + data
        while request:
            request, answer, self.rest = self.serve(self.rest)
            self.coming += answer

    def read(self) -> bytes:
        chunk, self.coming = self.coming or (self.says.pop(0) if self.says else b""), b""
        self.slices += not chunk
        return chunk

    def drop(self) -> None:
        self.coming = b""

    def close(self) -> None:
        self.rest = b""

    link = Port.link
    line = Port.line


def walk(bench: Bench, rounds: list[list[scan.Probe]] = USUAL) -> Report:
    return Survey(bench, lambda doing: None, Event()).walk(rounds)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ASKED)
def test_each_device_is_found_for_what_it_is_in_the_quick_round(name: str) -> None:
    bench = Bench(serving(name, truths(name)))
    report = walk(bench, [scan.quick()])
    (found,) = report.finds
    assert (found.driver, found.address) == (name, driver(name).default_address)
    assert found.verdict.sure == ("likely" if name == "victron_hex" else "sure")


@pytest.mark.parametrize("name", ASKED)
def test_no_question_makes_one_device_look_like_another(name: str) -> None:
    """Each driver alone against each device: also those that would have been found earlier in the table."""
    hits = {
        probe.driver
        for probe in dict.fromkeys(scan.patient())
        for found in walk(Bench(serving(name, truths(name))), [[probe]]).finds
        if found.verdict.sure != "doubtful"
    }
    assert hits == {name}


@pytest.mark.parametrize("name", ["jk_modbus", "seplos_v2", "daly_uart", "jbd_up16s"])
def test_further_devices_on_the_same_line_are_found(name: str) -> None:
    first = driver(name).default_address
    report = walk(Bench(serving(name, truths(name, 3))))
    assert [found.address for found in report.finds] == [first, first + 1, first + 2]


def test_a_silent_port_is_given_up_within_its_budget() -> None:
    bench = Bench()
    report = walk(bench)
    budget = sum(scan.budget_s(probes) for probes in USUAL) - scan.LISTEN_S
    assert budget <= 20 - 1.5, "and a second and a half for opening the port anew"
    assert bench.slices * 0.1 <= budget + 0.01
    assert report.finds == []
    assert report.notes == ["nobody answers at the settings that were tried"]


def test_whoever_answers_at_its_usual_settings_is_asked_within_five_seconds() -> None:
    assert scan.budget_s(scan.quick()) < 5


def test_a_port_is_opened_once_for_each_baud_rate_of_a_round() -> None:
    bench = Bench()
    walk(bench)
    assert len(bench.bauds) <= 1 + 2 * len({probe.baud for probe in scan.patient()})


def test_behind_a_serial_server_nobody_is_asked_twice_for_a_baud_rate() -> None:
    asked = [(probe.driver, probe.address) for probe in scan.without_bauds(scan.patient())]
    assert len(asked) == len(set(asked))


def test_every_driver_is_asked_listened_to_or_named_as_not_to_be_found() -> None:
    on_can = {name for name in WHERE if driver(name).links == ("can",)}
    networked = {name for name in WHERE if {*driver(name).links} & {"mqtt", "https"}}  # an account or a broker is named
    networked |= {"foxess", "givenergy", "solis"}  # inverters, with their own bus or network
    assert {*ASKED, *scan.TALKING, *on_can, *networked} == {*WHERE} - {"jk_ble", "ble"}


WRITES = {5, 6, 15, 16, 22, 23}


def test_a_scan_sends_reads_only_and_never_a_trigger_that_is_a_write() -> None:
    bench = Bench()
    walk(bench, [*USUAL, scan.thorough()])
    assert len(set(bench.sent)) > 80
    assert not {request for request in bench.sent if request[1:2] == b"\x10" or request[:2] == b"\xdd\x5a"}
    for asks in scan.TABLE:
        known = driver(asks.driver)
        assert known.feed is None
        if "modbus" in known.links:
            assert not {request for request in walked(asks.driver) if request[1] in WRITES}


def walked(name: str) -> list[bytes]:
    bench = Bench(serving(name, truths(name)))
    walk(bench, [[probe for probe in scan.quick() if probe.driver == name]])
    assert bench.sent
    return bench.sent


@pytest.mark.parametrize("name", scan.TALKING)
def test_a_port_that_talks_is_listened_to_and_never_asked(name: str) -> None:
    push = emulator(name).push
    assert push is not None
    bench = Bench(says=[b"".join(push(truths(name)))] * 3)
    report = walk(bench)
    assert [found.driver for found in report.finds] == [name]
    assert bench.sent == []


def test_where_another_master_asks_its_words_are_named_and_nothing_is_sent() -> None:
    bench = Bench(says=[b"~20024642E00202FD33\r", b"~20024642E00202FD33\r"])
    report = walk(bench)
    assert bench.sent == []
    assert "another master asks on this line in the words of pylontech_rs485" in report.notes[0]
    modbus = Bench(says=[bytes.fromhex("010312000078") + b"\x40\x90"] * 2)
    assert "jk_modbus" in walk(modbus).notes[0]


def test_unknown_talk_is_told_with_its_first_bytes_and_nothing_is_sent() -> None:
    bench = Bench(says=[b"\x13\x37" * 20])
    report = walk(bench)
    assert bench.sent == []
    assert "13371337" in report.notes[0]


def test_a_glitch_of_a_few_bytes_is_not_somebody_who_talks() -> None:
    report = walk(Bench(serving("jbd", truths("jbd")), says=[b"\0"]))
    assert [found.driver for found in report.finds] == ["jbd"]


def test_a_driver_that_stumbles_ends_its_probe_not_the_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(address: int) -> Conversation:
        raise ZeroDivisionError("a bug")

    broken = replace(driver("jk_modbus"), poll=stumble)
    monkeypatch.setattr(drivers, "driver", lambda name: broken if name == "jk_modbus" else driver(name))
    assert [found.driver for found in walk(Bench(serving("jbd", truths("jbd")))).finds] == ["jbd"]
    assert "jk_modbus stumbled over an answer" in walk(Bench()).notes[0]


def test_a_port_that_goes_away_is_a_note() -> None:
    def gone(buffer: bytes) -> tuple[bytes, bytes, bytes]:
        raise LinkError("bench: went away")

    assert walk(Bench(gone)).notes == ["bench: went away"]


WELL = Measured(voltage_mv=13_200, cell_mv=(3300,) * 4, soc_pm=500, temp_dc=(250,))


@pytest.mark.parametrize(
    ("measured", "sure"),
    [
        (WELL, "sure"),
        (replace(WELL, voltage_mv=13_400), "sure"),
        (replace(WELL, voltage_mv=14_000), "doubtful"),
        (replace(WELL, cell_mv=(3300, 3300, 6200, 400)), "doubtful"),
        (replace(WELL, voltage_mv=65_535_000), "doubtful"),
        (replace(WELL, soc_pm=6553), "doubtful"),
        (replace(WELL, temp_dc=(9999,)), "doubtful"),
        (replace(WELL, current_ma=9_000_000), "doubtful"),
        (Measured(voltage_mv=13_200), "likely"),
        (replace(WELL, cell_mv=(3300, None, 3300, 3300)), "likely"),
        (Measured(soc_pm=500), None),
    ],
)
def test_numbers_that_contradict_one_another_are_doubted(measured: Measured, sure: str | None) -> None:
    verdict = scan.judge([measured])
    assert (verdict and verdict.sure) == sure


def test_a_device_in_doubt_is_told_only_if_nobody_better_answers() -> None:
    modules = {0: replace(truths("jbd")[0], voltage_mv=12_000)}
    (found,) = walk(Bench(serving("jbd", modules))).finds
    assert found.verdict.sure == "doubtful"
    assert "the cells add up to" in found.verdict.why
    assert entries([found]) == []


def can(name: str) -> list[CanFrame]:
    return emulator(name).broadcast(truths(name))


@pytest.mark.parametrize("name", [name for name in WHERE if driver(name).links == ("can",)])
def test_the_dialect_on_can_is_told_from_its_ids(name: str) -> None:
    assert [profile.driver for profile in scan.profiles(can(name))] == [name]


@pytest.mark.parametrize(
    ("ids", "profile"),
    [
        ("351 355 356 359 35C 35E", scan.PYLON_V12),
        ("351 355 356 35A 35F", scan.VICTRON),
        ("400 404 405", scan.PYTES),
        ("2F6 4F6", scan.JK),
        ("18904001", scan.DALY),
        ("00004210", scan.PYLON_HV),
    ],
)
def test_each_row_of_the_profiles_is_recognized(ids: str, profile: scan.Profile) -> None:
    frames = [CanFrame(int(number, 16), b"", len(number) > 3) for number in ids.split()]
    assert scan.profiles(frames) == [profile]


def test_pylontech_of_version_one_three_is_told_from_others_by_its_name() -> None:
    frames = [CanFrame(0x35A, b""), CanFrame(0x35F, b"")]
    assert scan.profiles([*frames, CanFrame(0x35E, b"PYLON   ")]) == [scan.PYLON_V13]
    assert scan.profiles([*frames, CanFrame(0x35E, b"BYD     ")]) == [scan.VICTRON]


def found_on(*names: str) -> list[Find]:
    benches = [Bench(serving(name, truths(name, 2)), name=f"/dev/{name}") for name in names]
    return [found for bench in benches for found in walk(bench).finds]


@pytest.mark.parametrize("name", ASKED)
def test_what_is_found_makes_a_valid_edge_toml(name: str, tmp_path: Path) -> None:
    config = tmp_path / "edge.toml"
    add_to(config, found_on(name))
    (device, *_) = load_edge(config).device
    assert device.driver == name
    assert device.address in (None, driver(name).default_address)


def test_writing_leaves_what_stands_there_and_keeps_a_copy(tmp_path: Path) -> None:
    config = tmp_path / "edge.toml"
    before = 'edge = "pi"  # mine\n\n[[device]]\nstack = "battery-1"\ndriver = "jbd"\nlink = "serial:/dev/jbd"\n'
    config.write_text(before)
    config.chmod(0o600)
    finds = found_on("jbd", "jk_modbus")
    assert "2 added" in add_to(config, finds)
    assert config.read_text().startswith(before)
    assert (tmp_path / "edge.toml.before-scan").read_text() == before
    assert config.stat().st_mode & 0o777 == 0o600
    devices = load_edge(config).device
    assert [(device.stack, device.driver, device.address) for device in devices] == [
        ("battery-1", "jbd", None), ("battery-2", "jk_modbus", None), ("battery-2", "jk_modbus", 2)
    ]  # fmt: skip
    assert "nothing to add" in add_to(config, finds)


def test_an_edge_toml_that_is_wrong_already_is_not_touched(tmp_path: Path) -> None:
    config = tmp_path / "edge.toml"
    config.write_text("edge = 5\n")
    with pytest.raises(ConfigError):
        add_to(config, found_on("jbd"))
    assert config.read_text() == "edge = 5\n"


def test_what_a_device_says_of_itself_cannot_write_into_the_file() -> None:
    nasty = replace(truths("jbd")[0], info={"serial": 'x"\n[mqtt]\nurl = "mqtts://elsewhere'})
    find = Find("/dev/p", "serial:/dev/p", "jbd", 9600, 0, scan.Verdict("sure", ""), (nasty,))
    (table,) = entries([find])
    assert set(tomllib.loads(table)) == {"device"}


@pytest.fixture
def two_ports() -> Iterator[list[str]]:
    devices = [EmulatedDevice("jbd", {0: Battery(Plan())}), EmulatedDevice("jk_modbus", {1: Battery(Plan())}, "tcp")]
    running = start(devices)
    yield [one.link.partition(":")[2] for one in running]
    for one in running:
        one.stop()


def call(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app_for(["scan"]), ["scan", *words], catch_exceptions=False, env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_scan_prints_what_to_write_into_edge_toml(two_ports: list[str], tmp_path: Path) -> None:
    serial, server = two_ports
    code, said = call(serial, "--tcp", server)
    assert code == 0
    assert 'driver = "jbd"' in said
    assert f'link = "serial:{serial}"' in said
    assert f'link = "modbus-tcp:{server}"' in said
    assert "the cells add up to the voltage" in said
    assert "EMU000001" in said


def test_a_scan_of_a_port_that_is_not_there_says_so_and_what_helps() -> None:
    code, said = call("/dev/nowhere")
    assert code == 1
    assert "there is no such port" in said
    assert "swap A and B" in said


def test_scan_of_a_can_bus_names_the_dialect_and_what_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.survey.can.CAN_S", 1.0)
    (running,) = start([EmulatedDevice("pylontech_can", {0: Battery(Plan())}, "virtual")], can_s=0.2)
    code, said = call("--can", running.link)
    running.stop()
    assert code == 0
    assert "pylontech_can" in said
    assert "speaks for the whole bank" in said.replace("\n", " ")
