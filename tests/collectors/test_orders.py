"""What the server tells an edge is read with the same distrust as everything else."""

from __future__ import annotations

import json

import pytest

from cellherd.errors import BadPayload
from collectors.orders import Receipt, Replay, parse

IDS = {"v": 1, "stream": "a" * 32, "epoch": "b" * 16}
RECEIPT, REPLAY = "cmd/hillside/receipt", "cmd/hillside/replay"


def test_a_receipt_and_a_replay_are_read() -> None:
    body = {**IDS, "upto": 7, "also": [[9, 11]], "bad": [[13, "range"]], "srv_ts": 1}
    receipt = parse("hillside", RECEIPT, json.dumps(body).encode())
    assert receipt == Receipt("a" * 32, "b" * 16, 7, ((9, 11),), {13: "range"}, 1)
    assert [seq for seq in range(1, 15) if receipt.settles(seq)] == [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 13]
    replay = parse("hillside", REPLAY, json.dumps({**IDS, "id": "r", "from": 3, "to": 5}).encode())
    assert replay == Replay("a" * 32, "b" * 16, 3, 5)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {**IDS, "v": 2, "upto": 1},
        IDS,
        {**IDS, "upto": "1"},
        {**IDS, "upto": True},
        {**IDS, "upto": 2**63},
        {**IDS, "upto": 1, "also": [1, 2]},
        {**IDS, "upto": 1, "also": [[1, 2, 3]]},
        {**IDS, "upto": 1, "also": 3},
        {**IDS, "upto": 1, "bad": [["1", "range"]]},
        {**IDS, "upto": 1, "bad": [[1, 2]]},
        {**IDS, "upto": 1, "srv_ts": "now"},
        {"v": 1, "stream": 5, "epoch": "b", "upto": 1},
    ],
)
def test_a_receipt_that_is_none_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(BadPayload):
        parse("hillside", RECEIPT, json.dumps(body).encode())


def test_orders_for_others_and_rubbish_are_refused() -> None:
    for topic, payload in (
        ("cmd/meadow/receipt", json.dumps({**IDS, "upto": 1}).encode()),
        (RECEIPT, b"\xff"),
        (RECEIPT, b"[]"),
    ):
        with pytest.raises(BadPayload):
            parse("hillside", topic, payload)
