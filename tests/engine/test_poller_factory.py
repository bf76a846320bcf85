"""Which poller a reactor gets, and that the engine needs no epoll to be there."""

import asyncio
import os
import select
import selectors
import subprocess
import sys
from pathlib import Path

import pytest

from portway.engine import poller
from portway.engine.epoll_poller import EpollPoller
from portway.engine.poller_factory import make_poller
from portway.engine.portable_poller import PortablePoller
from portway.engine.reactor import Reactor
from portway.errors import ConfigError

WITHOUT_EPOLL = """
import select, selectors, socket, sys
for name in [name for name in vars(select) if name.lower().startswith("epoll")]:
    delattr(select, name)
for name in ("SO_REUSEPORT", "TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_NOTSENT_LOWAT"):
    delattr(socket, name)
del selectors.EpollSelector
selectors.DefaultSelector = selectors.SelectSelector  # as on Windows

import asyncio
from portway.engine import connect, listener, memory_channel, relay, tls_channel
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import SocketChannel

async def greet():
    loop = asyncio.get_running_loop()
    reactor = Reactor(loop)
    received, accepted_channels = loop.create_future(), []

    def connected(sock):
        channel = SocketChannel(reactor, sock)
        accepted_channels.append(channel)
        def read():
            if channel.readable and (count := channel.recv_into(reactor.scratch_body)) > 0:
                received.set_result(bytes(reactor.scratch_body[:count]))
        channel.on_readable = read

    def accepted(sock, address):
        accepted_channels.append(SocketChannel(reactor, sock))
        accepted_channels[-1].send(b"hello")

    server = listener.Listener(reactor, listener.listen("127.0.0.1", 0), accepted)
    connect.connect(reactor, socket.AF_INET, server.address, 5, connected)
    print(type(reactor.level_poller).__name__, (await asyncio.wait_for(received, 10)).decode())
    for channel in accepted_channels:
        channel.close()
    server.close()
    reactor.close()

asyncio.run(greet(), debug=False)
"""


def test_the_words_of_readiness_are_epolls_own() -> None:
    ours = [poller.READABLE, poller.URGENT, poller.WRITABLE, poller.BROKEN, poller.HUNG_UP, poller.PEER_ENDED]
    assert ours == [select.EPOLLIN, select.EPOLLPRI, select.EPOLLOUT, select.EPOLLERR, select.EPOLLHUP, select.EPOLLRDHUP]


def test_a_system_without_epoll_gets_the_portable_poller_and_bytes_pass() -> None:
    sources = Path(__file__).resolve().parents[2] / "src"
    env = {name: value for name, value in os.environ.items() if name != "PORTWAY_ENGINE"} | {"PYTHONPATH": str(sources)}
    ended = subprocess.run([sys.executable, "-c", WITHOUT_EPOLL], env=env, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "PortablePoller hello\n", "")


@pytest.mark.parametrize(("wish", "kind"), [("", EpollPoller), ("epoll", EpollPoller), ("portable", PortablePoller)])
def test_an_engine_is_chosen_by_its_name(wish: str, kind: type) -> None:
    made = make_poller(wish)
    assert type(made) is kind
    made.close()


def test_the_environment_chooses_for_a_reactor(each_engine: str) -> None:
    loop = asyncio.new_event_loop()
    reactor = Reactor(loop)
    assert (reactor.level_poller is None) == (each_engine == "epoll")
    reactor.close()
    loop.close()


@pytest.mark.parametrize("wish", ["kqueue", "EPOLL", "portable "])
def test_an_unknown_engine_is_refused_with_the_known_ones(wish: str) -> None:
    with pytest.raises(ConfigError, match=r"PORTWAY_ENGINE: .*expected 'epoll' or 'portable'"):
        make_poller(wish)


def test_asking_for_epoll_where_there_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll")
    with pytest.raises(ConfigError, match="epoll is not available on this system: expected 'portable'"):
        make_poller("epoll")
    made = make_poller("")
    assert isinstance(made, PortablePoller)
    made.close()


def test_a_thread_that_waits_ends_with_its_reactor() -> None:
    loop = asyncio.new_event_loop()
    portable = PortablePoller(selectors.SelectSelector())
    reactor = Reactor(loop, poller=portable)
    thread = portable._thread
    assert thread is not None
    assert thread._thread.is_alive()
    reactor.close()
    assert not thread._thread.is_alive()
    loop.close()
