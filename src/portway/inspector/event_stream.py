"""`GET /api/events`: server-sent events for each change, with what was missed since `Last-Event-ID`."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from portway.inspector.documents import summary_of
from portway.inspector.hub import Hub
from portway.inspector.query import Condition
from portway.inspector.store import Store

CLIENTS_MAX = 32
HEARTBEAT_S = 15.0
OTHERS_S = 1.0
"""Interval of checks for what other agents with the same store have captured."""
PAGE = 200


async def event_stream(store: Store, hub: Hub, condition: Condition, after: int | None) -> AsyncIterator[bytes]:
    """Yield events from the change `after` on; None: only what happens from now on.

    `request` has a summary: a new exchange, or a change of a known one. `cleared`: all exchanges were removed. The store is the queue, so
    that a slow client costs no memory.
    """
    changed = hub.join()
    try:
        last, cleared = await asyncio.to_thread(store.last_change)
        position = last if after is None or after > last else after
        yield b"retry: 1000\n: %d\n\n" % position
        if cleared > position:
            yield _event("cleared", cleared, {})
        waited_s = 0.0
        while not hub.closed:
            changed.clear()
            rows = await asyncio.to_thread(store.changes, position, condition, PAGE)
            for row in rows:
                position = row["change"]
                yield _event("request", position, summary_of(row))
            if len(rows) < PAGE:
                last, now_cleared = await asyncio.to_thread(store.last_change)
                if now_cleared != cleared:
                    cleared = now_cleared
                    yield _event("cleared", cleared, {})
                if not rows:
                    waited_s += await _wait(changed)
            if rows:
                waited_s = 0.0
            elif waited_s >= HEARTBEAT_S:
                waited_s = 0.0
                yield b": alive\n\n"
    finally:
        hub.leave(changed)


async def _wait(changed: asyncio.Event) -> float:
    """Wait for a change, at most OTHERS_S; return the seconds, about."""
    try:
        async with asyncio.timeout(OTHERS_S):
            await changed.wait()
    except TimeoutError:
        return OTHERS_S
    return 0.0


def _event(kind: str, number: int, document: object) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (number, kind.encode(), msgspec.json.encode(document))
