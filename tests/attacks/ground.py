"""What an attacker has: addresses, a token of its own, time, and a few tools."""

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
    """What became of bytes that were pushed into many sockets."""

    taken: dict[int, int]
    """Bytes for each socket, by its place in the list."""
    cut_after_s: list[float] = field(default_factory=list)
    """When sockets were cut, the first one first."""
    seconds: float = 0.0

    @property
    def bytes(self) -> int:
        """All bytes."""
        return sum(self.taken.values())


@dataclass
class Ground:
    """Use it in a `with`; what it started ends there."""

    http_port: int
    agents_port: int
    join_text: str
    """Of the attacker's own tenant."""
    neighbours_join_text: str
    """Of another tenant, for scripts that ask what it notices."""
    sources: str
    """The first two numbers of addresses that nobody else uses, below 127."""
    source_path: str
    """Of the programs that are attacked, and of the attacker's agents."""
    home: str
    small: bool
    """Only as much as shows that it is safe."""
    seconds: float
    until: float = 0.0
    _stack: ExitStack = field(default_factory=ExitStack)

    def begin(self) -> None:
        """Start the clock."""
        self.until = time.monotonic() + self.seconds

    @property
    def over(self) -> bool:
        """True when time is up."""
        return time.monotonic() >= self.until

    @property
    def left_s(self) -> float:
        """Time that is left."""
        return max(0.0, self.until - time.monotonic())

    def size(self, full: N, small: N) -> N:
        """Return one of two sizes."""
        return small if self.small else full

    def source(self, number: int) -> str:
        """Return an address of the attacker's; equal numbers are equal addresses."""
        return f"{self.sources}.{number // 250}.{number % 250 + 1}"

    @property
    def join(self) -> JoinString:
        """The attacker's join string."""
        return parse(self.join_text)

    # Tools.

    def visitor(self, number: int = 0, timeout_s: float = 10.0, port: int = 0) -> socket.socket:
        """Return a visitor's blocking socket, from an address of the attacker's; to the HTTP port unless it is another one."""
        sock = socket.create_connection((LOOPBACK, port or self.http_port), timeout_s, (self.source(number), 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._stack.enter_context(sock)

    def visitors(self, count: int, sources: int = 1, first: bytes = b"", port: int = 0) -> list[socket.socket]:
        """Return as many visitors as are let in, up to `count`, from so many addresses; each has sent `first`."""
        found = []
        for number in range(count):
            with contextlib.suppress(OSError):
                sock = self.visitor(number % sources, port=port)
                sock.sendall(first)
                found.append(sock)
        return found

    def stranger(self, number: int = 0) -> socket.socket:
        """Return a plain socket to the agents' address."""
        return self._stack.enter_context(socket.create_connection((LOOPBACK, self.agents_port), 10.0, (self.source(number), 0)))

    def tls_stranger(self, number: int = 0) -> BlockingLink:
        """Return a link that has not logged in."""
        return self._stack.enter_context(BlockingLink(LOOPBACK, self.agents_port, source=self.source(number), context=CONTEXT))

    def member(self, number: int = 0, identity: str = "m") -> BlockingLink:
        """Return a link of a hostile agent that has logged in, from an address of its own by `number`."""
        return self.keep(member_of(self.join, self.source(number), identity))

    def neighbour(self) -> BlockingLink:
        """Return a link of an honest agent of another tenant."""
        return self.keep(member_of(parse(self.neighbours_join_text), "", "honest"))

    def keep(self, thing: T) -> T:
        """Enter something whose end is the ground's."""
        self._stack.enter_context(thing)
        return thing

    def agent(self, *words: str, name: str = "agent") -> tuple[Program, str]:
        """Start a real agent, `portway http 3000 …`; return it with the host that it got."""
        program = self._start_agent(words, name)
        return program, urlsplit(program.first_line(AGENT_START_S)).hostname or ""

    def tcp_agent(self, origin_port: int) -> int:
        """Start a real agent with a tcp tunnel, and return its public port."""
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
        """Send `payload` again and again on all sockets, as fast as they take it, until time is up or all are cut.

        With `read`, what comes back is read and thrown away.
        """
        everybody = list(sockets)
        place = {sock.fileno(): number for number, sock in enumerate(everybody)}
        open_now = {sock.fileno(): sock for sock in everybody}
        poll = select.poll()
        for number, sock in open_now.items():
            sock.setblocking(False)
            poll.register(number, select.POLLOUT | (select.POLLIN if read else 0))
        view, at = memoryview(payload), dict.fromkeys(open_now, 0)
        pushed = Pushed(dict.fromkeys(range(len(everybody)), 0))
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
                        pushed.taken[place[number]] += count
                except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    continue
                except OSError:
                    poll.unregister(number)
                    del open_now[number]
                    pushed.cut_after_s.append(time.monotonic() - start)
        pushed.seconds = time.monotonic() - start
        return pushed

    def watch(self, sockets: Iterable[socket.socket], seconds: float | None = None) -> list[tuple[float, bytes]]:
        """Wait for sockets to be answered or closed, until time is up or all are; return for each when, and what came."""
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
        """Yield numbers at a pace until time is up."""
        number = 0
        while not self.over:
            yield number
            number += 1
            time.sleep(min(interval_s, self.left_s))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def member_of(join: JoinString, source: str, identity: str) -> BlockingLink:
    """Return a link that has logged in."""
    link = open_link(join, source=source)
    try:
        link.log_in(join, identity.encode().ljust(32, b"."))
    except BaseException:
        link.close()
        raise
    return link


CONTEXT = agent_context()
"""One for all strangers: making one costs more than a handshake."""
