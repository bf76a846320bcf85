import asyncio
import threading

import pytest

from portway.credentials.hash_thread import HashThread
from portway.protocol.password_hash import PasswordHash, hash_password

HASH = hash_password(b"sesame", b"s" * 16)


@pytest.mark.parametrize(("password", "expected"), [(b"sesame", True), (b"Sesame", False)])
def test_the_result_of_a_comparison_arrives_in_the_loop(password: bytes, expected: bool) -> None:
    async def compare() -> tuple[bool, int]:
        thread = HashThread()
        result: asyncio.Future[tuple[bool, int]] = asyncio.get_running_loop().create_future()
        thread.start(HASH, password, lambda matches: result.set_result((matches, threading.get_ident())))
        running = [thread.running]
        found = await result
        running.append(thread.running)
        thread.close()
        assert running == [True, False]
        return found

    assert asyncio.run(compare()) == (expected, threading.get_ident())


def test_a_comparison_that_fails_is_no_match(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_expected: PasswordHash, _password: bytes) -> bool:
        raise MemoryError

    monkeypatch.setattr(PasswordHash, "matches", broken)

    async def compare() -> bool:
        thread = HashThread()
        result: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        thread.start(HASH, b"sesame", result.set_result)
        found = await result
        thread.close()
        return found

    assert not asyncio.run(compare())
