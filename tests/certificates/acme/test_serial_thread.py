"""Blocking calls in one thread, with deadlines."""

import asyncio
import threading

import pytest

from portway.certificates.acme.serial_thread import ABANDONED_MAX, SerialThread
from portway.errors import UnavailableError


def test_calls_run_one_after_another_in_one_thread() -> None:
    async def scenario() -> None:
        thread, running, seen = SerialThread("test"), threading.Lock(), []

        def call(number: int) -> int:
            assert running.acquire(blocking=False), "another call runs"
            seen.append(threading.get_ident())
            running.release()
            return number

        async with asyncio.TaskGroup() as tasks:
            results = [tasks.create_task(thread.run(lambda number=number: call(number), 5)) for number in range(20)]  # type: ignore[misc]
        thread.close()

        assert [result.result() for result in results] == list(range(20))
        assert len(set(seen)) == 1

    asyncio.run(scenario())


def test_an_error_of_the_call_is_raised() -> None:
    async def scenario() -> None:
        thread = SerialThread("test")
        with pytest.raises(ZeroDivisionError):
            await thread.run(lambda: 1 / 0, 5)
        assert await thread.run(lambda: 7, 5) == 7
        thread.close()

    asyncio.run(scenario())


def test_a_call_that_hangs_is_abandoned_and_the_next_ones_run() -> None:
    async def scenario() -> None:
        thread, release = SerialThread("test"), threading.Event()
        try:
            for _ in range(ABANDONED_MAX):
                with pytest.raises(UnavailableError, match=r"test: not complete after 0\.05 s"):
                    await thread.run(lambda: release.wait(20), 0.05)
            with pytest.raises(UnavailableError, match="hang already"):
                await thread.run(lambda: 1, 5)
        finally:
            release.set()
        await asyncio.sleep(0.1)
        assert await thread.run(lambda: 1, 5) == 1
        thread.close()

    asyncio.run(scenario())
