"""Relays with limits, over real sockets and links: what ends them and with which reason, what passes, and what they cost."""

import asyncio
import gc
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import pytest

from portway.engine import limits as limits_module
from portway.engine import policy as policy_module
from portway.engine.bucket import BURST_S, LATE_S_MAX, Share
from portway.engine.channel import CHANNEL_SLOTS, Channel, nothing
from portway.engine.gate import Gate
from portway.engine.limits import LimitEnforcer, Scope, Scopes, scopes_of
from portway.engine.policy import UNLIMITED, Policy
from portway.engine.pumps import Pump
from portway.engine.relay import Relay
from portway.engine.socket_channel import SocketChannel
from portway.engine.tally import ABORTED, ENDED, IDLE, LIFETIME, PAYLOAD, READ_BROKE, REASONS, TOO_SLOW, WRITE_BROKE
from tests.engine.test_bucket import fairness
from tests.engine.test_relay import noise
from tests.kit.certificates import Identity
from tests.kit.channels import Pair, pair_of
from tests.kit.loops import EngineLoop
from tests.kit.probe import Probe
from tests.kit.sockets import tcp_pair
from tests.kit.splicing import PUMPS, use_pump

COMBINATIONS = ["tcp:tcp:copy", "tcp:tcp:splice", "tcp:mux-tls-opened", "mux-tls-accepted:tcp"]
"""A forward proxy with either pump, a server, an agent."""


@dataclass
class Joined:
    """visitor ⇄ relay with limits ⇄ origin."""

    relay: Relay
    left: Pair
    right: Pair
    visitor: Probe
    origin: Probe
    done: list[Relay]

    @property
    def reasons(self) -> tuple[str, str]:
        """Why each direction ended."""
        tally = self.relay.tally
        return tally.forward.shutdown_reason, tally.backward.shutdown_reason


class Stage:
    """Joins pairs with limits between them."""

    def __init__(self, stack: ExitStack, engine: EngineLoop, identity: Identity, kinds: str) -> None:
        self.engine = engine
        left, right, *how = kinds.split(":")
        use_pump(engine, *how)
        self._stack, self._identity, self._kinds = stack, identity, (left, right)

    def join(self, policy: Policy | Scopes) -> Joined:
        left, right = (self._stack.enter_context(pair_of(kind, self.engine, self._identity)) for kind in self._kinds)
        done: list[Relay] = []
        scopes = scopes_of(self.engine.reactor, policy) if isinstance(policy, Policy) else policy
        relay = Relay(self.engine.reactor, left.near, right.near, done.append, scopes)
        return Joined(relay, left, right, Probe(left.far), Probe(right.far), done)


@pytest.fixture(autouse=True)
def short_farewells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "PAYLOAD_QUIET_S", 0.1)


@pytest.fixture(params=COMBINATIONS)
def stage(request: pytest.FixtureRequest, engine: EngineLoop, identity: Identity) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack, engine, identity, request.param)


@pytest.fixture(params=PUMPS)
def sockets(request: pytest.FixtureRequest, engine: EngineLoop, identity: Identity) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack, engine, identity, f"tcp:tcp:{request.param}")


# Limits that end a relay.


def both_end(joined: Joined) -> None:
    joined.visitor.end()
    joined.origin.end()


def visitor_resets(joined: Joined) -> None:
    joined.visitor.abort()


def origin_resets(joined: Joined) -> None:
    joined.origin.abort()


def nobody_speaks(joined: Joined) -> None:
    pass


def visitor_pours(joined: Joined) -> None:
    joined.visitor.feed(noise(5000))


def we_abort(joined: Joined) -> None:
    joined.relay.abort("the operator says so")


