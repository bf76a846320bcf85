"""The reactor: order within a batch, turns between batches, and what happens to callbacks that fail."""

import asyncio
import socket
import time
from collections.abc import Iterator
from functools import partial

import pytest

from portway.engine.accounts import Account
from portway.engine.channel import BLOCKED
from portway.engine.poller import PEER_ENDED, READABLE
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import SocketChannel
from portway.engine.timers import Timer
from portway.protocol.work import SIZEABLE_WORK, TURN_WORK
from tests.kit.loops import EngineLoop
from tests.kit.probe import Probe
from tests.kit.sockets import open_descriptors, tcp_pair, unix_pair


def test_the_ready_queue_keeps_its_order(engine: EngineLoop) -> None:
    calls: list[str] = []

    def first() -> None:
        calls.append("first")
        engine.reactor.call_soon(lambda: calls.append("third"))

    engine.reactor.call_soon(first)
    engine.reactor.call_soon(lambda: calls.append("second"))
    engine.settle()
    assert calls == ["first", "second", "third"]


def test_a_flush_runs_once_after_all_turns_of_a_round_and_before_the_next(engine: EngineLoop) -> None:
    calls: list[str] = []

    def work() -> None:
        engine.reactor.at_batch_end(lambda: calls.append("flush"))
        engine.reactor.call_soon(lambda: calls.append("second turn"))

    engine.reactor.call_soon(work)
    engine.reactor.call_soon(lambda: calls.append("somebody else"))
    engine.settle()
    assert calls == ["somebody else", "flush", "second turn"]


def test_a_socket_event_is_handled_between_two_turns_of_a_busy_source(engine: EngineLoop) -> None:
    left, right = socket.socketpair()
    calls: list[str] = []

    def busy() -> None:
        calls.append("turn")
        if len(calls) == 1:
            right.send(b"x")
        if len(calls) < 8:
            engine.reactor.call_soon(busy)

    engine.reactor.watch(left.fileno(), lambda mask: calls.append("event") if mask & READABLE else None)
    engine.settle()
    calls.clear()
    engine.reactor.call_soon(busy)
    engine.settle()
    assert calls[:3] == ["turn", "event", "turn"]
    engine.reactor.unwatch(left.fileno())
    left.close()
    right.close()


def test_a_flush_requested_by_a_coroutine_runs_too(engine: EngineLoop) -> None:
    calls: list[str] = []

    async def conversation() -> None:
        flushed = asyncio.Event()
        engine.reactor.at_batch_end(lambda: calls.append("flush"))
        engine.reactor.at_batch_end(flushed.set)
        engine.reactor.call_soon(lambda: calls.append("soon"))
        await flushed.wait()

    engine.run(conversation())
    assert calls == ["soon", "flush"]


def test_a_flush_asked_for_by_a_flush_is_not_lost(engine: EngineLoop) -> None:
    calls: list[str] = []
    engine.reactor.at_batch_end(lambda: engine.reactor.at_batch_end(lambda: calls.append("second")))
    engine.settle()
    assert calls == ["second"]


def test_work_that_never_ends_leaves_coroutines_and_timers_their_turn(engine: EngineLoop) -> None:
    going, ticks = True, 0

    def again() -> None:
        if going:
            engine.reactor.call_soon(again)

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    async def conversation() -> int:
        nonlocal going
        turns = 0
        while ticks < 1:
            turns += 1
            await asyncio.sleep(0)
        going = False
        return turns

    again()
    engine.reactor.call_later(0.1, tick)
    assert engine.run(conversation()) > 3


def test_timers_fire_in_order_and_not_early(engine: EngineLoop) -> None:
    calls: list[tuple[str, float]] = []
    start = time.monotonic()
    engine.reactor.call_later(0.2, lambda: calls.append(("late", time.monotonic())))
    engine.reactor.call_later(0.05, lambda: calls.append(("early", time.monotonic())))
    engine.reactor.call_later(0.1, lambda: calls.append(("never", 0.0))).cancel()
    engine.run_until(lambda: len(calls) == 2)
    assert [name for name, _ in calls] == ["early", "late"]
    assert calls[0][1] - start >= 0.05
    assert calls[1][1] - start >= 0.2


def test_an_earlier_timer_set_later_is_not_held_up(engine: EngineLoop) -> None:
    calls: list[str] = []
    engine.reactor.call_later(30, lambda: calls.append("too late"))
    engine.settle()
    engine.reactor.call_later(0.0, lambda: calls.append("now"))
    engine.run_until(lambda: calls == ["now"], deadline_s=2)


