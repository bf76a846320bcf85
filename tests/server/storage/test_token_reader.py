"""Tokens are read outside of the loop, with a bounded queue and a deadline for each query."""

import asyncio
import threading
from pathlib import Path

import pytest

from portway.clock import monotonic
from portway.errors import ConfigError, UnavailableError
from portway.server.storage import token_reader
from portway.server.storage.token_reader import TokenReader
from portway.server.storage.token_store import FILE, Store
from tests.kit.locked_database import locked
from tests.server.storage.test_token_store import record


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "reads tokens"]


async def longest_pause_while(task: "asyncio.Future[None]") -> float:
    """Return the longest time, in seconds, for which the loop ran nothing else until `task` was done."""
    longest, last = 0.0, monotonic()
    while not task.done():
        await asyncio.sleep(0.005)
        longest, last = max(longest, monotonic() - last), monotonic()
    return longest


def test_it_finds_the_tokens_of_the_store(tmp_path: Path) -> None:
    async def scene() -> None:
        with Store(tmp_path / FILE) as other, TokenReader(Store(tmp_path / FILE)) as reader:
            before = await reader.version()
            assert await reader.find("id1") is None
            other.create_token(record(1))
            other.create_token(record(2))
            assert await reader.version() != before
            assert await reader.find("id1") == record(1)
            assert await reader.find_all(["id1", "nobody", "id2"]) == {"id1": record(1), "id2": record(2)}

    asyncio.run(scene())


def test_errors_of_the_store_are_raised_in_the_caller(tmp_path: Path) -> None:
    async def scene() -> None:
        with Store(tmp_path / FILE) as other, TokenReader(Store(tmp_path / FILE)) as reader:
            other.create_token(record(1))
            other._db.execute("UPDATE tokens SET grants = '{}'")
            with pytest.raises(ConfigError, match="does not support"):
                await reader.find("id1")
            other._db.execute("DROP TABLE tokens")
            with pytest.raises(UnavailableError, match="no such table"):
                await reader.find("id1")

    asyncio.run(scene())


def test_the_loop_continues_while_another_process_locks_the_database(tmp_path: Path) -> None:
    async def scene() -> None:
        with TokenReader(Store(tmp_path / FILE)) as reader:
            await reader.version()
            asked = asyncio.ensure_future(reader.find("id1"))
            with locked(tmp_path / FILE):
                again = asyncio.ensure_future(reader.find("id1"))
                waited = asyncio.ensure_future(asyncio.sleep(1.0))
                # Waiting for the database on the loop would block it for the whole second.
                assert await longest_pause_while(waited) < 0.7
                assert not again.done()
            assert await again is None
            assert await asked is None

    asyncio.run(scene())


def test_a_query_that_takes_too_long_fails_and_the_next_one_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_reader, "QUERY_S_MAX", 0.2)

    async def scene() -> None:
        with TokenReader(Store(tmp_path / FILE)) as reader:
            await reader.version()
            with locked(tmp_path / FILE):
                for _ in range(2):
                    with pytest.raises(UnavailableError, match="no result within 0.2 s"):
                        await reader.find("id1")
            monkeypatch.setattr(token_reader, "QUERY_S_MAX", 20.0)
            assert await reader.find("id1") is None

    asyncio.run(scene())


def test_the_queue_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_reader, "QUERIES_MAX", 3)

    async def scene() -> None:
        with TokenReader(Store(tmp_path / FILE)) as reader:
            await reader.version()
            with locked(tmp_path / FILE):
                asked = [asyncio.ensure_future(reader.find("id1")) for _ in range(10)]
                done, waiting = await asyncio.wait(asked, timeout=0.5)
                assert 3 <= len(waiting) <= 4  # the thread may have one more
                for one in done:
                    assert isinstance(one.exception(), UnavailableError)
            assert await asyncio.gather(*waiting) == [None] * len(waiting)

    asyncio.run(scene())


def test_closing_ends_the_thread_and_closes_the_database(tmp_path: Path) -> None:
    async def scene() -> None:
        reader = TokenReader(Store(tmp_path / FILE))
        assert await reader.find("id1") is None
        assert len(threads()) == 1
        reader.close()
        reader.close()

    asyncio.run(scene())
    assert threads() == []
    assert [path.name for path in tmp_path.iterdir()] == [FILE], "closing the last connection removes -wal and -shm"