ENDINGS = [
    (ENDED, Policy(idle_timeout_s=60), both_end, (ENDED, ENDED)),
    (READ_BROKE, Policy(idle_timeout_s=60), visitor_resets, (READ_BROKE, WRITE_BROKE)),
    (WRITE_BROKE, Policy(idle_timeout_s=60), origin_resets, (WRITE_BROKE, READ_BROKE)),
    (IDLE, Policy(idle_timeout_s=0.1), nobody_speaks, (IDLE, IDLE)),
    (TOO_SLOW, Policy(min_rate_bpm=5001), visitor_pours, (TOO_SLOW, TOO_SLOW)),
    (LIFETIME, Policy(max_lifetime_s=0.1), visitor_pours, (LIFETIME, LIFETIME)),
    (PAYLOAD, Policy(max_total_payload=4999), visitor_pours, (PAYLOAD, PAYLOAD)),
    (ABORTED, Policy(idle_timeout_s=60), we_abort, (ABORTED, ABORTED)),
]


@pytest.mark.parametrize(("word", "policy", "happening", "reasons"), ENDINGS, ids=[row[0] for row in ENDINGS])
def test_every_reason_is_reported_and_only_an_end_looks_like_one(
    stage: Stage,
    word: str,
    policy: Policy,
    happening: Callable[[Joined], None],
    reasons: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policy_module, "MINUTE_S", 0.2)
    joined = stage.join(policy)
    visitor, origin = joined.visitor.read(), joined.origin.read()
    joined.relay.start()
    happening(joined)
    stage.engine.run_until(lambda: joined.done == [joined.relay])
    assert joined.reasons == reasons
    ends = [probe for probe in (visitor, origin) if not probe._gone]
    stage.engine.run_until(lambda: all(probe.ended or probe.broken is not None for probe in ends))
    assert all(probe.ended == (word == ENDED) for probe in ends)
    tally = joined.relay.tally
    assert tally.why == ("the operator says so" if word == ABORTED else "")
    assert 0 <= tally.forward.duration <= tally.backward.duration + 1 < 10


def test_the_table_of_reasons_is_complete() -> None:
    assert [row[0] for row in ENDINGS] == list(REASONS)


@pytest.mark.parametrize(("happening", "reasons"), [row[2:] for row in ENDINGS[:3]], ids=[row[0] for row in ENDINGS[:3]])
def test_without_limits_the_words_are_the_same(stage: Stage, happening: Callable[[Joined], None], reasons: tuple[str, str]) -> None:
    joined = stage.join(UNLIMITED)
    joined.visitor.read()
    joined.origin.read()
    joined.relay.start()
    happening(joined)
    stage.engine.run_until(lambda: bool(joined.done))
    assert joined.reasons == reasons


def wait(engine: EngineLoop, seconds: float) -> None:
    """Let time pass."""
    engine.run(asyncio.sleep(seconds))


def test_idle_means_no_data_in_either_direction(engine: EngineLoop, identity: Identity) -> None:
    with ExitStack() as stack:
        joined = Stage(stack, engine, identity, "tcp:mux-tls-opened").join(Policy(idle_timeout_s=0.4))
        joined.visitor.read()
        joined.relay.start()
        started = engine.reactor.refresh_now()
        for _ in range(6):
            wait(engine, 0.08)
            assert not joined.done, "one way is enough"
            joined.origin.feed(b"still here")
        engine.run_until(lambda: bool(joined.done))
        assert joined.reasons == (IDLE, IDLE)
        ended_at = joined.relay.tally.ended_at
        assert ended_at is not None
        assert ended_at - started >= 6 * 0.08 + 0.4


# The payload, to the byte.


@pytest.mark.parametrize("total", [1, 65_537, 300_001])
@pytest.mark.parametrize("upwards", [True, False], ids=["up", "down"])
def test_exactly_the_payload_arrives_and_then_the_break(stage: Stage, total: int, upwards: bool) -> None:
    joined = stage.join(Policy(max_total_payload=total))
    visitor, origin = joined.visitor.read(), joined.origin.read()
    sender, reader = (visitor, origin) if upwards else (origin, visitor)
    sent = noise(400_000)
    joined.relay.start()
    sender.feed(sent)
    stage.engine.run_until(lambda: reader.broken is not None)
    assert bytes(reader.received) == sent[:total]
    assert not reader.ended
    stage.engine.run_until(lambda: sender.broken is not None or sender.on_broken_calls > 0)
    flow = joined.relay.tally.forward if upwards else joined.relay.tally.backward
    assert (flow.shutdown_reason, flow.total_bytes) == (PAYLOAD, total)


