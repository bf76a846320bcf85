"""How an agent leaves: nobody new comes, and whoever is there may finish, but not for ever."""

import asyncio

from portway.agent.context import SessionContext
from portway.agent.events import Notice
from portway.agent.session import AgentSession

ANSWER_S_MAX = 1.0
"""How long the server may take to say that it keeps the addresses; one that does not know the question is not waited for."""

CHECK_S = 0.05
"""How often the number of visitors is looked at; that happens only at the end of an agent's life."""

TELL_AFTER_S = 0.5
"""Most have finished by then, and there is nothing to tell."""


async def drain(session: AgentSession, needs: SessionContext) -> None:
    """Give all addresses back, and wait until no visitor is left, for `AgentSettings.drain_s` at most.

    An older server goes on keeping idle connections to the origin: there is no telling which of them are in use, so that they
    are not waited for.
    """
    session.give_back()
    begun, told = needs.clock(), False
    while session.visitors:
        passed_s = needs.clock() - begun
        if session.kept is False or (session.kept is None and passed_s > ANSWER_S_MAX):
            return
        if passed_s >= needs.settings.drain_s:
            if told:
                needs.on_event(Notice(f"{_connections(session.visitors)} did not finish in time"))
            return
        if passed_s > TELL_AFTER_S and not told:
            told = True
            left_s = needs.settings.drain_s - passed_s
            needs.on_event(
                Notice(f"stopping: waiting up to {left_s:.0f} s for {_connections(session.visitors)} to finish; stop again to end them now")
            )
        await asyncio.sleep(CHECK_S)


def _connections(count: int) -> str:
    return "1 connection" if count == 1 else f"{count} connections"
