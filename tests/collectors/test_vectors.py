"""Every captured frame through its driver, as the command line decodes it. One file a case: tests/vectors/<driver>/."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from collectors.decode import parse, results
from collectors.drivers import WHERE, driver
from collectors.kernel import CanFrame

VECTORS = Path(__file__).parents[1] / "vectors"
CASES = sorted(path.relative_to(VECTORS).with_suffix("").as_posix() for path in VECTORS.glob("*/*.toml"))
KEYS = {"source", "note", "made", "request", "frame", "bad", "expect"}


def load(case: str) -> dict[str, Any]:
    return tomllib.loads((VECTORS / f"{case}.toml").read_text(encoding="utf-8"))


def decoded(case: str, vector: dict[str, Any]) -> list[dict[str, object]]:
    frames = vector["frame"] if isinstance(vector["frame"], list) else [vector["frame"]]
    known = driver(case.partition("/")[0])
    request = parse(known, vector["request"]) if "request" in vector else None
    assert not isinstance(request, CanFrame)
    return list(results(known, frames, request))


def part_of(said: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """What was said of those names that the case speaks of; a mapping is compared name by name too."""
    return {
        name: {key: said.get(name, {}).get(key) for key in value} if isinstance(value, dict) else said.get(name)
        for name, value in expected.items()
    }


@pytest.mark.parametrize("case", CASES)
def test_a_frame_says_what_its_source_says(case: str) -> None:
    vector = load(case)
    said, expected = decoded(case, vector), vector.get("expect", [])
    if "bad" in vector:
        assert [list(each) for each in said] == [["error", "reason"]]
        assert vector["bad"] in str(said[0]["reason"])
        return
    assert expected
    assert [part_of(each, wanted) for each, wanted in zip(said, expected, strict=True)] == expected


@pytest.mark.parametrize("case", CASES)
def test_a_case_names_its_source_and_says_no_more_than_it_must(case: str) -> None:
    vector = load(case)
    assert vector["source"]
    assert set(vector) <= KEYS
    assert ("bad" in vector) != ("expect" in vector)


def test_every_driver_has_a_vector() -> None:
    assert {case.partition("/")[0] for case in CASES} == set(WHERE)
