"""The frame's bytes, against vectors written by hand from the specification."""

import pytest

from portway.protocol.yamux import frame as f
from tests.kit.yamux_wire import Frame, read_frames

TYPES = {f.DATA: "00", f.WINDOW_UPDATE: "01", f.PING: "02", f.GO_AWAY: "03"}
FLAGS = {0: "0000", f.SYN: "0001", f.ACK: "0002", f.FIN: "0004", f.RST: "0008", f.SYN | f.ACK | f.FIN | f.RST: "000f"}


@pytest.mark.parametrize(("kind", "type_hex"), TYPES.items())
@pytest.mark.parametrize(("flags", "flags_hex"), FLAGS.items())
def test_every_type_and_flag_has_its_bytes(kind: int, type_hex: str, flags: int, flags_hex: str) -> None:
    stream_id = 0 if kind in {f.PING, f.GO_AWAY} else 0x01020305
    expected = f"00{type_hex}{flags_hex}{stream_id:08x}0a0b0c0d"
    assert f.encode(0, kind, flags, stream_id, 0x0A0B0C0D).hex() == expected
    assert f.HEADER.unpack(bytes.fromhex(expected)) == (0, kind, flags, stream_id, 0x0A0B0C0D)


@pytest.mark.parametrize(
    ("wire", "meaning"),
    [
        ("00 00 0001 00000001 00000005 68656c6c6f", Frame(f.DATA, f.SYN, 1, 5, b"hello")),
        ("00 01 0001 00000001 00000000", Frame(f.WINDOW_UPDATE, f.SYN, 1)),
        ("00 01 0002 00000001 00040000", Frame(f.WINDOW_UPDATE, f.ACK, 1, 262144)),
        ("00 00 0004 00000002 00000000", Frame(f.DATA, f.FIN, 2)),
        ("00 01 0008 fffffffd 00000000", Frame(f.WINDOW_UPDATE, f.RST, 2**32 - 3)),
        ("00 02 0001 00000000 deadbeef", Frame(f.PING, f.SYN, 0, 0xDEADBEEF)),
        ("00 02 0002 00000000 deadbeef", Frame(f.PING, f.ACK, 0, 0xDEADBEEF)),
        ("00 03 0000 00000000 00000001", Frame(f.GO_AWAY, 0, 0, 1)),
    ],
)
def test_golden_frames_are_decoded_correctly(wire: str, meaning: Frame) -> None:
    raw = bytes.fromhex(wire)
    assert meaning.wire == raw
    assert read_frames(raw) == ([meaning], b"")
    assert f.encode(0, meaning.type, meaning.flags, meaning.stream_id, meaning.length) + meaning.body == raw


def test_the_header_is_twelve_bytes_and_a_window_starts_at_256_kib() -> None:
    assert f.HEADER_BYTES == 12
    assert f.INITIAL_WINDOW_BYTES == 256 * 1024
    assert f.LENGTH_MAX == 0xFFFFFFFF
