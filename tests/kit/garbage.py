"""Counts Portway's objects in memory, and those that only the cycle collector would free."""

import asyncio
import gc
import ssl
import types
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from portway.agent.link import AgentLink
from portway.agent.link_manager import LinkManager
from portway.agent.origin_connector import OriginConnector
from portway.agent.origins import _VisitorStream
from portway.agent.session import AgentSession
from portway.edge.http.buffers import ChannelReader, ChannelWriter
from portway.edge.http.exchange.body_pumps import ReframingPump, SizedPump
from portway.edge.http.exchange.exchange import Exchange
from portway.edge.http.exchange.metered import MeteredExchange
from portway.edge.http.exchange.upgrade_relay import WebSocketUpgrade
from portway.edge.http.origin.graceful_close import GracefulClose
from portway.edge.http.origin.stream import OriginStream
from portway.edge.http.visitor.connection import VisitorConnection
from portway.edge.http.visitor.lingering_close import LingeringClose
from portway.edge.lease import Lease
from portway.edge.proxy_protocol import _PendingHeader
from portway.engine.bucket import Share
from portway.engine.connect import Attempt
from portway.engine.gate import Gate
from portway.engine.limits import LimitEnforcer
from portway.engine.pumps import CopyPump, PeekPump
from portway.engine.relay import Relay
from portway.engine.socket_channel import SocketChannel
from portway.engine.timers import Timer
from portway.engine.tls_channel import TlsChannel
from portway.engine.tls_records import RecordFeed
from portway.links.accept import _Handshake
from portway.links.happy_eyeballs import Race
from portway.mux.mux import Mux
from portway.mux.mux_channel import MuxChannel
from portway.protocol.yamux.session import Session as YamuxSession
from portway.server.control.activity import ActivityBatch
from portway.server.control.incoming_link import IncomingLink, UnauthenticatedPeer
from portway.server.control.session import Session, SessionLink
from portway.session.control_stream import ControlStream
from portway.session.speed import SpeedRun
from portway.session.stream_handshake import PreambleReader, StatusWaiter

DEADLINE_S = 75.0
"""Deadline for objects to be freed: a pool may keep one more idle stream than before for its 60 s."""

_MODULES = ("portway", "ssl", "_ssl")
_CLASSES: frozenset[type] = frozenset(
    {
        *(TlsChannel, SocketChannel, MuxChannel, RecordFeed, ssl.SSLObject, ssl.MemoryBIO),
        *(Mux, Session, YamuxSession, ControlStream, IncomingLink, UnauthenticatedPeer, SessionLink, ActivityBatch),
        *(_Handshake, Race, Attempt, VisitorConnection, ChannelReader, ChannelWriter, Exchange, MeteredExchange, OriginStream),
        *(SizedPump, ReframingPump, LingeringClose, GracefulClose, _VisitorStream, _PendingHeader, Relay, CopyPump, PeekPump),
        *(WebSocketUpgrade, StatusWaiter, PreambleReader, OriginConnector, LimitEnforcer, Gate, Share),
        *(AgentSession, AgentLink, LinkManager, SpeedRun, Lease, Timer),
    }
)
"""Classes whose objects live as long as a connection; others, such as a pool or a known name, may stay."""


def live() -> Counter[str]:
    """Return the number of objects that live as long as a connection, by class."""
    kinds: Counter[str] = Counter()
    for found in gc.get_objects():
        kind = type(found)
        if kind in _CLASSES or kind.__qualname__ == "_SSLSocket":
            kinds[f"{kind.__module__}.{kind.__qualname__}"] += 1
    return kinds


def unreachable() -> Counter[str]:
    """Run the collector; return the number of our objects, frames and functions that only it found."""
    gc.garbage.clear()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
    finally:
        gc.set_debug(0)
    found = Counter(name for name in map(_name, gc.garbage) if name)
    gc.garbage.clear()
    gc.collect()
    return found


def _name(found: object) -> str:
    """Return the name of an object if it is ours, otherwise an empty string."""
    code: types.CodeType | None = None
    match found:
        case types.FrameType():
            code = found.f_code
        case types.CoroutineType():
            code = found.cr_code
        case types.FunctionType():
            code = found.__code__
        case types.MethodType():
            code = getattr(found.__func__, "__code__", None)
    if code is not None:
        return f"{type(found).__name__} of {code.co_qualname}" if "/src/portway/" in code.co_filename else ""
    kind = type(found)
    return f"{kind.__module__}.{kind.__qualname__}" if kind.__module__.split(".")[0] in _MODULES else ""


@asynccontextmanager
async def all_freed() -> AsyncIterator[None]:
    """Run the block without the collector; then wait until the number of objects is as before.

    Fails if objects remain or if there are reference cycles.
    """
    gc.collect()
    gc.disable()
    try:
        before = live()
        yield
        more = await _more_than(before)
        assert not more, f"not freed: {dict(more)}"
        cycles = unreachable()
        assert not cycles, f"only the cycle collector freed: {dict(cycles)}"
    finally:
        gc.enable()


async def _more_than(before: Counter[str]) -> Counter[str]:
    """Wait until no more objects than before remain, or for the deadline; return the surplus."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while live() - before:  # noqa: ASYNC110 - freeing an object triggers no event
                await asyncio.sleep(0.05)
    except TimeoutError:
        pass
    return live() - before
