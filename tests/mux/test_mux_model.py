"""Two muxes and many random streams over a narrow link: every byte and every end arrives at the right stream."""

import os
import random

import pytest

from portway.engine.memory_channel import memory_pair
from portway.mux.heartbeat import HeartbeatSettings
from portway.mux.mux import Mux
from portway.mux.mux_channel import MuxChannel
from portway.mux.settings import MuxSettings
from tests.kit.loops import EngineLoop
from tests.kit.probe import Probe

PLAYS = int(os.environ.get("PORTWAY_MUX_PLAYS", "24"))
QUIET = MuxSettings(heartbeat=HeartbeatSettings(silence_s_max=60))


class Talk:
    """One stream: both ends, and the bytes sent at each."""

    def __init__(self, number: int, opener: Probe) -> None:
        self.number = number
        self.opener = opener
        self.acceptor: Probe | None = None
        self.said = {"opener": bytearray(), "acceptor": bytearray()}
        self.ended = {"opener": False, "acceptor": False}
        self.aborted = False

    def end_of(self, side: str) -> Probe | None:
        return self.opener if side == "opener" else self.acceptor


class Play:
    """A random course of events."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.engine = EngineLoop()
        near, far = memory_pair(self.engine.reactor, self.dice.choice([50, 3000, 65536, 1 << 20]))
        self.lost: list[str] = []
        self.arrived: dict[int, MuxChannel] = {}
        reactor = self.engine.reactor
        self.muxes = [
            Mux(reactor, near, client=True, settings=QUIET, on_stream=self.note, on_lost=self.lost.append),
            Mux(reactor, far, client=False, settings=QUIET, on_stream=self.note, on_lost=self.lost.append),
        ]
        self.talks: dict[int, Talk] = {}

    def note(self, stream: MuxChannel) -> None:
        """Record an arrived stream. Its opener writes its id as the first bytes, so a mix-up would show at once."""
        assert stream.stream_id not in self.arrived
        self.arrived[stream.stream_id] = stream
        talk = self.talks.get(stream.stream_id)
        if talk is not None:
            talk.acceptor = Probe(stream)
            if self.dice.random() < 0.8:
                talk.acceptor.read()

    def step(self) -> None:
        """Do one thing."""
        dice = self.dice
        live = [talk for talk in self.talks.values() if not talk.aborted]
        roll = dice.random()
        if roll < 0.2 or not live:
            self.open()
        elif roll < 0.24:
            self.engine.settle()
        elif roll < 0.27:
            dice.choice(self.muxes).ping(lambda seconds: None)
        else:
            talk, side = dice.choice(live), dice.choice(["opener", "acceptor"])
            end = talk.end_of(side)
            if end is not None:
                self.use(talk, side, end)

    def open(self) -> None:
        stream = self.dice.choice(self.muxes).open()
        self.talks[stream.stream_id] = talk = Talk(stream.stream_id, Probe(stream))
        if self.dice.random() < 0.8:
            talk.opener.read()

    def use(self, talk: Talk, side: str, end: Probe) -> None:
        """Do something at one end of a stream."""
        dice = self.dice
        may_speak = end.idle and not talk.ended[side]
        match dice.choices(["speak", "read", "pause", "end", "abort"], [60, 6, 6, 10, 4])[0]:
            case "speak" if may_speak:
                data = talk.number.to_bytes(4, "big") * dice.choice([1, 10, 3000, 30_000])
                end.piece_bytes = dice.choice([7, 4000, 16_383, 16_384, 100_000])
                talk.said[side] += data
                end.feed(data)
            case "read":
                end.read()
            case "pause":
                end.pause()
            case "end" if may_speak:
                talk.ended[side] = True
                end.end()
            case "abort":
                talk.aborted = True
                end.abort()

    def finish(self) -> None:
        """Let all streams read and end, then check what arrived."""
        self.engine.settle()
        for talk in self.talks.values():
            for side in ("opener", "acceptor"):
                end = talk.end_of(side)
                if end is not None and not end._gone:
                    end.read()
        self.engine.settle()
        for talk in self.talks.values():
            for side in ("opener", "acceptor"):
                end = talk.end_of(side)
                if end is not None and not end._gone and not talk.ended[side] and not talk.aborted:
                    assert end.idle, "stuck"
                    talk.ended[side] = True
                    end.end()
        self.engine.settle()

    def check(self) -> None:
        assert not self.lost
        for talk in self.talks.values():
            assert talk.acceptor is not None
            for side, other in (("opener", talk.acceptor), ("acceptor", talk.opener)):
                if talk.aborted:
                    assert talk.said[side].startswith(other.received)
                else:
                    assert other.received == talk.said[side], f"stream {talk.number}"
                    assert other.ended
                    assert other.broken is None
        for talk in self.talks.values():
            for end in (talk.opener, talk.acceptor):
                assert end is not None
                end.close()
        for mux in self.muxes:
            assert mux.streams_open == 0
            assert mux.buffers.bytes == 0
            assert not mux._waiting
            assert mux.yamux.growth.left_bytes == mux.yamux.limits.growth_bytes_max

    def run(self) -> None:
        for _ in range(self.dice.choice([20, 150])):
            self.step()
        self.finish()
        self.check()
        self.muxes[0].close("over")
        self.engine.settle()
        self.engine.close()


@pytest.mark.parametrize("block", range(4))
def test_every_byte_arrives_on_its_stream(block: int) -> None:
    for number in range(PLAYS // 4):
        seed = block * 10**6 + number
        try:
            Play(seed).run()
        except AssertionError as error:
            raise AssertionError(f"play {seed}") from error
