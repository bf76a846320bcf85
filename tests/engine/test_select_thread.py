"""The select thread: one wake-up per event, restarts on changed descriptors, and always ends."""

import asyncio
import selectors
import socket
import threading
from collections.abc import Iterator

import pytest

from portway.engine.select_thread import SelectThread
from tests.kit.sockets import unix_pair


class Waiter:
    """A loop, a selector and the thread between them."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.selector = selectors.SelectSelector()
        self.woken = 0
        self.thread = SelectThread(self.loop, self._wake, self.selector)

    def _wake(self) -> None:
        self.woken += 1
        self.loop.stop()

    def run(self) -> None:
        """Run until woken; fail after 5 seconds."""
        before = self.woken
        late = self.loop.call_later(5, self.loop.stop)
        self.loop.run_forever()
        late.cancel()
        assert self.woken == before + 1

    def close(self) -> None:
        self.thread.close()
        self.selector.close()
        self.loop.close()


@pytest.fixture
def waiter() -> Iterator[Waiter]:
    waiter = Waiter()
    yield waiter
    waiter.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = unix_pair()
    with near, far:
        yield near, far


def test_news_wake_the_loop(waiter: Waiter, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    waiter.selector.register(near, selectors.EVENT_READ)
    waiter.thread.update()
    far.sendall(b"x")
    waiter.run()
    assert [key.fd for key, _ in waiter.selector.select(0)] == [near.fileno()]


def test_room_wakes_the_loop(waiter: Waiter, pair: tuple[socket.socket, socket.socket]) -> None:
    waiter.selector.register(pair[0], selectors.EVENT_WRITE)
    waiter.thread.update()
    waiter.run()


def test_a_change_during_a_wait_is_not_lost(waiter: Waiter, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    waiter.thread.update()
    waiter.loop.run_until_complete(asyncio.sleep(0))
    waiter.selector.register(near, selectors.EVENT_READ)
    waiter.thread.update()
    waiter.run()  # the wait was cut short
    assert not waiter.selector.select(0)
    far.sendall(b"x")
    waiter.run()
    assert waiter.selector.select(0)


def test_a_descriptor_that_was_closed_does_not_end_the_thread(waiter: Waiter, pair: tuple[socket.socket, socket.socket]) -> None:
    gone, other = unix_pair()
    waiter.selector.register(gone, selectors.EVENT_READ)
    gone.close()
    other.close()
    waiter.thread.update()
    waiter.run()
    waiter.selector.unregister(gone)
    waiter.selector.register(pair[0], selectors.EVENT_READ)
    waiter.thread.update()
    pair[1].sendall(b"x")
    while not waiter.selector.select(0):
        waiter.run()


def test_closing_ends_the_thread_without_a_wake_up() -> None:
    before = threading.active_count()
    waiter = Waiter()
    waiter.thread.update()
    waiter.loop.run_until_complete(asyncio.sleep(0))
    waiter.close()
    assert threading.active_count() == before
    assert waiter.woken == 0