def test_a_timer_set_by_a_timer_fires(engine: EngineLoop) -> None:
    calls: list[str] = []

    def first() -> None:
        engine.reactor.call_later(0.0, lambda: calls.append("second"))

    engine.reactor.call_later(0.0, first)
    engine.run_until(lambda: calls == ["second"], deadline_s=2)


def test_now_moves_with_the_batches_and_on_request(engine: EngineLoop) -> None:
    before = engine.reactor.now
    assert engine.reactor.refresh_now() >= before
    seen: list[float] = []
    engine.reactor.call_soon(lambda: seen.append(engine.reactor.now))
    engine.settle()
    assert seen[0] >= before


def test_a_failing_callback_ends_its_own_connection_and_no_other(engine: EngineLoop) -> None:
    engine.tolerant = True
    bad_near, bad_far = tcp_pair()
    good_near, good_far = tcp_pair()
    for end in (bad_near, good_near):
        end.setblocking(False)
    bad, good = SocketChannel(engine.reactor, bad_near), Probe(SocketChannel(engine.reactor, good_near)).read()

    def fail() -> None:
        raise RuntimeError("a bug")

    engine.settle()
    bad.on_readable = fail
    bad_far.sendall(b"x")
    good_far.sendall(b"hello")
    engine.run_until(lambda: good.received == b"hello")
    assert engine.logged_errors == 1
    try:
        assert bad_far.recv(1) == b""
    except ConnectionResetError:
        pass
    good.close()
    bad_far.close()
    good_far.close()


@pytest.mark.parametrize("way", ["timer", "ready", "flush"])
def test_a_failed_timer_turn_or_flush_ends_its_connection(engine: EngineLoop, way: str) -> None:
    """A deadline that failed would never run again, and what it guards would stay for ever."""
    engine.tolerant = True

    class Connection:
        aborted = 0

        def fail(self) -> None:
            raise RuntimeError("a bug")

        def abort(self) -> None:
            self.aborted += 1

    connection = Connection()
    if way == "timer":
        engine.reactor.call_later(0.0, connection.fail)
    else:
        (engine.reactor.call_soon if way == "ready" else engine.reactor.at_batch_end)(partial(connection.fail))
    engine.run_until(lambda: connection.aborted == 1)


def test_failing_timers_flushes_and_ready_callbacks_do_not_stop_the_rest(engine: EngineLoop) -> None:
    engine.tolerant = True
    calls: list[str] = []

    def fail() -> None:
        raise RuntimeError("a bug")

    engine.reactor.call_soon(fail)
    engine.reactor.call_soon(lambda: calls.append("ready"))
    engine.reactor.at_batch_end(fail)
    engine.reactor.at_batch_end(lambda: calls.append("flush"))
    engine.reactor.call_later(0.0, fail)
    engine.reactor.call_later(0.0, lambda: calls.append("timer"))
    engine.run_until(lambda: len(calls) == 3)
    assert sorted(calls) == ["flush", "ready", "timer"]
    assert engine.logged_errors == 3


def test_a_descriptor_number_is_not_used_again_while_old_events_are_in_hand(engine: EngineLoop) -> None:
    pairs = [unix_pair() for _ in range(20)]
    channels: list[SocketChannel] = []
    numbers_freed_early: list[int] = []
    for near, _ in pairs:
        near.setblocking(False)
        channels.append(SocketChannel(engine.reactor, near))
    engine.settle()

    def close_all() -> None:
        mine = {channel._sock.fileno() for channel in channels}
        for channel in channels:
            channel.close()
        fresh = [socket.socket() for _ in range(20)]
        numbers_freed_early.extend(sock.fileno() for sock in fresh if sock.fileno() in mine)
        for sock in fresh:
            sock.close()

    for channel in channels:
        channel.on_readable = close_all
    for _, far in pairs:
        far.sendall(b"x")
    engine.settle()
    assert not numbers_freed_early
    for _, far in pairs:
        far.close()


def test_a_new_handler_of_a_descriptor_gets_its_current_readiness(engine: EngineLoop) -> None:
    near, far = tcp_pair()
    near.setblocking(False)
    masks: list[int] = []
    engine.reactor.watch(near.fileno(), lambda mask: None)
    far.sendall(b"hello and goodbye")
    far.close()
    engine.settle()
    engine.reactor.watch(near.fileno(), masks.append)
    engine.settle()
    assert masks
    assert masks[0] & READABLE
    assert masks[0] & PEER_ENDED or engine.reactor.level_poller is not None, "a level tells of an end as of bytes"
    engine.reactor.discard(near)
    engine.settle()


