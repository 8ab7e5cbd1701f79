"""`cellherd capture` and `read --watch`; and a swap of two cables, which is noticed by the serial."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import pytest
from rich.console import Console, RenderableType
from rich.text import Text
from typer.testing import CliRunner

from cellherd.cli import app_for
from cellherd.clock import Quality, SystemClock
from cellherd.errors import BadFrame, CellherdError, LinkError, Silent
from cellherd.reading import Measured
from collectors import commands_capture, watch
from collectors.commands_read import readings, shown
from collectors.drivers import WHERE, driver, victron_venus
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import EmulatedDevice
from collectors.emulators.fleet import Running, emulator, start
from collectors.events import Device, Record, Sample
from collectors.kernel import Answer, Driver, Request, refuse_unless_permitted
from collectors.links import Link
from collectors.links.capture import Recorder, Replay
from collectors.station import Port, talk


def call(*words: str) -> str:
    result = CliRunner().invoke(app_for(list(words)), list(words), catch_exceptions=False, env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    return result.output


def alive(name: str, address: int, wire: str = "pty") -> Iterator[Running]:
    (running,) = start([EmulatedDevice(name, {address: Battery(Plan())}, wire)], can_s=0.2)
    yield running
    running.stop()


@pytest.fixture
def pack() -> Iterator[Running]:
    yield from alive("jk_modbus", 3)


@pytest.fixture
def shunt() -> Iterator[Running]:
    yield from alive("victron_vedirect", 0)


def test_a_capture_tells_what_is_in_it_and_replays(pack: Running, tmp_path: Path) -> None:
    file = tmp_path / "pack.jsonl"
    words = ("capture", "--driver", "jk_modbus", "--link", pack.link, "--address", "3", "-o", str(file))
    said = call(*words, "--seconds", "0.1", "--period-s", "0.2")
    assert f"cellherd replay {file}" in said.replace("\n", "")
    assert json.loads(file.read_text().splitlines()[0]) == {"capture": 1, "driver": "jk_modbus"}
    again = call("replay", str(file))
    assert "EMU000001" in again
    assert "16: 3." in again


WIRED = [name for name in sorted(WHERE) if driver(name).links != ("ble",)]
ASKED = [name for name in WIRED if driver(name).poll and not driver(name).feed and driver(name).extract]
MODBUS = [name for name in WIRED if "modbus" in driver(name).links]


@pytest.mark.parametrize("name", [*ASKED, *MODBUS])
def test_both_sides_of_a_conversation_are_in_the_file_and_say_the_same_again(name: str, tmp_path: Path) -> None:
    file = tmp_path / "both.jsonl"
    wire = "tcp" if driver(name).links == ("tcp",) else "pty"
    (running,) = start([EmulatedDevice(name, {driver(name).default_address: Battery(Plan())}, wire)])
    try:
        call(
            "capture", "--driver", name, "--link", running.link, "-o", str(file), "--seconds", "0", "--period-s", "0.2"
        )
        now = call("read", "--driver", name, "--link", running.link)
    finally:
        running.stop()
    lines = [json.loads(line) for line in file.read_text().splitlines()[1:]]
    assert lines
    assert all(line["request"] for line in lines)
    assert any(line.get("answer") for line in lines)
    assert {line.get("failed") for line in lines} <= {None, "unsupported"}
    again = call("replay", str(file))
    assert again.count("cells, V") == now.count("cells, V")
    (serial,) = {word for word in now.split() if word.startswith("EMU")} or {""}
    assert serial in again


def test_what_was_broken_or_silent_is_recorded_and_fails_again_in_its_place(tmp_path: Path) -> None:
    known, turns = driver("jbd"), iter(["sound", "broken", "silent", "sound"])

    class Line:
        def __init__(self) -> None:
            self.turn = ""

        def ask(self, request: Request, *, address: int) -> Answer:
            answer = emulator("jbd").answer(request, 0, {0: Battery(Plan()).truth()})
            assert answer is not None
            if self.turn == "broken":
                raise BadFrame("checksum", answer[:-3])
            if self.turn == "silent":
                raise Silent("no answer")
            return answer

        def hear(self, timeout: float) -> None:
            return None

        def close(self) -> None:
            return

    file = tmp_path / "trouble.jsonl"
    device = Device("cellar", known, f"replay:{file}", 0, {})
    line = Line()
    with file.open("w") as out:
        recorder = Recorder(line, out, known, lambda: 0)
        first = [known.identify, known.seldom]  # as `cellherd capture` begins
        for line.turn in turns:
            for poll in (known.poll, *first):
                with suppress(Silent, BadFrame):
                    talk(device, recorder, poll)
            first.clear()
    found = [reading for _, reading in readings(device, Replay(file, known, Event()))]
    assert [isinstance(reading, BadFrame) for reading in found] == [False, True, False]
    assert isinstance(found[1], BadFrame)
    assert found[1].frame[:2] == b"\xdd\x03"


def test_what_talks_by_itself_is_recorded_as_it_is_heard(shunt: Running, tmp_path: Path) -> None:
    file = tmp_path / "shunt.jsonl"
    call("capture", "--driver", "victron_vedirect", "--link", shunt.link, "-o", str(file), "--seconds", "1")
    assert "state of charge" in call("replay", str(file))


@dataclass
class Dozing:
    """A GX device: a whole round after each keep-alive, and then nothing. `awake` is False where it never answers."""

    awake: bool = True
    asked: list[Request] = field(default_factory=list)
    inbox: deque[bytes] = field(default_factory=deque)

    def ask(self, request: Request, *, address: int) -> Answer:
        refuse_unless_permitted(driver("victron_venus"), request)
        self.asked.append(request)
        push = emulator("victron_venus").push
        assert push is not None
        self.inbox += push({512: Battery(Plan()).truth()}) * 3 if self.awake else []
        return b""

    def hear(self, timeout: float) -> bytes | None:
        return self.inbox.popleft() if self.inbox else None

    def close(self) -> None:
        return


def test_a_gx_device_is_kept_talking_while_it_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, gx = tmp_path / "gx.jsonl", Dozing()
    monkeypatch.setattr(commands_capture, "open_link", lambda link, known: gx)
    words = ("capture", "--driver", "victron_venus", "--link", "mqtt:gx:1883/c0619ab1b2c3", "-o", str(file))
    said = call(*words, "--max-mb", "0.02")
    assert gx.asked == [victron_venus.KEEP_ALIVE]
    assert "answers in" in said
    assert "16: 3." in call("replay", str(file))


def test_a_gx_device_that_says_nothing_has_given_no_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, gx = tmp_path / "gx.jsonl", Dozing(awake=False)
    monkeypatch.setattr(commands_capture, "open_link", lambda link, known: gx)
    words = ("capture", "--driver", "victron_venus", "--link", "mqtt:gx:1883/c0619ab1b2c3", "-o", str(file))
    with pytest.raises(CellherdError, match="nothing was heard"):
        call(*words, "--seconds", "3.5")
    assert gx.asked
    assert not file.exists()


@pytest.mark.parametrize(("name", "times"), [("victron_venus", 4), ("daly_can", 0), ("victron_can", 0)])
def test_only_what_falls_silent_is_asked_in_a_capture_and_then_each_ten_seconds(name: str, times: int) -> None:
    clock, line = Hand(), Dozing()
    step = commands_capture.listening(Device("gx", driver(name), "", 512, {}), line, 0.2, clock)
    until = clock.now + 35_000
    while clock.now < until:
        step()
        clock.now += 100
    assert line.asked == [victron_venus.KEEP_ALIVE] * times


def test_a_full_file_ends_a_capture_and_says_so(pack: Running, tmp_path: Path) -> None:
    file = tmp_path / "pack.jsonl"
    words = ("capture", "--driver", "jk_modbus", "--link", pack.link, "--address", "3", "-o", str(file))
    said = call(*words, "--seconds", "3600", "--max-mb", "0.001", "--period-s", "0.2")
    assert "the file is full at 0.001 MB" in said
    assert "answers in" in said


def test_a_capture_never_writes_over_a_file(pack: Running, tmp_path: Path) -> None:
    file = tmp_path / "evidence.jsonl"
    file.write_text("mine")
    with pytest.raises(CellherdError, match="exists already"):
        call("capture", "--driver", "jk_modbus", "--link", pack.link, "-o", str(file))
    assert file.read_text() == "mine"


def test_a_capture_of_nobody_leaves_no_file_and_says_where_to_look(pack: Running, tmp_path: Path) -> None:
    pack.device.trouble.silent = True
    file, link = tmp_path / "nobody.jsonl", pack.link.replace("modbus:", "serial:")
    with pytest.raises(CellherdError, match="cellherd scan"):
        call("capture", "--driver", "ant_old", "--link", link, "-o", str(file), "--seconds", "0", "--period-s", "0.2")
    assert not file.exists()


def drawn(view: RenderableType) -> str:
    console = Console(width=160)
    with console.capture() as said:
        console.print(view)
    return said.get()


@dataclass(slots=True)
class Hand:
    """A clock that a test moves."""

    now: int = 1_000_000

    def wall(self) -> int:
        return self.now

    def boot(self) -> int:
        return self.now

    def boot_id(self) -> str:
        return "00000000"

    def quality(self) -> Quality:
        return "ntp"


def fails() -> Text:
    raise Silent("nobody answers")


def test_the_last_reading_stays_while_its_age_and_the_trouble_are_told() -> None:
    clock = Hand()
    state = watch.Watch(clock)
    state.turn(lambda: Text("53.1 V"))
    clock.now += 12_000
    state.turn(fails)
    said = drawn(state.shown())
    assert "53.1 V" in said
    assert "read 12 s ago" in said
    assert "nobody answers" in said
    assert "1 of the last 2 tries failed" in said


@pytest.mark.parametrize(
    ("tries", "words"),
    [
        ([], "nothing asked"),
        ([True] * 5, "good"),
        ([True] * 19 + [False], "fair, 1 of"),
        ([True, False], "bad"),
        ([False] * 4, "dead"),
    ],
)
def test_the_quality_of_a_line_is_told_in_words(tries: list[bool], words: str) -> None:
    assert words in watch.quality(tries)


def test_ctrl_c_ends_a_watch_cleanly_and_an_unplugged_port_with_its_reason() -> None:
    def ending(error: BaseException) -> Callable[[], Text]:
        steps = iter(["53.1 V"])

        def take() -> Text:
            for step in steps:
                return Text(step)
            raise error

        return take

    console = Console(record=True, width=100)
    watch.watch(ending(KeyboardInterrupt()), SystemClock(), console)
    assert "53.1 V" in console.export_text()
    with pytest.raises(LinkError, match="went away"):
        watch.watch(ending(LinkError("port went away")), SystemClock(), Console())


def test_the_highest_and_the_lowest_cell_are_marked_without_colour() -> None:
    device = Device("cellar", driver("jbd"), "", 0, {0: "m1"})
    said = drawn(shown(device, [Measured(cell_mv=(3300, 3342, 3291, 3300))], 0))
    assert "3.342▲" in said
    assert "3.291▼" in said
    assert "▲" not in drawn(shown(device, [Measured(cell_mv=(3300, 3300))], 0)).partition("balancing")[2]


@dataclass(slots=True)
class Socket:
    """A place for a cable; `serial` is that of the BMS at its end, "" while it is pulled."""

    serial: str

    def open(self, text: str, known: Driver, halt: Event) -> Link:
        if not self.serial:
            raise LinkError(f"{text}: there is no such port")
        return self

    def ask(self, request: Request, *, address: int) -> Answer:
        if not self.serial:
            raise LinkError("the port went away")
        answer = emulator("jk_modbus").answer(request, address, {1: Battery(Plan(serial=self.serial)).truth()})
        assert answer is not None
        return answer

    def hear(self, timeout: float) -> None:
        return None

    def close(self) -> None:
        return


def test_two_swapped_cables_are_noticed_by_the_serial_of_each_bms() -> None:
    clock, told = Hand(), list[Sample | Record]()
    sockets = [Socket("LEFT"), Socket("RIGHT")]
    ports = [
        Port([Device("cellar", driver("jk_modbus"), f"modbus:{n}", 1, {1: f"m{n}"})], told.append, clock, socket.open)
        for n, socket in enumerate(sockets, 1)
    ]
    for serials in (("LEFT", "RIGHT"), ("", ""), ("RIGHT", "LEFT")):
        for socket, serial in zip(sockets, serials, strict=True):
            socket.serial = serial
        until = clock.now + 30_000
        while clock.now < until:
            clock.now = min(max(clock.now + 100, min(port.turn() for port in ports)), until)
    records = [e for e in told if isinstance(e, Record) and e.body.get("code") == "identity_changed"]
    texts = {record.module: record.body["text"] for record in records}
    assert texts == {"m1": "serial LEFT became RIGHT", "m2": "serial RIGHT became LEFT"}
