"""Calls of a thread: results and errors come back, those of callers that gave up are skipped, and a closed loop ends it."""

import asyncio
import queue
import threading

import pytest

from portway.config.thread_calls import ThreadCall, run_calls


def test_results_and_errors_come_back_in_order() -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        calls: queue.Queue[ThreadCall | None] = queue.Queue()
        thread = threading.Thread(target=run_calls, args=(calls,))
        thread.start()
        done: list[int] = []
        first, failing, given_up, last = (loop.create_future() for _ in range(4))
        given_up.cancel()
        calls.put(ThreadCall(lambda: done.append(1), loop, first))
        calls.put(ThreadCall(lambda: 1 // 0, loop, failing))
        calls.put(ThreadCall(lambda: done.append(2), loop, given_up))
        calls.put(ThreadCall(lambda: done.append(3), loop, last))
        await first
        with pytest.raises(ZeroDivisionError):
            await failing
        await last
        calls.put(None)
        await asyncio.to_thread(thread.join, 5)
        assert not thread.is_alive()
        assert done == [1, 3]

    asyncio.run(scene())


def test_a_closed_loop_ends_the_thread() -> None:
    loop = asyncio.new_event_loop()
    calls: queue.Queue[ThreadCall | None] = queue.Queue()
    calls.put(ThreadCall(lambda: None, loop, loop.create_future()))
    loop.close()
    thread = threading.Thread(target=run_calls, args=(calls,))
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
