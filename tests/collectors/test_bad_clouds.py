"""A GX device, a bridge and network adapters that misbehave: stalled, shut, frozen, of another shape; and a capture.

EcoFlow's cloud is tried the same ways in test_networked, over HTTPS.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from typer.testing import CliRunner

from cellherd.cli import app_for
from cellherd.errors import LinkError, Silent
from cellherd.reading import Measured
from collectors.asking import configured
from collectors.drivers import WHERE, chosen, driver
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.ecoflow import quota
from collectors.emulators.fleet import emulator
from collectors.events import Device, Record, Sample
from collectors.kernel import Answer, Chunk, Driver, Request, Send, refuse_unless_permitted
from collectors.links import NETWORKED
from collectors.links.bytewise import Plain
from collectors.station import Port
from tests.fakes.cloud import ACCESS, SECRET, SERIAL, Cloud, certificates, cloud
from tests.fakes.ports import Clock

BASE = replace(Battery(Plan(seed=5)).truth(), current_ma=-8_000)
OTHER = (
    b'{"renamed": {"volts": 1}}',
    b"<html>maintenance</html>",
    b"",
    b"[[[[",
    b'{"value": "51.2"}',
    b'{"percent": []}',
)
"""What comes where the shape has changed."""
PLACES = {  # name -> driver, link, bus address
    "venus": ("victron_venus", "mqtt:gx:1883/c0619ab1b2c3", 512),
    "bridge": ("bluetti", "mqtt:broker:1883/AC300-1", 1),
    "bluetti": ("bluetti", "modbus-tcp:balco:502", 1),
    "givenergy": ("givenergy", "tcp:inverter:8899", 0x32),
    "api": ("ecoflow", "https:api.example/R331", 0),
    "cloud": ("ecoflow", "cloud:api.example/R331", 0),
    "jackery": ("jackery", "mqtt:broker:1883/E2000", 0),
    "anker": ("anker", "mqtt:broker:1883/SN1", 0),
    "map": ("mqtt_map", "mqtt:broker:1883/shed", 1),
    "solis": ("solis", "solarman:logger:8899?serial=2712345678", 1),
    "foxess": ("foxess", "modbus-tcp:adapter:502", 247),
    "force": ("pylontech_force_modbus", "solarman:logger:8899?serial=2712345678", 1),
}
PRESETS = {"mqtt_map": "packs"}
PERIOD_MS = 10_000


@dataclass
class Line:
    """A link to an emulated device. `mood`: well, quiet, frozen, other (another shape), shut (nobody lets us in)."""

    name: str
    mood: str = "well"
    moved: int = 0
    opened: int = 0
    sent: list[Request] = field(default_factory=list)
    inbox: deque[bytes] = field(default_factory=deque)

    @property
    def known(self) -> Driver:
        name, link, _ = PLACES[self.name]
        return replace(configured(chosen(name, PRESETS.get(name)), link=link), silence_s=20.0)

    def truth(self) -> dict[int, Measured]:
        """The battery now: each round a millivolt a cell further, unless it is frozen."""
        self.moved += self.mood != "frozen"
        cells = tuple((mv or 0) - self.moved for mv in BASE.cell_mv)
        return {PLACES[self.name][2]: replace(BASE, cell_mv=cells, voltage_mv=sum(cells))}

    def publish(self) -> None:
        """A round of messages, as far as the mood has one."""
        push = emulator(PLACES[self.name][0]).push
        if push is None or self.mood in ("quiet", "shut"):
            return
        said = push(self.truth())
        if self.mood == "other":
            said = [one.partition(b" ")[0] + b" " + OTHER[n % len(OTHER)] for n, one in enumerate(said)]
        self.inbox += [one.replace(b"R331", b"c0619ab1b2c3") for one in said]

    def open(self, _text: str, _known: Driver, _halt: Event) -> Line:
        if self.mood == "shut":
            raise LinkError("refuses us (Not authorized)")
        self.opened += 1
        return self

    def ask(self, request: Request, *, address: int) -> Answer:
        refuse_unless_permitted(self.known, request)
        self.sent.append(request)
        if self.known.feed:
            return b""  # its answers are heard
        if self.mood in ("quiet", "shut"):
            raise Silent("no answer")
        said = emulator(PLACES[self.name][0]).answer(request, address, self.truth())
        if said is None:
            raise Silent("no answer")
        if self.mood != "other":
            return said
        if PLACES[self.name][1].startswith("https:"):
            return OTHER[len(self.sent) % len(OTHER)]
        if not isinstance(request, Send):
            return b"\xff" * len(said)
        bent = said[:60] + b"\xff\xff" * 20 + said[100:]
        found = Plain(self.known).find(request, request.data, bent)
        if found is None:
            raise Silent("no answer")
        return found

    def hear(self, _timeout: float) -> Chunk | None:
        return self.inbox.popleft() if self.inbox else None

    def close(self) -> None:
        self.inbox.clear()


@dataclass
class Stage:
    """A port on such a line, and what it told."""

    line: Line
    clock: Clock = field(default_factory=Clock)
    samples: list[Sample] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        _, link, address = PLACES[self.line.name]
        device = Device("shed", self.line.known, link, address, {address: "m1"}, PERIOD_MS / 1000)
        self.port = Port([device], self, self.clock, self.line.open)  # type: ignore[arg-type]

    def __call__(self, item: Sample | Record) -> None:
        (self.samples if isinstance(item, Sample) else self.records).append(item)  # type: ignore[arg-type]

    def periods(self, mood: str, times: int) -> list[Sample]:
        """So many periods in a mood; what was read in them."""
        self.line.mood, before = mood, len(self.samples)
        for _ in range(times):
            self.line.publish()
            for _ in range(max(1, len(self.line.inbox) + 1)):
                self.port.turn()
            self.clock.now += PERIOD_MS
        return self.samples[before:]

    def codes(self) -> list[object]:
        return [record.body["code"] for record in self.records if record.event == "edge"]

    def gaps(self) -> set[object]:
        self.port.halt.set()
        self.port.run()
        return {record.body["reason"] for record in self.records if record.event == "gap"}


def test_every_driver_of_a_cloud_a_broker_or_an_inverter_is_tried() -> None:
    far = {name for name in WHERE if {*driver(name).links} & {*NETWORKED}}
    assert far | {"givenergy", "solis", "foxess"} <= {name for name, _, _ in PLACES.values()}


@pytest.fixture(params=sorted(PLACES))
def stage(request: pytest.FixtureRequest) -> Stage:
    return Stage(Line(request.param))


def test_one_that_stalls_is_noticed_and_heard_again(stage: Stage) -> None:
    assert len(stage.periods("well", 4)) >= 3
    assert stage.periods("quiet", 60) == []
    assert "device_timeout" in stage.codes()
    assert len(stage.periods("well", 12)) >= 3
    assert stage.codes()[-1] == "device_back"
    assert stage.line.opened > 1, "a stalled session is opened anew"
    assert "timeout" in stage.gaps()


def test_one_that_lets_nobody_in_for_a_while_is_asked_more_and_more_rarely(stage: Stage) -> None:
    stage.periods("quiet", 12)
    opened = stage.line.opened
    stage.periods("shut", 30)
    assert stage.line.opened == opened
    assert len(stage.periods("well", 12)) >= 3
    assert "device_port_down" in stage.codes()
    assert "port_down" in stage.gaps()


def test_one_that_changes_its_shape_gives_no_reading_and_stops_nobody(stage: Stage) -> None:
    well = stage.periods("well", 4)
    odd = stage.periods("other", 12)
    assert all(believable(sample.measured) for sample in odd)
    assert len(odd) < 3
    assert {"device_timeout", "device_crc"} & {*stage.codes()}
    assert len(stage.periods("well", 12)) >= 3
    assert all(believable(sample.measured) for sample in well)


def believable(said: Measured) -> bool:
    charge = BASE.soc_pm or 0
    return abs((charge if said.soc_pm is None else said.soc_pm) - charge) <= 10 and (said.voltage_mv or 0) < 60_000


@pytest.mark.parametrize("name", ["venus", "givenergy", "api", "cloud", "map", "force"])
def test_one_that_repeats_old_values_is_told(name: str) -> None:
    stage = Stage(Line(name))
    stage.periods("well", 4)
    opened = stage.line.opened
    stage.periods("frozen", 45)
    assert stage.codes() == ["data_frozen"]
    relayed = PLACES[name][1].partition(":")[0] in NETWORKED
    assert (stage.line.opened > opened) == relayed, "a session with a broker is made anew, a wire is not"
    stage.periods("well", 4)
    assert stage.codes() == ["data_frozen", "data_moving"]


@pytest.mark.parametrize("name", ["bridge", "bluetti", "jackery", "anker"])
def test_where_no_current_is_told_old_values_cannot_be_known(name: str) -> None:
    stage = Stage(Line(name))
    assert len(stage.periods("frozen", 45)) >= 40
    assert stage.codes() == []


@pytest.mark.parametrize("name", ["solis", "foxess"])
def test_an_inverter_on_a_wire_may_repeat_its_tenths_of_a_volt_and_is_not_called_frozen(name: str) -> None:
    stage = Stage(Line(name))
    assert len(stage.periods("frozen", 45)) >= 40
    assert stage.codes() == []


def test_nothing_but_questions_went_out_in_all_that_trouble(stage: Stage) -> None:
    for mood in ("well", "other", "quiet", "shut", "well"):
        stage.periods(mood, 3)
    known = stage.line.known
    for request in stage.line.sent:
        refuse_unless_permitted(known, request)
    assert bool(stage.line.sent) == (known.poll is not None and (known.feed is None or known.ask))


# ---- a capture with a login ----


def in_a_file(folder: Path, api: Cloud) -> Path:
    for name, secret in (("access", ACCESS), ("secret", SECRET)):
        (folder / name).write_text(secret)
        (folder / name).chmod(0o600)
    login = 'username_file = "access"\npassword_file = "secret"\nca_file = "ca/ca.pem"\n'
    (folder / "edge.toml").write_text(
        f'edge = "van"\n\n[mqtt]\nurl = "mqtt://127.0.0.1:1883"\n\n[[device]]\nstack = "van"\ndriver = "ecoflow"\n'
        f'link = "https:localhost:{api.port}/{SERIAL}"\nmodules = ["main"]\n[device.login]\n{login}'
    )
    return folder / "edge.toml"


def call(*words: str) -> Any:
    return CliRunner().invoke(app_for(list(words)), list(words), catch_exceptions=True, env={"COLUMNS": "160"})


def test_a_clouds_answers_are_captured_with_the_keys_of_edge_toml_which_are_not_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = certificates(tmp_path / "ca")
    with cloud(files) as api:
        api.data = lambda: quota({0: BASE})
        config, out = in_a_file(tmp_path, api), tmp_path / "van.jsonl"
        told = call("capture", "van", "--config", str(config), "-o", str(out), "--seconds", "0", "--period-s", "0.2")
    assert told.exit_code == 0, repr(told.exception)
    text = out.read_text()
    assert [secret for secret in (ACCESS, SECRET, SERIAL) if secret in text or secret.encode().hex() in text] == []
    first, *lines = map(json.loads, text.splitlines())
    assert first == {"capture": 1, "driver": "ecoflow"}
    assert bytes.fromhex(lines[0]["request"]) == b"GET /iot-open/sign/device/quota/all?sn={unit}"
    again = call("replay", str(out))
    assert again.exit_code == 0, again.output
    assert f"{(BASE.voltage_mv or 0) / 1000:.2f}" in again.output


def test_a_capture_names_a_stack_or_a_driver_and_its_link(tmp_path: Path) -> None:
    said = call("capture", "-o", str(tmp_path / "x.jsonl"))
    assert said.exit_code != 0
    assert "name a stack of edge.toml, or give --driver and --link" in str(said.exception)
