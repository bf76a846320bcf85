"""`python -m tests.memory.flat`: thousands of connections of each kind to one server, whose memory must not grow.

A quarter of the connections of a kind comes first, to fill pools and tables. `--source` takes another version's `src`.
"""

import argparse
import contextlib
import itertools
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection

from portway.protocol.control.messages import Challenge, Hello, Proof, Refused, Release, Released
from portway.protocol.join_string import parse
from tests.attacks.site import Site, resources_of
from tests.kit.blocking_link import CONTROL, BlockingLink, LinkError, agent_context, open_link
from tests.kit.programs import SOURCES
from tests.kit.yamux_wire import SYN, data, update

CONTEXT = agent_context()
GROWTH_MAX_MB = 5.0
"""For fragmentation of the allocator. Connections in reference cycles cost 17 MB (TLS) to 63 MB (with 750 kB of payload) per 3,000."""
CLIENTS = 2
"""Threads that connect."""
OPEN = update(CONTROL, flags=SYN).wire


@dataclass(frozen=True)
class Connections:
    """The kinds of connections to a server, one method each."""

    site: Site

    def source(self, number: int) -> str:
        """Return one of many addresses, because failed logins delay further ones from the same address."""
        return f"127.{1 + number // 62_500 % 100}.{number // 250 % 250}.{number % 250 + 1}"

    def agents(self, number: int, first: bytes = b"") -> None:
        """Connect over TLS, send bytes, close."""
        with BlockingLink("127.0.0.1", self.site.agents_port, source=self.source(number), context=CONTEXT) as link:
            link.sock.sendall(first)

    def connect(self, number: int) -> None:
        """Connect and close."""
        with create_connection(("127.0.0.1", self.site.agents_port), 10, (self.source(number), 0)):
            pass

    def handshake(self, number: int) -> None:
        """Close after the TLS handshake."""
        self.agents(number)

    def payload(self, number: int) -> None:
        """Send three large bodies to an unknown stream, close."""
        self.agents(number, OPEN + 3 * data(9999, bytes(250_000)).wire)

    def half_message(self, number: int) -> None:
        """Close in the middle of a login message."""
        self.agents(number, OPEN + data(CONTROL, b"\x00\x00\x10\x00" + bytes(4000)).wire)

    def wrong_secret(self, number: int) -> None:
        """Log in with a wrong secret and read the refusal."""
        with BlockingLink("127.0.0.1", self.site.agents_port, source=self.source(number), context=CONTEXT) as link:
            link.open_control()
            link.send_message(
                Hello(version=1, token="nobody", identity=bytes(32), scram="p=tls-server-end-point,,n=nobody,r=abcdefghijkl", agent="")
            )
            nonce = link.receive(Challenge).scram.partition("r=")[2].partition(",")[0]
            link.send_message(Proof(scram=f"c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsAAAA,r={nonce},p={'A' * 43}="))
            link.receive(Refused)

    def session(self, number: int) -> None:
        """Log in, claim a name, release every second one, close."""
        with open_link(parse(self.site.attackers_join_text), source=self.source(number)) as link:
            link.log_in(parse(self.site.attackers_join_text), identity=number.to_bytes(32, "big"))
            granted = link.claim(f"app-{number}")
            if number % 2:  # the others are held for a while
                link.send_message(Release(id=2, tunnel=granted.tunnel))
                link.receive(Released)

    def visitor(self, number: int) -> None:
        """Request an unknown host, close."""
        with create_connection(("127.0.0.1", self.site.http_port), 10, (self.source(number), 0)) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: host-%d.localhost\r\n\r\n" % number)
            sock.recv(4096)

    def half_head(self, number: int) -> None:
        """Close in the middle of a request head."""
        with create_connection(("127.0.0.1", self.site.http_port), 10, (self.source(number), 0)) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nCookie: " + bytes(b"x" * 8000))


KINDS = ("connect", "handshake", "payload", "half_message", "wrong_secret", "session", "visitor", "half_head")


def size_bytes(site: Site) -> int:
    """Return the resident memory of a server and its workers."""
    server = site.server.pid
    workers = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    return site.resources().rss_bytes + sum(resources_of(int(pid)).rss_bytes for pid in workers)


def grown_mb(site: Site, kind: str, connects: int) -> float:
    """Return the growth of the server in MB (10^6 bytes) between a quarter and all connections of one kind."""
    connect: Callable[[int], None] = getattr(Connections(site), kind)
    numbers = itertools.count()

    def client(count: int) -> None:
        for _ in range(count):
            with contextlib.suppress(OSError, LinkError):  # a rejected one counts, too
                connect(next(numbers))

    def all_clients(count: int) -> int:
        with ThreadPoolExecutor(CLIENTS) as threads:
            list(threads.map(client, [count // CLIENTS] * CLIENTS))
        time.sleep(0.5)  # for the last connections to close
        return size_bytes(site)

    return (-all_clients(max(connects // 4, 50)) + all_clients(connects)) / 1e6


def main() -> int:
    """Run the selected kinds; return 1 if the server has grown."""
    parser = argparse.ArgumentParser(prog="python -m tests.memory.flat", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=KINDS, metavar="KIND", help=f"kind of connection: {', '.join(KINDS)} (all)")
    parser.add_argument("--connects", type=int, default=20_000, help="make CONNECTS connections of each kind (20,000)")
    parser.add_argument("--source", type=Path, default=SOURCES, metavar="DIR", help="test the version in the src folder DIR")
    parser.add_argument("--workers", type=int, default=1, help="run the server with WORKERS worker processes (1)")
    options = parser.parse_args()
    wrong = 0
    for kind in options.kinds:
        with Site(options.source, flags=["--workers", str(options.workers)]) as site:
            began, before = time.monotonic(), size_bytes(site) / 1e6
            grown = grown_mb(site, kind, options.connects)
        wrong += grown > GROWTH_MAX_MB
        words = f"{kind:13} {options.connects} in {time.monotonic() - began:4.0f} s: {before:.1f} MB before, {grown:+.1f} MB"
        print(words + (f", at most {GROWTH_MAX_MB:+.1f}" if grown > GROWTH_MAX_MB else ""), flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
