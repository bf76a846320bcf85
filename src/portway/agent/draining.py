"""Graceful stop of an agent: no new visitors, and a limited time for the present ones to finish."""

import asyncio

from portway.agent.context import SessionContext
from portway.agent.events import Notice
from portway.agent.session import AgentSession

REPLY_S_MAX = 1.0
"""How long the server may take to confirm that it holds the addresses; older servers do not reply."""

CHECK_S = 0.05
"""Interval between checks of the number of visitors, while the agent stops."""

NOTICE_AFTER_S = 0.5
"""Most visitors have finished by then, so that no notice is needed."""


async def drain(session: AgentSession, context: SessionContext) -> None:
    """Release all addresses, and wait at most `AgentSettings.drain_s` until no visitor is left.

    With a server that does not hold them, do not wait: it keeps idle connections to the origin, which look like visitors.
    """
    session.release_addresses()
    began_at, announced = context.clock(), False
    while session.visitors:
        passed_s = context.clock() - began_at
        if session.addresses_held is False or (session.addresses_held is None and passed_s > REPLY_S_MAX):
            return
        if passed_s >= context.settings.drain_s:
            if announced:
                context.on_event(Notice(f"{_connections(session.visitors)} did not finish in time"))
            return
        if passed_s > NOTICE_AFTER_S and not announced:
            announced = True
            left_s = context.settings.drain_s - passed_s
            context.on_event(
                Notice(f"stopping: waiting up to {left_s:.0f} s for {_connections(session.visitors)} to finish; stop again to end them now")
            )
        await asyncio.sleep(CHECK_S)


def _connections(count: int) -> str:
    return "1 connection" if count == 1 else f"{count} connections"
