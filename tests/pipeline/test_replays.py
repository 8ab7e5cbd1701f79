"""The server asks for what never came: when, for how much, and until when; and a restored server is whole again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cellherd import topics
from pipeline.edges import Edge
from pipeline.ingest import replays
from pipeline.ingest.intake import Intake
from pipeline.ingest.intervals import Intervals, holes
from pipeline.ingest.ledger import Ledger
from pipeline.ingest.replays import Replays, missing
from tests.enrolled import EDGE, SITE, place
from tests.pipeline.plain_edge import NOW, reading

STREAM, FIRST, SECOND = "5" * 32, "a" * 16, "b" * 16
AFTER_S = 60.0


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def edge(*epochs: tuple[str, Any], online: int = 1) -> Edge:
    return Edge(NOW, {"online": online, "stream": STREAM, "epochs": [list(one) for one in epochs]})


def came(ledger: Ledger, epoch: str, *runs: tuple[int, int], name: str = "pi1") -> None:
    for run in runs:
        ledger.seen((name, STREAM, epoch)).add(*run)
    ledger.touch((name, STREAM, epoch))


def asked(seeker: Replays, now: float, known: Edge) -> list[tuple[str, int, int]]:
    found = [(topic, json.loads(payload)) for topic, payload in seeker.due(now, {"pi1": known})]
    assert all(topic == topics.replay("pi1") and body["stream"] == STREAM for topic, body in found)
    assert len({body["id"] for _, body in found}) == len(found)
    return [(body["epoch"], body["from"], body["to"]) for _, body in found]


def test_holes_are_what_no_set_holds() -> None:
    assert list(holes(10, Intervals([(2, 3), (7, 7)]), Intervals([(3, 4), (10, 12)]))) == [(1, 1), (5, 6), (8, 9)]
    assert list(holes(3, Intervals(), Intervals())) == [(1, 3)]
    assert list(holes(3, Intervals([(1, 9)]), Intervals())) == []
    assert list(holes(0, Intervals())) == []


def test_a_hole_is_asked_for_once_it_is_old_and_then_ever_more_seldom(ledger: Ledger) -> None:
    seeker, known = Replays(ledger, AFTER_S), edge((FIRST, 10))
    came(ledger, FIRST, (1, 3), (6, 8))
    assert asked(seeker, 100, known) == []
    assert asked(seeker, 155, known) == []
    wanted = [(FIRST, 4, 5), (FIRST, 9, 10)]
    assert asked(seeker, 165, known) == wanted
    assert seeker.missing() == {"pi1": 4}
    assert asked(seeker, 280, known) == []
    assert asked(seeker, 290, known) == wanted
    assert asked(seeker, 540, known) == wanted
    assert asked(seeker, 540 + 8 * AFTER_S + 1, known) == []
    assert asked(seeker, 540 + 40 * AFTER_S, known) == [], "nobody answers: left alone"
    assert seeker.requests == 6
    came(ledger, FIRST, (4, 5), (9, 10))
    assert asked(seeker, 9000, known) == []
    assert seeker.missing() == {}


def test_a_backlog_that_moves_is_not_asked_for(ledger: Ledger) -> None:
    seeker, known = Replays(ledger, AFTER_S), edge((FIRST, 10_000))
    for turn in range(50):
        came(ledger, FIRST, (1, 100 * (turn + 1)))
        assert asked(seeker, 100 + 50 * turn, known) == []
    assert seeker.missing() == {"pi1": 5000}


def test_a_lost_server_asks_for_everything_a_helping_after_the_other(ledger: Ledger) -> None:
    seeker, known = Replays(ledger, AFTER_S), edge((FIRST, 4), (SECOND, 30_000))
    asked(seeker, 0, known)
    helping = asked(seeker, 100, known)
    assert helping == [(FIRST, 1, 4), (SECOND, 1, replays.HELPING - 4)]
    came(ledger, FIRST, (1, 4))
    came(ledger, SECOND, (1, 5))
    assert asked(seeker, 120, known) == [], "it is on its way"
    came(ledger, SECOND, (1, helping[1][2]))
    following = asked(seeker, 140, known)
    assert following == [(SECOND, helping[1][2] + 1, helping[1][2] + replays.HELPING)], "at once, for all of it came"


def test_what_a_gap_tells_is_not_asked_for_even_after_a_new_start(ledger: Ledger, tmp_path: Path) -> None:
    intake = Intake({"pi1": "site1"}, ledger)
    assert intake.take(topics.readings("pi1", "s1", "m1"), reading(STREAM, FIRST, [1, 2, 6]), NOW)
    body = {"reason": "spool_cap", "slots": 3, "from_seq": 3, "to_seq": 5, "of_epoch": FIRST}
    head = {"v": 1, "stream": STREAM, "epoch": SECOND, "seq": 1, "module": "m1", "kind": "module", "boot": "0badcafe"}
    times = {"bt": 1, "ts": NOW, "clk": "ntp", "sent_bt": 1, "sent_ts": NOW}
    record = json.dumps({**head, **times, "event": "gap", "body": body}).encode()
    assert [*missing(ledger, "pi1", edge((FIRST, 6), (SECOND, 1)))] == [(FIRST, 3, 5), (SECOND, 1, 1)]
    assert intake.take(topics.records("pi1", "s1", "m1"), record, NOW)
    assert missing(ledger, "pi1", edge((FIRST, 6), (SECOND, 1))) == []
    ledger.checkpoint(1, ())
    ledger.close()
    assert missing(Ledger(tmp_path / "ledger.sqlite"), "pi1", edge((FIRST, 6), (SECOND, 1))) == []


@pytest.mark.parametrize(
    "body", [{"from_seq": 5, "to_seq": 3}, {"from_seq": 0, "to_seq": 2}, {"to_seq": 2}, {"from_seq": "x"}]
)
def test_a_gap_that_makes_no_sense_of_numbers_excuses_none(ledger: Ledger, body: dict[str, Any]) -> None:
    intake = Intake({"pi1": "site1"}, ledger)
    head = {"v": 1, "stream": STREAM, "epoch": FIRST, "seq": 9, "module": "m1", "kind": "module", "boot": "0badcafe"}
    times = {"bt": 1, "ts": NOW, "clk": "ntp", "sent_bt": 1, "sent_ts": NOW}
    told = {"reason": "spool_cap", "slots": 3, "of_epoch": FIRST, **body}
    record = json.dumps({**head, **times, "event": "gap", "body": told}).encode()
    assert intake.take(topics.records("pi1", "s1", "m1"), record, NOW)
    assert missing(ledger, "pi1", edge((FIRST, 9))) == [(FIRST, 1, 8)]


def test_a_number_refused_alone_is_not_asked_for(ledger: Ledger) -> None:
    intake = Intake({"pi1": "site1"}, ledger)
    for seqs in ([1], [2, 3]):
        bad = reading(STREAM, FIRST, seqs).replace(b'"clk":"ntp"', b'"clk":"moon"')
        intake.take(topics.readings("pi1", "s1", "m1"), bad, NOW)
    assert missing(ledger, "pi1", edge((FIRST, 3))) == [(FIRST, 2, 3)]


def test_holes_of_an_epoch_that_the_edge_no_longer_names_come_first(ledger: Ledger) -> None:
    came(ledger, FIRST, (1, 3), (7, 9))
    ledger.checkpoint(1, ())
    assert missing(ledger, "pi1", edge((SECOND, 2))) == [(FIRST, 4, 6), (SECOND, 1, 2)]


def test_nobody_is_asked_who_is_away_or_tells_nonsense(ledger: Ledger) -> None:
    nonsense = [edge((FIRST, 9), online=0), edge(("zz", 9)), edge((FIRST, "9")), edge((FIRST, 2**70)), Edge(NOW, {}),
                Edge(NOW, {"online": 1, "stream": STREAM, "epochs": 5}),
                Edge(NOW, {"online": 1, "stream": 5})]  # fmt: skip
    for known in nonsense:
        seeker = Replays(ledger, AFTER_S)
        assert [asked(seeker, now, known) for now in (0, 100, 1000)] == [[], [], []]
    never = Replays(ledger, 0)
    assert [asked(never, now, edge((FIRST, 9))) for now in (0, 100, 1000)] == [[], [], []]


def test_after_a_restore_a_fleet_is_asked_in_turn(ledger: Ledger) -> None:
    seeker, fleet = Replays(ledger, AFTER_S), {f"pi{n}": edge((FIRST, 5)) for n in range(60)}
    for now in range(0, 120, 1):
        for topic, _ in seeker.due(float(now), fleet):
            assert topic
    busy = [one for one in seeker._courses.values() if one.helping]
    assert len(busy) == replays.AT_ONCE
    assert seeker.requests == replays.AT_ONCE


@pytest.mark.slow
def test_a_server_restored_from_yesterday_gets_back_what_came_since(tmp_path: Path) -> None:
    more = "[replay]\nafter_s = 2\n"
    with place(tmp_path, more=more) as here:
        here.server()
        here.run("enroll", EDGE, "--site", SITE, "--installer", "acme", "--url", f"mqtt://127.0.0.1:{here.port}",
                 "--config", "fleet.toml", "--state", "server", "--out", "pi")  # fmt: skip
        here.batteries()
        here.edge()
        here.until(lambda: len(here.stored()) >= 3, "readings")
        here.stop("server")
        shutil.copytree(tmp_path / "server", tmp_path / "backup")
        kept = set(here.stored())

        here.server()
        here.until(lambda: len(here.stored()) >= len(kept) + 6, "readings after the backup")
        here.stop("server")
        lost = set(here.stored()) - kept
        shutil.rmtree(tmp_path / "server")
        shutil.copytree(tmp_path / "backup", tmp_path / "server")

        here.server()
        here.until(lambda: lost <= set(here.stored()), "what the restored server had forgotten")
        found = here.stored()
        assert len(found) == len(set(found))

        def whole() -> bool:
            told = [
                json.loads(line) for line in here.run("ingest", "status", "--state", "server", "--json").splitlines()
            ]
            return [(one["edge"], one["missing"]) for one in told] == [(EDGE, 0)]

        here.until(whole, "a status that misses nothing")
        assert "numbers never came" in here.log("server")
