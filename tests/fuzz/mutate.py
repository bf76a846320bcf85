"""Mutates inputs: bytes changed, pieces dropped, duplicated or moved, and dictionary entries inserted."""

import random
from collections.abc import Sequence

BYTES = (0, 1, 0x09, 0x0A, 0x0B, 0x0D, 0x20, 0x2B, 0x2D, 0x30, 0x3A, 0x5F, 0x7F, 0x80, 0x85, 0xA0, 0xFE, 0xFF)
"""Those at which parsers disagree."""


def mutated(dice: random.Random, data: bytes, dictionary: Sequence[bytes], others: Sequence[bytes], bytes_max: int) -> bytes:
    """Return `data` after one to six changes."""
    found = bytearray(data)
    for _ in range(1 + dice.randrange(3) * dice.randrange(3)):
        _change(dice, found, dictionary, others)
    return bytes(found[:bytes_max])


def _change(dice: random.Random, data: bytearray, dictionary: Sequence[bytes], others: Sequence[bytes]) -> None:
    at = dice.randrange(len(data) + 1)
    size = min(len(data) - at, 1 + dice.randrange(8) ** 2)
    match dice.randrange(9):
        case 0 if at < len(data):
            data[at] ^= 1 << dice.randrange(8)
        case 1 if at < len(data):
            data[at] = dice.choice(BYTES)
        case 2:
            data[at:at] = bytes((dice.choice(BYTES),))
        case 3:
            del data[at : at + size]
        case 4:
            data[at:at] = data[at : at + size] * dice.choice((1, 1, 2, 20))
        case 5 if dictionary:
            data[at : at + dice.choice((0, size))] = dice.choice(dictionary)
        case 6 if others:
            other = dice.choice(others)
            start = dice.randrange(len(other) + 1)
            data[at:] = other[start:]
        case 7 if size:
            piece = data[at : at + size]
            del data[at : at + size]
            to = dice.randrange(len(data) + 1)
            data[to:to] = piece
        case _:
            data[at : at + size] = dice.randbytes(size)
