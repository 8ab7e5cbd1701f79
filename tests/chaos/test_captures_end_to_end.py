"""Captured frames go the whole way, through emulator, edge, broker, ingester and archive, while all of them are killed.

What stands in the archive is held against the values that the frames' sources assert, reading for reading.
"""

from __future__ import annotations

import tomllib
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import polars as pl
import pytest

from collectors.decode import parse
from collectors.drivers import driver
from collectors.drivers.pylontech_rs485.frames import ask, write
from collectors.emulators.device import EmulatedDevice, Emulator, Truths
from collectors.emulators.fleet import Running, start
from collectors.kernel import Answer, CanFrame, Request, Send
from tests.chaos.world import World, seed, world
from tests.services import mosquitto_broker

VECTORS = Path(__file__).parents[1] / "vectors"
LISTS = {"cell_mv": "c", "temp_dc": "t"}
"""Lists of a reading and the first letter of their columns."""


@dataclass
class Captured:
    """A device that says what real ones said, each answer in its turn, and remembers what it said."""

    driver: str
    answers: dict[bytes, deque[tuple[str, bytes]]]
    said: list[str] = field(default_factory=list)

    def answer(self, request: Request, address: int, truths: Truths) -> Answer | None:
        """The next answer to this request, None to stay silent."""
        held = self.answers.get(request.data) if isinstance(request, Send) else None
        if not held:
            return None
        held.rotate(-1)
        self.said.append(held[-1][0])
        return held[-1][1]

    def cut(self, buffer: bytes) -> tuple[bytes | None, bytes]:
        """The first known request in the buffer."""
        found = [(at, request) for request in self.answers if (at := buffer.find(request)) >= 0]
        if not found:
            return None, buffer[-100:]
        at, request = min(found)
        return request, buffer[at + len(request) :]


def vector(case: str) -> dict[str, Any]:
    return tomllib.loads((VECTORS / f"{case}.toml").read_text(encoding="utf-8"))


def frame(case: str) -> tuple[str, bytes]:
    whole = parse(driver(case.partition("/")[0]), vector(case)["frame"])
    assert isinstance(whole, bytes)
    return case, whole


def columns(expected: Mapping[str, Any]) -> dict[str, Any]:
    """Expected values of a case by the columns of the archive."""
    scalars = {k: v for k, v in expected.items() if not isinstance(v, dict | list) and k not in ("kind", "module")}
    cells = {f"{LISTS[k]}{i:02}": x for k in LISTS for i, x in enumerate(expected.get(k, []))}
    faults = {"faults": " ".join(sorted(expected["faults"]))} if "faults" in expected else {}
    return scalars | cells | faults


STATUS = ["jbd/discharging-is-negative", "jbd/cell-overvoltage-has-cut-charging", "jbd/capacity-above-327-ah"]
CELLS = "jbd/fifteen-cells"
STACKS = ["pylontech_rs485/three-us2000-in-one-answer", "pylontech_rs485/mixed-stack-of-74-and-50-ah"]
CAN = "pylontech_can/six-us5000-speak-v12"


def jbd() -> Captured:
    known = {b"\x03": STATUS, b"\x04": [CELLS], b"\x05": ["jbd/model-name"]}
    requests = {k: parse(driver("jbd"), vector(cases[0])["request"]) for k, cases in known.items()}
    return Captured("jbd", {requests[k]: deque(map(frame, cases)) for k, cases in known.items()})  # type: ignore[misc]


def pylontech() -> Captured:
    answers = {ask(2, 0x42, b"\xff").data: deque(map(frame, STACKS))}
    answers[ask(2, 0x44, b"\xff").data] = deque([("", write(2, 0x04))])  # "command not known", as older units say
    return Captured("pylontech_rs485", answers)


def devices() -> tuple[list[Captured], list[Running]]:
    speakers = [jbd(), pylontech()]
    wired = [
        EmulatedDevice(one.driver, {}, acts=Emulator(answer=one.answer, cut=one.cut), wire="pty") for one in speakers
    ]
    frames = [parse(driver("pylontech_can"), text) for text in vector(CAN)["frame"]]
    heard = [each for each in frames if isinstance(each, CanFrame)]
    bus = EmulatedDevice("pylontech_can", {}, acts=Emulator(broadcast=lambda truths: heard), wire="slcan")
    return speakers, start([*wired, bus], can_s=0.5)


