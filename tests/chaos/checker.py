"""What must hold when the dust has settled: truth, outboxes, journal, archive, InfluxDB and gaps say the same."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cellherd import topics
from cellherd.config import load_fleet
from pipeline.decoding.decode import decode
from pipeline.journal import files
from pipeline.stores.archive import Archive, ArchiveSink
from pipeline.stores.influx import InfluxSink, InfluxWriter
from tests.chaos import books
from tests.chaos.books import Item
from tests.chaos.herd import ENEMY, SERVER, Herd
from tests.chaos.keeper import lines
from tests.chaos.scene import Shape
from tests.chaos.truth import number

RECORDS = ("gap", "device_info", "device_counter", "device_log", "edge_event")
Key = tuple[str, int]
Place = tuple[str, str, str]
"""Edge, stack, module."""


@dataclass
class Books:
    """What the journal says, read line by line without the code that fills the stores."""

    readings: dict[Key, tuple[Place, int]] = field(default_factory=dict)
    """Number of the answer that each reading came from."""
    records: set[Key] = field(default_factory=set)
    doubled: list[Key] = field(default_factory=list)
    items: dict[Place, list[Item]] = field(default_factory=lambda: defaultdict(list))
    starts: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    told: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """Numbers by epoch that a gap says are gone."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Gap slots by reason."""
    epochs: dict[str, str] = field(default_factory=dict)
    """Edge of each epoch."""
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    """When the first and the last row of each epoch were made, ms since boot."""


def read_books(herd: Herd) -> Books:
    """Everything that was ever journalled."""
    books_ = Books()
    later = []
    for _, entry in herd.keeper.entries():
        edge = topics.parse(entry.topic).edge
        if edge == ENEMY:
            continue
        for event, epoch, line in lines(entry):
            key = epoch, int(str(line["seq"]))
            books_.epochs[epoch] = edge
            bt = int(str(line["bt"]))
            first, last = books_.spans.get(epoch, (bt, bt))
            books_.spans[epoch] = min(first, bt), max(last, bt)
            if key in books_.readings or key in books_.records:
                books_.doubled.append(key)
            place = edge, str(line["stack"]), str(line["module"])
            if event:
                books_.records.add(key)
                later.append((event, epoch, place, line))
            else:
                cells = line["row"]["cell_mv"]  # type: ignore[index]  # a row of ours
                books_.readings[key] = place, number(*cells[:3])
                books_.items[place].append(Item(int(str(line["bt"])), 1, "reading"))
    for event, epoch, place, line in later:
        _record(books_, event, epoch, place, line)
    for edge, starts in books_.starts.items():
        books_.starts[edge] = sorted({*starts})
    return books_


def _record(into: Books, event: str, epoch: str, place: Place, line: Mapping[str, object]) -> None:
    body = line["body"]
    assert isinstance(body, dict)
    if event == "edge" and body.get("code") == "started":
        into.starts[place[0]].append(int(str(line["bt"])))
    if event != "gap":
        return
    into.reasons[body["reason"]] += body["slots"]
    bt, ts = int(str(line["bt"])), int(str(line["ts"]))
    begin, end = body["from_ts"] - ts + bt, body["to_ts"] - ts + bt
    if body["from_seq"] is not None:
        into.told[body.get("of_epoch") or epoch].append((body["from_seq"], body["to_seq"]))
        into.items[place].append(Item(begin, body["slots"], "lost", until=end))
    elif body["reason"] == "edge_off" and end == bt:  # up to the moment of the start, which it tells as well:
        into.items[place].append(Item(begin, body["slots"], "absence", bt))
        into.starts[place[0]].append(bt)  # on a full disk the note of it goes before any gap
    else:
        into.items[place].append(Item(begin, body["slots"], "gap"))


@dataclass
class Verdict:
    """What was counted, and everything that is wrong."""

    readings: int = 0
    gap_slots: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    exact: int = 0
    """Slots of modules whose books hold to the unit."""
    forgotten: int = 0
    """Slots of the time off that a damaged outbox could not know of."""
    replayed: int = 0
    """Tables and points that changed when all of the journal was applied once more."""
    wrong: list[str] = field(default_factory=list)


def check(herd: Herd, shape: Shape, committed: Mapping[str, int]) -> Verdict:
    """Look at everything. `committed` is the highest number that was seen on the disk, by epoch."""
    found = read_books(herd)
    verdict = Verdict(len(found.readings), found.reasons)
    _numbers(found, shape, committed, verdict)
    _archive(herd, found, verdict)
    _truth(herd, found, verdict)
    _slots(herd, found, shape, verdict)
    _again(herd, verdict)
    return verdict


def _numbers(found: Books, shape: Shape, committed: Mapping[str, int], verdict: Verdict) -> None:
    """Each epoch's numbers are there from 1 to the last that was committed, or told as gone."""
    by_epoch: dict[str, set[int]] = defaultdict(set)
    for epoch, seq in (*found.readings, *found.records):
        by_epoch[epoch].add(seq)
    for epoch in {*by_epoch, *committed}:
        here, edge = by_epoch[epoch], found.epochs.get(epoch, "")
        most = max(here, default=0)
        if epoch not in shape.forgot:
            most = max(most, committed.get(epoch, 0))
        else:  # nobody can tell of numbers that stood only in what was damaged
            most = min(most, shape.known.get(epoch, most))
        gone = {
            seq
            for seq in set(range(1, most + 1)) - here
            if (epoch, seq) not in shape.thrown_away
            and not any(first <= seq <= last for first, last in found.told[epoch])
        }
        if epoch not in shape.known and _within(found.spans.get(epoch), shape.in_memory[edge]):
            continue  # it lay in memory only when its edge was killed
        verdict.lost += len(gone)
        if gone:
            verdict.wrong.append(f"{edge} epoch {epoch}: of {most} numbers {len(gone)} are lost: {sorted(gone)[:9]}")
    verdict.doubled += len(found.doubled)
    if found.doubled:
        verdict.wrong.append(f"journalled twice: {found.doubled[:9]}")


