"""Random conversations, legal and not, against the model: after every frame both must agree on everything."""

import copy
import os
import random

import pytest

from portway.errors import PeerError
from portway.protocol.yamux.limits import YamuxLimits
from tests.kit.yamux_wire import ACK, FIN, INITIAL_WINDOW, PING, RST, SYN, WINDOW_UPDATE, Frame, all_frames, data
from tests.protocol.yamux.harness import SessionHarness
from tests.protocol.yamux.model import Model, RuleBroken

CONVERSATIONS = int(os.environ.get("PORTWAY_YAMUX_CONVERSATIONS", "1500"))
"""Number of conversations in a run; 1,000,000 in the nightly one (threats Y1)."""

EDGES = [1, INITIAL_WINDOW // 2, INITIAL_WINDOW, INITIAL_WINDOW + 1, 2**31, 2**32 - INITIAL_WINDOW - 1, 2**32 - INITIAL_WINDOW, 2**32 - 1]


class Play:
    """One random conversation."""

    def __init__(self, seed: int) -> None:
        self.dice = dice = random.Random(seed)
        client = dice.random() < 0.5
        streams_max, accepts_max = dice.choice([(4096, 4096), (4, 3), (2, 2), (5, 0)])
        unacknowledged_max, growth_max = dice.choice([256, 2]), dice.choice([64 << 20, 0, 500_000])
        self.model = Model(
            client=client, streams_max=streams_max, accepts_max=accepts_max, unacknowledged_max=unacknowledged_max, growth_max=growth_max
        )
        self.harness = SessionHarness(
            client=client,
            limits=YamuxLimits(
                streams_max=streams_max, accepts_max=accepts_max, unacknowledged_max=unacknowledged_max, growth_bytes_max=growth_max
            ),
        )
        self.peer_next_id = 2 if client else 1
        self.manners = dice.choice([0.0, 0.9, 0.99, 1.0])

    def random_id(self) -> int:
        roll = self.dice.random()
        if roll < 0.75 and self.model.live:
            return self.dice.choice(list(self.model.live))
        return self.dice.choice([0, 1, 2, 3, 4, 5, 6, self.peer_next_id, 2**32 - 1])

    def next_frame(self) -> Frame:
        """A frame of the peer's; the higher `manners`, the rarer one that breaks a rule."""
        frame = self.random_frame()
        while self.dice.random() < self.manners and self._breaks_a_rule(frame):
            frame = self.random_frame()
        return frame

    def _breaks_a_rule(self, frame: Frame) -> bool:
        try:
            copy.deepcopy(self.model).receive(frame)
        except RuleBroken:
            return True
        return False

    def random_frame(self) -> Frame:
        """A frame that makes some sense."""
        dice = self.dice
        roll = dice.random()
        if roll < 0.15:
            self.peer_next_id += 2
            return self._on_stream(self.peer_next_id - 2, SYN | dice.choice([0, 0, 0, FIN, RST, ACK]))
        if roll < 0.20:
            return Frame(PING, dice.choice([SYN, ACK, 0, SYN | ACK]), dice.choice([0, 0, 5]), dice.getrandbits(32))
        if roll < 0.93:
            return self._on_stream(self.random_id(), dice.choice([0] * 12 + [ACK, ACK, FIN, FIN, RST, ACK | FIN]))
        if roll < 0.97:
            return self._on_stream(self.random_id(), dice.getrandbits(16))
        kind = dice.choice([0, 1, 2, 3, 3, 4, 200])
        body = b"?" if kind == 0 else b""
        return Frame(kind, dice.getrandbits(4), self.random_id(), dice.choice([0, 1]) or len(body), body, version=dice.choice([0, 0, 1]))

    def _on_stream(self, stream_id: int, flags: int) -> Frame:
        dice = self.dice
        if dice.random() < 0.3:
            delta = dice.choice([0, 1, 1000, INITIAL_WINDOW]) if dice.random() < 0.95 else dice.choice(EDGES)
            return Frame(WINDOW_UPDATE, flags, stream_id, delta)
        stream = self.model.live.get(stream_id)
        left = stream.may_receive if stream else INITIAL_WINDOW
        size = dice.choice([0, 1, 10, 1000, left // 2, left] if dice.random() < 0.97 else [left + 1, INITIAL_WINDOW + 1])
        return data(stream_id, dice.randbytes(16)[:size].ljust(min(size, 300_000), b"."), flags)

    def local_step(self) -> None:
        """Something that this end does."""
        dice, model, harness = self.dice, self.model, self.harness
        roll = dice.random()
        if roll < 0.2:
            if model.may_open:
                first = dice.choice([b"", b"first words"])
                stream_id = model.open(first)
                stream = harness.session.open()
                if first:
                    stream.write(first)
                else:
                    stream.announce(opened_here=True)
                assert stream.stream_id == stream_id
            return
        if roll < 0.22:
            model.go_away()
            harness.session.go_away()
        if not model.live:
            return
        stream_id = dice.choice(list(model.live))
        stream, expected = harness.stream(stream_id), model.live[stream_id]
        if roll < 0.6:
            count = dice.choice([expected.unread, expected.unread // 2, min(1, expected.unread)])
            model.consume(stream_id, count)
            stream.consume(count, harness.now)
        elif roll < 0.85 and not expected.local_ended:
            body = bytes(min(dice.choice([1, 500, 100_000]), expected.may_send))
            if body:
                model.write(stream_id, body)
                stream.write(body)
        elif roll < 0.95:
            model.end(stream_id)
            stream.end()
        else:
            model.reset(stream_id)
            stream.reset()

    def hear_cut(self, wire: bytes) -> None:
        cuts = sorted(self.dice.randrange(len(wire) + 1) for _ in range(self.dice.choice([0, 0, 1, 3])))
        for start, stop in zip([0, *cuts], [*cuts, len(wire)], strict=True):
            self.harness.receive_bytes(wire[start:stop])

    def agree(self) -> None:
        model, session = self.model, self.harness.session
        assert set(session.streams) == set(model.live)
        for stream_id, expected in model.live.items():
            stream = self.harness.stream(stream_id)
            assert stream.send_window == expected.may_send
            assert stream.receive_window.left == expected.may_receive
            assert stream.receive_window.size == expected.size
            assert stream.received == expected.received
            assert (stream.peer_ended, stream.local_ended) == (expected.peer_ended, expected.local_ended)
            assert stream.resets == 0
        assert all_frames(session.out) == model.out
        assert session.growth.left_bytes == model.growth_left
        session.out.clear()
        model.out.clear()

    def run(self) -> int:
        steps = self.dice.choice([5, 20, 60])
        for step in range(steps):
            self.harness.now += 0.05
            if self.dice.random() < 0.35:
                self.local_step()
            else:
                frame = self.next_frame()
                try:
                    self.model.receive(frame)
                except RuleBroken:
                    with pytest.raises(PeerError):
                        self.hear_cut(frame.wire)
                    self.harness.session.protocol_error()
                    self.harness.session.lose()
                    assert not self.harness.session.streams
                    assert all_frames(self.harness.session.out)[-1].length == 1
                    return step
                self.hear_cut(frame.wire)
            self.agree()
        return steps


@pytest.mark.parametrize("block", range(10))
def test_the_session_agrees_with_the_model_on_every_conversation(block: int) -> None:
    lengths = []
    for number in range(CONVERSATIONS // 10):
        seed = block * 10**9 + number
        try:
            lengths.append(Play(seed).run())
        except AssertionError as error:
            raise AssertionError(f"conversation {seed}") from error
    assert sum(lengths) > 10 * len(lengths), "too many end early: the generator has become too wild"


def test_a_conversation_can_be_played_again() -> None:
    first, second = Play(3), Play(3)
    assert first.run() == second.run()
