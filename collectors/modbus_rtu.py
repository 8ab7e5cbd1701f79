"""The checksum at the end of every Modbus RTU frame, which several makers also put behind frames of their own."""

from __future__ import annotations


def _eight_bits(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


CRC_OF_BYTE = tuple(map(_eight_bits, range(256)))


def crc(body: bytes) -> int:
    """CRC-16/Modbus."""
    value = 0xFFFF
    for byte in body:
        value = value >> 8 ^ CRC_OF_BYTE[(value ^ byte) & 0xFF]
    return value


def frame_of(body: bytes) -> bytes:
    """The body with its CRC, low byte first."""
    return body + crc(body).to_bytes(2, "little")
