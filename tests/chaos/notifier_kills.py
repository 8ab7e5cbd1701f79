"""Kills the notifier around the send, again and again, and counts what arrived: python -m tests.chaos.notifier_kills

    python -m tests.chaos.notifier_kills [--kills 200] [--seed N]

Each round new events come, a process of its own steps the machine and sends to a fake Bot API, and SIGKILL ends it at a
named point of the code or at any moment. A last process brings the rest out. Then every trouble must have been told and
told to be over; a message that came twice must say so the second time, and there may be one such message a kill.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event as Readiness
from pathlib import Path
from random import Random
from threading import Event as Signal
from time import monotonic, time_ns
from typing import Any

from cellherd import failpoint
from cellherd.config import FleetConfig
from cellherd.signals import sets
from pipeline.alerts import ledger
from pipeline.alerts.service import run
from pipeline.live.events import Event, Phase
from pipeline.live.store import queue_events
from tests.chaos.world import seed
from tests.fakes.telegram import TOKEN, Bot, bot_api

POINTS = ("alert-written", "alert-committed", "alert-attempt", "alert-sent", "alert-noted", "")
"""Where the process dies; "" stands for any moment."""
EACH = 2
"""Troubles that come in a round."""
PATIENCE_S = 60.0
FAULT = "cell_overvoltage_protection"
CONTEXT = multiprocessing.get_context("forkserver")


@dataclass
class Count:
    """What a run found. `lost` names what was never told; `unmarked` came twice without saying so."""

    kills: Counter[str] = field(default_factory=Counter)
    told: int = 0
    lost: list[str] = field(default_factory=list)
    repeats: int = 0
    most_a_kill: int = 0
    unmarked: list[str] = field(default_factory=list)
    edited_again: int = 0

    def said(self) -> str:
        """One line for people."""
        where = ", ".join(f"{n} at {point or 'any moment'}" for point, n in sorted(self.kills.items()))
        return (
            f"{self.kills.total()} kills ({where}): {self.told} changes told, {len(self.lost)} lost, {self.repeats} "
            f"repeats, at most {self.most_a_kill} a kill, {len(self.unmarked)} of them unmarked; "
            f"{self.edited_again} edits made twice"
        )


@dataclass
class Fleet:
    """A site for each trouble, so that each is an alert of its own."""

    state: Path
    config: FleetConfig
    stands: list[int] = field(default_factory=list)
    over: list[int] = field(default_factory=list)

    def happen(self, dice: Random) -> None:
        """Some troubles come, and some of those that stand end."""
        begin = len(self.stands) + len(self.over)
        ended = dice.sample(self.stands, min(EACH // 2, len(self.stands)))
        came = list(range(begin, begin + EACH))
        now = time_ns() // 1_000_000
        with ledger.opened(self.state) as database, ledger.transaction(database):
            queue_events(database, [_event(n, "enter", now) for n in came], now)
            queue_events(database, [_event(n, "leave", now) for n in ended], now)
        self.stands = [n for n in self.stands if n not in ended] + came
        self.over += ended

    def waits(self) -> int:
        """What is not told yet."""
        with ledger.opened(self.state) as database:
            due = database.execute("SELECT count(*) FROM delivery WHERE state IN ('due', 'sending')").fetchone()[0]
            events = database.execute("SELECT count(*) FROM pending_event").fetchone()[0]
            going = sum(alert.state in ("pending", "clearing") for alert in ledger.alerts(database).values())
        return int(due + events + going)


def fleet(folder: Path, bot: Bot, sites: int) -> FleetConfig:
    """Neither grouping nor holds: every change is told at once, so that there is always something to interrupt."""
    token = folder / "token"
    token.touch(0o600)
    token.write_text(TOKEN)
    return FleetConfig.model_validate(
        {
            "telegram": {"base_url": bot.url, "token_file": str(token)},
            "alerts": {"group_s": 0, "clear_after_min": 0, "flood_per_hour": 10**6},
            "installer": [{"id": "us"}],
            "site": [{"id": _site(n), "installer": "us", "edge": _site(n)} for n in range(sites)],
            "route": [{"priority": 3, "telegram": ["77"]}],
        }
    )


def notifier(config: FleetConfig, state: Path, point: str, passing: int, ready: Readiness | None) -> None:
    """The process: tells people until it is killed, or asked to end, which it can be from `ready` on."""
    failpoint._KILL_AT, failpoint._left = point, passing  # read at import, which came before the fork
    stop = Signal()
    sets(stop, signal.SIGTERM)
    if ready:
        ready.set()
    run(config, state, stop)


def start(house: Fleet, point: str = "", passing: int = 1, ready: Readiness | None = None) -> BaseProcess:
    args = (house.config, house.state, point or "never", passing, ready)
    process = CONTEXT.Process(target=notifier, args=args)
    process.start()
    return process


def kill(house: Fleet, bot: Bot, dice: Random, point: str) -> None:
    """One round: troubles, a process, its death."""
    house.happen(dice)
    before = len(bot.sent)
    process = start(house, point, dice.randint(1, EACH) if point in POINTS[2:5] else 1)
    if not point:
        _until(lambda: len(bot.sent) > before)
        Signal().wait(dice.uniform(0, 0.1))
        os.kill(process.pid or 0, signal.SIGKILL)
    process.join(PATIENCE_S)
    assert process.exitcode == -signal.SIGKILL, (
        f"the process was to die at {point!r}, and ended with {process.exitcode}"
    )


def rest(house: Fleet) -> None:
    """Let a last process tell what is left, as long as it gets on."""
    ready = CONTEXT.Event()
    process = start(house, ready=ready)
    assert ready.wait(PATIENCE_S)
    while left := house.waits():
        _until(lambda before=left: house.waits() < before)
    process.terminate()
    process.join(PATIENCE_S)
    assert process.exitcode == 0, f"asked to end, it ended with {process.exitcode}"


def play(folder: Path, kills: int, number: int) -> Count:
    """Kill so often, and count."""
    dice, count = Random(number), Count()
    CONTEXT.set_forkserver_preload(["pipeline.alerts.service"])
    with bot_api() as bot:
        house = Fleet(folder / "state", fleet(folder, bot, EACH * kills))
        arrived = []
        for n in range(kills):
            point = POINTS[n % len(POINTS)]
            kill(house, bot, dice, point)
            count.kills[point] += 1
            if count.kills.total() % 20 == 0:
                print(f"{count.kills.total()} kills, {len(bot.sent)} messages", flush=True)
            arrived.append(len(bot.sent))
        rest(house)
        arrived.append(len(bot.sent))
        judge(count, house, bot.sent, arrived)
    return count


def judge(count: Count, house: Fleet, sent: list[dict[str, Any]], arrived: list[int]) -> None:
    """Hold what arrived against what happened. `arrived`: how many messages had come by each kill, and at the end."""
    seen: Counter[str] = Counter()
    begin = 0
    for end in arrived:
        repeats = 0
        for message in sent[begin:end]:
            name = _name(message)
            seen[name] += 1
            if seen[name] == 1:
                continue
            if name.endswith("over"):
                count.edited_again += 1
                continue
            repeats += 1
            count.unmarked += [name] if "may be a repeat" not in message["text"] else []
        count.repeats += repeats
        count.most_a_kill = max(count.most_a_kill, repeats)
        begin = end
    wanted = [f"{_site(n)} stands" for n in (*house.stands, *house.over)] + [f"{_site(n)} over" for n in house.over]
    count.told, count.lost = len(seen), [name for name in wanted if name not in seen]
    assert set(seen) <= set(wanted), "something was told that did not happen"


def _event(number: int, phase: Phase, now: int) -> Event:
    place = (_site(number), _site(number), "s1", "m1")
    return Event(place, f"u{number}", "module", phase, FAULT, now, now, "device", "charge")


def _site(number: int) -> str:
    return f"site{number:05}"


def _name(message: dict[str, Any]) -> str:
    at = str(message["text"]).index("site")
    over = message["method"].startswith("edit")
    return str(message["text"])[at : at + len(_site(0))] + (" over" if over else " stands")


def _until(ready: Any) -> None:
    end = monotonic() + PATIENCE_S
    while not ready():
        assert monotonic() < end, "the notifier does not get on"
        Signal().wait(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=seed())
    told = parser.parse_args()
    print(f"seed {told.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        print(play(Path(folder), told.kills, told.seed).said())


if __name__ == "__main__":
    main()
