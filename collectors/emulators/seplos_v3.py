"""Emulated Seplos BMS 3.0 packs, as their Modbus registers and coils. The stack's own blocks are not there."""

from __future__ import annotations

from collections.abc import Callable

from cellherd import faults
from cellherd.reading import Measured
from collectors.drivers import seplos_v3 as seplos
from collectors.drivers.seplos_v3 import maps
from collectors.emulators.device import Emulator, Truths, mask_of
from collectors.fields import Table, write
from collectors.kernel import Registers, Request, Unsupported

LIMIT_BYTES, TEXT_BYTES = 2 * 0x6A, 102


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The bytes of registers or coils; silence for an address that nobody has, Unsupported outside the blocks."""
    if not isinstance(request, Registers) or address not in truths:
        return None
    base = request.start & 0xFF00
    make = BLOCKS.get((request.function, base))
    if make is None:
        raise Unsupported(f"no block {base:#06x}")
    image = make(truths[address])
    if request.function == seplos.COILS:
        return image
    at = 2 * (request.start - base)
    if at + 2 * request.count > len(image):
        raise Unsupported(f"no registers {request.start:#06x}+{request.count}")
    return image[at : at + 2 * request.count]


def _image(table: Table, size: int) -> Callable[[Measured], bytes]:
    def make(truth: Measured) -> bytes:
        data = bytearray(size)
        write(table, truth, data)
        return bytes(data)

    return make


def _unit(truth: Measured) -> bytes:
    data = bytearray(2 * seplos.PIB.count)
    present = len(truth.cell_mv)
    write(maps.UNIT[:present] + maps.UNIT[maps.CELLS :], truth, data)
    return bytes(data)


def _events(truth: Measured) -> bytes:
    words, data = faults.brand("seplos"), bytearray(seplos.PIC_BYTES)
    data[seplos.PIC_BALANCING] = ((truth.balancing or 0) & 0xFFFF).to_bytes(2, "little")
    for at, name in maps.EVENTS.items():
        data[seplos.PIC_EVENTS + at] = mask_of(words[name], truth.faults)
    data[seplos.PIC_EVENTS + seplos.SWITCHES] = bool(truth.discharge_on) | bool(truth.charge_on) << 1
    return bytes(data)


def _texts(truth: Measured) -> bytes:
    data = bytearray(TEXT_BYTES)
    for name, at in maps.TEXTS.items():
        text = str(truth.info.get(name, "")).encode("ascii", "replace")[: at.stop - at.start]
        data[at.start : at.start + len(text)] = text
    return bytes(data)


BLOCKS: dict[tuple[int, int], Callable[[Measured], bytes]] = {
    (seplos.INPUTS, seplos.PIA.start): _image(maps.PACK, 2 * 0x12),
    (seplos.INPUTS, seplos.PIB.start): _unit,
    (seplos.COILS, seplos.PIC.start): _events,
    (seplos.INPUTS, seplos.SPA[0].start): _image(maps.LIMITS, LIMIT_BYTES),
    (seplos.INPUTS, seplos.VIA.start): _texts,
}
EMULATOR = Emulator(answer=answer)
