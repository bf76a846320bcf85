"""What goes through a tunnel arrives as it was sent: a gigabyte each way, WebSocket frames, databases, a thousand visitors at once."""

import asyncio
import hashlib
import json
import random
import subprocess
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from tests.e2e.crowd import CrowdOrigin, crowd
from tests.e2e.curl import Curl
from tests.e2e.stack import Stack
from tests.kit.http_origin import HttpOrigin
from tests.kit.services import command, postgres, redis
from tests.kit.streams import blocks, stream_hash

pytestmark = pytest.mark.timeout(180)

GIGABYTE = 1_000_000_000
MEBIBYTE = 1 << 20
SEED = 5

GROWTH_BYTES_MAX = 64 * MEBIBYTE
"""What a program's memory may grow by while a gigabyte goes through each way. Measured: below 20 MiB."""

KNOWN_LENGTH = ["-H", "Transfer-Encoding:", "-H", f"Content-Length: {GIGABYTE}"]
"""Make curl promise how much it sends from a pipe, instead of sending it chunked."""


def download(url: str) -> tuple[int, str]:
    """Return size and hash of what curl gets."""
    with Curl("--fail", url) as curl:
        got = curl.finish()
    assert got.code == 0, got
    return got.size, got.sha256


def upload(url: str, size: int, *options: str) -> tuple[int, str]:
    """Return size and hash of what the origin got from curl."""
    with Curl("--fail", "-T", "-", *options, url, body=blocks(size, SEED)) as curl:
        got = curl.finish()
    assert got.code == 0, got
    told = json.loads(got.tail)
    return told["bytes"], told["sha256"]


@pytest.fixture(scope="module")
def direct(http_origin: HttpOrigin) -> tuple[int, str]:
    """What a gigabyte is when there is no tunnel: the same down and up."""
    down = download(http_origin.url(f"/bytes?n={GIGABYTE}&seed={SEED}"))
    up = upload(http_origin.url("/sink"), GIGABYTE, *KNOWN_LENGTH)
    assert down == up == (GIGABYTE, stream_hash(GIGABYTE, SEED))
    return down


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_a_gigabyte_in_each_direction_arrives_as_without_a_tunnel(
    stack: Stack, http_origin: HttpOrigin, direct: tuple[int, str], kind: str
) -> None:
    tunnel = stack.tunnel(kind, http_origin.port)
    before = stack.server.rss_bytes(), tunnel.program.rss_bytes()
    assert download(tunnel.http(f"/bytes?n={GIGABYTE}&seed={SEED}")) == direct
    assert upload(tunnel.http("/sink"), GIGABYTE, *KNOWN_LENGTH) == direct
    after = stack.server.peak_rss_bytes(), tunnel.program.peak_rss_bytes()
    assert after[0] - before[0] < GROWTH_BYTES_MAX
    assert after[1] - before[1] < GROWTH_BYTES_MAX
    stack.healthy()


def test_chunked_bodies_arrive_whole_in_both_directions(stack: Stack, http_origin: HttpOrigin) -> None:
    size = 100_000_007
    tunnel = stack.tunnel("http", http_origin.port)
    assert download(tunnel.http(f"/chunked?n={size}&seed={SEED}")) == (size, stream_hash(size, SEED))
    assert upload(tunnel.http("/sink"), size) == (size, stream_hash(size, SEED))
    stack.healthy()


class Echo:
    """A WebSocket service that sends every message back, and records each close code and reason.

    On asyncio, as is the visitor: the library's threaded ends hold one lock over sending and receiving, so that two of
    them which both send more than the path holds wait for each other for ever, with or without a tunnel between.
    """

    def __init__(self) -> None:
        self.goodbyes: list[tuple[int, str]] = []
        self.left = asyncio.Event()

    async def __call__(self, connection: ServerConnection) -> None:
        try:
            async for message in connection:
                await connection.send(message)
        finally:
            if connection.close_code is not None:
                self.goodbyes.append((connection.close_code, connection.close_reason or ""))
            self.left.set()


