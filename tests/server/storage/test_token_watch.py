"""Checks of tokens use the last detected change, and no change is lost."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from portway.errors import RefusedError, UnavailableError
from portway.protocol.control import codes
from portway.server.access.tokens import Grants, TokenRecord
from portway.server.storage import token_reader
from portway.server.storage.token_reader import TokenReader
from portway.server.storage.token_store import FILE, Store
from portway.server.storage.token_watch import TokenWatch
from tests.kit.locked_database import locked
from tests.server.storage.test_token_store import VERIFIER, record

NOW = 5000.0


def now() -> float:
    return NOW


def test_only_a_usable_token_is_live(tmp_path: Path) -> None:
    async def scene() -> None:
        with Store(tmp_path / FILE) as other, TokenReader(Store(tmp_path / FILE)) as reader:
            watch = TokenWatch(reader, now)
            other.create_token(record(1))
            other.create_token(record(2))
            other.create_token(record(3, grants=Grants(expires_at=NOW)))
            other.revoke("token2", NOW)
            assert await watch.live("id1") == record(1)
            for token_id, code in (("id2", codes.TOKEN_REVOKED), ("id3", codes.TOKEN_EXPIRED), ("id4", codes.BAD_CREDENTIALS)):
                with pytest.raises(RefusedError) as refused:
                    await watch.live(token_id)
                assert refused.value.code == code
            assert await watch.verifier("id2") == VERIFIER, "a login with a revoked token is refused as revoked"
            assert await watch.verifier("id4") is None

    asyncio.run(scene())


def test_each_change_is_reported_with_the_tokens_in_use(tmp_path: Path) -> None:
    async def scene() -> None:
        reported: list[Mapping[str, TokenRecord | None]] = []
        with Store(tmp_path / FILE) as other, TokenReader(Store(tmp_path / FILE)) as reader:
            other.create_token(record(1))
            watching = asyncio.ensure_future(TokenWatch(reader, now).watch(lambda: ["id1", "id9"], reported.append))
            await _until(lambda: len(reported) == 1)
            other.revoke("token1", NOW)
            await _until(lambda: len(reported) == 2)
            watching.cancel()
        first, second = reported
        assert first == {"id1": record(1), "id9": None}
        assert second["id1"] is not None
        assert second["id1"].revoked_at == NOW

    asyncio.run(scene())


def test_a_change_that_could_not_be_read_is_reported_once_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread also completes queries that have timed out: a change that it saw must not count as reported."""
    monkeypatch.setattr(token_reader, "QUERY_S_MAX", 0.1)

    async def scene() -> None:
        reported: list[Mapping[str, TokenRecord | None]] = []
        with Store(tmp_path / FILE) as other, TokenReader(Store(tmp_path / FILE)) as reader:
            other.create_token(record(1))
            watching = asyncio.ensure_future(TokenWatch(reader, now).watch(lambda: ["id1"], reported.append))
            await _until(lambda: len(reported) == 1)
            other.revoke("token1", NOW)
            with locked(tmp_path / FILE):
                with pytest.raises(UnavailableError):
                    await reader.version()
                await asyncio.sleep(0.6)  # two polls
                assert len(reported) == 1
            await _until(lambda: len(reported) == 2)
            watching.cancel()
        assert reported[1]["id1"] is not None
        assert reported[1]["id1"].revoked_at == NOW

    asyncio.run(scene())


def test_a_token_that_is_revoked_during_a_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a session would start with the old record after the change that ends it was reported."""

    async def scene() -> None:
        reported: list[object] = []
        with Store(tmp_path / FILE) as other, TokenReader(Store(tmp_path / FILE)) as reader:
            other.create_token(record(1))
            watch = TokenWatch(reader, now)
            find, found = reader.find, asyncio.Event()

            async def slowly(token_id: str) -> TokenRecord | None:
                token = await find(token_id)
                found.set()
                await _until(lambda: len(reported) == 2)
                return token

            monkeypatch.setattr(reader, "find", slowly)
            watching = asyncio.ensure_future(watch.watch(list, reported.append))
            await _until(lambda: len(reported) == 1)
            looking = asyncio.ensure_future(watch.live("id1"))
            await found.wait()
            other.revoke("token1", NOW)
            with pytest.raises(RefusedError, match="was revoked"):
                await looking
            watching.cancel()

    asyncio.run(scene())


async def _until(wanted: "object") -> None:
    assert callable(wanted)
    async with asyncio.timeout(20):
        while not wanted():  # noqa: ASYNC110 - the condition changes in a thread and in other processes
            await asyncio.sleep(0.01)