def test_both_directions_share_the_payload(stage: Stage) -> None:
    joined = stage.join(Policy(max_total_payload=100_000))
    visitor, origin = joined.visitor.read(), joined.origin.read()
    joined.relay.start()
    visitor.feed(noise(70_000))
    origin.feed(noise(70_000))
    stage.engine.run_until(lambda: visitor.broken is not None and origin.broken is not None)
    assert visitor.received_bytes + origin.received_bytes == 100_000
    tally = joined.relay.tally
    assert (tally.forward.total_bytes, tally.backward.total_bytes) == (origin.received_bytes, visitor.received_bytes)


def test_a_transfer_that_fits_exactly_is_complete(stage: Stage) -> None:
    joined = stage.join(Policy(max_total_payload=50_003))
    visitor, origin = joined.visitor.read(), joined.origin.read()
    joined.relay.start()
    visitor.feed(b"abc", end=True)
    origin.feed(noise(50_000), end=True)
    stage.engine.run_until(lambda: bool(joined.done))
    assert joined.relay.tally.clean
    stage.engine.run_until(lambda: visitor.ended and origin.ended)
    assert (visitor.received_bytes, origin.received_bytes) == (50_000, 3)


@pytest.fixture
def plain(engine: EngineLoop) -> Iterator[Callable[[int], Joined]]:
    """Joins plain sockets, with the kernel's usual buffers and no cable between them."""
    channels: list[SocketChannel] = []

    def ends() -> tuple[SocketChannel, SocketChannel]:
        pair = tcp_pair()
        for end in pair:
            end.setblocking(False)
            channels.append(SocketChannel(engine.reactor, end))
        return channels[-2], channels[-1]

    def join(total: int) -> Joined:
        (near, visitor), (far, origin) = ends(), ends()
        done: list[Relay] = []
        relay = Relay(engine.reactor, near, far, done.append, scopes_of(engine.reactor, Policy(max_total_payload=total)))
        left, right = Pair("tcp", near, visitor, None), Pair("tcp", far, origin, None)
        return Joined(relay, left, right, Probe(visitor), Probe(origin), done)

    yield join
    for channel in channels:
        channel.close()
    engine.settle()


def test_a_slow_reader_gets_all_of_the_payload_too(engine: EngineLoop, plain: Callable[[int], Joined]) -> None:
    """A reset throws away what the kernel has not sent: it has to wait until everything is there."""
    joined = plain(2_000_000)
    joined.visitor.keep_received = False
    joined.relay.start()
    joined.origin.feed(iter([noise(1 << 20)] * 4))
    engine.run_until(lambda: joined.reasons[1] == PAYLOAD)
    wait(engine, 0.3)
    assert not joined.done
    joined.visitor.read()
    engine.run_until(lambda: joined.visitor.broken is not None)
    assert joined.visitor.received_bytes == 2_000_000
    assert joined.reasons == (PAYLOAD, PAYLOAD)


def test_a_reader_that_accepts_nothing_is_reset(
    engine: EngineLoop, plain: Callable[[int], Joined], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_module, "STUCK_S", 0.3)
    joined = plain(2_000_000)
    joined.relay.start()
    joined.origin.feed(iter([noise(1 << 20)] * 4))
    engine.run_until(lambda: bool(joined.done))
    joined.visitor.read()
    engine.run_until(lambda: joined.visitor.broken is not None)
    assert joined.visitor.received_bytes < 2_000_000