async def exchange_frames(stack: Stack, frames: list[bytes]) -> list[tuple[int, str]]:
    """Send all frames while they come back, then a text, then a close frame; return the closes that the service got."""
    echo = Echo()
    async with serve(echo, "127.0.0.1", 0, max_size=None, compression=None) as service, asyncio.timeout(120):
        port: int = next(iter(service.sockets)).getsockname()[1]
        tunnel = await asyncio.to_thread(stack.tunnel, "http", port)
        url = f"ws://{tunnel.host}:{tunnel.port}/"
        async with connect(url, sock=tunnel.connect(), proxy=None, max_size=None, compression=None) as visitor:

            async def send_all() -> None:
                for frame in frames:
                    await visitor.send(frame)

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(send_all())
                for frame in frames:
                    assert await visitor.recv() == frame
            await visitor.send("a text of umlauts: äöü")
            assert await visitor.recv() == "a text of umlauts: äöü"
            await visitor.close(4321, "that is all")
        await echo.left.wait()
    return echo.goodbyes


def test_websocket_frames_of_a_mebibyte_and_the_close_frame_come_back(stack: Stack) -> None:
    frames = [random.Random(number).randbytes(MEBIBYTE) for number in range(24)]
    assert asyncio.run(exchange_frames(stack, frames)) == [(4321, "that is all")]
    stack.healthy()


def said(*arguments: str, stdin: bytes = b"") -> bytes:
    """Return what a command prints; it must be content."""
    done = subprocess.run(arguments, input=stdin, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_redis_cli_works_through_a_tcp_tunnel(stack: Stack) -> None:
    cli, value = command("redis-cli"), random.Random(1).randbytes(8 * MEBIBYTE)
    with redis() as port:
        through = [cli, "-h", "127.0.0.1", "-p", str(stack.tunnel("tcp", port).port)]
        straight = [cli, "-h", "127.0.0.1", "-p", str(port)]
        assert said(*through, "PING") == b"PONG\n"
        assert said(*through, "-x", "SET", "big", stdin=value) == b"OK\n"
        assert said(*straight, "--raw", "GET", "big") == value + b"\n"
        assert said(*through, "--raw", "GET", "big") == value + b"\n"
        many = b"".join(b"RPUSH list %d\r\n" % number for number in range(20_000))
        assert b"errors: 0, replies: 20000" in said(*through, "--pipe", stdin=many)
        assert said(*through, "LRANGE", "list", "0", "-1") == said(*straight, "LRANGE", "list", "0", "-1")
    stack.healthy()


@pytest.fixture(scope="module")
def database() -> Iterator[int]:
    """The port of a PostgreSQL, which takes seconds to make."""
    with postgres() as port:
        yield port


def test_psql_works_through_a_tcp_tunnel(stack: Stack, database: int) -> None:
    psql = command("psql")

    def ask(port: int, *arguments: str, stdin: bytes = b"") -> bytes:
        return said(psql, "-XqAt", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", *arguments, stdin=stdin)

    public = stack.tunnel("tcp", database).port
    rows = b"".join(b"%d\t%b\n" % (number, hashlib.sha256(b"%d" % number).hexdigest().encode()) for number in range(100_000))
    ask(public, "-c", "DROP TABLE IF EXISTS things", "-c", "CREATE TABLE things (number int PRIMARY KEY, hash text)")
    ask(public, "-c", r"\copy things FROM STDIN", stdin=rows)
    check = "SELECT count(*), md5(string_agg(hash, '' ORDER BY number)) FROM things"
    assert ask(public, "-c", check) == ask(database, "-c", check) != b""
    assert ask(public, "-c", "COPY (SELECT * FROM things ORDER BY number) TO STDOUT") == rows
    stack.healthy()


def test_two_thousand_visitors_at_once_each_get_their_own_bytes(stack: Stack, descriptors: int) -> None:
    """A thousand of a tcp and a thousand of an http tunnel, none of which is answered before all are connected."""
    each = 1000
    if descriptors < 5 * each:
        pytest.skip(f"this machine allows {descriptors} descriptors a process; both ends of each visitor are in this one")
    with CrowdOrigin(2 * each) as origin:
        correct = asyncio.run(crowd({kind: stack.tunnel(kind, origin.port) for kind in ("tcp", "http")}, each))
        assert origin.together == 2 * each
        assert correct == origin.correct == set(range(2 * each))
    stack.healthy()
