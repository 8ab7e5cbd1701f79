"""Links: what happens on real ptys, sockets and buses, with devices that misbehave."""

from __future__ import annotations

import io
import os
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
from pymodbus.client import ModbusTcpClient
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

from cellherd.errors import BadFrame, CellherdError, LinkError, Refused, Silent
from collectors.drivers import driver, jbd, jk_modbus, pylontech_can, pylontech_console
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import EmulatedDevice, Trouble
from collectors.emulators.fleet import Running, start
from collectors.emulators.framing import rtu
from collectors.emulators.wires import PtyWire
from collectors.kernel import CanFrame, Driver, Registers, Send, Unsupported, converse
from collectors.links import bytewise, open_link, wires
from collectors.links.capture import Recorder, Replay
from collectors.links.modbus import Modbus

Herd = Callable[..., Running]
JBD, JK, CONSOLE = jbd.DRIVER, jk_modbus.DRIVER, pylontech_console.DRIVER
STATUS = jbd.ask(jbd.STATUS)


@pytest.fixture
def herd() -> Iterator[Herd]:
    running: list[Running] = []

    def begin(name: str, wire: str = "pty", addresses: tuple[int, ...] = (1,)) -> Running:
        batteries = {address: Battery(Plan(seed=address)) for address in addresses}
        running.extend(start([EmulatedDevice(name, batteries, wire)], can_s=0.05))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


def impatient(known: Driver) -> Driver:
    """The same driver with a short patience, so that silence costs no time."""
    return replace(known, timeout_s=0.25, gap_s=0.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seriel:/dev/ttyUSB0", "did you mean serial:"),
        ("serial:", "say what is to be opened"),
        ("modbus:/dev/ttyUSB0", "jbd does not speak over modbus:, use serial: or tcp:"),
        ("serial:/dev/ttyUSB0?speed=9600", "serial takes baud=NUMBER"),
        ("serial:/dev/ttyUSB0?baud=fast", "baud=fast is not understood"),
        ("tcp:10.0.0.1", "write it as tcp:host:port"),
    ],
)
def test_a_link_that_is_not_understood_says_how_to_write_it(text: str, says: str) -> None:
    with pytest.raises(CellherdError, match=says):
        open_link(text, JBD)


def test_a_port_that_does_not_exist_says_how_to_find_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="ls /dev/serial/by-path"):
        open_link(f"serial:{tmp_path}/ttyUSB7", JBD)


@pytest.mark.parametrize("wire", ["pty", "tcp"])
def test_a_device_answers_over_either_wire(herd: Herd, wire: str) -> None:
    link = open_link(herd("jbd", wire).link, JBD)
    (status,) = jbd.decode(link.ask(STATUS, address=0))
    link.close()
    assert status.soc_pm == 500


def test_what_is_not_on_the_allow_list_is_refused_and_never_reaches_the_wire() -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    link = open_link(f"serial:{os.ttyname(slave)}", JBD)
    with pytest.raises(Refused):
        link.ask(Send(bytes.fromhex("dd5ae10200021d77")), address=0)
    os.set_blocking(master, False)
    with pytest.raises(BlockingIOError):
        os.read(master, 100)
    link.close()
    os.close(master)
    os.close(slave)


def test_a_silent_device_is_named_with_its_port_and_the_request(herd: Herd) -> None:
    device = herd("jbd")
    device.device.trouble.silent = True
    link = open_link(device.link, impatient(JBD))
    with pytest.raises(Silent, match=f"port: jbd at address 0 gave no answer to {STATUS.data.hex()}"):
        link.ask(STATUS, address=0)
    link.close()


def test_an_echo_without_an_answer_is_silence(herd: Herd) -> None:
    device = herd("jbd")
    device.device.trouble.echo, device.device.trouble.cut_at = True, 0
    link = open_link(device.link, impatient(JBD))
    with pytest.raises(Silent):
        link.ask(STATUS, address=0)
    link.close()


@pytest.mark.parametrize(("name", "wire"), [("jbd", "pty"), ("jk_modbus", "pty"), ("pylontech_rs485", "pty")])
def test_noise_and_echo_before_an_answer_do_no_harm(herd: Herd, name: str, wire: str) -> None:
    known = driver(name)
    device = herd(name, wire, (max(known.default_address, 1),))
    device.device.trouble.echo, device.device.trouble.noise = True, b"\x00\xdd\x03\xff\x01\x03"
    link = open_link(device.link, known)
    assert known.poll is not None
    (measured,) = converse(known.poll(known.default_address), lambda r: link.ask(r, address=known.default_address))
    link.close()
    assert len(measured.cell_mv) == 16