def test_an_unwatched_descriptor_is_quiet_and_stays_open(engine: EngineLoop) -> None:
    near, far = unix_pair()
    near.setblocking(False)
    masks: list[int] = []
    engine.reactor.watch(near.fileno(), masks.append)
    engine.settle()
    engine.reactor.unwatch(near.fileno())
    engine.reactor.unwatch(near.fileno())
    seen = len(masks)
    far.sendall(b"x")
    engine.settle()
    assert len(masks) == seen
    assert near.recv(10) == b"x"
    near.close()
    far.close()


def test_more_events_than_fit_in_a_batch_are_all_handled(engine: EngineLoop) -> None:
    probes: list[Probe] = []
    fars: list[socket.socket] = []
    for _ in range(700):
        near, far = unix_pair()
        near.setblocking(False)
        probes.append(Probe(SocketChannel(engine.reactor, near)))
        fars.append(far)
    engine.settle()
    for probe in probes:
        probe.read()
    for number, far in enumerate(fars):
        far.sendall(b"%d" % number)
    engine.run_until(lambda: all(probe.received for probe in probes))
    assert [int(probe.received) for probe in probes] == list(range(700))
    for probe, far in zip(probes, fars, strict=True):
        probe.close()
        far.close()
    engine.settle()


def test_a_closed_reactor_leaves_nothing_behind() -> None:
    loop = asyncio.new_event_loop()
    before = open_descriptors()
    reactor = Reactor(loop)
    near, far = unix_pair()
    near.setblocking(False)
    channel = SocketChannel(reactor, near)
    reactor.call_later(100, lambda: None)
    channel.close()
    reactor.close()
    reactor.close()
    far.close()
    assert open_descriptors() == before
    reactor.call_soon(lambda: None)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_the_end_is_seen_by_a_channel_that_takes_over_a_socket_late(engine: EngineLoop) -> None:
    """A short read must not hide a FIN that was reported to an earlier handler of the socket."""
    near, far = tcp_pair()
    near.setblocking(False)
    engine.reactor.watch(near.fileno(), lambda mask: None)
    far.sendall(b"hello and goodbye")
    far.close()
    engine.settle()
    probe = Probe(SocketChannel(engine.reactor, near)).read()
    engine.run_until(lambda: probe.ended, deadline_s=2)
    assert probe.received == b"hello and goodbye"
    assert probe.channel.recv_into(memoryview(bytearray(1))) in (0, BLOCKED)
    probe.close()


