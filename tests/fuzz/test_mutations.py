"""Every vector, thousands of times worse: a reading that reaches the archive, or BadFrame, and nothing else.

`CELLHERD_FUZZ=10000` for the long run; `CELLHERD_FUZZ_SEED` repeats a find.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise

import pytest

from cellherd.errors import BadFrame
from cellherd.reading import Measured, as_info
from collectors.drivers import WHERE, driver
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.fleet import emulator
from collectors.kernel import CanFrame, Chunk
from tests.fuzz.judge import SLOW_S, accepted, judge
from tests.fuzz.mutate import MOST, bytes_of, mutants
from tests.fuzz.vectors import cases

COUNT = int(os.environ.get("CELLHERD_FUZZ", "200"))
SEED = int(os.environ.get("CELLHERD_FUZZ_SEED", "0")) or random.randrange(1, 2**31)
LISTENING = [name for name in sorted(WHERE) if driver(name).feed]
BYTES = [name for name in sorted(WHERE) if "can" not in driver(name).links]
RUNS = (
    b"\0",
    b"\xff",
    b"9",
    b"9 ",
    b" ",
    b"\t",
    b"a",
    b":",
    b"a:",
    b">",
    b"#",
    b"\r\n",
    b"AA",
    b"9%",
    b"9mAH ",
    b"\r\nPID\t",
)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    print(f"CELLHERD_FUZZ_SEED={SEED} CELLHERD_FUZZ={COUNT}")


@pytest.mark.parametrize("name", sorted(WHERE))
def test_a_frame_made_worse_gives_what_the_server_takes_or_a_bad_frame(name: str) -> None:
    decoded = 0
    for case in cases(name):
        for worse in mutants(name, case, COUNT, SEED):
            try:
                decoded += bool(judge(name, worse.frame, worse.request))
            except Exception as error:
                raise AssertionError(f"{case.name}: {worse.frame!r} to {worse.request!r}: {error!r}") from error
    assert decoded, "no mutant passed the checksum: nothing behind it was tried"


# ---- no work without end ----


def swollen(name: str) -> Iterator[bytes]:
    """64 KiB each: beginnings of frames without end, and frames with a long run of one thing inside."""
    draw = random.Random(SEED)
    for case in cases(name):
        data = bytes_of(case.frame)
        for size in (1, 3, 5, 8, len(data) // 2, len(data)):
            yield (data[:size] * MOST)[:MOST] if size else b""
        for run in draw.sample(RUNS, 4):
            at = draw.randint(0, len(data))
            yield data[:at] + (run * MOST)[: max(MOST - len(data), 0)] + data[at:]


@pytest.mark.parametrize("name", BYTES)
def test_64_kib_of_anything_cost_no_more_than_a_moment(name: str) -> None:
    known = driver(name)
    request = next((case.request for case in cases(name) if case.request), None)
    for data in swollen(name):
        jobs: list[Callable[[], object]] = [lambda data=data: known.decode(data, request)]  # type: ignore[misc]
        if known.extract and request:
            jobs.append(lambda data=data: known.extract(request, data))  # type: ignore[misc]
        if known.feed:
            jobs.append(lambda data=data: known.feed(known.fresh(), data))  # type: ignore[misc]
        for job in jobs:
            begin = time.thread_time()
            with suppress(BadFrame):
                job()
            assert time.thread_time() - begin < SLOW_S, data[:80]


# ---- listening ----


def stream(name: str, draw: random.Random) -> list[Chunk]:
    """Frames, sound and worse, in any order; of a line of bytes in pieces of any size."""
    pool = cases(name)
    frames: list[Chunk] = []
    for _ in range(20):
        case = draw.choice(pool)
        frames += [case.frame, *(each.frame for each in mutants(name, case, 2, draw.getrandbits(30)))]
    draw.shuffle(frames)
    return frames if "can" in driver(name).links else pieces(b"".join(map(bytes_of, frames)), draw)


def pieces(data: bytes, draw: random.Random) -> list[Chunk]:
    cuts = sorted({0, len(data), *(draw.randrange(len(data)) for _ in range(20))})
    return [data[start:end] for start, end in pairwise(cuts)]


def heard(name: str, state: object, chunks: list[Chunk]) -> tuple[object, list[Measured]]:
    """What a port makes of it: a bad frame is counted, and listening goes on."""
    feed, found = driver(name).feed, list[Measured]()
    assert feed
    for chunk in chunks:
        with suppress(BadFrame):
            state, readings = feed(state, chunk)
            found += readings
    return state, found


def measured_by(said: Measured) -> tuple[object, ...]:
    """What changes from reading to reading; who a device says it is may stay from before."""
    return said.voltage_mv, said.current_ma, said.soc_pm, said.cell_mv, said.faults


@pytest.mark.parametrize("name", LISTENING)
def test_a_listener_tells_what_the_server_takes_and_finds_its_way_back(name: str) -> None:
    acts, truth = emulator(name), Battery(Plan()).truth()
    at = max(driver(name).default_address, 1)
    once: list[Chunk] = [*acts.broadcast({at: truth}), *(acts.push({at: truth}) if acts.push else ())]
    draw = random.Random(f"{SEED} {name}")
    for _ in range(max(COUNT // 40, 1)):
        state, found = heard(name, driver(name).fresh(), stream(name, draw))
        for measured in found:
            accepted(name, measured)
        _, found = heard(name, state, once * 4)
        assert found, "deaf after noise"
        assert measured_by(found[-1]) == measured_by(heard(name, driver(name).fresh(), once * 4)[1][-1])


def test_a_count_of_cells_that_no_column_holds_does_not_cost_the_rest_of_the_record() -> None:
    """Found in the settings of a JK, whose count has 32 bits, and in five more protocols."""
    mad = Measured(info={"serial": "A1", "n_cells": 1 << 31})
    accepted("jk_pb", mad)
    assert as_info(mad) == {"serial": "A1", "cells_said": 1 << 31}
    assert as_info(Measured(info={"n_cells": 16})) == {"n_cells": 16}


def test_a_can_frame_is_no_frame_of_a_serial_line_nor_the_other_way_round() -> None:
    for name in WHERE:
        wrong: Chunk = CanFrame(0x356, bytes(8)) if name in BYTES else bytes(8)
        with pytest.raises(BadFrame):
            driver(name).decode(wrong, None)