@pytest.mark.parametrize("name", ["jbd", "jk_modbus"])
def test_a_cut_answer_is_a_bad_frame_that_shows_its_bytes(herd: Herd, name: str) -> None:
    device = herd(name)
    device.device.trouble.cut_at = 9
    known = impatient(driver(name))
    link = open_link(device.link, known)
    request = STATUS if name == "jbd" else jk_modbus.MAIN
    with pytest.raises(BadFrame) as caught:
        link.ask(request, address=1)
    link.close()
    assert len(caught.value.frame) == 9


def test_a_babbling_port_ends_in_a_bad_frame_of_bounded_size() -> None:
    wire = PtyWire(Trouble(), lambda buffer: (buffer, b"\x00" * 3000, b""), "serial")
    wire.start()
    link = open_link(wire.link, impatient(JBD))
    with pytest.raises(BadFrame) as caught:
        link.ask(STATUS, address=0)
    link.close()
    wire.stop()
    assert len(caught.value.frame) <= 512


def test_one_port_cannot_be_held_twice(herd: Herd) -> None:
    device = herd("jbd")
    first = open_link(device.link, JBD)
    with pytest.raises(LinkError, match="another program holds this port"):
        open_link(device.link, JBD)
    first.close()


def test_a_late_answer_is_not_taken_for_the_answer_to_the_next_request(herd: Herd) -> None:
    device = herd("jbd")
    link = open_link(device.link, impatient(JBD))
    device.device.trouble.delay_s = 0.35
    with pytest.raises(Silent):
        link.ask(STATUS, address=0)
    Event().wait(0.3)
    device.device.trouble.delay_s = 0
    cells = link.ask(jbd.ask(jbd.CELLS), address=0)
    link.close()
    assert cells[1] == jbd.CELLS


def test_an_unplugged_adapter_is_a_link_error_and_closing_it_is_quiet(herd: Herd) -> None:
    device = herd("jbd")
    link = open_link(device.link, JBD)
    assert isinstance(device.wire, PtyWire)
    device.wire.unplug()
    with pytest.raises(LinkError) as caught:
        link.ask(STATUS, address=0)
    link.close()
    assert not isinstance(caught.value, Silent)


def test_a_stop_ends_a_wait_at_once(herd: Herd) -> None:
    device, halt = herd("jbd"), Event()
    device.device.trouble.silent = True
    link = open_link(device.link, JBD, halt)
    halt.set()
    with pytest.raises(LinkError, match="stopping"):
        link.ask(STATUS, address=0)
    link.close()


@pytest.mark.parametrize("wire", ["pty", "tcp"])
def test_registers_come_from_the_addressed_unit_only(herd: Herd, wire: str) -> None:
    link = open_link(herd("jk_modbus", wire, (1, 2)).link, impatient(JK))
    serials = [link.ask(jk_modbus.SERIAL, address=address)[8:18] for address in (1, 2)]
    with pytest.raises(Silent):
        link.ask(jk_modbus.SERIAL, address=3)
    link.close()
    assert serials == [b"EMU000001\0", b"EMU000002\0"]


@pytest.mark.parametrize("wire", ["pty", "tcp"])
def test_a_refused_register_is_unsupported_not_a_dead_device(herd: Herd, wire: str) -> None:
    device = herd("jk_modbus", wire)
    beyond = Registers(3, 0x1400 + 400, 4)
    link = open_link(device.link, replace(JK, allow=(*JK.allow, beyond)))
    with pytest.raises(Unsupported, match="no such register"):
        link.ask(beyond, address=1)
    link.close()


def test_the_answer_of_another_unit_or_of_another_length_is_skipped() -> None:
    framing = Modbus(FramerRTU(DecodePDU(False)))
    request = Registers(3, 0x1200, 2)
    sent = framing.dress(request, 5)
    replies = [rtu(lambda r, a, size=size: bytes(size))(framing.dress(Registers(3, 0x1200, 2), unit))[1]  # type: ignore[misc]
               for unit, size in ((6, 4), (5, 6))]  # fmt: skip
    assert framing.find(request, sent, b"".join(replies)) is None
    right = rtu(lambda r, a: b"\1\2\3\4")(sent)[1]
    assert framing.find(request, sent, b"".join(replies) + right) == b"\1\2\3\4"


def test_pymodbus_reads_our_emulated_device_too(herd: Herd) -> None:
    host, _, port = herd("jk_modbus", "tcp").link.removeprefix("modbus-tcp:").rpartition(":")
    with ModbusTcpClient(host, port=int(port), timeout=1) as client:
        answer = client.read_holding_registers(0x1450, count=5, device_id=1)
        refused = client.read_holding_registers(0x3000, count=1, device_id=1)
    assert b"".join(r.to_bytes(2, "big") for r in answer.registers) == b"EMU000001\0"
    assert refused.isError()