def test_a_slow_reader_behind_a_link_gets_all_of_the_payload_too(
    engine: EngineLoop, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_module, "PAYLOAD_QUIET_S", 0.8)
    with ExitStack() as stack:
        joined = Stage(stack, engine, identity, "tcp:mux-tls-opened").join(Policy(max_total_payload=500_000))
        far = joined.right.far
        far.on_readable = nothing
        joined.relay.start()
        joined.visitor.feed(noise(600_000))
        got = bytearray()
        while len(got) < 500_000:
            wait(engine, 0.2)
            assert far.readable, f"only {len(got)} bytes came"
            turn = len(got) + 64_000
            while len(got) < turn and (view := far.peek()) is not None:
                count = min(len(view), turn - len(got))
                got += view[:count]
                far.consume(count)
        assert got == noise(600_000)[:500_000]
        engine.run_until(lambda: bool(joined.done))
        assert joined.reasons == (PAYLOAD, PAYLOAD)


def test_a_break_ends_the_farewell_at_once(sockets: Stage) -> None:
    joined = sockets.join(Policy(max_total_payload=10))
    joined.visitor.feed(b"more than ten bytes")
    joined.relay.start()
    sockets.engine.settle()
    assert not joined.done
    joined.origin.abort()
    sockets.engine.run_until(lambda: bool(joined.done))
    assert joined.reasons == (PAYLOAD, PAYLOAD)


# Rates.


def test_a_shaped_relay_meets_its_rate_in_each_direction_and_loses_nothing(stage: Stage) -> None:
    """However busy the machine is, no more passes than was due by the clock; how much less, that is the machine's."""
    rate_bps = 1_000_000
    began_at = stage.engine.reactor.refresh_now()
    joined = stage.join(Policy(max_rate_bps=rate_bps))
    visitor, origin = joined.visitor.read(), joined.origin.read()
    up, down = noise(300_000, 1), noise(600_000, 2)
    joined.relay.start()
    visitor.feed(up, end=True)
    origin.feed(down, end=True)

    def due_bytes() -> float:
        return rate_bps * (stage.engine.reactor.refresh_now() - began_at + BURST_S / 2)

    def all_there() -> bool:
        assert visitor.received_bytes <= due_bytes()
        assert origin.received_bytes <= due_bytes()
        return visitor.ended

    stage.engine.run_until(all_there, deadline_s=10)
    assert due_bytes() <= 2 * len(down) + rate_bps * LATE_S_MAX
    stage.engine.run_until(lambda: bool(joined.done))
    assert (bytes(origin.received), bytes(visitor.received)) == (up, down)
    assert joined.relay.tally.clean


def test_small_messages_pass_a_rate_that_they_do_not_reach(stage: Stage) -> None:
    joined = stage.join(Policy(max_rate_bps=100_000))
    visitor, origin = joined.visitor.read(), joined.origin.read()
    joined.relay.start()
    for number in range(20):
        visitor.feed(b"ping")
        stage.engine.settle()
        assert origin.received == b"ping" * (number + 1), "nobody waits who is below the rate"


def pour(joined: Joined, piece_bytes: int = 64 * 1024) -> None:
    """Let the origin send without end, and the visitor take all of it."""
    joined.visitor.keep_received = False
    joined.visitor.read()
    joined.relay.start()
    joined.origin.piece_bytes = piece_bytes
    joined.origin.feed(iter([noise(1 << 20)] * 400))


def test_the_relays_of_one_scope_share_its_bandwidth_in_equal_parts(stage: Stage) -> None:
    bandwidth_bps = 2_000_000
    began_at = stage.engine.reactor.refresh_now()
    scopes = scopes_of(stage.engine.reactor, Policy(bandwidth_bps=bandwidth_bps))
    crowd = [stage.join(scopes) for _ in range(8)]
    for number, joined in enumerate(crowd):
        pour(joined, 1000 * (number + 1) ** 2)  # in small and in large pieces
    wait(stage.engine, 0.7)
    passed_s = stage.engine.reactor.refresh_now() - began_at
    parts = [joined.relay.tally.backward.total_bytes for joined in crowd]
    assert fairness(parts) > 0.98, parts
    assert min(parts) > 0.8 * max(parts), parts
    assert sum(parts) <= bandwidth_bps * (passed_s + BURST_S / 2)
    assert sum(parts) >= 0.5 * bandwidth_bps * passed_s, "a busy machine may lose some, not most"
    for joined in crowd:
        joined.relay.abort("the test is over")