def _within(span: tuple[int, int] | None, others: Sequence[tuple[int, int]]) -> bool:
    return span is not None and any(begin <= span[0] and span[1] <= end for begin, end in others)


def _archive(herd: Herd, found: Books, verdict: Verdict) -> None:
    """The archive has what the journal has, once, with the same values."""
    stored = herd.table("reading").select("epoch", "seq", "c00", "c01", "c02")
    rows = {(row[0], row[1]): number(*row[2:]) for row in stored.iter_rows()}
    records = [
        key for name in RECORDS if _has(herd, name) for key in herd.table(name).select("epoch", "seq").iter_rows()
    ]
    for what, count, unique in (("readings", stored.height, len(rows)), ("records", len(records), len(set(records)))):
        verdict.doubled += count - unique
        if count != unique:
            verdict.wrong.append(f"{count - unique} {what} stand twice in the archive")
    told = {key: said for key, (_, said) in found.readings.items()}
    if rows != told:
        missing, alien = told.keys() - rows.keys(), rows.keys() - told.keys()
        verdict.lost += len(missing)
        verdict.wrong.append(
            f"archive: {len(missing)} readings are not there, {len(alien)} came from nowhere, or differ"
        )
    if set(records) != found.records:
        gone, alien = found.records - set(records), set(records) - found.records
        verdict.lost += len(gone)
        verdict.wrong.append(f"archive: records {sorted(gone)[:5]} are not there, {sorted(alien)[:5]} from nowhere")


def _has(herd: Herd, name: str) -> bool:
    return Archive(str(herd.folder / SERVER / "archive")).has(name)


def _truth(herd: Herd, found: Books, verdict: Verdict) -> None:
    """Each reading is an answer that was given, and no answer counts twice."""
    said = {(edge.name, bank.stack): bank.said for edge in herd.edges.values() for bank in edge.banks}
    came = Counter((place, answer) for place, answer in found.readings.values())
    invented = [one for one in came if not 1 <= one[1] <= said[one[0][:2]]]
    twice = [one for one, times in came.items() if times > 1]
    verdict.doubled += len(twice)
    if invented or twice:
        verdict.wrong.append(f"{len(invented)} readings that no battery said, {len(twice)} answers twice: {twice[:3]}")


def _slots(herd: Herd, found: Books, shape: Shape, verdict: Verdict) -> None:
    """Readings and gap slots of every module are its edge's slots."""
    for name, edge in herd.edges.items():
        for bank in edge.banks:
            for module in bank.modules:
                items, period = found.items[name, bank.stack, module], round(bank.period_s * 1000)
                starts, spoiled = found.starts[name], shape.spoiled[name]
                hurt = {
                    life
                    for begin, end in spoiled
                    for life in range(books.life_at(begin, starts), books.life_at(end, starts) + 1)
                }
                mistakes = list(books.wrong(items, starts, period, hurt, _begun_in(starts, shape.in_memory[name])))
                whole = [item for life, mine in books.lives(items, starts).items() if life not in hurt for item in mine]
                verdict.exact += sum(item.slots for item in whole if item.sort != "absence")
                if spoiled:
                    holes = list(books.uncovered(items, starts, period, spoiled))
                    mistakes += [text for text, _ in holes if text]
                    verdict.forgotten += sum(slots for text, slots in holes if not text)
                verdict.wrong += [f"{name} {bank.stack} {module}: {text}" for text in mistakes[:3]]


def _begun_in(starts: Sequence[int], spans: Iterable[tuple[int, int]]) -> set[int]:
    """The numbers of the lives that began within one of the spans."""
    return {life for begin, end in spans for life, start in enumerate(starts, 1) if begin <= start <= end}


def _again(herd: Herd, verdict: Verdict) -> None:
    """All of the journal once more: nothing changes."""
    before, points = _state(herd), herd.gate.points() if herd.gate else 0
    for sink in _sinks(herd):
        for segment in files.segments(herd.keeper.kept):
            sink.write(segment, decode(list(files.entries(herd.keeper.kept, segment))))
    if _state(herd) != before:
        verdict.replayed += 1
        verdict.wrong.append("the archive changed when the journal was applied again")
    if herd.gate:
        distinct = herd.table("reading").select("site", "stack", "module", "ts").n_unique()
        if not points == herd.gate.points() == distinct:
            verdict.replayed += 1
            verdict.wrong.append(f"InfluxDB has {points} points, {herd.gate.points()} after all again, not {distinct}")


def _state(herd: Herd) -> dict[str, tuple[int, int]]:
    names = [name for name in ("reading", *RECORDS) if _has(herd, name)]
    return {name: ((frame := herd.table(name)).height, frame.hash_rows().sum()) for name in names}


def _sinks(herd: Herd) -> Iterator[ArchiveSink | InfluxSink]:
    state, config = herd.folder / SERVER, load_fleet(herd.folder / "fleet.toml")
    series = next(iter(_series(state)))
    yield ArchiveSink(Archive(str(state / "archive")), series)
    if config.influx:
        writer = InfluxWriter(config.influx, lambda line, why: None)
        yield InfluxSink(writer, {site.id: site for site in config.site}, herd.folder / "again.position")


def _series(state: Path) -> list[str]:

    with sqlite3.connect(state / "ledger.sqlite") as db:
        return [row[0] for row in db.execute("select name from series")]
