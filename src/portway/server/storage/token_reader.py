"""Reads tokens in a dedicated thread, so that a slow disk or a locked database never delays the loop."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Collection
from typing import Self, TypeVar

from portway.config.thread_calls import ThreadCall, run_calls
from portway.errors import UnavailableError
from portway.server.access.tokens import TokenRecord
from portway.server.storage.token_store import Store

QUERIES_MAX = 1024
"""Queued queries: two for each of 512 links that log in (`access/login_throttle.py`); a query takes 20 µs."""

QUERY_S_MAX = 5.0
"""Deadline of a query: more than twice SQLite's own timeout (`database.BUSY_S_MAX`), half of a login's."""

CLOSE_S_MAX = 1.0
"""How long closing waits for the thread; a disk that hangs must not keep the program from exiting."""

T = TypeVar("T")


class TokenReader:
    """Asynchronous access to the tokens of one store, from one loop. Owns the store and closes it."""

    def __init__(self, store: Store) -> None:
        """Start the thread; requires a running loop."""
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._queries: queue.Queue[ThreadCall | None] = queue.Queue(QUERIES_MAX + 1)  # one more, for the request to stop
        # A daemon: reading from a disk that hangs cannot be interrupted, and the program has to be able to exit.
        self._thread = threading.Thread(target=self._work, name="reads tokens", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store after the queries in the queue; takes at most CLOSE_S_MAX. May be called twice."""
        with contextlib.suppress(queue.Full):
            self._queries.put_nowait(None)
        self._thread.join(CLOSE_S_MAX)

    async def find(self, token_id: str) -> TokenRecord | None:
        """Return the token with this id, revoked or not.

        Raises:
            UnavailableError: the database is locked, cannot be read, or took too long.
            ConfigError: it contains data that this version does not support.
        """
        return await self._query(lambda: self._store.find(token_id))

    async def find_all(self, token_ids: Collection[str]) -> dict[str, TokenRecord]:
        """Return the existing tokens of `token_ids`, by id; raises as `find`."""

        def read() -> dict[str, TokenRecord]:
            found = ((token_id, self._store.find(token_id)) for token_id in token_ids)
            return {token_id: token for token_id, token in found if token is not None}

        return await self._query(read)

    async def version(self) -> tuple[int, ...]:
        """Return a value that changes with each write by others; raises as `find`."""
        return await self._query(self._store.version)

    async def _query(self, run: Callable[[], T]) -> T:
        if self._queries.qsize() >= QUERIES_MAX:
            raise UnavailableError(f"{self._store.path}: {QUERIES_MAX} queries are waiting already")
        result: asyncio.Future[T] = self._loop.create_future()
        self._queries.put_nowait(ThreadCall(run, self._loop, result))
        try:
            async with asyncio.timeout(QUERY_S_MAX):
                return await result
        except TimeoutError:
            raise UnavailableError(f"{self._store.path}: no result within {QUERY_S_MAX:g} s; check its disk") from None

    def _work(self) -> None:
        """Run queries until the request to stop; the body of the thread."""
        run_calls(self._queries)
        self._store.close()
