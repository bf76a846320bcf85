"""The rates of a visitor's connection, and writers that do not check for room."""

from portway.edge.http.buffers import ChannelWriter
from portway.edge.http.exchange.shaping import PartialWriteGate, shaper_for
from portway.engine.bucket import Bucket
from portway.engine.limits import scopes_of
from portway.engine.memory_channel import memory_pair
from portway.engine.policy import Policy
from tests.kit.fake_scheduler import Scheduler
from tests.kit.loops import EngineLoop
from tests.kit.raw_agent import read_now


def test_what_is_written_at_once_goes_out_as_there_is_credit(engine: EngineLoop) -> None:
    sink, reader = memory_pair(engine.reactor)
    clock = Scheduler()
    writer = ChannelWriter(PartialWriteGate(sink, (Bucket(clock, 1000),), None))
    gone_out: list[bool] = []
    sink.on_writable = lambda: gone_out.append(writer.flush())
    writer.write(bytes(200))
    assert writer.pending is not None
    assert len(read_now(reader)) == 50
    clock.pass_time(0.1)
    assert 50 <= len(read_now(reader)) <= 100
    clock.pass_time(0.2)
    assert gone_out[-1]


def test_a_connection_keeps_its_buckets_while_it_asks_for_the_same_tunnel(engine: EngineLoop) -> None:
    channel, _ = memory_pair(engine.reactor)
    writer, clock = ChannelWriter(channel), Scheduler()
    scopes = scopes_of(clock, Policy(max_rate_bps=1000))
    first = shaper_for(None, clock, channel, writer, scopes)
    gate = writer.channel
    assert gate is not channel
    assert shaper_for(first, clock, channel, writer, (*scopes,)) is first
    assert writer.channel is gate
    other = shaper_for(first, clock, channel, writer, ())
    assert writer.channel is channel
    assert other.gate(channel) is None
    assert gate.room() == 0, "the old one lets nothing pass any more"


def test_time_limits_alone_add_no_gate(engine: EngineLoop) -> None:
    channel, _ = memory_pair(engine.reactor)
    writer = ChannelWriter(channel)
    shaper = shaper_for(None, Scheduler(), channel, writer, scopes_of(Scheduler(), Policy(idle_timeout_s=1)))
    assert writer.channel is channel
    assert shaper.gate(channel) is None
    shaper.release()


def test_a_visitor_that_leaves_stops_waiting(engine: EngineLoop) -> None:
    channel, _ = memory_pair(engine.reactor)
    writer, clock = ChannelWriter(channel), Scheduler()
    (scope,) = scopes_of(clock, Policy(bandwidth_bps=1000))
    shaper = shaper_for(None, clock, channel, writer, (scope,))
    writer.write(bytes(200))
    assert scope.backward[0].waiting == 1
    shaper.release()
    assert scope.backward[0].waiting == 0
