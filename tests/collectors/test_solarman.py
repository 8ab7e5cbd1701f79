"""Modbus through a Wi-Fi logger: frames that loggers sent, and a fake one that passes questions on."""

from __future__ import annotations

from dataclasses import replace
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellherd.errors import BadFrame, CellherdError, LinkError, Refused, Silent
from collectors.drivers import driver
from collectors.kernel import CanFrame, Registers, Request, Send, converse
from collectors.links import check_link, open_link
from collectors.links.bytewise import ByteLink
from collectors.links.solarman import SolarmanV5, frames
from tests.fakes.logger import KEEP_ALIVE, SERIAL, Logger, logger
from tests.fuzz.test_allow_lists import DANGEROUS, Recorder, is_question

ADDRESSES = {"solis": 1, "foxess": 247, "pylontech_force_modbus": 1}
FILLER = "00" * 14
ASKED = bytes.fromhex(f"a517001045970 0aa4c2c8e02{FILLER}010300aa0001a42a3215".replace(" ", ""))
SAID = bytes.fromhex("a515001015976caa4c2c8e0201b6a60f001b27000053760763010302010a39d3ed15")
LATE = bytes.fromhex("a515001015986eaa4c2c8e0201d4a60f003a27000053760763010302012a380b8415")
"""Captured: jmccrohan/pysolarmanv5 issue 19."""
NO_ANSWER = bytes.fromhex("a5100010150b1ee47cc3a10201c20f0100581300 00bbed84650500f815".replace(" ", ""))
"""Captured: jmccrohan/pysolarmanv5 issue 48, a logger whose inverter did not answer."""


def opened(fake: Logger, halt: Event | None = None, **more: Any) -> ByteLink:
    made = open_link(fake.link, driver(fake.driver), halt)
    assert isinstance(made, ByteLink)
    made._driver = replace(made._driver, timeout_s=0.5, gap_s=0.0, **more)
    return made


def read(fake: Logger, line: ByteLink) -> Any:
    poll, address = driver(fake.driver).poll, fake.address
    assert poll
    return converse(poll(address), lambda request: line.ask(request, address=address))


# ---- frames ----


def framing(number: int, serial: int = SERIAL) -> SolarmanV5:
    made = SolarmanV5(serial)
    for _ in range(number - 1):
        next(made._numbers)
    return made


def test_a_question_is_the_one_that_was_captured() -> None:
    assert framing(0x97).dress(Registers(3, 0xAA, 1), 1) == ASKED


def test_the_answer_that_was_captured_is_found_behind_keep_alives_and_late_ones() -> None:
    v5, request = framing(0x98), Registers(3, 0xAA, 1)
    sent = v5.dress(request, 1)
    assert v5.find(request, sent, SAID) is None, "an answer to the question before"
    assert v5.find(request, sent, KEEP_ALIVE + SAID + b"AT+" + LATE) == bytes.fromhex("012a")
    assert framing(1).find(request, ASKED, SAID) == bytes.fromhex("010a")
    assert framing(1, serial=7).find(request, ASKED, SAID) is None, "another logger"


def test_a_logger_without_an_answer_of_its_inverter_is_silence() -> None:
    v5, request = framing(0x0B, 0xA1C37CE4), Registers(4, 33022, 6)
    sent = v5.dress(request, 1)
    with pytest.raises(Silent, match=r"no answer of the inverter \(0500\)"):
        v5.find(request, sent, NO_ANSWER)


def test_a_checksum_that_a_logger_writes_twice_is_no_harm() -> None:
    rtu = bytes.fromhex("010302010a39d3") + bytes(2)  # made: the frame above, as issue 62 describes it
    body = (14 + len(rtu)).to_bytes(2, "little") + SAID[3:25] + rtu
    twice = b"\xa5" + body + bytes((sum(body) & 0xFF, 0x15))
    assert framing(1).find(Registers(3, 0xAA, 1), ASKED, twice) == bytes.fromhex("010a")


