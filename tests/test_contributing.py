"""The driver of CONTRIBUTING.md is real: it decodes its vector, keeps to its allow-list and survives rubbish."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellherd.errors import BadFrame
from cellherd.reading import as_row
from collectors.kernel import Driver, converse, permits

PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found, f"no {language} block"
    return found[1]


def example() -> Driver:
    module = ModuleType("acme")
    exec(compile(block("python"), "CONTRIBUTING.md", "exec"), module.__dict__)  # noqa: S102 - our own page
    found: Driver = module.DRIVER
    return found


DRIVER = example()
VECTOR = tomllib.loads(block("toml"))
FRAME, REQUEST = bytes.fromhex(VECTOR["frame"]), bytes.fromhex(VECTOR["request"])


def test_the_example_decodes_its_vector() -> None:
    (measured,) = DRIVER.decode(FRAME, REQUEST)
    row = as_row(measured)
    assert {name: row[name] for name in VECTOR["expect"][0]} == VECTOR["expect"][0]


def test_the_example_asks_only_what_it_may() -> None:
    asked = []
    converse(DRIVER.poll(0), lambda request: (asked.append(request), FRAME)[1])  # type: ignore[misc]
    assert asked
    assert all(permits(DRIVER, request) for request in asked)


@given(st.binary(max_size=20))
def test_the_example_survives_rubbish(noise: bytes) -> None:
    try:
        DRIVER.decode(noise, None)
    except BadFrame:
        return
    assert len(noise) == len(FRAME)


def test_the_example_finds_its_answer_behind_an_echo() -> None:
    assert DRIVER.extract
    assert DRIVER.extract(REQUEST, FRAME) == FRAME
    assert DRIVER.extract(REQUEST, FRAME[:-1]) is None


def test_the_example_command_prints_what_the_page_promises() -> None:
    line = re.search(r"cellherd decode acme --request (\w+) (\w+)", PAGE)
    assert line
    assert (bytes.fromhex(line[1]), bytes.fromhex(line[2])) == (REQUEST, FRAME)
    with pytest.raises(BadFrame):
        DRIVER.decode(FRAME[:-1] + b"\x00", REQUEST)
