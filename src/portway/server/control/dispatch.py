"""Handles the control messages of agents that have logged in: claims, releases, tickets, speed tests."""

from collections.abc import Callable

from portway.engine.reactor import Reactor
from portway.errors import RefusedError, UnavailableError
from portway.links.worker_hint import hint_for
from portway.protocol.control import codes
from portway.protocol.control.messages import (
    AskTicket,
    BadMessageError,
    Claim,
    Measure,
    Message,
    Refused,
    Release,
    Released,
    Ticket,
)
from portway.server.control.interfaces import ClaimService
from portway.server.control.session import LINKS_MAX, Session
from portway.server.control.speed_tests import SpeedTests
from portway.session.control_stream import ControlStream
from portway.session.login import refusal_of
from portway.session.tickets import Tickets


class MessageDispatcher:
    """Receives control messages of sessions and sends the replies."""

    def __init__(self, reactor: Reactor, tickets: Tickets, speed_tests: SpeedTests, check_open: Callable[[], None], worker: int) -> None:
        """`check_open` raises RefusedError while the server drains; set `claim_handler` before the first message."""
        self.claim_handler: ClaimService
        self._reactor = reactor
        self._tickets = tickets
        self._speed_tests = speed_tests
        self._check_open = check_open
        self._worker = worker

    async def handle_next(self, session: Session, stream: ControlStream) -> None:
        """Receive one message of a session and send the reply to it."""
        try:
            message = await stream.receive()
        except BadMessageError as bad:
            # It may be a message of a newer agent: refuse it and keep the session.
            stream.send(Refused(id=bad.request_id, code=codes.BAD_MESSAGE, reason=str(bad)))
            return
        if session.closed:
            raise UnavailableError("the session is closed")
        reply = await self._reply_to(session, message)
        if reply is not None:
            stream.send(reply)

    async def _reply_to(self, session: Session, message: Message) -> Message | None:
        match message:
            case Claim():
                try:
                    return await self._claim(session, message)
                except RefusedError as refused:
                    return refusal_of(refused, message.id)
            case Release():
                self.claim_handler.release(session, message.tunnel, keep=message.keep)
                return Released(id=message.id, kept=message.keep)
            case AskTicket():
                if session.links_full:
                    return Refused(id=message.id, code=codes.BAD_TICKET, reason=f"the session has {LINKS_MAX} links already")
                ticket = self._tickets.issue(session.session_id, self._reactor.refresh_now())
                return Ticket(id=message.id, ticket=ticket, hint=hint_for(self._worker))
            case Measure():
                return self._speed_tests.begin(session, message)  # None: the reply follows at the end of the test
            case _:
                name, expected = type(message).__name__, " or ".join(kind.__name__ for kind in (Claim, Release, AskTicket, Measure))
                return Refused(code=codes.BAD_MESSAGE, reason=f"unexpected {name} after the login", next_step=f"Send {expected}.")

    async def _claim(self, session: Session, claim: Claim) -> Message:
        self._check_open()
        return await self.claim_handler.grant(session, claim)
