"""Asks the server for speed tests, and waits for its answers."""

import asyncio
from typing import Protocol

from portway.agent.speed.events import Direction
from portway.errors import PortwayError, RefusedError, UnavailableError
from portway.protocol.control import codes
from portway.protocol.control.messages import Measure, Measured, Message, Refused
from portway.session.login import error_of
from portway.session.speed import FINISH_S_MAX, OVERTIME_S

ANSWER_S_MAX = 10.0
"""How long after its test an answer may take: it travels behind the test's own bytes."""


class Sends(Protocol):
    """The session that is asked on."""

    def send(self, message: Message) -> None:
        """Send on the control link; raises UnavailableError."""


class SpeedTestClient:
    """The one test that is under way."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self._id = 0
        self._answer: asyncio.Future[Measured] | None = None

    def ask(self, session: Sends, direction: Direction, streams: int, seconds: float) -> asyncio.Future[Measured]:
        """Ask for a test; the future brings its answer, or the error that the server's refusal is."""
        self._id += 1
        self._answer = asyncio.get_running_loop().create_future()
        session.send(Measure(id=self._id, direction=direction, streams=streams, seconds=seconds))
        return self._answer

    def hear(self, message: Message) -> bool:
        """Take the answer to what was asked; return whether it was one (see `SessionContext.on_answer`)."""
        if not isinstance(message, Measured | Refused) or message.id != self._id:
            return False
        if self._answer is not None and not self._answer.done():
            if isinstance(message, Measured):
                self._answer.set_result(message)
            else:
                self._answer.set_exception(_error_from(message))
        return True

    async def until_answered(self, reply: asyncio.Future[Measured], within_s: float) -> bool:
        """Wait for so long at most, and return whether the answer is there."""
        await asyncio.wait({reply}, timeout=within_s)
        return reply.done()


def deadline_s(seconds: float) -> float:
    """Return how long the answer to a test of so many seconds may take."""
    return seconds + OVERTIME_S + FINISH_S_MAX + ANSWER_S_MAX


def unanswered() -> UnavailableError:
    """Return the error of a server that does not answer."""
    return UnavailableError("the server gave no result of the speed test")


def _error_from(message: Refused) -> PortwayError:
    if message.code == codes.BAD_MESSAGE:
        return RefusedError(message.code, "this server does not know speed tests yet", "Update Portway there; tunnels work as they are.")
    return error_of(message)
