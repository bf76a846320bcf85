"""Frames are read from copies: for any cut the same ones, also huge, empty and masked ones."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame as ReferenceFrame
from websockets.frames import Opcode

from portway.errors import PeerError
from portway.protocol.websocket_frames import FRAMES_OF_A_FEED, FrameReader, unmask

_frames = st.lists(
    st.tuples(st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.CLOSE]), st.binary(max_size=300), st.booleans()), max_size=6
)


@given(_frames, st.lists(st.integers(0, 2000), max_size=10))
def test_frames_of_another_implementation_are_the_same_for_any_cut(frames: list[tuple[Opcode, bytes, bool]], cuts: list[int]) -> None:
    data = b"".join(ReferenceFrame(opcode, payload).serialize(mask=masked) for opcode, payload, masked in frames)
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    reader = FrameReader(1000)
    found = [frame for a, b in pairwise(places) for frame in reader.feed(memoryview(data[a:b]))]

    assert [(frame.opcode, unmask(frame.payload, frame.key)) for frame in found] == [(opcode, payload) for opcode, payload, _ in frames]
    assert all(frame.final and frame.size == len(frame.payload) for frame in found)


@given(st.lists(st.binary(max_size=100)))
def test_noise_raises_only_peer_errors(pieces: list[bytes]) -> None:
    reader = FrameReader(10)
    try:
        for piece in pieces:
            reader.feed(memoryview(piece))
    except PeerError:
        pass


def test_only_the_beginning_of_a_large_frame_is_copied() -> None:
    data = ReferenceFrame(Opcode.BINARY, b"x" * 100_000).serialize(mask=False)
    (frame,) = FrameReader(1000).feed(memoryview(data))

    assert (frame.size, frame.payload) == (100_000, b"x" * 1000)


def test_more_frames_than_can_be_followed_are_an_error() -> None:
    with pytest.raises(PeerError, match="too small"):
        FrameReader(10).feed(memoryview(b"\x89\x00" * (FRAMES_OF_A_FEED + 2)))
