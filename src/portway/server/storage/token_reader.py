"""Reads tokens in one thread of its own, so that a slow disk or a locked database never delays the loop."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, Self, TypeVar

from portway.errors import UnavailableError
from portway.server.access.tokens import TokenRecord
from portway.server.storage.token_store import Store

QUESTIONS_MAX = 1024
"""Questions that wait at a time: one for each of 512 links that log in (`access/login_throttle.py`), twice; one takes 20 µs."""

ANSWER_S_MAX = 5.0
"""How long one may wait for its answer: more than twice SQLite's own patience (`store.BUSY_S_MAX`), half of a login's."""

CLOSE_S_MAX = 1.0
"""How long closing waits for the thread; a disk that hangs must not keep the program from ending."""

T = TypeVar("T")


class _Question(NamedTuple):
    work: Callable[[], Any]
    answer: "asyncio.Future[Any]"


class TokenReader:
    """The tokens of one store, to be asked from one loop. Takes the store over, and closes it."""

    def __init__(self, store: Store) -> None:
        """Start the thread. Call this within a running loop."""
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._questions: queue.Queue[_Question | None] = queue.Queue(QUESTIONS_MAX + 1)  # one more, for the last word
        # A daemon: reading from a disk that hangs cannot be interrupted, and the program has to be able to end.
        self._thread = threading.Thread(target=self._work, name="reads tokens", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store behind the questions that were asked; may be called twice. Takes CLOSE_S_MAX at most."""
        with contextlib.suppress(queue.Full):
            self._questions.put_nowait(None)
        self._thread.join(CLOSE_S_MAX)

    async def find(self, token_id: str) -> TokenRecord | None:
        """Return the token with this id, revoked or not.

        Raises:
            UnavailableError: the database is locked, cannot be read, or does not answer in time.
            ConfigError: it holds what this version does not understand.
        """
        return await self._ask(lambda: self._store.find(token_id))

    async def find_all(self, token_ids: Collection[str]) -> dict[str, TokenRecord]:
        """Return those tokens of `token_ids` that there are, by id; raises as `find`."""

        def look() -> dict[str, TokenRecord]:
            found = ((token_id, self._store.find(token_id)) for token_id in token_ids)
            return {token_id: token for token_id, token in found if token is not None}

        return await self._ask(look)

    async def version(self) -> tuple[int, ...]:
        """Return what is another value after each write of somebody else; raises as `find`."""
        return await self._ask(self._store.version)

    async def _ask(self, work: Callable[[], T]) -> T:
        if self._questions.qsize() >= QUESTIONS_MAX:
            raise UnavailableError(f"{QUESTIONS_MAX} questions wait for {self._store.path} already")
        answer: asyncio.Future[T] = self._loop.create_future()
        self._questions.put_nowait(_Question(work, answer))
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                return await answer
        except TimeoutError:
            raise UnavailableError(f"{self._store.path}: did not answer within {ANSWER_S_MAX:g} s; is its disk in order?") from None

    def _work(self) -> None:
        """Answer one question after the other: what this thread runs."""
        while (question := self._questions.get()) is not None:
            if question.answer.cancelled():
                continue  # nobody waits any more: questions that queue behind a locked database must not add up
            try:
                result, error = question.work(), None
            except Exception as exc:  # noqa: BLE001 - it is the asker's
                result, error = None, exc
            try:
                self._loop.call_soon_threadsafe(_settle, question.answer, result, error)
            except RuntimeError:
                break  # the loop was closed meanwhile
        self._store.close()


def _settle(answer: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
