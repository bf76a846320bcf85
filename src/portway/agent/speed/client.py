"""Requests speed tests from the server, and waits for its replies."""

import asyncio
from typing import Protocol

from portway.agent.speed.events import Direction
from portway.errors import PortwayError, RefusedError, UnavailableError
from portway.protocol.control import codes
from portway.protocol.control.messages import Measure, Measured, Message, Refused
from portway.session.login import error_of
from portway.session.speed import FINISH_S_MAX, OVERTIME_S

REPLY_S_MAX = 10.0
"""How long a reply may take after its test: it is sent behind the bytes of the test."""


class MessageSender(Protocol):
    """The session that sends the requests."""

    def send(self, message: Message) -> None:
        """Send on the control link; raises UnavailableError."""


class SpeedTestClient:
    """Requests one test at a time."""

    def __init__(self) -> None:
        """Start without a request."""
        self._id = 0
        self._reply: asyncio.Future[Measured] | None = None

    def request(self, session: MessageSender, direction: Direction, streams: int, seconds: float) -> asyncio.Future[Measured]:
        """Request a test; the future gets the reply, or the error for a refusal."""
        self._id += 1
        self._reply = asyncio.get_running_loop().create_future()
        session.send(Measure(id=self._id, direction=direction, streams=streams, seconds=seconds))
        return self._reply

    def on_reply(self, message: Message) -> bool:
        """Handle the reply to the current request; return whether `message` is one (see `SessionContext.on_reply`)."""
        if not isinstance(message, Measured | Refused) or message.id != self._id:
            return False
        if self._reply is not None and not self._reply.done():
            if isinstance(message, Measured):
                self._reply.set_result(message)
            else:
                self._reply.set_exception(_error_from(message))
        return True

    async def wait_reply(self, reply: asyncio.Future[Measured], within_s: float) -> bool:
        """Wait at most `within_s`, and return whether the reply has arrived."""
        await asyncio.wait({reply}, timeout=within_s)
        return reply.done()


def deadline_s(seconds: float) -> float:
    """Return how long the reply to a test of `seconds` may take."""
    return seconds + OVERTIME_S + FINISH_S_MAX + REPLY_S_MAX


def no_result_error() -> UnavailableError:
    """Return the error for a server that does not reply."""
    return UnavailableError("the server sent no result of the speed test")


def _error_from(message: Refused) -> PortwayError:
    if message.code == codes.BAD_MESSAGE:
        return RefusedError(
            message.code, "this server does not support speed tests", "Update Portway on the server; tunnels are not affected."
        )
    return error_of(message)
