"""Clouds and other people's brokers: what may leave for them, and what they may do to us without harm."""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest

from cellherd.errors import BadFrame, CellherdError, LinkError, Refused, Silent
from cellherd.secrecy import Formatter
from collectors.asking import configured
from collectors.drivers import WHERE, anker, chosen, driver, ecoflow, givenergy
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.ecoflow import quota as quota_of
from collectors.events import Device
from collectors.kernel import Driver, Keys, Login, Request, Send
from collectors.links import NETWORKED, Link, Place, check_link, open_link, place_of
from collectors.links.bytewise import ByteLink, Plain
from collectors.station import Port
from collectors.telegrams import number
from tests.fakes.cloud import ACCESS, ACCOUNT, PASSWORD, SECRET, SERIAL, Cloud, House, certificates, cloud, house
from tests.fakes.ports import Clock, Told

TRUTH = {0: Battery(Plan(seed=3)).truth()}
PATIENCE_S = 30.0


@dataclass
class World:
    """A cloud, a house's broker, and the files that let us into both."""

    cloud: Cloud
    house: House | None
    login: Login

    def driver(self, name: str, link: str) -> Driver:
        return configured(driver(name), link=link, login=self.login)

    def open(self, name: str, link: str) -> Link:
        return open_link(link, self.driver(name, link), Event())

    @property
    def api(self) -> str:
        return f"https:localhost:{self.cloud.port}/{SERIAL}"


def login(folder: Path, authority: Path) -> Login:
    for name, secret in (("access", ACCESS), ("secret", SECRET)):
        (folder / name).write_text(secret)
        (folder / name).chmod(0o600)
    return Login(None, str(folder / "access"), str(folder / "secret"), str(authority / "ca.pem"))


@pytest.fixture
def api(tmp_path: Path) -> Iterator[World]:
    """Only the API."""
    files = certificates(tmp_path / "ca")
    with cloud(files) as found:
        found.data = quota
        yield World(found, None, login(tmp_path, files))


@pytest.fixture
def both(tmp_path: Path) -> Iterator[World]:
    """The API and a broker."""
    files = certificates(tmp_path / "ca")
    with cloud(files) as found, house(tmp_path / "house", files) as broker:
        found.data, found.broker = quota, broker.tls_port
        yield World(found, broker, login(tmp_path, files))


def quota(**changed: Any) -> dict[str, Any]:
    return quota_of(TRUTH) | changed


def until(ready: Callable[[], object], what: str) -> None:
    end = monotonic() + PATIENCE_S
    while not ready():
        assert monotonic() < end, what
        Event().wait(0.02)


def ask(link: Link) -> bytes:
    return link.ask(ecoflow.QUOTA, address=0)


# ---- what may leave ----

LISTED = {
    "ecoflow": {
        b"GET /iot-open/sign/device/quota/all?sn={unit}",
        b"GET /iot-open/sign/certification",
    },
    "victron_venus": {b"R/{unit}/keepalive "},
}
"""Everything that these links may ever publish or send, in this file's own words. Registers: tests/fuzz."""


@pytest.mark.parametrize("name", [name for name in sorted(WHERE) if {*driver(name).links} & {*NETWORKED}])
def test_a_link_to_a_cloud_or_a_broker_sends_nothing_but_its_listed_queries(name: str) -> None:
    sends = {permit.pattern for permit in driver(name).allow if isinstance(permit, re.Pattern)}
    assert sends == {re.escape(query) for query in LISTED.get(name, ())}
    assert not driver(name).ask or name in LISTED


def test_givenergy_sends_one_read_for_each_of_five_packs_and_gives_heartbeats_back() -> None:
    known = driver("givenergy")
    reads = [givenergy.ask(pack).data for pack in range(0x32, 0x37)]
    beat = bytes.fromhex("59590001000d0101") + b"WG2147G000\x01"
    wire = Wire(beat)
    link = ByteLink(wire, replace(known, timeout_s=0.01, gap_s=0.0), Plain(known), Event())
    for read in reads:
        with pytest.raises(CellherdError):
            link.ask(Send(read), address=0x32)
    assert {*wire.written} == {*reads, beat}
    write = reads[0].replace(b"\x32\x04", b"\x32\x06")
    for bad in (write, reads[0].replace(b"\x32\x04\x00\x3c", b"\x32\x04\x00\x00"), beat[:-1], beat + b"\0"):
        with pytest.raises(Refused):
            link.ask(Send(bad), address=0x32)


