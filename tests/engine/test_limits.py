"""Relays with limits, over real sockets and links: what ends them and with which word, what passes, and what they cost."""

import gc
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import pytest

from portway.engine import limits as limits_module
from portway.engine import policy as policy_module
from portway.engine.bucket import BURST_S, Share
from portway.engine.channel import CHANNEL_SLOTS, Channel, nothing
from portway.engine.gate import Gate
from portway.engine.limits import Limits, Scope, Scopes, scopes_of
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

COMBINATIONS = ["tcp:tcp", "tcp:mux-tls-opened", "mux-tls-accepted:tcp"]
"""A forward proxy, a server, an agent."""


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
        """Why each way ended."""
        tally = self.relay.tally
        return tally.forward.shutdown_reason, tally.backward.shutdown_reason


class Stage:
    """Joins pairs with limits between them."""

    def __init__(self, stack: ExitStack, engine: EngineLoop, identity: Identity, kinds: str) -> None:
        self.engine = engine
        self._stack, self._identity, self._kinds = stack, identity, kinds

    def join(self, policy: Policy | Scopes) -> Joined:
        left, right = (self._stack.enter_context(pair_of(kind, self.engine, self._identity)) for kind in self._kinds.split(":"))
        done: list[Relay] = []
        scopes = scopes_of(self.engine.reactor, policy) if isinstance(policy, Policy) else policy
        relay = Relay(self.engine.reactor, left.near, right.near, done.append, scopes)
        return Joined(relay, left, right, Probe(left.far), Probe(right.far), done)


@pytest.fixture(autouse=True)
def short_farewells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "FAREWELL_S", 0.1)


@pytest.fixture(params=COMBINATIONS)
def stage(request: pytest.FixtureRequest, engine: EngineLoop, identity: Identity) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack, engine, identity, request.param)


@pytest.fixture
def sockets(engine: EngineLoop, identity: Identity) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack, engine, identity, "tcp:tcp")


# What ends a relay.


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
def test_every_reason_is_told_by_its_word_and_only_an_end_looks_like_one(
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


def test_the_table_of_reasons_is_whole() -> None:
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


def test_idle_means_both_ways_quiet(stage: Stage) -> None:
    joined = stage.join(Policy(idle_timeout_s=0.3))
    joined.visitor.read()
    joined.relay.start()
    started = stage.engine.reactor.now
    for _ in range(3):
        until = stage.engine.reactor.refresh_now() + 0.15
        stage.engine.run_until(lambda until=until: stage.engine.reactor.refresh_now() >= until or bool(joined.done))  # type: ignore[misc]
        joined.origin.feed(b"one way is enough")
    stage.engine.run_until(lambda: bool(joined.done))
    assert joined.reasons == (IDLE, IDLE)
    ended_at = joined.relay.tally.ended_at
    assert ended_at is not None
    assert ended_at - started >= 0.45 + 0.3


# The payload, to the byte.


@pytest.mark.parametrize("total", [1, 4096, 65_537, 300_001])
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
    stage.engine.run_until(lambda: sender.broken is not None or sender.told_broken > 0)
    flow = joined.relay.tally.forward if upwards else joined.relay.tally.backward
    assert (flow.shutdown_reason, flow.total_bytes) == (PAYLOAD, total)


def test_both_ways_share_the_payload(stage: Stage) -> None:
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
    joined.visitor.keep = False
    joined.relay.start()
    joined.origin.feed(iter([noise(1 << 20)] * 4))
    engine.run_until(lambda: joined.reasons[1] == PAYLOAD)
    until = engine.reactor.refresh_now() + 0.3
    engine.run_until(lambda: engine.reactor.refresh_now() >= until)
    assert not joined.done
    joined.visitor.read()
    engine.run_until(lambda: joined.visitor.broken is not None)
    assert joined.visitor.received_bytes == 2_000_000
    assert joined.reasons == (PAYLOAD, PAYLOAD)


def test_a_reader_that_takes_nothing_is_given_up(
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


def test_a_shaped_relay_keeps_its_rate_each_way_and_loses_nothing(stage: Stage) -> None:
    rate_bps = 1_000_000
    joined = stage.join(Policy(max_rate_bps=rate_bps))
    visitor, origin = joined.visitor.read(), joined.origin.read()
    up, down = noise(600_000, 1), noise(800_000, 2)
    joined.relay.start()
    started = time.monotonic()
    visitor.feed(up, end=True)
    origin.feed(down, end=True)
    stage.engine.run_until(lambda: visitor.ended, deadline_s=10)
    passed_s = time.monotonic() - started
    stage.engine.run_until(lambda: bool(joined.done))
    assert (bytes(origin.received), bytes(visitor.received)) == (up, down)
    assert joined.relay.tally.clean
    # Never faster; a machine that is busy elsewhere may make it slower.
    assert len(down) / rate_bps * 0.95 <= passed_s < len(down) / rate_bps * 1.5


def test_small_messages_pass_a_rate_that_they_do_not_reach(stage: Stage) -> None:
    joined = stage.join(Policy(max_rate_bps=100_000))
    visitor, origin = joined.visitor.read(), joined.origin.read()
    joined.relay.start()
    for number in range(20):
        visitor.feed(b"ping")
        stage.engine.settle()
        assert origin.received == b"ping" * (number + 1), "nobody waits who is below the rate"


def test_the_relays_of_one_scope_share_its_bandwidth_in_equal_parts(stage: Stage) -> None:
    bandwidth_bps = 2_000_000
    scopes = scopes_of(stage.engine.reactor, Policy(bandwidth_bps=bandwidth_bps))
    crowd = [stage.join(scopes) for _ in range(8)]
    for joined in crowd:
        joined.visitor.keep = False
        joined.visitor.read()
        joined.relay.start()
    for number, joined in enumerate(crowd):
        joined.origin.piece_bytes = 1000 * (number + 1) ** 2  # in crumbs and in lumps
        joined.origin.feed(iter([noise(1 << 20)] * 40))
    started = time.monotonic()
    stage.engine.run_until(lambda: time.monotonic() - started >= 1.0)
    passed_s = time.monotonic() - started
    parts = [joined.relay.tally.backward.total_bytes for joined in crowd]
    assert fairness(parts) > 0.98, parts
    assert min(parts) > 0.85 * max(parts), parts
    assert sum(parts) <= 1.03 * bandwidth_bps * (passed_s + BURST_S)
    assert sum(parts) >= 0.6 * bandwidth_bps * passed_s, "a busy machine may lose some, not most"
    for joined in crowd:
        joined.relay.abort("the test is over")


def test_a_relay_that_ends_leaves_no_place_in_the_queue_behind(sockets: Stage) -> None:
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


# What it costs.


class Still(Channel):
    """A channel on which nothing ever happens: what relays need to stand there by the thousand."""

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
    relays = [Relay(engine.reactor, still, still, lambda relay: None, scopes) for _ in range(100_000)]
    wheel = engine.reactor._timers
    assert sum(len(bucket) for bucket in wheel._buckets.values()) == 100_000
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
        assert [one for one in gc.get_objects() if isinstance(one, Relay | Limits | Gate | Pump | Share)] == []
    finally:
        gc.enable()
