"""A fake device, cloud or bridge of each brand, all the way: edge, broker, ingester, archive, an event, and an alert.

An extra battery of the EcoFlow says errCode 6 throughout: full, which is told to nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from html import unescape
from pathlib import Path
from threading import Event, Thread
from typing import Any

import polars as pl
import pytest

from cellherd.faults import catalogue
from cellherd.reading import Measured
from collectors.emulators import ecoflow
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import EmulatedDevice, Emulator, Truths
from collectors.emulators.fleet import Running, emulator, start
from collectors.kernel import Answer, Request
from tests.chaos.world import World, world
from tests.fakes.cloud import ACCESS, ACCOUNT, PASSWORD, SECRET, SERIAL, Cloud, House, certificates, cloud, house
from tests.fakes.telegram import TOKEN, Bot, bot_api

FAULTS = {  # what each brand's device reports, in words that the brand has
    "bluetti": "pack_overvoltage_protection",
    "ecoflow": "cell_undervoltage_protection",
    "foxess": "cell_imbalance_protection",
    "givenergy": "alarm_unspecified",
    "jackery": "vendor_code_unknown",
    "solis": "bms_internal_failure",
    "victron_venus": "cell_overvoltage_protection",
}
KINDS = {"anker": "station", "jackery": "station", "solis": "bank", "foxess": "bank"}
WIRED = {"bluetti": 1, "foxess": 247, "givenergy": 0x32, "solis": 1}
PORTAL = "c0619ab1b2c3"
FULL = "extra"
REGISTRY = """
[[route]]
installer = "us"
priority = 3
telegram = ["us"]
[telegram]
base_url = "{url}"
token_file = "{token}"
"""
TOPICS = {"jackery": "E2000", "anker": "SN1", "victron_venus": PORTAL, "mqtt_map": "shed"}


def ill(name: str, truths: Truths) -> Truths:
    """The same batteries with the brand's fault."""
    told = (FAULTS[name],) if name in FAULTS else ()
    return {at: replace(truth, faults=told) for at, truth in truths.items()}


def wired() -> list[Running]:
    """Those that hang on a wire."""

    def acts(name: str) -> Emulator:
        real = emulator(name)

        def answer(request: Request, address: int, truths: Truths) -> Answer | None:
            return real.answer(request, address, ill(name, truths))

        return replace(real, answer=answer)

    batteries = {name: {at: Battery(Plan(seed=at))} for name, at in WIRED.items()}
    return start(EmulatedDevice(name, found, wire="tcp", acts=acts(name)) for name, found in batteries.items())


@contextmanager
def speaking(broker: House, batteries: dict[int, Battery]) -> Iterator[None]:
    """Bridges that publish each half second, and a GX device that speaks after a keep-alive only."""
    stop = Event()

    def truths(name: str, at: int) -> dict[int, Measured]:
        return dict(ill(name, {at: replace(batteries[0].truth(), module=at)}))

    def run() -> None:
        while not stop.wait(0.5):
            for name in ("jackery", "anker", "mqtt_map"):
                push = emulator(name).push
                broker.say(push(truths(name, 1)) if push else [])
            awake = [topic for topic in broker.heard if topic == f"R/{PORTAL}/keepalive"]
            if awake:
                broker.heard.remove(awake[0])
                push = emulator("victron_venus").push
                broker.say(push(truths("victron_venus", 512)) if push else [])

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def entry(stack: str, driver: str, link: str, modules: str, login: str = "") -> str:
    more = f"[device.login]\n{login}" if login else ""
    return (
        f'\n[[device]]\nstack = "{stack}"\ndriver = "{driver}"\nlink = "{link}"\nmodules = {modules}\n'
        f"period_s = 1.0\n{more}"
    )


def edge_devices(running: list[Running], api: Cloud, broker: House, folder: Path) -> str:
    for name, secret in (("access", ACCESS), ("secret", SECRET)):
        (folder / name).write_text(secret)
        (folder / name).chmod(0o600)
    login = 'username_file = "access"\npassword_file = "secret"\nca_file = "ca/ca.pem"\n'
    told = [entry(one.device.driver, one.device.driver, one.link, '["m1"]') for one in running]
    links = {scheme: f"{scheme}:localhost:{api.port}/{SERIAL}" for scheme in ("https", "cloud")}
    told += [
        entry(f"ecoflow-{scheme}", "ecoflow", link, f'["main", "{FULL}"]', login) for scheme, link in links.items()
    ]
    for name, unit in TOPICS.items():
        at = {"victron_venus": 512, "mqtt_map": 1}.get(name, 0)
        more = 'preset = "packs"\n' if name == "mqtt_map" else ""
        told.append(entry(name, name, f"mqtt:127.0.0.1:{broker.port}/{unit}", f'{{ "{at}" = "m1" }}') + more)
    return "".join(told)


