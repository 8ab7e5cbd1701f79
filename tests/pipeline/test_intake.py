"""What becomes of a message, decided without a broker: identity of batteries, clocks, receipts, dead letters."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellherd import topics, wire
from cellherd.errors import BadPayload
from cellherd.settings import Site
from pipeline.edges import Edges
from pipeline.ingest.envelope import open_envelope
from pipeline.ingest.identity import LAPSE_MS, Identity, usable
from pipeline.ingest.intake import Intake
from pipeline.ingest.intervals import Intervals
from pipeline.ingest.ledger import BOOTS, Ledger
from pipeline.ingest.receipts import MOST, Receipts
from pipeline.ingest.subscriber import Line, Message, Subscriber
from pipeline.journal.deadletters import DeadLetters
from pipeline.journal.entry import Dead, Entry
from pipeline.storing.edge_points import frame
from tests.pipeline.plain_edge import NOW, reading

STREAM, EPOCH = "5" * 32, "e" * 16
SOURCE = ("pi1", STREAM, EPOCH)
TOPIC = topics.readings("pi1", "s1", "m1")
PLACE, OTHER = ("pi1", "s1", "m1"), ("pi2", "s1", "m1")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def taken(intake: Intake, seqs: list[int], at: int = NOW, **changed: object) -> Entry | Dead | None:
    body = json.loads(reading(STREAM, EPOCH, seqs)) | changed
    return intake.take(TOPIC, json.dumps(body).encode(), at)


def test_a_clock_that_is_not_disciplined_gets_the_earliest_anchor_of_its_boot(ledger: Ledger) -> None:
    intake = Intake({"pi1": "site1"}, ledger)
    offsets = []
    for seq, late in enumerate((900, 20, 400), 1):
        entry = taken(intake, [seq], NOW + 10_000 * seq + late, clk="rtc", sent_bt=10_000 * seq)
        assert isinstance(entry, Entry)
        offsets.append(entry.offset_ms)
    assert offsets == [NOW + 900, NOW + 20, NOW + 20]
    disciplined = taken(intake, [4], clk="ntp")
    assert isinstance(disciplined, Entry)
    assert disciplined.offset_ms is None


def test_an_edge_that_makes_up_boots_does_not_fill_the_memory(ledger: Ledger) -> None:
    for number in range(3 * BOOTS):
        ledger.anchor("pi1", f"{number:08x}", number)
    assert len(ledger._anchors["pi1"]) == BOOTS


def test_the_ledger_remembers_numbers_names_and_clocks(ledger: Ledger, tmp_path: Path) -> None:
    ledger.seen(SOURCE).add(1, 9)
    ledger.touch(SOURCE)
    ledger.identity.learn(PLACE, "LFP-42", NOW)
    ledger.anchor("pi1", "0badcafe", 77)
    ledger.checkpoint(5, [("pi1", NOW, 1, 0, "{}", "{}")])
    ledger.close()
    again = Ledger(tmp_path / "ledger.sqlite")
    assert again.checkpointed() == 5
    assert list(again.seen(SOURCE)) == [(1, 9)]
    assert again.identity.unit("site1", PLACE) == "LFP-42"
    assert again.anchor("pi1", "0badcafe", 99) == 77
    assert again.edges()[0]["last_seen"] == NOW


def test_a_serial_that_two_places_claim_names_neither(ledger: Ledger) -> None:
    identity = Identity()
    identity.learn(PLACE, "LFP-42", NOW)
    assert identity.unit("site1", PLACE) == "LFP-42"
    identity.learn(OTHER, "LFP-42", NOW + 1)
    assert identity.unit("site1", PLACE) == "site1.s1.m1.1"
    assert identity.unit("site2", OTHER) == "site2.s1.m1.1"
    identity.learn(OTHER, "LFP-43", NOW + 2)
    assert identity.unit("site1", PLACE) == "LFP-42"


def test_a_battery_that_was_moved_keeps_its_name_once_its_old_place_is_silent() -> None:
    identity = Identity()
    identity.learn(PLACE, "LFP-42", NOW)
    identity.learn(OTHER, "LFP-42", NOW + LAPSE_MS + 1)
    assert identity.unit("site2", OTHER) == "LFP-42"
    assert identity.unit("site1", PLACE) == "site1.s1.m1.1"


@pytest.mark.parametrize("serial", ["", "   ", "0000000000", "FFFF", "a" * 65, "site1.s1.m1.1", "AB\x00CD"])
def test_a_serial_that_names_nobody_is_not_used(serial: str) -> None:
    assert usable(serial) == ""


def test_every_run_that_was_touched_is_told_however_many_there_are() -> None:
    known = Intervals((n, n) for n in range(2, 1000, 3))
    receipts = Receipts()
    receipts.owe(SOURCE, list(range(2, 1000, 3)))
    told = [json.loads(body) for _, body in receipts.due(0.0, NOW, lambda _: known)]
    assert all(len(receipt["also"]) <= MOST for receipt in told)
    assert [run for receipt in told for run in receipt["also"]] == [[n, n] for n in range(2, 1000, 3)]


def test_an_edge_is_told_five_times_a_second_at_most() -> None:
    receipts = Receipts()

    def due(now: float) -> int:
        receipts.owe(SOURCE, [1])
        return len(list(receipts.due(now, NOW, lambda _: Intervals([(1, 1)]))))

    assert [due(now) for now in (0.0, 0.05, 0.15, 0.25, 0.3, 0.5)] == [1, 0, 0, 1, 0, 1]


@pytest.mark.parametrize("uptime_s", [0.0, 5_000.0, 100_000.0, 1e7])
def test_the_first_receipt_goes_out_at_once_however_long_the_machine_is_up(uptime_s: float) -> None:
    receipts = Receipts()
    receipts.owe(SOURCE, [1])
    assert len(list(receipts.due(uptime_s, NOW, lambda _: Intervals([(1, 1)])))) == 1


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_random_bytes_are_a_bad_payload_and_nothing_else(payload: bytes) -> None:
    for channel in ("r", "rz", "e"):
        with pytest.raises(BadPayload):
            open_envelope(topics.parse(f"fleet/pi1/{channel}/s1/m1"), payload)


def info(serial: str, seq: int, *, ts: int, clk: str = "ntp", bt: int = 1000) -> bytes:
    head = {"stream": STREAM, "epoch": EPOCH, "seq": seq, "module": "m1", "kind": "module", "boot": "0badcafe"}
    stamps = {"bt": bt, "ts": ts, "clk": clk, "sent_bt": 5000, "sent_ts": NOW}
    return wire.pack_record(head | stamps, "info", {"serial": serial})


def test_an_old_info_that_comes_late_does_not_bring_the_former_battery_back(ledger: Ledger) -> None:
    intake, topic = Intake({"pi1": "site1"}, ledger), topics.records("pi1", "s1", "m1")
    intake.take(topic, info("NEW-2", 2, ts=NOW), NOW + 10)
    intake.take(topic, info("OLD-1", 1, ts=NOW - 86_400_000), NOW + 20)
    entry = taken(intake, [3], NOW + 30)
    assert isinstance(entry, Entry)
    assert entry.unit == "NEW-2"


def test_an_info_of_an_edge_without_a_clock_is_placed_by_its_boot_clock(ledger: Ledger) -> None:
    intake, topic = Intake({"pi1": "site1"}, ledger), topics.records("pi1", "s1", "m1")
    intake.take(topic, info("NEW-2", 2, ts=0, clk="rtc", bt=4000), NOW)
    intake.take(topic, info("OLD-1", 1, ts=2**52, clk="rtc", bt=1000), NOW + 20)
    assert ledger.identity.unit("site1", PLACE) == "NEW-2"
    intake.take(topic, info("THIRD-3", 4, ts=2**60, clk="ntp"), NOW + 30)
    assert ledger.identity.unit("site1", PLACE) == "THIRD-3", "a time that is none counts as its arrival"


@pytest.mark.parametrize("key", ["stream", "epoch", "seq"])
@pytest.mark.parametrize("spelled", ['"{0}"', '"\\u00{1:02x}{2}"'])
def test_an_identity_that_stands_twice_is_refused_however_it_is_spelled(key: str, spelled: str) -> None:
    double = spelled.format(key, ord(key[0]), key[1:]) + ":[9],"
    payload = reading(STREAM, EPOCH, [1]).replace(b"{", b"{" + double.encode(), 1)
    with pytest.raises(BadPayload):
        open_envelope(topics.parse(TOPIC), payload)


def test_status_and_health_become_the_edges_state(ledger: Ledger) -> None:
    intake = Intake({"pi1": "site1"}, ledger)
    assert intake.take(topics.status("pi1"), b'{"v":1,"online":1}', NOW) is None
    health = {"v": 1, "depth": 7, "oldest_ts": NOW - 500, "drops": {"spool_cap": 2}, "ports": {"a": {"polls_ok": 5}}}
    assert intake.take(topics.health("pi1"), json.dumps(health).encode(), NOW) is None
    said: dict[str, int] = {}
    sites = {"site1": Site(id="site1", installer="acme", edge="pi1")}
    row = frame(intake.edges, sites, said).row(0, named=True)
    assert (row["online"], row["depth"], row["oldest_ms"], row["drops"], row["polls_ok"]) == (1, 7, 500, 2, 5)
    assert frame(intake.edges, sites, said).is_empty(), "an edge that is silent has no new point"


def dead(payload: bytes, edge: str = "pi1") -> Dead:
    return Dead(Entry(topics.readings(edge, "s1", "m1"), payload, NOW, "site1", "u", 5, (3, 4)), "schema", "why")


def test_a_dead_letter_keeps_all_that_was_decided_and_counts_its_doubles(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "letters.sqlite")
    letters.put([dead(b"a"), dead(b"b")])
    letters.put([dead(b"a")])
    found = {letter.dead.entry.payload: letter for letter in letters.newest()}
    assert found[b"a"].dead == dead(b"a")
    assert (found[b"a"].times, found[b"b"].times) == (2, 1)


def test_a_loud_edge_pushes_out_its_own_letters_and_they_are_counted(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "letters.sqlite", cap=100_000)
    letters.put([dead(b"quiet", "pi2")])
    letters.put(dead(f"{n}".encode() * 100) for n in range(1000))
    counts = letters.counts()
    assert counts["dropped"] > 0
    assert counts["kept"] + counts["dropped"] == 1001
    assert "quiet" in {letter.dead.entry.payload.decode()[:5] for letter in letters.newest(10_000)}


def test_a_letter_that_came_back_dead_is_not_forgotten(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "letters.sqlite")
    letters.put([dead(b"a")])
    assert letters.want() == 1
    (letter,) = letters.wanted()
    letters.put([dead(b"a")])
    letters.remove(letter)
    assert letters.counts()["kept"] == 1
    assert letters.wanted() == []


def test_bombs_and_giants_are_too_big() -> None:
    for topic, payload in ((TOPIC, b"x" * (wire.MAX_OUT + 1)), ("fleet/pi1/rz/s1/m1", wire.deflate(b" " * 10**6))):
        with pytest.raises(BadPayload, match="too_big"):
            open_envelope(topics.parse(topic), payload)


def test_edges_without_a_state_have_no_point() -> None:
    assert frame(Edges(), {}, {}).is_empty()


def test_a_late_acknowledgement_of_an_older_connection_is_not_sent() -> None:
    subscriber = Subscriber(Line("127.0.0.1", 1))
    subscriber.connected.set()
    subscriber._connection = 2
    sent: list[bytes] = []
    line = SimpleNamespace(send=sent.append)
    subscriber.done(
        [Message("t", b"", NOW, connection, mid, qos) for connection, mid, qos in ((1, 7, 1), (2, 8, 1), (2, 9, 0))]
    )
    subscriber._send(line)  # type: ignore[arg-type]
    assert sent == [b"\x40\x02\x00\x08"]
    subscriber.stop()


def test_an_acknowledgement_that_could_not_leave_is_forgotten_with_its_connection() -> None:
    subscriber = Subscriber(Line("127.0.0.1", 1))
    sent: list[bytes] = []
    line = SimpleNamespace(send=sent.append)
    subscriber.done([Message("t", b"", NOW, 0, 7, 1)])
    subscriber._send(line)  # type: ignore[arg-type]
    assert sent == []
    subscriber._connection = 1
    subscriber.connected.set()
    subscriber._send(line)  # type: ignore[arg-type]
    assert sent == []
    subscriber.stop()


def test_a_mistake_of_ours_costs_one_message_and_not_the_line(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    intake = Intake({"pi1": "site1"}, ledger)
    with monkeypatch.context() as broken:
        broken.setattr(ledger, "anchor", lambda *_: 1 / 0)
        poisoned = taken(intake, [1])
    assert isinstance(poisoned, Dead)
    assert "ZeroDivisionError" in poisoned.reason
    assert isinstance(taken(intake, [1]), Entry), "it was not counted as stored"


def test_however_many_edges_are_loud_the_cap_holds_and_what_went_is_counted(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "letters.sqlite", cap=100_000)
    loud = [Dead(Entry(f"fleet/pi{n}/r/s1/m1", bytes(2_000), NOW, "", ""), "schema", "made up") for n in range(200)]
    letters.put(loud)
    counts = letters.counts()
    assert counts["kept"] * 2_256 <= 100_000
    assert counts["kept"] + counts["dropped"] == 200
    letters.close()


def test_dead_letters_of_two_processes_share_one_cap(tmp_path: Path) -> None:
    intake, storing = (DeadLetters(tmp_path / "letters.sqlite", cap=100_000) for _ in range(2))
    for number in range(100):
        for letters in (intake, storing):
            name = "intake" if letters is intake else "storing"
            entry = Entry(f"fleet/pi1/{name}/{number}", bytes(2_000), NOW, "", "")
            letters.put([Dead(entry, "schema", "made to be refused")])
    counts = intake.counts()
    assert counts["kept"] * 2_256 <= 100_000
    assert counts["kept"] + counts["dropped"] == 200
    intake.close()
    storing.close()
