"""A forward proxy in a thread with a loop of its own, and clients that speak its protocols over real sockets."""

import asyncio
import secrets
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from portway.config.values import ListenAddress
from portway.engine.reactor import Reactor
from portway.forward.connect.direct import DirectConnector
from portway.forward.connect.routes import RoutedConnector
from portway.forward.events import ClientDone
from portway.forward.interfaces import TargetPolicy, User, UserDirectory
from portway.forward.no_users import NoUsers
from portway.forward.outcomes import Failure, Outcome
from portway.forward.policy.policy import RulePolicy, RuleSet
from portway.forward.policy.rules import TargetRules
from portway.forward.proxy import ForwardProxy
from portway.forward.settings import ForwardSettings
from portway.links.listen_sockets import listen_on
from portway.links.resolver import Address

DEADLINE_S = 10.0


class OneUser:
    """A directory with one user, whose password is `secret`."""

    required = True

    def __init__(self, user: User) -> None:
        self.user = user

    def check(self, name: str, password: bytes, _source: str, on_checked: Callable[[User | Failure], None]) -> None:
        """Compare with the one user."""
        good = (name, password) == (self.user.name, b"secret")
        on_checked(self.user if good else Failure(Outcome.AUTH_REQUIRED, "Wrong user name or password."))


def names(host: str, port: int) -> list[Address]:
    """Resolve the names of these tests."""
    known = {"here.test": ["127.0.0.1"], "many.test": ["127.0.0.2", "127.0.0.1"], "dead.test": ["192.0.2.1"]}
    if host not in known:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return [(socket.AF_INET, (address, port)) for address in known[host]]


class Stage:
    """Use it in a `with`."""

    def __init__(
        self,
        *,
        policy: TargetPolicy | None = None,
        users: UserDirectory | None = None,
        tls: ssl.SSLContext | None = None,
        query: Callable[[str, int], list[Address]] = names,
        **settings: Any,
    ) -> None:
        self.events: list[object] = []
        self._policy = policy or RulePolicy(RuleSet(TargetRules(allow_private=True)))
        self._users = users or NoUsers()
        self._tls = tls
        self._query = query
        self._settings = ForwardSettings(listen=ListenAddress("127.0.0.1", 0), **settings)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self.proxy: ForwardProxy
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE_S)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        reactor = Reactor(self._loop)
        connector = DirectConnector(reactor, lambda: self.proxy.policy, dns_cache_s=60, query=self._query)
        ways = RoutedConnector(reactor, connector, lambda: self.proxy.policy, self._settings.via) if self._settings.via else connector
        self.proxy = ForwardProxy(
            reactor,
            self._settings,
            policy=self._policy,
            users=self._users,
            connector=ways,
            resolve=ways.resolve,
            random_bytes=secrets.token_bytes,
            on_event=self.events.append,
            tls=self._tls,
        )
        sock = listen_on(self._settings.listen)
        self.port = sock.getsockname()[1]
        self.proxy.listen(sock)
        self._ready.set()
        await self._stop.wait()
        self.proxy.close()
        connector.close()
        await asyncio.sleep(0)
        reactor.close()

    def call(self, work: Callable[[], object]) -> None:
        """Run something in the proxy's loop, and wait for it."""
        done = threading.Event()

        def run() -> None:
            work()
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(DEADLINE_S)

    def dial(self) -> socket.socket:
        """Connect to the proxy."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)

    def last(self) -> ClientDone:
        """Return the event of the only client that ended so far, once there is one."""
        until = time.monotonic() + DEADLINE_S
        while not self.events:
            assert time.monotonic() < until
            time.sleep(0.005)
        event = self.events[-1]
        assert isinstance(event, ClientDone)
        return event


def read_all(sock: socket.socket) -> bytes:
    """Read to the end; a reset ends it, too."""
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def socks5_request(host: str | bytes, port: int, command: int = 1) -> bytes:
    """Return a request as a client sends it, written independently of the code under test."""
    raw = host.encode() if isinstance(host, str) else host
    return b"\x05" + bytes([command]) + b"\0\x03" + bytes([len(raw)]) + raw + struct.pack(">H", port)


def socks4_request(host: str, port: int, command: int = 1) -> bytes:
    """Return a SOCKS4a request."""
    return b"\x04" + bytes([command]) + struct.pack(">H", port) + b"\0\0\0\1me\0" + host.encode() + b"\0"
