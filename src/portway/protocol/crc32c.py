"""CRC-32C (Castagnoli), the checksum of RFC 4960 appendix B; for headers of a few hundred bytes."""

_POLYNOMIAL = 0x82F63B78
"""0x1EDC6F41 with its bits reversed, as the algorithm shifts right."""


def _table_entry(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ _POLYNOMIAL if byte & 1 else byte >> 1
    return byte


_TABLE = tuple(_table_entry(byte) for byte in range(256))


def crc32c(data: bytes) -> int:
    """Return the checksum as an unsigned 32-bit number."""
    value = 0xFFFF_FFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFF_FFFF
