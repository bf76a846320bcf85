"""Claims of a worker's agents, decided by the supervisor."""

import asyncio
import itertools
from collections.abc import Callable

from portway.errors import RefusedError, UnavailableError
from portway.protocol.control.messages import Claim, Granted, Refused
from portway.server.control.claims import ClaimingSession
from portway.server.workers.messages import ClaimRequest, ClaimResponse, Released, ToSupervisor

REPLY_S_MAX = 8.0
"""How long the supervisor may take; a probe takes 1.5 s of it. The agent waits for 10 s."""


class RemoteClaimHandler:
    """Sends claims to the supervisor and returns its decisions (see `server.control.interfaces.ClaimService`)."""

    def __init__(self, send: Callable[[ToSupervisor], None]) -> None:
        """`send` sends a message to the supervisor."""
        self._send = send
        self._ids = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Granted | Refused | None]] = {}

    async def grant(self, session: ClaimingSession, claim: Claim) -> Granted:
        """Return the grant of a claim, valid on every worker.

        Raises:
            RefusedError: the claim was refused.
            UnavailableError: the session was lost meanwhile, or the reply did not arrive in time.
        """
        number = next(self._ids)
        pending: asyncio.Future[Granted | Refused | None] = asyncio.get_running_loop().create_future()
        self._pending[number] = pending
        try:
            self._send(ClaimRequest(number, session.session_id, session.owner.token_id, session.owner.identity, claim))
            async with asyncio.timeout(REPLY_S_MAX):
                reply = await pending
        except TimeoutError:
            raise UnavailableError(f"a claim was not decided within {REPLY_S_MAX:g} s") from None
        finally:
            del self._pending[number]
        if isinstance(reply, Refused):
            raise RefusedError(reply.code, reply.reason, reply.next_step)
        if reply is None:
            raise UnavailableError("the session was lost before its claim was decided")
        return reply

    def release(self, session: ClaimingSession, tunnel_id: int, *, keep: bool = False) -> None:
        """Free a tunnel's address at once, or `keep` it held for its agent."""
        self._send(Released(session.session_id, tunnel_id, keep))

    def on_response(self, response: ClaimResponse) -> None:
        """Complete a claim with the supervisor's reply; a late reply is ignored."""
        pending = self._pending.get(response.id)
        if pending is not None and not pending.done():
            pending.set_result(response.reply)