@pytest.mark.parametrize("policy", [Policy(bandwidth_bps=2_000_000), UNLIMITED], ids=["of a bandwidth", "without limits"])
def test_a_fast_sender_does_not_delay_the_others(stage: Stage, policy: Policy) -> None:
    """Less traffic than its part passes at once: a hundred requests and responses next to a sender that uses the full rate."""
    scopes = scopes_of(stage.engine.reactor, policy)
    greedy = stage.join(scopes)
    modest = [stage.join(scopes) for _ in range(4)]
    pour(greedy)
    for joined in modest:
        joined.visitor.read()
        joined.origin.read()
        joined.relay.start()
    waited_s = []
    for round_ in range(1, 26):
        asked_at = stage.engine.reactor.refresh_now()
        for joined in modest:
            joined.visitor.feed(b"?" * 100)
        stage.engine.run_until(partial(all_have, [joined.origin for joined in modest], 100 * round_))
        for joined in modest:
            joined.origin.feed(b"!" * 1000)
        stage.engine.run_until(partial(all_have, [joined.visitor for joined in modest], 1000 * round_))
        waited_s.append(stage.engine.reactor.refresh_now() - asked_at)
    assert sorted(waited_s)[12] < 0.2, waited_s
    stage.engine.run_until(lambda: greedy.visitor.received_bytes > 200_000, what="he has the rest")
    for joined in [greedy, *modest]:
        joined.relay.abort("the test is over")


def all_have(probes: list[Probe], count: int) -> bool:
    return all(probe.received_bytes >= count for probe in probes)


def test_a_relay_that_ends_leaves_nothing_in_the_queue(sockets: Stage) -> None:
    scopes = scopes_of(sockets.engine.reactor, Policy(bandwidth_bps=1000))
    crowd = [sockets.join(scopes) for _ in range(3)]
    for joined in crowd:
        joined.relay.start()
        joined.visitor.feed(noise(10_000))
    sockets.engine.settle()
    (bucket,) = scopes[0].forward
    assert bucket.waiting == 3
    for joined in crowd:
        joined.relay.abort()
    assert bucket.waiting == 0


# Costs.


class Still(Channel):
    """A channel without any events, of which relays can be created by the thousand."""

    __slots__ = CHANNEL_SLOTS

    def __init__(self) -> None:
        self.on_readable = self.on_writable = self.on_broken = nothing
        self.readable = False

    def recv_into(self, buffer: memoryview) -> int:
        raise NotImplementedError

    def room(self) -> int:
        return 0

    def send(self, data: memoryview | bytes | bytearray) -> int:
        raise NotImplementedError

    def shutdown_write(self) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass


ALL_LIMITS = Policy(
    idle_timeout_s=60, min_rate_bpm=100, max_rate_bps=10**6, bandwidth_bps=10**8, max_lifetime_s=3600, max_total_payload=10**9
)


