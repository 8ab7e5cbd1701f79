"""A scene told the whole way in one process: live engine, its store, the alert machine and two installers' chats.

The clock is the scene's: it goes on in steps, longer ones in longer scenes, and after each step everybody does what is
theirs to do. Every battery of a scene stands in the stack s1 of the site barn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from cellherd.config import FleetConfig
from cellherd.settings import Module as Entry
from pipeline.alerts import ledger
from pipeline.alerts.channel import Message
from pipeline.alerts.notifier import Notifier
from pipeline.alerts.outbox import Outbox
from pipeline.alerts.sender import Sender
from pipeline.decoding.decode import Decoded
from pipeline.live.absence import Link
from pipeline.live.sink import LiveSink
from pipeline.live.store import LiveStore, recent
from tests.pipeline.fleets import MIDNIGHT, frame
from tests.pipeline.scenes import record, rows

HOUR = 3_600_000
STEPS = ((HOUR // 2, 30_000), (3 * HOUR, 120_000), (40 * HOUR, 600_000), (1000 * HOUR, HOUR))
"""For scenes up to so long, steps of so much."""
Row = dict[str, Any]


@dataclass
class SceneClock:
    """Stands where the scene is."""

    now: int

    def wall(self) -> int:
        return self.now

    boot = wall

    def boot_id(self) -> str:
        return "00000000"

    def quality(self) -> Any:
        return "ntp"


@dataclass
class Chat:
    """A channel that keeps the messages."""

    edits: bool = True
    sent: list[tuple[str, Message]] = field(default_factory=list)

    def send(self, address: str, message: Message) -> str:
        self.sent.append((address, message))
        return str(len(self.sent))

    def edit(self, address: str, reference: str, message: Message) -> str:
        self.send(address, message)
        return reference


def fleet(site: str = "barn", **more: Any) -> FleetConfig:
    """Two installers with a site and a chat each; `barn` is sun's unless it is said to be wind's."""
    owner = {"barn": "sun", "mill": "wind"}
    sites = [{"id": name, "installer": of, "edge": f"{name}-pi"} for name, of in owner.items()]
    if site != "barn":
        sites = [{**one, "installer": "wind" if one["id"] == "barn" else "sun"} for one in sites]
    return FleetConfig.model_validate(
        {
            "installer": [{"id": "sun"}, {"id": "wind"}],
            "site": sites,
            "route": [{"installer": name, "priority": 3, "telegram": [name]} for name in ("sun", "wind")],
            **more,
        }
    )


@dataclass
class Theatre:
    """Everything that stands between a reading and a chat."""

    sink: LiveSink
    notifier: Notifier
    sender: Sender
    clock: SceneClock
    chat: Chat
    folder: Path
    segment: int = 0

    def show(self, frames: Mapping[str, pl.DataFrame]) -> None:
        """A segment of the journal."""
        self.segment += 1
        self.sink.write(self.segment, Decoded(frames))

    def look(self, links: Mapping[str, Link]) -> None:
        """What happens by itself at a moment."""
        self.sink.tick(links)
        self.notifier.step()
        self.sender.send_due()

    def raised(self) -> list[tuple[str, Message]]:
        """New messages, without those that only say how it ended or that nobody took it on."""
        return [(who, one) for who, one in self.chat.sent if one.kind in ("raised", "again", "chattering", "summary")]

    def events(self) -> list[dict[str, Any]]:
        return recent(self.folder / "live.sqlite")


@contextmanager
def theatre(folder: Path, config: FleetConfig | None = None, entries: Iterable[Entry] = ()) -> Iterator[Theatre]:
    """An empty house at midnight."""
    config, clock, chat = config or fleet(), SceneClock(MIDNIGHT), Chat()
    with ExitStack() as last:
        store = LiveStore(folder / "live.sqlite")
        last.callback(store.close)
        database = last.enter_context(ledger.opened(folder))
        registry = {(one.site, one.stack, one.id): one for one in entries}
        sender = Sender("telegram", chat, Outbox(database), config, clock)
        notifier = Notifier(database, config, clock, frozenset({"telegram"}))
        yield Theatre(LiveSink(store, registry, clock), notifier, sender, clock, chat, folder)


def tell(here: Theatre, modules: Mapping[str, list[Row]], delay_ms: int = 0) -> None:
    """Play the modules' rows (those of `tests.pipeline.scenes.rows`) up to the last; they arrive so much later."""
    play(here, modules, Silence(), delay_ms)


@dataclass(frozen=True)
class Silence:
    """How long the modules are silent after their rows, and from when on their collector is (ms after the begin)."""

    after_ms: int = 0
    offline_ms: int | None = None


def play(here: Theatre, modules: Mapping[str, list[Row]], silence: Silence, delay_ms: int = 0) -> None:
    """Play the modules' rows to the last, and the silence after it."""
    every = sorted(({**row, "module": name, "unit": f"u{name}"} for name, of in modules.items() for row in of), key=_at)
    end = _at(every[-1]) + 1 + silence.after_ms
    step, begin = next(step for longest, step in STEPS if end <= longest), 0
    while begin < end:
        until = min(begin + step, end)
        here.clock.now = MIDNIGHT + delay_ms + until + 1000
        for frames in _segments([row for row in every if begin <= _at(row) < until], delay_ms):
            here.show(frames)
        heard = until if silence.offline_ms is None else min(until, silence.offline_ms)
        here.look({"e1": Link(MIDNIGHT + delay_ms + heard)})
        begin = until
    here.clock.now += 3000
    here.notifier.step()
    here.sender.send_due()


def scene_rows(scene: Row) -> list[Row]:
    """A scene's readings and records, in order."""
    return list(rows(scene["step"]))


def _at(row: Row) -> int:
    return int(row["at"]) if "table" in row else int(row["ts"]) - MIDNIGHT


def _segments(some: list[Row], delay_ms: int) -> Iterator[dict[str, pl.DataFrame]]:
    """Readings and records in order: a record ends a segment."""
    waiting: list[Row] = []
    for row in some:
        if "table" not in row:
            waiting.append({**row, "arrival_ts": row["arrival_ts"] + delay_ms})
            continue
        if waiting:
            yield {"reading": frame(waiting)}
        waiting = []
        told = {name: value for name, value in row.items() if name not in ("module", "unit")}
        yield {row["table"]: record(told).with_columns(module=pl.lit(row["module"]), unit=pl.lit(row["unit"]))}
    if waiting:
        yield {"reading": frame(waiting)}
