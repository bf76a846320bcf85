"""Resources of an attack script: addresses, a token, time, and helpers to connect and to flood."""

import contextlib
import os
import select
import socket
import ssl
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from portway.protocol.join_string import JoinString, parse
from tests.kit.blocking_link import BlockingLink, agent_context, open_link
from tests.kit.programs import Program

N = TypeVar("N", int, float)
T = TypeVar("T", bound=AbstractContextManager[Any])

LOOPBACK = "127.0.0.1"
AGENT_START_S = 20.0


@dataclass
class Pushed:
    """Result of sending as fast as possible on many sockets."""

    taken: dict[int, int]
    """Accepted bytes of each socket, by its index."""
    cut_after_s: list[float] = field(default_factory=list)
    """Times at which sockets were cut, in order."""
    seconds: float = 0.0

    @property
    def bytes(self) -> int:
        """Accepted bytes of all sockets."""
        return sum(self.taken.values())


@dataclass
class AttackContext:
    """Context of one attack; leaving the `with` block closes its connections and stops its programs."""

    http_port: int
    agents_port: int
    join_text: str
    """The attacker's join string."""
    neighbours_join_text: str
    """The join string of another tenant, for scripts that measure the effect on it."""
    sources: str
    """The first two numbers of the loopback addresses that only this attack uses."""
    source_path: str
    """Source folder of the attacked version, also for the attacker's agents."""
    home: str
    small: bool
    """True: run only as much as a safety test needs."""
    seconds: float
    until: float = 0.0
    _stack: ExitStack = field(default_factory=ExitStack)

    def begin(self) -> None:
        """Start the time of the attack."""
        self.until = time.monotonic() + self.seconds

    @property
    def over(self) -> bool:
        """True when time is up."""
        return time.monotonic() >= self.until

    @property
    def left_s(self) -> float:
        """Remaining time."""
        return max(0.0, self.until - time.monotonic())

    def size(self, full: N, small: N) -> N:
        """Return the size for a full or a small attack."""
        return small if self.small else full

    def source(self, number: int) -> str:
        """Return one of the attacker's addresses; equal numbers give equal addresses."""
        return f"{self.sources}.{number // 250}.{number % 250 + 1}"

    @property
    def join(self) -> JoinString:
        """The attacker's join string."""
        return parse(self.join_text)

    # Helpers.

    def visitor(self, number: int = 0, timeout_s: float = 10.0, port: int = 0) -> socket.socket:
        """Return a blocking socket from one of the attacker's addresses to `port`, by default the HTTP port."""
        sock = socket.create_connection((LOOPBACK, port or self.http_port), timeout_s, (self.source(number), 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._stack.enter_context(sock)

    def visitors(self, count: int, sources: int = 1, first: bytes = b"", port: int = 0) -> list[socket.socket]:
        """Connect up to `count` visitors from `sources` addresses, each sending `first`; return those that were admitted."""
        found = []
        for number in range(count):
            with contextlib.suppress(OSError):
                sock = self.visitor(number % sources, port=port)
                sock.sendall(first)
                found.append(sock)
        return found

    def agents_socket(self, number: int = 0) -> socket.socket:
        """Return a plain socket to the agents' port."""
        return self._stack.enter_context(socket.create_connection((LOOPBACK, self.agents_port), 10.0, (self.source(number), 0)))

    def unauthenticated_link(self, number: int = 0) -> BlockingLink:
        """Return a TLS link without a login."""
        return self._stack.enter_context(BlockingLink(LOOPBACK, self.agents_port, source=self.source(number), context=CONTEXT))

    def agent_link(self, number: int = 0, identity: str = "m") -> BlockingLink:
        """Return a logged-in link of the hostile tenant; `number` selects its address."""
        return self.own(log_in_link(self.join, self.source(number), identity))

    def neighbour_link(self) -> BlockingLink:
        """Return a logged-in link of another tenant."""
        return self.own(log_in_link(parse(self.neighbours_join_text), "", "honest"))

    def own(self, thing: T) -> T:
        """Close `thing` at the end of the attack."""
        self._stack.enter_context(thing)
        return thing

    def agent(self, *words: str, name: str = "agent") -> tuple[Program, str]:
        """Start a real agent, `portway http 3000 …`; return it and the host of its tunnel."""
        program = self._start_agent(words, name)
        return program, urlsplit(program.first_line(AGENT_START_S)).hostname or ""

    def tcp_agent(self, origin_port: int) -> int:
        """Start a real agent with a tcp tunnel; return its public port."""
        program = self._start_agent(("tcp", str(origin_port)), "tcp-agent")
        return urlsplit(program.first_line(AGENT_START_S)).port or 0

    def _start_agent(self, words: Sequence[str], name: str) -> Program:
        home = Path(self.home) / name
        home.mkdir(mode=0o700, exist_ok=True)
        env = {"HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
        env |= {"PYTHONPATH": self.source_path, "PYTHONUNBUFFERED": "1", "PORTWAY_JOIN": self.join_text, "PATH": os.environ["PATH"]}
        program = Program([sys.executable, "-m", "portway", *words, "--data", str(home)], env=env, inherit_env=False, name=name)
        return self._stack.enter_context(program)

    def push(self, sockets: Iterable[socket.socket], payload: bytes, seconds: float | None = None, *, read: bool = True) -> Pushed:
        """Send `payload` repeatedly on all sockets, as fast as they accept it, until time is up or all are cut.

        With `read`, received bytes are read and discarded.
        """
        open_now = {sock.fileno(): sock for sock in sockets}
        index = {number: place for place, number in enumerate(open_now)}
        poll = select.poll()
        for number, sock in open_now.items():
            sock.setblocking(False)
            poll.register(number, select.POLLOUT | (select.POLLIN if read else 0))
        view, at = memoryview(payload), dict.fromkeys(open_now, 0)
        pushed = Pushed(dict.fromkeys(range(len(open_now)), 0))
        start = time.monotonic()
        end = min(self.until, start + seconds) if seconds is not None else self.until
        while open_now and (now := time.monotonic()) < end:
            for number, event in poll.poll(1000 * (end - now)):
                sock = open_now[number]
                try:
                    if event & (select.POLLIN | select.POLLHUP | select.POLLERR) and not sock.recv(1 << 16):
                        raise ConnectionError
                    if event & select.POLLOUT:
                        count = sock.send(view[at[number] :])
                        at[number] = (at[number] + count) % len(payload)
                        pushed.taken[index[number]] += count
                except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    continue
                except OSError:
                    poll.unregister(number)
                    del open_now[number]
                    pushed.cut_after_s.append(time.monotonic() - start)
        pushed.seconds = time.monotonic() - start
        return pushed

    def watch(self, sockets: Iterable[socket.socket], seconds: float | None = None) -> list[tuple[float, bytes]]:
        """Wait until sockets receive data or are closed; return the time and the bytes of each such socket."""
        open_now = {sock.fileno(): sock for sock in sockets}
        poll = select.poll()
        for number, sock in open_now.items():
            sock.setblocking(False)
            poll.register(number, select.POLLIN)
        start = time.monotonic()
        end = min(self.until, start + seconds) if seconds is not None else self.until
        found = []
        while open_now and (now := time.monotonic()) < end:
            for number, _ in poll.poll(1000 * (end - now)):
                try:
                    piece = open_now[number].recv(4096)
                except (BlockingIOError, ssl.SSLWantReadError):
                    continue
                except OSError:
                    piece = b""
                poll.unregister(number)
                del open_now[number]
                found.append((time.monotonic() - start, piece))
        return found

    def every(self, interval_s: float) -> Iterator[int]:
        """Yield a number every `interval_s` seconds until time is up."""
        number = 0
        while not self.over:
            yield number
            number += 1
            time.sleep(min(interval_s, self.left_s))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def log_in_link(join: JoinString, source: str, identity: str) -> BlockingLink:
    """Connect and log in."""
    link = open_link(join, source=source)
    try:
        link.log_in(join, identity.encode().ljust(32, b"."))
    except BaseException:
        link.close()
        raise
    return link


CONTEXT = agent_context()
"""Shared, because creating a context costs more than a handshake."""