@pytest.mark.parametrize("wire", ["virtual", "slcan"])
def test_a_can_bus_is_heard_and_never_spoken_to(herd: Herd, wire: str) -> None:
    device = herd("pylontech_can", wire)
    link = open_link(device.link, pylontech_can.DRIVER)
    heard = {frame.id for _ in range(6) if isinstance(frame := link.hear(2.0), CanFrame)}
    with pytest.raises(Refused, match="listens only"):
        link.ask(CanFrame(0x355, b""), address=0)
    link.close()
    assert heard == {0x351, 0x355, 0x356, 0x359, 0x35C, 0x35E}
    sent = getattr(device.wire, "commands", b"L")
    assert b"L" in sent.split(b"\r") or sent == b"L"
    assert not any(command[:1] in (b"t", b"T", b"O") for command in sent.split(b"\r"))


def test_a_recorded_conversation_replays_to_the_same_reading(herd: Herd, tmp_path: Path) -> None:
    device, capture = herd("jk_modbus"), io.StringIO()
    live = open_link(device.link, JK)
    recorder = Recorder(live, capture, JK, lambda: 1_700_000_000_000)
    before = converse(jk_modbus.poll(1), lambda r: recorder.ask(r, address=1))
    recorder.close()
    file = tmp_path / "capture.jsonl"
    file.write_text(capture.getvalue(), encoding="utf-8")
    link = open_link(f"replay:{file}", JK)
    assert converse(jk_modbus.poll(1), lambda r: link.ask(r, address=1)) == before
    with pytest.raises(Silent, match="no further answer"):
        link.ask(jk_modbus.MAIN, address=1)


def test_a_capture_of_another_driver_or_a_cut_one_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "capture.jsonl"
    file.write_text('{"capture": 1, "driver": "jbd"}\n{"ts": 1, "addr', encoding="utf-8")
    with pytest.raises(CellherdError, match="line 2"):
        Replay(file, JBD, Event())
    file.write_text('{"capture": 1, "driver": "jbd"}\n', encoding="utf-8")
    with pytest.raises(CellherdError, match="recorded from jbd, not jk_modbus"):
        Replay(file, JK, Event())


def test_a_port_that_may_not_be_opened_says_which_group_opens_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = tmp_path / "ttyUSB0"
    port.touch()
    monkeypatch.setattr(wires, "os", SimpleNamespace(access=lambda *_: False, R_OK=4, W_OK=2))
    with pytest.raises(LinkError, match="usermod -aG dialout"):
        open_link(f"serial:{port}", JBD)


@dataclass(slots=True)
class Spoken:
    """A wire on which these bytes come, as many at a time as one read takes."""

    rest: bytes
    name: str = "wire"

    def write(self, data: bytes) -> None:
        return

    def drop(self) -> None:
        return

    def read(self) -> bytes:
        chunk, self.rest = self.rest[: wires.CHUNK], self.rest[wires.CHUNK :]
        return chunk

    def close(self) -> None:
        return


def test_an_answer_that_came_while_the_process_stood_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = count()
    monkeypatch.setattr(bytewise.time, "monotonic", lambda: 3600.0 * next(hours))
    sound = bytes.fromhex("dd0400080d660d610d680d59fe3c77")
    line = bytewise.ByteLink(Spoken(sound), replace(JBD, gap_s=0.0), bytewise.Plain(JBD), Event())
    assert line.ask(jbd.ask(jbd.CELLS), address=0) == sound


def test_an_answer_longer_than_any_is_told_as_such() -> None:
    line = bytewise.ByteLink(Spoken(b"pwr\r\n" + b"x" * 99_000), CONSOLE, bytewise.Plain(CONSOLE), Event())
    with pytest.raises(BadFrame, match="64 KiB is the most"):
        line.ask(Send(b"pwr\n"), address=1)


def test_the_longest_list_of_cells_passes() -> None:
    rows = "".join(
        f"{n}  3300  -500  25000  Dischg  Normal  Normal  Normal  98% 48000 mAH  N{'x' * 50}\r\n" for n in range(240)
    )
    said = f"bat\r\n@\r\n{rows}Command completed successfully\r\n$$\r\npylon>".encode()
    assert len(said) > 25_000
    line = bytewise.ByteLink(
        Spoken(said), replace(CONSOLE, gap_s=0.0, timeout_s=60.0), bytewise.Plain(CONSOLE), Event()
    )
    assert line.ask(Send(b"bat\n"), address=1) == said