def test_a_hundred_thousand_relays_with_limits_cost_one_timer_of_the_loop(engine: EngineLoop) -> None:
    still = Still()
    before = len(engine.loop._scheduled)  # type: ignore[attr-defined]
    scopes = scopes_of(engine.reactor, Policy(idle_timeout_s=60, min_rate_bpm=100, max_lifetime_s=3600))
    relays: list[Relay] = []

    def come() -> None:
        relays.extend(Relay(engine.reactor, still, still, lambda relay: None, scopes) for _ in range(100_000))

    engine.reactor.call_soon(come)  # in one moment, as after a restart
    engine.settle()
    wheel = engine.reactor._timers
    assert sum(len(bucket) for bucket in wheel._buckets.values()) == 100_000
    assert max(len(bucket) for bucket in wheel._buckets.values()) < 2_000, "a crowd is not looked at all at once"
    handles = [handle for handle in engine.loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    assert len(handles) - before == 1
    for relay in relays:
        relay.abort()
    assert sum(len(bucket) for bucket in wheel._buckets.values()) == 0


def test_limits_take_little_memory_and_none_where_there_are_none(engine: EngineLoop) -> None:
    still = Still()

    def bytes_of(scopes: Scopes, count: int = 2000) -> float:
        tracemalloc.start()
        relays = [Relay(engine.reactor, still, still, print, scopes) for _ in range(count)]
        used = tracemalloc.get_traced_memory()[0] / count
        tracemalloc.stop()
        for relay in relays:
            relay._on_done = lambda relay: None
            relay.abort()
        return used

    without = bytes_of(())
    by_time = bytes_of(scopes_of(engine.reactor, Policy(idle_timeout_s=60, min_rate_bpm=100, max_lifetime_s=3600)))
    by_all = bytes_of((Scope(engine.reactor, ALL_LIMITS), Scope(engine.reactor, ALL_LIMITS)))
    assert by_time - without < 700, f"{without:.0f} B without limits, {by_time:.0f} B with"
    assert by_all - without < 3000, f"{without:.0f} B without limits, {by_all:.0f} B with all, of a tunnel and a token"


def test_a_policy_without_limits_is_no_scope(engine: EngineLoop) -> None:
    assert scopes_of(engine.reactor, UNLIMITED) == ()
    relay = Relay(engine.reactor, Still(), Still(), lambda relay: None)
    assert relay._limits is None
    assert engine.reactor._timers.next_deadline() is None


def test_a_time_limit_alone_puts_nothing_between_pump_and_sink(engine: EngineLoop) -> None:
    left, right = Still(), Still()
    relay = Relay(engine.reactor, left, right, lambda relay: None, scopes_of(engine.reactor, Policy(idle_timeout_s=60)))
    assert relay._forward._sink is right
    assert relay._backward._sink is left


def test_a_visitor_sees_the_payloads_end_as_a_reset_on_a_plain_socket(engine: EngineLoop, identity: Identity) -> None:
    visitor, near = tcp_pair()
    origin, far = tcp_pair()
    for end in (near, far):
        end.setblocking(False)
    done: list[Relay] = []
    scopes = scopes_of(engine.reactor, Policy(max_total_payload=1000))
    Relay(engine.reactor, SocketChannel(engine.reactor, near), SocketChannel(engine.reactor, far), done.append, scopes).start()
    origin.sendall(bytes(5000))
    engine.run_until(lambda: bool(done))
    got = bytearray()
    with pytest.raises(ConnectionResetError):
        while True:
            got += visitor.recv(300)
    assert len(got) == 1000
    with pytest.raises((ConnectionResetError, BrokenPipeError, socket.timeout)):
        while origin.recv(1000):
            pass
    visitor.close()
    origin.close()


def has_ended(relay: Relay) -> bool:
    return relay.tally.ended_at is not None


@pytest.mark.parametrize("breaks", [False, True], ids=["ends", "breaks"])
def test_a_relay_with_limits_that_is_over_is_freed_without_the_cycle_collector(stage: Stage, breaks: bool) -> None:
    scopes = scopes_of(stage.engine.reactor, ALL_LIMITS)
    gc.collect()
    gc.disable()
    try:
        joined = stage.join(scopes)
        joined.relay._on_done = lambda relay: None
        joined.visitor.read()
        joined.origin.read()
        joined.relay.start()
        joined.visitor.feed(b"hello", end=True)
        stage.engine.settle()
        if breaks:
            joined.origin.abort()
        else:
            joined.origin.end()
        stage.engine.run_until(partial(has_ended, joined.relay))
        assert joined.relay.tally.forward.total_bytes == 5
        del joined
        stage.engine.settle()
        assert [one for one in gc.get_objects() if isinstance(one, Relay | LimitEnforcer | Gate | Pump | Share)] == []
    finally:
        gc.enable()
