"""On a bus of several: what one module answered is never given to who asked another one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress

import pytest
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.framer.base import FramerBase
from pymodbus.pdu import DecodePDU

from cellherd.errors import BadFrame, Silent
from collectors.drivers import driver
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.fleet import emulator
from collectors.kernel import Answer, Chunk, Registers, Request, Send, Unsupported, converse
from collectors.links.bytewise import Framing, Plain
from collectors.links.modbus import Modbus
from tests.fuzz.test_mutations import COUNT, SEED, pieces

PAIRS = {  # two addresses of a bus
    "daly_d2": (1, 2),
    "daly_uart": (1, 2),
    "jbd_up16s": (1, 2),
    "jk_modbus": (1, 2),
    "jk_pb": (1, 2),
    "pace": (1, 2),
    "pylontech_force_modbus": (1, 2),
    "pylontech_rs485": (2, 18),  # a group each
    "seplos_v2": (0, 1),
    "seplos_v3": (0, 1),
}
ON_CAN = {"daly_can": (1, 2), "jk_can": (0, 1)}
Asked = list[tuple[Request, bytes]]


def framings(name: str) -> list[Framing]:
    if "modbus" not in driver(name).links:
        return [Plain(driver(name))]
    framers: tuple[type[FramerBase], ...] = (FramerRTU, FramerSocket)
    return [Modbus(framer(DecodePDU(False))) for framer in framers]


def on_the_wire(framing: Framing, request: Request, address: int, answer: Answer) -> tuple[bytes, bytes]:
    """Request and answer as they stand on the wire."""
    sent = framing.dress(request, address)
    if not isinstance(request, Registers):
        return sent, answer
    pdu = bytes((address, request.function, len(answer))) + answer
    if sent[:2] == bytes((address, request.function)):
        return sent, FramerRTU(DecodePDU(False)).encode(pdu[1:], address, 0)
    return sent, sent[:4] + len(pdu).to_bytes(2, "big") + pdu


def conversations(name: str, address: int) -> Asked:
    """Everything that a module of its own battery is asked, and what it answers."""
    known, told = driver(name), Asked()
    truth = {address: Battery(Plan(seed=address + 1, soc=0.3 + address / 50)).truth()}

    def ask(request: Request) -> bytes:
        answer = emulator(name).answer(request, address, truth)
        if answer is None:
            raise Silent(f"no answer to {request}")
        told.append((request, answer))
        return answer

    for talk in filter(None, (known.poll, known.identify, known.seldom)):
        converse(talk(address), ask)
    return told


def mixtures(draw: random.Random, mine: tuple[bytes, bytes], others: list[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """Late answers of the neighbour, whole, echoed, flipped and in noise, without and with the answer asked for."""
    for _ in range(max(COUNT // 20, 4)):
        parts = []
        for sent, answer in draw.sample(others, min(3, len(others))):
            hurt = bytearray(answer)
            hurt[draw.randrange(len(hurt))] ^= 1 << draw.randrange(8)
            parts += [answer, sent, bytes(hurt), draw.randbytes(draw.choice((0, 3, 30)))]
        draw.shuffle(parts)
        parts = parts[: draw.randint(1, len(parts))]
        if draw.random() < 0.5:
            parts.insert(draw.randint(0, len(parts)), mine[1])
        yield b"".join(parts)


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_the_answer_of_one_module_is_never_given_for_another(name: str) -> None:
    draw, found = random.Random(f"{SEED} {name}"), 0
    here, there = (conversations(name, address) for address in PAIRS[name])
    for framing in framings(name):
        others = [on_the_wire(framing, request, PAIRS[name][1], answer) for request, answer in there]
        for request, answer in here:
            sent, whole = on_the_wire(framing, request, PAIRS[name][0], answer)
            for buffer in mixtures(draw, (sent, whole), others):
                try:
                    given = framing.find(request, sent, buffer)
                except BadFrame:
                    continue
                assert given in (None, answer), f"{sent.hex()} is answered with {given!r} out of {buffer.hex()}"
                found += given is not None
    assert found


@pytest.mark.parametrize("name", sorted(name for name in PAIRS if "modbus" not in driver(name).links))
def test_a_decoded_answer_names_the_module_that_was_asked(name: str) -> None:
    for address in PAIRS[name]:
        for request, answer in conversations(name, address):
            assert isinstance(request, Send)
            with suppress(Unsupported):
                assert {each.module for each in driver(name).decode(answer, request.data)} <= {address, None}


@pytest.mark.parametrize("name", sorted(ON_CAN))
def test_two_devices_that_talk_at_once_keep_their_own_numbers(name: str) -> None:
    known, draw = driver(name), random.Random(f"{SEED} {name}")
    truths = {at: Battery(Plan(seed=at + 1, cells=8 + at, soc=0.4 + at / 10)).truth() for at in ON_CAN[name]}
    alone = [list(emulator(name).broadcast({at: truth})) * 3 for at, truth in truths.items()]
    assert known.feed
    state, heard = known.fresh(), dict[int | None, set[int]]()
    while any(alone):
        state, found = known.feed(state, draw.choice([frames for frames in alone if frames]).pop(0))
        for measured in found:
            heard.setdefault(measured.module, set()).add(len(measured.cell_mv))
            truth = truths[measured.module or 0]
            assert set(measured.cell_mv) <= set(truth.cell_mv)
            assert abs((measured.voltage_mv or 0) - (truth.voltage_mv or 0)) <= 100
    assert heard == {at: {8 + at} for at in ON_CAN[name]}


def test_a_listener_beside_a_master_names_the_module_of_each_frame() -> None:
    known, draw, stream, cells = driver("jk_pb"), random.Random(SEED), b"", {}
    for _ in range(20):
        address = draw.choice((1, 2, 3))
        (request, answer), *_ = conversations("jk_pb", address)
        assert isinstance(request, Send)
        (measured,) = known.decode(answer, request.data)
        cells[address] = measured.cell_mv
        stream += request.data + answer + draw.randbytes(draw.choice((0, 0, 5)))
    state, told = known.fresh(), 0
    assert known.feed
    chunks: list[Chunk] = pieces(stream, draw)
    for chunk in chunks:
        state, found = known.feed(state, chunk)
        told += len(found)
        assert all(each.cell_mv == cells[each.module or 0] for each in found)
    assert told >= 15