def check(here: World, broker: House) -> None:
    """Each brand's readings have their kind, each brand's fault is an event, and no secret stands in a log."""
    readings = here.table("reading")
    stacks = {*WIRED, *TOPICS, "ecoflow-https", "ecoflow-cloud"}
    assert {*readings["stack"]} == stacks
    for stack in stacks:
        mine = readings.filter(pl.col("stack") == stack)
        assert {*mine["kind"]} == {KINDS.get(stack, "module")}, stack
        assert mine["soc_pm"].null_count() == 0, stack
    entered = here.table("event").filter(pl.col("phase") == "enter")
    found = {(stack.partition("-")[0], fault) for stack, fault in entered.select("stack", "fault").iter_rows()}
    assert {*FAULTS.items()} <= found
    logs = "".join(path.read_text(errors="replace") for path in here.folder.glob("*.log"))
    assert [secret for secret in (ACCESS, SECRET, PASSWORD, ACCOUNT) if secret in logs] == []
    assert {topic for topic in broker.heard if topic.startswith(("R/", "W/"))} <= {f"R/{PORTAL}/keepalive"}


def quota(pack: Battery) -> dict[str, Any]:
    """A station that is empty, and its extra battery that is full."""
    full = replace(pack.truth(), soc_pm=1000, current_ma=0, faults=())
    said = ecoflow.quota({**ill("ecoflow", {0: pack.truth()}), 1: full})
    return said | {"bms_slave_bmsSlaveStatus_1.errCode": 6}


def told_to(folder: Path, bot: Bot) -> str:
    (folder / "token").write_text(TOKEN)
    return REGISTRY.format(url=bot.url, token=folder / "token")


def messages(bot: Bot) -> list[str]:
    """What people were told, without its marks."""
    texts = [str(sent.get("text") or sent.get("caption")) for sent in bot.sent.copy()]
    return [unescape(re.sub("<[^>]+>", "", text)) for text in texts]


def untold(bot: Bot) -> list[tuple[str, str]]:
    """Stacks and faults that wake somebody, or go into a message at all, and of which none has come."""
    ids, said = catalogue(), messages(bot)
    owed = [(stack, fault) for stack, fault in FAULTS.items() if ids[fault].priority < 3]
    return [one for one in owed if not any(f"stack {one[0]}" in text and ids[one[1]].title in text for text in said)]


def check_alerts(here: World, bot: Bot) -> None:
    """Each brand's fault was told once, and nobody heard of a battery that is full."""
    events = here.table("event")
    full = events.filter((pl.col("module") == FULL) & (pl.col("fault") == "full_charge_reached"))
    assert not full.is_empty(), "it was seen"
    told = messages(bot)
    assert [text for text in told if f"module {FULL}" in text or catalogue()["full_charge_reached"].title in text] == []
    log = (here.folder / "notifier.log").read_text(errors="replace")
    assert [secret for secret in (ACCESS, SECRET, PASSWORD, ACCOUNT, TOKEN) if secret in log + "".join(told)] == []


@pytest.mark.slow
@pytest.mark.service
def test_every_brand_comes_into_the_archive_raises_its_event_and_is_told(tmp_path: Path) -> None:
    with ExitStack() as last:
        files = certificates(tmp_path / "ca")
        broker = last.enter_context(house(tmp_path / "house", files))
        api, bot = last.enter_context(cloud(files)), last.enter_context(bot_api())
        batteries = {0: Battery(Plan(seed=7))}
        api.broker, api.data = broker.tls_port, lambda: quota(batteries[0])
        running = wired()
        for one in running:
            last.callback(one.stop)
        last.enter_context(speaking(broker, batteries))
        here = last.enter_context(
            world(tmp_path, edge_devices(running, api, broker, tmp_path), registry=told_to(tmp_path, bot))
        )
        here.start("notifier")

        def all_there() -> bool:
            try:
                events = here.table("event")
            except Exception:  # noqa: BLE001 - the archive has no tables yet
                return False
            return {stack.partition("-")[0] for stack in events["stack"]} >= {*FAULTS}

        here.until(all_there, "an event of each brand")
        here.until(lambda: {*here.table("reading")["stack"]} >= {*TOPICS, *WIRED, "ecoflow-cloud"}, "all readings")
        here.until(lambda: not untold(bot), "an alert of each brand")
        here.stop("edge")
        here.stop("server")
        here.stop("notifier")
        check(here, broker)
        check_alerts(here, bot)
