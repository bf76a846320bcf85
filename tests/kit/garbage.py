"""What of Portway's own is in memory: objects by their kind, and what only the cycle collector would free."""

import asyncio
import gc
import types
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

DEADLINE_S = 75.0
"""How long to wait for memory to be freed: a pool may keep one stream more than before for its 60 s, on a busy machine."""

_MODULES = ("portway", "ssl", "_ssl")
_KINDS = frozenset(
    {
        *("TlsChannel", "SocketChannel", "MuxChannel", "SSLObject", "MemoryBIO", "_SSLSocket", "RecordFeed"),
        *("Mux", "Session", "ControlStream", "IncomingLink", "Stranger", "SessionLink", "ActivityBatch", "_Handshake", "_Race", "Attempt"),
        *("Visitor", "Inlet", "Outlet", "Exchange", "MeasuredExchange", "OriginStream", "CountedPump", "CodedPump", "Linger", "Farewell"),
        *(
            "_VisitorStream",
            "_PendingHeader",
            "Relay",
            "CopyPump",
            "PeekPump",
            "Handover",
            "StatusWaiter",
            "PreambleReader",
            "OriginConnector",
            "Limits",
            "Gate",
            "Share",
        ),
        *("AgentSession", "AgentLink", "LinkManager", "SpeedRun", "Lease", "Timer"),
    }
)
"""Kinds that come and go with connections; others may stay, such as a pool or a name that is known from now on."""


def live() -> Counter[str]:
    """Count what comes and goes with connections."""
    kinds: Counter[str] = Counter()
    for found in gc.get_objects():
        kind = type(found)
        if kind.__qualname__ in _KINDS and kind.__module__.split(".")[0] in _MODULES:
            kinds[f"{kind.__module__}.{kind.__qualname__}"] += 1
    return kinds


def unreachable() -> Counter[str]:
    """Collect, and count what of ours only the collector found: objects, and frames and functions of our code."""
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
    """Return what an object of ours is, or an empty string."""
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
    """Run the block without the collector; then wait until as much is in memory as before, and fail if that does not come
    by itself or if there are cycles.
    """
    gc.collect()
    gc.disable()
    try:
        before = live()
        yield
        more = await _more_than(before)
        assert not more, f"still in memory: {dict(more)}"
        cycles = unreachable()
        assert not cycles, f"only the cycle collector frees these: {dict(cycles)}"
    finally:
        gc.enable()


async def _more_than(before: Counter[str]) -> Counter[str]:
    """Return what there is more than before, as soon as that is nothing, or else after the deadline."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while live() - before:  # noqa: ASYNC110 - nothing tells when an object is freed
                await asyncio.sleep(0.05)
    except TimeoutError:
        pass
    return live() - before