@given(noise=st.binary(max_size=40), cut=st.integers(0, len(SAID) - 1), flip=st.integers(0, len(SAID) - 1))
def test_what_is_broken_is_never_taken_for_a_frame(noise: bytes, cut: int, flip: int) -> None:
    assert SAID not in list(frames(SAID[:cut]))
    hurt = bytearray(SAID)
    hurt[flip] ^= 0x10
    assert list(frames(bytes(hurt))) == []
    assert all(frame[-1] == 0x15 for frame in frames(noise + SAID))


# ---- a whole logger ----


@pytest.mark.parametrize("name", sorted(ADDRESSES))
def test_a_battery_is_read_through_a_logger(name: str) -> None:
    with logger(name, ADDRESSES[name]) as fake:
        line = opened(fake)
        found = read(fake, line)
        line.close()
        assert found[0].soc_pm == 500
        assert {rtu[1] for rtu in fake.asked} <= {3, 4}, "reads only"
        assert all(is_question(name, register(rtu)) for rtu in fake.asked)


def register(rtu: bytes) -> Registers:
    start, count = int.from_bytes(rtu[2:4], "big"), int.from_bytes(rtu[4:6], "big")
    return Registers(rtu[1], start, count)  # type: ignore[arg-type] # whatever function was sent


@pytest.mark.parametrize("name", sorted(ADDRESSES))
def test_no_write_passes_a_logger(name: str) -> None:
    wire = Recorder()
    line = ByteLink(wire, driver(name), SolarmanV5(SERIAL), Event())
    writes: list[Request] = [Registers(6, 33093, 1), Registers(16, 33093, 1), Registers(5, 33093, 1)]  # type: ignore[arg-type]
    strange: list[Request] = [Registers(3, 43110, 1), Registers(4, 43110, 1), CanFrame(0x4200, bytes(8), extended=True)]
    for request in (*writes, *strange, *(Send(bytes.fromhex(text)) for text in DANGEROUS)):
        with pytest.raises(Refused):
            line.ask(request, address=1)
    assert wire.written == []


def test_keep_alives_noise_and_late_answers_do_no_harm() -> None:
    with logger("solis", 1) as fake:
        fake.before = KEEP_ALIVE + b"\xa5\xa5AT+YZ\r\n"
        line = opened(fake)
        assert read(fake, line)
        fake.late = True
        with pytest.raises((Silent, BadFrame)):
            read(fake, line)
        fake.late = False
        assert read(fake, line)
        line.close()


def test_an_inverter_that_is_off_and_a_logger_that_goes_away_are_told_apart() -> None:
    with logger("solis", 1) as fake:
        line = opened(fake)
        fake.code = b"\x05\x00"
        with pytest.raises(Silent, match="no answer of the inverter"):
            read(fake, line)
        fake.code = b""
        fake.trouble.silent = True
        with pytest.raises(Silent, match="gave no answer"):
            read(fake, line)
    with pytest.raises(LinkError, match=r"connection lost|closed by the other side"):
        read(fake, line)
    line.close()


def test_another_loggers_number_is_silence() -> None:
    with logger("solis", 1) as fake:
        fake.serial = SERIAL + 1
        line = opened(fake)
        with pytest.raises(Silent):
            read(fake, line)
        line.close()


@pytest.mark.parametrize("text", ["solarman:host", "solarman:host:8899?serial=x", "solarman:host:8899?baud=1"])
def test_a_link_text_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(CellherdError):
        check_link(text, driver("solis"))


@pytest.mark.parametrize("text", ["solarman:127.0.0.1:1", f"solarman:127.0.0.1:1?serial={2**32}"])
def test_a_logger_without_its_number_is_not_opened(text: str) -> None:
    with pytest.raises(LinkError, match="name the logger's number"):
        open_link(text, driver("solis"), Event())