@dataclass
class Wire:
    """A wire on which a heartbeat comes before each answer."""

    beat: bytes
    name: str = "wire"
    written: list[bytes] = field(default_factory=list)

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def read(self) -> bytes:
        return self.beat

    def drop(self) -> None:
        return

    def close(self) -> None:
        return


SETTINGS: list[Request] = [
    Send(b'PUT /iot-open/sign/device/quota {"sn":"x"}'),
    Send(b"GET /iot-open/sign/device/list"),
    Send(b"GET /iot-open/sign/device/quota/all?sn=OTHER"),
    Send(b"/open/a/b/set {}"),
    Send(b"W/{unit}/settings/0/Settings/Relay/Function {}"),
    Send(b"R/{unit}/keepalive {}"),
    Send(b""),
]


@pytest.mark.service
def test_no_setting_passes_a_broker_or_an_api(both: World) -> None:
    assert both.house
    for name, link in (
        ("ecoflow", both.api),
        ("ecoflow", both.api.replace("https", "cloud")),
        *((name, f"mqtt:127.0.0.1:{both.house.port}/u") for name in ("victron_venus", "jackery", "anker", "bluetti")),
    ):
        line = both.open(name, link)
        both.cloud.asked.clear()
        for request in SETTINGS:
            with pytest.raises(Refused):
                line.ask(request, address=0)
        line.close()
        assert both.cloud.asked == []
    assert both.house.heard == []


# ---- an API ----


def test_a_signed_question_gives_the_quota(api: World) -> None:
    (said,) = ecoflow.decode(ask(api.open("ecoflow", api.api)))
    assert said.voltage_mv == TRUTH[0].voltage_mv
    assert api.cloud.asked == [f"GET /iot-open/sign/device/quota/all?sn={SERIAL}"]


def test_the_signature_is_the_one_of_the_makers_page() -> None:
    keys = Keys("Fp4SvIprYSDPXtYJidEtUAd1o", "WIbFEKre0s6sLnh4ei7SPUeYnptHG6V")
    body = {"sn": "123456789", "params": {"cmdSet": 11, "id": 24, "eps": 0}}
    text = ecoflow.to_sign(body, keys, "345164", 1671171709428)
    assert text.startswith("params.cmdSet=11&params.eps=0&params.id=24&sn=123456789&accessKey=Fp4S")
    query = text.partition("&accessKey")[0]
    told = ecoflow.sign(query, keys, "345164", 1671171709428)
    assert told["sign"] == "07c13b65e037faf3b153d51613638fa80003c4c38d2407379a7f52851af1473e"
    assert ecoflow.to_sign({"a": [1, 2]}, keys, "1", 2).startswith("a[0]=1&a[1]=2&")


