"""The relay over every combination of channels: bytes, ends, breaks, tallies and waiting."""

import gc
import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import pytest

from portway.engine.pumps import Pump
from portway.engine.relay import Relay
from portway.engine.socket_channel import SocketChannel
from portway.engine.tally import ABORTED, ENDED, READ_BROKE
from portway.engine.tls_channel import TlsChannel
from tests.kit.certificates import Identity
from tests.kit.channels import Pair, pair_of
from tests.kit.loops import EngineLoop
from tests.kit.probe import Probe
from tests.kit.sockets import tcp_pair
from tests.kit.splicing import PUMPS, use_pump

MIB = 1024 * 1024
KINDS = ["tcp", "unix", "tls-server", "mux-socket-accepted", "mux-tls-opened", "memory"]
SOCKETS = ["tcp:tcp", "tcp:unix", "unix:tcp", "unix:unix"]
COMBINATIONS = [f"{left}:{right}" for left in KINDS for right in KINDS] + [f"{pair}:{how}" for pair in SOCKETS for how in PUMPS]
telling_resets = pytest.mark.parametrize("joined", [pair for pair in COMBINATIONS if "unix" not in pair], indirect=True)
"""A unix socket has no RST."""


def noise(size: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(size)


@dataclass
class Joined:
    """visitor ⇄ left pair ⇄ relay ⇄ right pair ⇄ origin."""

    relay: Relay
    left: Pair
    right: Pair
    visitor: Probe
    origin: Probe
    done: list[Relay]


def join(stack: ExitStack, engine: EngineLoop, identity: Identity, left_kind: str, right_kind: str) -> Joined:
    left = stack.enter_context(pair_of(left_kind, engine, identity))
    right = stack.enter_context(pair_of(right_kind, engine, identity))
    done: list[Relay] = []
    relay = Relay(engine.reactor, left.near, right.near, done.append)
    return Joined(relay, left, right, Probe(left.far), Probe(right.far), done)


@pytest.fixture(params=COMBINATIONS)
def joined(request: pytest.FixtureRequest, engine: EngineLoop, identity: Identity) -> Iterator[Joined]:
    left, right, *how = request.param.split(":")
    use_pump(engine, *how)
    with ExitStack() as stack:
        yield join(stack, engine, identity, left, right)


@pytest.fixture(params=["tcp:tcp:copy", "tcp:tcp:splice", "tls-server:mux-tls-opened", "mux-socket-accepted:tcp", "memory:memory"])
def sample(request: pytest.FixtureRequest, engine: EngineLoop, identity: Identity) -> Iterator[Joined]:
    """A few combinations, for what does not depend on the kinds."""
    left, right, *how = request.param.split(":")
    use_pump(engine, *how)
    with ExitStack() as stack:
        yield join(stack, engine, identity, left, right)


def in_random_pieces(data: bytes, dice: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = min(int(2 ** dice.uniform(4, 18)), len(data) - at)
        yield data[at : at + size]
        at += size


def test_bytes_pass_in_both_directions_for_any_cut(engine: EngineLoop, joined: Joined) -> None:
    dice = random.Random(11)
    up, down = noise(3 * MIB, 1), noise(3 * MIB, 2)
    visitor, origin = joined.visitor, joined.origin
    visitor.read_bytes, origin.read_bytes = 3001, 70_001
    visitor.piece_bytes = origin.piece_bytes = 1 << 18
    joined.relay.start()
    visitor.read().feed(in_random_pieces(up, dice), end=True)
    origin.read().feed(in_random_pieces(down, dice), end=True)
    engine.run_until(lambda: visitor.ended and origin.ended, deadline_s=20)
    assert origin.received == up
    assert visitor.received == down
    engine.run_until(lambda: joined.done == [joined.relay])
    tally = joined.relay.tally
    assert (tally.forward.total_bytes, tally.backward.total_bytes) == (len(up), len(down))
    assert tally.clean
    assert tally.forward.event_count >= 3
    assert tally.ended_at is not None
    assert tally.ended_at >= tally.started_at


@pytest.mark.parametrize("kind", ["tcp", "unix", "tls-server"])
@pytest.mark.parametrize("size", [1, MIB])
def test_bytes_that_were_read_before_the_relay_go_first_and_count(engine: EngineLoop, identity: Identity, kind: str, size: int) -> None:
    with ExitStack() as stack:
        joined = join(stack, engine, identity, kind, "mux-socket-accepted")
        before, behind = noise(size, 1), noise(MIB, 2)
        joined.relay.start_forward(before)
        joined.relay.start_backward()
        joined.visitor.read().feed(behind, end=True)
        origin = joined.origin.read()
        engine.run_until(lambda: origin.ended, deadline_s=20)
        assert origin.received == before + behind
        assert joined.relay.tally.forward.total_bytes == size + MIB
        origin.feed(b"reply", end=True)
        engine.run_until(lambda: bool(joined.done) and joined.visitor.ended)
        assert joined.visitor.received == b"reply"
        assert joined.relay.tally.clean


def test_bytes_that_were_read_before_the_relay_arrive_although_the_visitor_has_ended(engine: EngineLoop, identity: Identity) -> None:
    with ExitStack() as stack:
        joined = join(stack, engine, identity, "tcp", "tcp")
        joined.visitor.feed(b"", end=True)
        engine.settle()
        origin = joined.origin.read()
        joined.relay.start_forward(b"first and last")
        joined.relay.start_backward()
        engine.run_until(lambda: origin.ended)
        assert origin.received == b"first and last"


def test_a_source_that_can_peek_needs_no_such_bytes(engine: EngineLoop, identity: Identity) -> None:
    with ExitStack() as stack, pytest.raises(NotImplementedError):
        join(stack, engine, identity, "memory", "tcp").relay.start_forward(b"x")


def test_a_visitor_that_ends_first_still_gets_the_whole_response(engine: EngineLoop, joined: Joined) -> None:
    visitor, origin = joined.visitor.read(), joined.origin.read()
    joined.relay.start()
    visitor.feed(b"question", end=True)
    engine.run_until(lambda: origin.ended)
    assert origin.received == b"question"
    assert not visitor.ended
    assert not joined.done
    origin.feed(noise(MIB), end=True)
    engine.run_until(lambda: visitor.ended and len(joined.done) == 1)
    assert visitor.received == noise(MIB)
    assert joined.relay.tally.clean


def test_an_origin_that_ends_first_still_receives_from_the_visitor(engine: EngineLoop, joined: Joined) -> None:
    visitor, origin = joined.visitor.read(), joined.origin.read()
    joined.relay.start()
    origin.feed(b"that is all from me", end=True)
    engine.run_until(lambda: visitor.ended)
    assert visitor.received == b"that is all from me"
    assert not joined.done
    visitor.feed(noise(MIB), end=True)
    engine.run_until(lambda: origin.ended and len(joined.done) == 1)
    assert origin.received == noise(MIB)
    assert joined.relay.tally.clean


def test_an_end_without_bytes_is_an_end(engine: EngineLoop, joined: Joined) -> None:
    visitor, origin = joined.visitor.read(), joined.origin.read()
    joined.relay.start()
    visitor.end()
    engine.run_until(lambda: origin.ended)
    origin.end()
    engine.run_until(lambda: visitor.ended and len(joined.done) == 1)
    assert joined.relay.tally.forward.total_bytes == joined.relay.tally.backward.total_bytes == 0
    assert joined.relay.tally.clean


@telling_resets
def test_a_break_of_the_visitor_is_a_break_for_the_origin(engine: EngineLoop, joined: Joined) -> None:
    visitor, origin = joined.visitor.read(), joined.origin.read()
    joined.relay.start()
    visitor.feed(b"half a quest")
    engine.settle()
    visitor.abort()
    engine.run_until(lambda: origin.broken is not None and len(joined.done) == 1)
    assert not origin.ended
    assert joined.relay.tally.forward.shutdown_reason == READ_BROKE
    assert not joined.relay.tally.clean


@telling_resets
def test_a_break_of_the_origin_is_a_break_for_the_visitor(engine: EngineLoop, joined: Joined) -> None:
    visitor, origin = joined.visitor.read(), joined.origin.read()
    joined.relay.start()
    origin.feed(noise(50_000))
    engine.settle()
    origin.abort()
    engine.run_until(lambda: visitor.broken is not None and len(joined.done) == 1)
    assert not visitor.ended
    assert noise(50_000).startswith(visitor.received)
    assert joined.relay.tally.backward.shutdown_reason == READ_BROKE


@telling_resets
def test_a_break_after_the_visitor_has_ended_is_still_a_break(engine: EngineLoop, joined: Joined) -> None:
    visitor, origin = joined.visitor.read(), joined.origin.read()
    joined.relay.start()
    visitor.feed(b"question", end=True)
    engine.run_until(lambda: origin.ended)
    origin.feed(b"half an ans")
    engine.settle()
    origin.abort()
    engine.run_until(lambda: visitor.broken is not None)
    assert not visitor.ended
    assert joined.relay.tally.forward.shutdown_reason == ENDED
    assert joined.relay.tally.backward.shutdown_reason == READ_BROKE


@telling_resets
def test_a_break_reaches_a_side_that_is_stalled(engine: EngineLoop, joined: Joined) -> None:
    visitor, origin = joined.visitor, joined.origin
    joined.relay.start()
    origin.feed(iter([noise(MIB)] * 32))
    engine.settle()
    visitor.abort()
    engine.run_until(lambda: origin.broken is not None or origin.on_broken_calls > 0)
    engine.run_until(lambda: len(joined.done) == 1)


def test_a_slow_reader_holds_the_sender_and_no_memory(engine: EngineLoop, joined: Joined) -> None:
    visitor, origin = joined.visitor, joined.origin
    visitor.keep_received = False
    joined.relay.start()
    origin.feed(iter([noise(MIB)] * 24), end=True)
    engine.settle()
    held = origin.sent_bytes
    assert not origin.idle
    assert held <= joined.left.buffered_bytes_max + joined.right.buffered_bytes_max
    visitor.read()
    engine.run_until(lambda: visitor.ended, deadline_s=20)
    assert visitor.received_bytes == origin.sent_bytes == 24 * MIB


def test_bytes_from_before_the_start_are_not_lost(engine: EngineLoop, joined: Joined) -> None:
    joined.visitor.feed(b"early question", end=True)
    joined.origin.feed(b"early answer", end=True)
    engine.settle()
    joined.relay.start()
    joined.visitor.read()
    joined.origin.read()
    engine.run_until(lambda: joined.visitor.ended and joined.origin.ended)
    assert joined.origin.received == b"early question"
    assert joined.visitor.received == b"early answer"
    engine.run_until(lambda: joined.relay.tally.clean)


def test_the_two_directions_can_be_started_separately(engine: EngineLoop, sample: Joined) -> None:
    visitor, origin = sample.visitor.read(), sample.origin.read()
    visitor.feed(b"up")
    origin.feed(b"down")
    sample.relay.start_forward()
    engine.settle()
    assert origin.received == b"up"
    assert visitor.received == b""
    sample.relay.start_backward()
    engine.settle()
    assert visitor.received == b"down"


def test_an_abort_resets_both_sides_and_records_the_reason(engine: EngineLoop, sample: Joined) -> None:
    visitor, origin = sample.visitor.read(), sample.origin.read()
    sample.relay.start()
    visitor.feed(b"x")
    engine.settle()
    sample.relay.abort("token revoked")
    engine.run_until(lambda: visitor.broken is not None and origin.broken is not None)
    assert sample.done == [sample.relay]
    assert sample.relay.tally.why == "token revoked"
    assert sample.relay.tally.forward.shutdown_reason == sample.relay.tally.backward.shutdown_reason == ABORTED
    sample.relay.abort("again")
    assert sample.done == [sample.relay]


def test_a_bug_during_a_socket_event_ends_the_whole_relay(engine: EngineLoop) -> None:
    """Its other half would wait for ever, with its stream, its descriptor and its place among the visitors."""

    class Buggy(SocketChannel):
        def send(self, data: memoryview | bytes | bytearray) -> int:
            raise RuntimeError("a bug")

    engine.tolerant = True
    visitor, near = tcp_pair()
    origin, far = tcp_pair()
    for end in (near, far):
        end.setblocking(False)
    done: list[Relay] = []
    left = SocketChannel(engine.reactor, near)
    relay = Relay(engine.reactor, left, Buggy(engine.reactor, far), done.append)
    engine.settle()
    left.readable = False  # so that the bug happens in an event, not in `start`
    relay.start()
    visitor.sendall(b"x")
    engine.run_until(lambda: done == [relay])
    for end in (visitor, origin):
        with pytest.raises(ConnectionResetError):
            end.recv(1)
        end.close()


def test_on_done_is_called_once(engine: EngineLoop, sample: Joined) -> None:
    sample.relay.start()
    sample.visitor.feed(b"a", end=True).read()
    sample.origin.feed(b"b", end=True).read()
    engine.run_until(lambda: bool(sample.done))
    engine.settle()
    sample.visitor.close()
    sample.origin.abort()
    engine.settle()
    assert sample.done == [sample.relay]


def test_a_visitor_that_closed_with_a_fin_causes_a_reset_when_the_response_arrives(engine: EngineLoop, identity: Identity) -> None:
    with ExitStack() as stack:
        joined = join(stack, engine, identity, "tcp", "mux-socket-accepted")
        joined.relay.start()
        joined.visitor.feed(b"question", end=True)
        engine.settle()
        joined.visitor.close()
        origin = joined.origin.read()
        engine.run_until(lambda: origin.ended)
        origin.feed(iter([noise(MIB)] * 32))
        engine.run_until(lambda: origin.broken is not None or origin.on_broken_calls > 0)
        engine.run_until(lambda: len(joined.done) == 1)
        assert not joined.relay.tally.clean


def test_lost_link_breaks_the_visitor(engine: EngineLoop, identity: Identity) -> None:
    with ExitStack() as stack:
        joined = join(stack, engine, identity, "tcp", "mux-tls-opened")
        visitor, origin = joined.visitor.read(), joined.origin
        joined.relay.start()
        origin.feed(noise(50_000))
        engine.settle()
        assert joined.right.cable_if_any is not None
        joined.right.cable_if_any.cut()
        engine.run_until(lambda: visitor.broken is not None)
        assert not visitor.ended


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_stalled_relay_does_not_delay_others_on_the_same_link(engine: EngineLoop, identity: Identity, over_tls: bool) -> None:
    from portway.mux.mux import Mux
    from portway.mux.mux_channel import MuxChannel

    kind = "mux-tls-opened" if over_tls else "mux-socket-opened"
    with ExitStack() as stack:
        stalled = join(stack, engine, identity, "tcp", kind)
        opener = stalled.right.near
        assert isinstance(opener, MuxChannel)
        relays: list[Relay] = []
        busy_left = stack.enter_context(pair_of("tcp", engine, identity))
        arrived: list[MuxChannel] = []
        far_end = stalled.right.far
        assert isinstance(far_end, MuxChannel)
        near_mux, far_mux = opener.mux, far_end.mux
        assert isinstance(near_mux, Mux)
        assert isinstance(far_mux, Mux)
        far_mux._on_stream = arrived.append
        second = near_mux.open()
        engine.run_until(lambda: len(arrived) == 1)
        busy = Relay(engine.reactor, busy_left.near, second, relays.append)
        stalled.relay.start()
        busy.start()
        stalled.origin.feed(iter([noise(MIB)] * 64))
        engine.settle()
        assert not stalled.origin.idle
        visitor, origin = Probe(busy_left.far).read(), Probe(arrived[0]).read()
        visitor.feed(noise(4 * MIB, 3), end=True)
        origin.feed(noise(4 * MIB, 4), end=True)
        engine.run_until(lambda: visitor.ended and origin.ended)
        assert visitor.received == noise(4 * MIB, 4)
        assert origin.received == noise(4 * MIB, 3)
        assert not stalled.done
        near_mux.close("test over")
        engine.settle()


def test_a_hundred_relays_share_the_turns(engine: EngineLoop, identity: Identity) -> None:
    with ExitStack() as stack:
        crowd = [join(stack, engine, identity, "unix", "unix") for _ in range(50)]
        for number, joined in enumerate(crowd):
            joined.relay.start()
            joined.visitor.read().feed(noise(200_000, number), end=True)
            joined.origin.read().feed(noise(100_000, 1000 + number), end=True)
        engine.run_until(lambda: all(joined.done for joined in crowd), deadline_s=20)
        for number, joined in enumerate(crowd):
            assert joined.origin.received == noise(200_000, number)
            assert joined.visitor.received == noise(100_000, 1000 + number)


def test_a_bulk_relay_gives_a_small_one_its_turn(engine: EngineLoop, identity: Identity) -> None:
    with ExitStack() as stack:
        bulk = join(stack, engine, identity, "memory", "memory")
        small = join(stack, engine, identity, "memory", "memory")
        bulk.relay.start()
        small.relay.start()
        bulk.origin.keep_received = False
        bulk.origin.read()
        bulk.visitor.feed(iter([noise(MIB)] * 64), end=True)
        overtaken: list[int] = []
        small.origin.on_data = lambda: overtaken.append(bulk.origin.received_bytes)
        small.origin.read()
        small.visitor.feed(b"hello", end=True)
        engine.run_until(lambda: small.origin.ended)
        assert overtaken[0] <= 2 * MIB


class Visit:
    """An owner that refers to a relay and is referenced by it, like the visitors of both edges."""

    def __init__(self, engine: EngineLoop, left: Pair, right: Pair) -> None:
        self.relay = Relay(engine.reactor, left.near, right.near, self.over)
        self.ended = False

    def over(self, _relay: Relay) -> None:
        self.ended = True


@pytest.mark.parametrize("breaks", [False, True], ids=["ends", "breaks"])
@pytest.mark.parametrize("kinds", ["tcp:tcp", "tls-server:tcp", "mux-tls-opened:tcp"])
def test_a_relay_that_is_over_is_freed_without_the_cycle_collector(
    engine: EngineLoop, identity: Identity, kinds: str, breaks: bool
) -> None:
    gc.collect()
    gc.disable()
    try:
        with ExitStack() as stack:
            left, right = (stack.enter_context(pair_of(kind, engine, identity)) for kind in kinds.split(":"))
            visit = Visit(engine, left, right)
            visit.relay.start()
            for far in (left.far, right.far):
                if breaks:
                    far.abort()
                else:
                    Probe(far)
                    far.shutdown_write()
            engine.run_until(partial(getattr, visit, "ended"))
            del visit
            engine.settle()
            assert [one for one in gc.get_objects() if isinstance(one, Relay | Visit | Pump)] == []
    finally:
        gc.enable()


def test_turns_are_charged_to_the_stream_although_the_visitor_has_an_account(engine: EngineLoop, identity: Identity) -> None:
    with ExitStack() as stack:
        joined = join(stack, engine, identity, "tls-server", "mux-socket-accepted")
        visitor, stream = joined.left.near, joined.right.near
        assert isinstance(visitor, TlsChannel)
        visitor.account = engine.reactor.authenticated.child(tenant=True)
        assert joined.relay.account is stream.account
        assert joined.relay.account is not visitor.account
