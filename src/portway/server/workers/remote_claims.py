"""A worker's way to addresses: it asks the supervisor, who alone decides."""

import asyncio
import itertools
from collections.abc import Callable

from portway.errors import RefusedError, UnavailableError
from portway.protocol.control.messages import Claim, Granted, Refused
from portway.server.control.claims import ClaimingSession
from portway.server.workers.messages import ClaimRequest, ClaimResponse, Released, ToSupervisor

ANSWER_S_MAX = 8.0
"""How long the supervisor may take; a probe takes it a second and a half. The agent waits for 10 s."""


class RemoteClaimHandler:
    """Answers claims with what the supervisor says (see `server.control.interfaces.Grants`)."""

    def __init__(self, tell: Callable[[ToSupervisor], None]) -> None:
        """`tell` sends to the supervisor."""
        self._tell = tell
        self._ids = itertools.count(1)
        self._open: dict[int, asyncio.Future[Granted | Refused | None]] = {}

    async def grant(self, session: ClaimingSession, claim: Claim) -> Granted:
        """Return the answer to a claim that holds, on every worker.

        Raises:
            RefusedError: why not, and what to do.
            UnavailableError: the session was lost meanwhile, or no answer came in time.
        """
        number = next(self._ids)
        answer: asyncio.Future[Granted | Refused | None] = asyncio.get_running_loop().create_future()
        self._open[number] = answer
        try:
            self._tell(ClaimRequest(number, session.session_id, session.owner.token_id, session.owner.identity, claim))
            async with asyncio.timeout(ANSWER_S_MAX):
                answered = await answer
        except TimeoutError:
            raise UnavailableError(f"a claim was not decided within {ANSWER_S_MAX:g} s") from None
        finally:
            del self._open[number]
        if isinstance(answered, Refused):
            raise RefusedError(answered.code, answered.reason, answered.next_step)
        if answered is None:
            raise UnavailableError("the session was lost before its claim was decided")
        return answered

    def release(self, session: ClaimingSession, tunnel_id: int, *, keep: bool = False) -> None:
        """Free a tunnel's address at once, or `keep` it for its agent."""
        self._tell(Released(session.session_id, tunnel_id, keep))

    def hear(self, answered: ClaimResponse) -> None:
        """Take the supervisor's answer; one that is waited for no more means nothing."""
        waiting = self._open.get(answered.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answered.answer)
