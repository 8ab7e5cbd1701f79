"""Fuzzing that follows the branches of a driver: python -m tests.fuzz.guided DRIVER --seconds 60

Needs atheris (dependency group `fuzz`). It begins with the vectors; half of what it makes is closed with a right
length and checksum. What it finds is printed as a frame in hex and becomes a vector.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris
from typer import echo

from cellherd.errors import BadFrame

WATCHED = ["collectors", "cellherd.reading"]
with atheris.instrument_imports(include=WATCHED):
    from collectors.drivers import driver
    from collectors.kernel import CanFrame, Chunk
    from tests.fuzz.judge import judge
    from tests.fuzz.mutate import SEALS
    from tests.fuzz.vectors import Case, cases

LONGEST = 4096
ID = 4
"""Bytes in front of the data of a CAN frame."""


def main() -> None:
    """Fuzz one driver; ends with 0 if nothing was found."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("driver")
    options.add_argument("--seconds", type=int, default=60)
    options.add_argument("--seed", type=int, default=0, help="0 draws one, which is printed")
    told = options.parse_args()
    with atheris.instrument_imports(include=WATCHED):
        driver(told.driver)
    pool = cases(told.driver)[:256]
    with tempfile.TemporaryDirectory() as folder:
        for i, case in enumerate(pool):
            for sealed in (0, 1):
                (Path(folder) / f"{i}-{sealed}").write_bytes(bytes((i, sealed)) + written(case.frame))
        limits = [f"-max_total_time={told.seconds}", f"-max_len={LONGEST}", f"-seed={told.seed}", "-timeout=10"]
        atheris.Setup([sys.argv[0], folder, f"-artifact_prefix={folder}/", *limits], target(told.driver, pool))
        atheris.Fuzz()


def target(name: str, pool: tuple[Case, ...]) -> Callable[[bytes], None]:
    """One input: which vector it began with, whether to close it, and the frame."""

    def one(data: bytes) -> None:
        if len(data) < 2 + ID:
            return
        case = pool[data[0] % len(pool)]
        frame = made(name, case.frame, data[2:], sealed=bool(data[1] & 1))
        try:
            judge(name, frame, case.request if data[1] & 2 == 0 else None)
        except BaseException:
            echo(f"{name}, after {case.name}: {frame if isinstance(frame, CanFrame) else frame.hex()}")
            raise

    return one


def written(frame: Chunk) -> bytes:
    return frame.id.to_bytes(ID, "big") + frame.data if isinstance(frame, CanFrame) else frame


def made(name: str, like: Chunk, data: bytes, *, sealed: bool) -> Chunk:
    if isinstance(like, CanFrame):
        id_ = int.from_bytes(data[:ID], "big") & 0x1FFFFFFF
        return CanFrame(id_, data[ID : ID + 64], like.extended or id_ > 0x7FF)
    if sealed and name in SEALS:
        try:
            return SEALS[name](data, lambda payload: payload)
        except (BadFrame, IndexError):  # too short, or no frame at all: it stays as it is
            return data
    return data


if __name__ == "__main__":
    main()