def edge_devices(running: list[Running]) -> str:
    names = (("house", '["m1"]', 0.5), ("garage", '["a", "b", "c"]', 1.0), ("bus", '["bank"]', 1.0))
    return "".join(
        f'\n[[device]]\nstack = "{stack}"\ndriver = "{one.device.driver}"\nlink = "{one.link}"\n'
        f"modules = {modules}\nperiod_s = {period}\n"
        for (stack, modules, period), one in zip(names, running, strict=True)
    )


def is_subsequence(some: list[str], whole: list[str]) -> bool:
    rest: Iterator[str] = iter(whole)
    return all(item in rest for item in some)


def which(row: Mapping[str, Any], cases: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The case whose every expected value stands in the row."""
    return next((name for name, values in cases.items() if all(row[k] == v for k, v in values.items())), None)


def check(here: World, speakers: list[Captured]) -> None:
    """Everything committed is in the archive once, and every row is what its frame's source asserts."""
    rows = here.table("reading").sort("ts", "seq")
    stored = list(rows.select("epoch", "seq").iter_rows())
    assert len(stored) == len(set(stored)), "doubled"
    assert here.committed() == set(stored), "lost, or from nowhere"
    cells = columns(vector(CELLS)["expect"][0])
    truth = {case: columns(vector(case)["expect"][0]) | cells for case in STATUS}
    told = [which(row, truth) for row in rows.filter(pl.col("stack") == "house").to_dicts()]
    assert told
    assert is_subsequence([str(case) for case in told], [case for case in speakers[0].said if case in STATUS])
    for at, name in enumerate(("a", "b", "c")):
        packs = {case: columns(vector(case)["expect"][at]) for case in STACKS if at < len(vector(case)["expect"])}
        mine = rows.filter((pl.col("stack") == "garage") & (pl.col("module") == name)).to_dicts()
        assert mine
        assert is_subsequence([str(which(row, packs)) for row in mine], [c for c in speakers[1].said if c in packs])
    bank = rows.filter(pl.col("stack") == "bus")
    whole = {k: v for expected in vector(CAN)["expect"] for k, v in columns(expected).items()}
    assert bank.height
    assert all(which(row, {CAN: whole}) for row in bank.to_dicts())
    assert set(bank["kind"]) == {"bank"}


def play(here: World, victims: list[list[str]], speakers: list[Captured], running: list[Running]) -> None:
    here.until(lambda: speakers[0].said, "the first answer")
    for victim in victims:
        Event().wait(2.5)
        for name in victim:
            here.kill(name)
    Event().wait(2.5)
    here.stop("edge")  # commits what is in hand; the last receipts are for the next one
    for one in running:
        one.device.trouble.silent = True  # nothing more is read, so that everything can be counted
    here.start("edge")
    here.until(lambda: here.waiting() == 0, "the last receipt")
    here.stop("edge")
    here.stop("server")


@pytest.mark.slow
def test_captured_frames_reach_the_archive_while_everything_is_killed(tmp_path: Path) -> None:
    number = seed()
    print(f"seed {number}")
    victims = [["broker"], ["server"], ["edge"], ["broker", "edge"], ["server", "edge"]]
    Random(number).shuffle(victims)
    speakers, running = devices()
    with ExitStack() as last:
        for one in running:
            last.callback(one.stop)
        here = last.enter_context(world(tmp_path, edge_devices(running)))
        play(here, victims, speakers, running)
        check(here, speakers)
        assert here.table("gap").filter(pl.col("reason") == "edge_off").height, "the killed edge left no gap"


@pytest.mark.slow
@pytest.mark.service
def test_mosquitto_carries_them_as_well(tmp_path: Path) -> None:
    speakers, running = devices()
    with ExitStack() as last:
        for one in running:
            last.callback(one.stop)
        folder = tmp_path / "broker"
        folder.mkdir()
        broker = last.enter_context(mosquitto_broker(folder))
        here = last.enter_context(world(tmp_path, edge_devices(running), broker.port))
        play(here, [["server"], ["edge"]], speakers, running)
        check(here, speakers)