class SlowClock:
    """A clock that advances only when a callback reports its duration."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def slow(engine: EngineLoop) -> Iterator[tuple[Reactor, SlowClock]]:
    """A second reactor on the loop, whose time the test sets."""
    clock = SlowClock()
    reactor = Reactor(engine.loop, clock=clock)
    yield reactor, clock
    reactor.close()


def test_charged_turns_take_a_millisecond_per_round(engine: EngineLoop, slow: tuple[Reactor, SlowClock]) -> None:
    reactor, clock = slow
    calls: list[str] = []

    def expensive() -> None:
        calls.append("charged")
        clock.now += 0.0004
        if len(calls) < 60:
            reactor.call_soon_charged(account, expensive)

    def cheap() -> None:
        calls.append("ready")
        if len(calls) < 60:
            reactor.call_soon(cheap)

    account = reactor.authenticated.child(tenant=True)
    for _ in range(10):
        reactor.call_soon_charged(account, expensive)
    reactor.call_soon(cheap)
    engine.settle()
    rounds = "".join(word[0] for word in calls).split("r")[1:-1]
    assert len(rounds) > 5
    assert set(rounds) == {"ccc"}


def test_an_event_waits_for_a_millisecond_of_ready_callbacks_and_not_for_all(engine: EngineLoop, slow: tuple[Reactor, SlowClock]) -> None:
    reactor, clock = slow
    left, right = socket.socketpair()
    calls: list[str] = []

    def work() -> None:
        if not calls:
            right.send(b"x")
        calls.append("callback")
        clock.now += 0.0005

    reactor.watch(left.fileno(), lambda mask: calls.append("event"))
    engine.settle()
    calls.clear()
    for _ in range(500):
        reactor.call_soon(work)
    engine.settle()
    assert calls.count("callback") == 500
    assert calls.index("event") < 30
    reactor.unwatch(left.fileno())
    left.close()
    right.close()


def test_an_event_waits_for_a_millisecond_of_timers_and_not_for_all(engine: EngineLoop, slow: tuple[Reactor, SlowClock]) -> None:
    reactor, clock = slow
    left, right = socket.socketpair()
    calls: list[str] = []

    def ring() -> None:
        if not calls:
            right.send(b"x")
        calls.append("timer")
        clock.now += 0.0005

    reactor.watch(left.fileno(), lambda mask: calls.append("event"))
    engine.settle()
    calls.clear()
    for _ in range(500):
        reactor.call_later(1.0, ring)
    clock.now += 2.0
    reactor.call_soon(lambda: None)
    engine.settle()
    assert calls.count("timer") == 500
    assert calls.index("event") < 30
    reactor.unwatch(left.fileno())
    left.close()
    right.close()


def test_a_timer_that_is_due_and_waits_can_still_be_cancelled(engine: EngineLoop, slow: tuple[Reactor, SlowClock]) -> None:
    reactor, clock = slow
    calls: list[int] = []
    timers: list[Timer] = []

    def ring(number: int) -> None:
        calls.append(number)
        clock.now += 0.001
        for timer in timers[100:]:
            timer.cancel()

    timers += [reactor.call_later(1.0, partial(ring, number)) for number in range(200)]
    clock.now += 2.0
    reactor.call_soon(lambda: None)
    engine.settle()
    assert calls == list(range(100))


def test_charged_turns_get_all_the_time_when_nothing_else_is_queued(engine: EngineLoop) -> None:
    turns: list[int] = []
    account = engine.reactor.unauthenticated.child(tenant=True)

    def turn() -> None:
        turns.append(len(turns))
        if len(turns) < 1000:
            engine.reactor.call_soon_charged(account, turn)

    engine.reactor.call_soon_charged(account, turn)
    engine.settle()
    assert len(turns) == 1000


def test_a_charged_turn_that_fails_costs_its_owner_and_no_other(engine: EngineLoop) -> None:
    engine.tolerant = True
    calls: list[str] = []

    class Broken:
        def turn(self) -> None:
            raise ValueError("a bug")

        def abort(self) -> None:
            calls.append("aborted")

    account = engine.reactor.authenticated.child(tenant=True)
    engine.reactor.call_soon_charged(account, Broken().turn)
    engine.reactor.call_soon_charged(account, lambda: calls.append("next"))
    engine.reactor.call_soon_charged(engine.reactor.unassigned, lambda: calls.append("another account"))
    engine.settle()
    assert sorted(calls) == ["aborted", "another account", "next"]
    assert engine.logged_errors == 1


def test_one_sizeable_turn_per_tenant_and_round_runs_at_once(engine: EngineLoop) -> None:
    reactor = engine.reactor
    tenant = reactor.authenticated.child(tenant=True)
    calls: list[str] = []

    def turn(name: str, work: int) -> None:
        calls.append(name)
        reactor.work.done += work

    def event(name: str, work: int) -> None:
        run = partial(turn, name, work)
        reactor.run_or_queue(tenant.child(), run, partial(reactor.call_soon_charged, tenant.child(), run))

    def events() -> None:
        event("first", TURN_WORK)
        event("second", TURN_WORK)
        event("third", 1)
        calls.append("end of events")

    reactor.call_soon(events)
    engine.settle()
    assert calls == ["first", "end of events", "second", "third"]
    calls.clear()
    for number in range(3):
        reactor.call_soon(partial(event, str(number), SIZEABLE_WORK - 1))
    reactor.call_soon(lambda: calls.append("end of events"))
    engine.settle()
    assert calls == ["0", "1", "2", "end of events"]


def test_a_sizeable_turn_runs_without_queueing_once_a_round_and_never_before_queued_ones(engine: EngineLoop) -> None:
    reactor, ran = engine.reactor, list[str]()
    tenant, other = (reactor.authenticated.child(tenant=True) for _ in range(2))
    first, second = tenant.child(), tenant.child()

    def turn(name: str, work: int = 2 * SIZEABLE_WORK) -> None:
        ran.append(name)
        reactor.work.done += work

    def offer(account: Account, name: str, work: int = 2 * SIZEABLE_WORK) -> None:
        reactor.run_or_queue(account, partial(turn, name, work), lambda: ran.append(f"{name} queued"))

    def round_one() -> None:
        offer(first, "small", 0)
        offer(first, "sizeable")
        offer(second, "same tenant")
        offer(other, "other tenant")
        reactor.call_soon(round_two)

    def round_two() -> None:
        offer(second, "next round")
        reactor.call_soon_charged(first, partial(turn, "waited"))
        offer(second, "behind a queued turn", 0)

    reactor.call_soon(round_one)
    engine.settle()
    assert ran == ["small", "sizeable", "same tenant queued", "other tenant", "next round", "behind a queued turn queued", "waited"]