def test_keys_of_another_account_are_told_and_never_shown(api: World, caplog: pytest.LogCaptureFixture) -> None:
    Path(str(api.login.password_file)).write_text("wrong-secret-key-333")
    shown = StringIO()
    handler = logging.StreamHandler(shown)
    handler.setFormatter(Formatter("%(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        found = turned(api, 3)
    finally:
        logging.getLogger().removeHandler(handler)
    assert "signature is wrong" in str(found.records)
    assert "signature is wrong" in shown.getvalue()
    told = shown.getvalue() + str(found.records) + repr(api.login) + repr(api.driver("ecoflow", api.api))
    for secret in (ACCESS, SECRET, "wrong-secret-key-333"):
        assert secret not in told


def test_a_cloud_that_has_enough_of_us_is_left_alone(api: World) -> None:
    line = api.open("ecoflow", api.api)
    api.cloud.next = [(429, {"Retry-After": "77"}, b"")]
    for _ in range(3):
        with pytest.raises(Silent, match="wait 77 s"):
            ask(line)
    assert len(api.cloud.asked) == 1


def test_a_cloud_that_answers_otherwise_is_survived(api: World) -> None:
    line = api.open("ecoflow", api.api)
    shapes: list[tuple[tuple[int, dict[str, str], bytes], type[Exception]]] = [
        ((500, {}, b"oops"), Silent),
        ((302, {"Location": "https://elsewhere.example/"}, b""), Silent),
        ((403, {}, b""), LinkError),
        ((200, {}, b"<html>maintenance</html>"), BadFrame),
        ((200, {}, b'{"code":"0","message":"Success","data":{"renamed":{"volts":1}}}'), BadFrame),
        ((200, {}, b'{"code":"0","message":"Success","data":[1]}'), BadFrame),
        ((200, {}, b"x" * 600_000), Silent),
    ]
    known = api.driver("ecoflow", api.api)
    assert known.poll
    for reply, error in shapes:
        api.cloud.next = [reply]
        with pytest.raises(error):
            ecoflow.decode(ask(line))
    (said,) = ecoflow.decode(ask(line))
    assert said.soc_pm is not None


def test_a_cloud_that_stalls_is_given_up_and_asked_again(api: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.links.https.CONNECT_S", 0.3)
    line = api.open("ecoflow", api.api)
    api.cloud.stall = Event()
    with pytest.raises(Silent, match="no answer"):
        ask(line)
    api.cloud.stall.set()
    api.cloud.stall = None
    assert ask(line)


def test_a_cloud_whose_certificate_nobody_vouches_for_gets_no_key(api: World) -> None:
    stranger = replace(api.login, ca_file=None)
    line = open_link(api.api, configured(driver("ecoflow"), link=api.api, login=stranger), Event())
    with pytest.raises(LinkError, match="certificate"):
        ask(line)
    assert api.cloud.asked == []


def test_without_keys_a_cloud_is_not_opened() -> None:
    with pytest.raises(LinkError, match="`username_file` and `password_file`"):
        open_link("https:localhost:1/X", driver("ecoflow"), Event())


# ---- old values ----


def turned(place: World, times: int, link: str = "") -> Told:
    """A port on the API after so many turns of a minute each."""
    told, clock = Told(), Clock()
    link = link or place.api

    def opened(text: str, known: Driver, halt: Event) -> Link:
        told.opened += 1
        return open_link(text, known, halt)

    device = Device("van", place.driver("ecoflow", link), link, 0, {0: "main"}, 60.0)
    port = Port([device], told, clock, opened)  # type: ignore[arg-type]
    for _ in range(times):
        port.turn()
        clock.now += 60_000
    return told


def test_success_with_the_same_values_for_long_is_told_and_the_session_made_anew(api: World) -> None:
    same = quota(**{"bms_bmsStatus.amp": -5000})
    del same["bms_bmsStatus.cellVol"]
    api.cloud.data = lambda: same
    told = turned(api, 46)
    codes = [record.body["code"] for record in told.records if record.event == "edge"]
    assert codes == ["data_frozen"]
    assert told.opened == 3  # once, and after each 20 readings that were all alike
    assert len(told.samples) == 46


def test_values_that_stand_still_without_current_are_no_trouble(api: World) -> None:
    same = quota(**{"bms_bmsStatus.amp": 0})
    api.cloud.data = lambda: same
    told = turned(api, 46)
    assert (told.opened, [record for record in told.records if record.event == "edge"]) == (1, [])


# ---- a broker ----


def listen(line: Link, seconds: float = 0.2) -> list[bytes]:
    heard = []
    while (chunk := line.hear(seconds)) is not None:
        heard.append(chunk)
    return heard  # type: ignore[return-value]


@pytest.mark.service
def test_the_clouds_own_broker_is_entered_with_what_its_api_gives(both: World) -> None:
    assert both.house
    line = both.open("ecoflow", both.api.replace("https", "cloud"))
    state: Any = {}
    assert driver("ecoflow").feed
    state, found = ecoflow.feed(state, line.hear(1) or b"")
    assert found[0].voltage_mv == TRUTH[0].voltage_mv, "the whole quota comes first"
    body = json.dumps({"id": 1, "params": {"bms_bmsStatus.vol": 51_234}}).encode()
    both.house.say(
        [f"/open/{ACCOUNT}/{SERIAL}/quota ".encode() + body, f"/open/{ACCOUNT}/OTHER/quota ".encode() + body]
    )
    (chunk,) = listen(line, 1)
    state, (said,) = ecoflow.feed(state, chunk)
    assert (said.voltage_mv, said.soc_pm) == (51_234, found[0].soc_pm)
    line.close()
    assert PASSWORD not in Formatter("%(message)s").format(logging.makeLogRecord({"msg": f"login {PASSWORD}"}))


@pytest.mark.service
def test_a_certification_of_another_shape_is_told(both: World) -> None:
    both.cloud.next = [(200, {}, b'{"code":"0","message":"Success","data":{"mqtt":{}}}')]
    with pytest.raises(Silent, match="another shape"):
        both.open("ecoflow", both.api.replace("https", "cloud"))


@pytest.mark.service
def test_a_gx_device_is_kept_awake_and_its_first_portal_taken(both: World) -> None:
    assert both.house
    line = both.open("victron_venus", f"mqtt:127.0.0.1:{both.house.port}")
    beat = Send(b"R/{unit}/keepalive ")
    line.ask(beat, address=0)
    both.house.client.publish("N/c0ffee/system/0/Serial", b'{"value":"c0ffee"}', 0, retain=True)
    listen(line, 1)
    line.ask(beat, address=0)
    line.hear(0.2)
    until(lambda: "R/c0ffee/keepalive" in (both.house.heard if both.house else ()), "no keep-alive")
    assert {topic for topic in both.house.heard if not topic.startswith("N/")} == {"R/c0ffee/keepalive"}
    line.close()


@pytest.mark.service
def test_what_a_broker_kept_from_long_ago_is_no_reading(both: World) -> None:
    assert both.house
    old = b'N/c0ffee/battery/1/Dc/0/Voltage {"value": 1.0}'
    topic, _, payload = old.partition(b" ")
    both.house.client.publish(topic.decode(), payload, 0, retain=True).wait_for_publish(5)
    line = both.open("victron_venus", f"mqtt:127.0.0.1:{both.house.port}/c0ffee")
    assert listen(line, 0.5) == []
    both.house.say([old])
    assert listen(line, 1) == [old]
    line.close()


@pytest.mark.service
def test_a_broker_that_dies_is_a_link_that_is_gone(both: World) -> None:
    assert both.house
    line = both.open("jackery", f"mqtt:127.0.0.1:{both.house.port}/x")
    both.house.process.terminate()

    def gone() -> bool:
        try:
            line.hear(0.2)
        except LinkError:
            return True
        return False

    until(gone, "nothing was noticed")
    with pytest.raises(LinkError, match="no connection"):
        both.open("jackery", f"mqtt:127.0.0.1:{both.house.port}/x")


def test_a_broker_that_says_nothing_at_all_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.links.mqtt.GRACE_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(LinkError, match="does not let us in"):
        open_link(f"mqtt:127.0.0.1:{mute.getsockname()[1]}/x", driver("jackery"), Event())


# ---- link texts ----


@pytest.mark.parametrize(
    "text", ["mqtt:", "mqtt:host:x/u", "https:ho st/u", "cloud:host/a/b", "mqtt:h/+", "mqtts:h:1/#"]
)
def test_a_link_text_that_makes_no_sense_is_refused(text: str) -> None:
    name = "ecoflow" if text.startswith(("https", "cloud")) else "jackery"
    with pytest.raises(CellherdError):
        check_link(text, driver(name))


def test_a_map_without_a_preset_or_a_name_is_not_opened() -> None:
    for known in (driver("mqtt_map"), chosen("mqtt_map", "homeassistant")):
        with pytest.raises(LinkError, match="say what is meant"):
            open_link("mqtt:127.0.0.1:1", known, Event())


def test_a_link_text_is_taken_apart() -> None:
    assert place_of("mqtt:gx.local").web(1883) == ("gx.local", 1883, "")
    assert place_of("https:[::1]:8443/SN-1").web(443) == ("::1", 8443, "SN-1")
    assert isinstance(place_of("cloud:api.example/SN"), Place)


def test_a_driver_is_asked_over_an_api_and_listened_to_on_a_broker() -> None:
    asked, heard = (configured(driver("ecoflow"), link=f"{scheme}:api.example/SN") for scheme in ("https", "cloud"))
    assert (asked.feed, heard.poll) == (None, None)
    modbus, bridge = (configured(driver("bluetti"), link=link) for link in ("modbus-tcp:h:502", "mqtt:h/u"))
    assert modbus.feed is None
    assert bridge.feed is not None
    assert configured(driver("victron_venus"), link="mqtt:h").ask


@pytest.mark.parametrize("said", [10**400, -(2**64), "1e400", float("nan"), True, "soon", None, [1]])
def test_what_no_device_counts_is_no_number(said: object) -> None:
    assert number(said) is None


@pytest.mark.parametrize(("field", "value"), [(b"\x03\xfe\xff", -2), (b"\x03" + b"\xfe" * 19, None)])
def test_a_field_too_long_for_a_number_is_none(field: bytes, value: int | None) -> None:
    frame = anker.Frame("0405", {0xB0: field}, sound=True)
    assert anker._value(anker.Place("0.power_out_w", 0xB0), frame) == value
