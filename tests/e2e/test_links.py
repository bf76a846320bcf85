"""Several links of real programs: one that is cut takes its own visitors and no more, and ten thousand share four."""

import asyncio
import hashlib
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from tests.e2e.world import World, altered, event, events
from tests.kit.cords import Cords, cords_to
from tests.kit.origins import RawOrigin, pour
from tests.kit.programs import Program
from tests.kit.streams import stream_hash

SIZE = 120_000_000
PACE_BYTES_PER_S = 20_000_000
"""Twice what makes a link busy, so that each transfer brings one more link; and six seconds long."""

CROWD = 10_000
DESCRIPTORS = CROWD + 500
"""Of this process, where the visitors' ends are; the origin's are in a program of its own."""

ECHO = f"""
import asyncio, resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({DESCRIPTORS}, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

async def serve(reader, writer):
    try:
        while data := await reader.read(4096):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""

Visitor = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        world.start_server()
        yield world


@asynccontextmanager
async def published(world: World, port: int, links_max: int) -> AsyncIterator[tuple[Program, int, Cords]]:
    """An agent that publishes `port`, whose links can be cut one by one; yield it, the public port, and its cords."""
    async with cords_to(world.agents_port) as cords:
        join = await asyncio.to_thread(world.token)
        words = ("tcp", str(port), "--max-links", str(links_max))
        agent = await asyncio.to_thread(world.agent, altered(join, port=cords.port), *words)
        up = await told(agent, "tunnel_up")
        yield agent, up["port"], cords
        await asyncio.to_thread(agent.stop)


async def told(program: Program, name: str, number: int = 1) -> dict[str, Any]:
    """Wait for an event without holding up the cords."""
    return await asyncio.to_thread(event, program, name, number)


async def links_told(agent: Program, count: int) -> None:
    """Wait until the agent has told of so many links."""
    async with asyncio.timeout(20):
        while not any(news["links"] == count for news in events(agent, "links_changed")):  # noqa: ASYNC110 - from a pipe
            await asyncio.sleep(0.02)


async def download(port: int, seed: int, size: int = SIZE) -> str:
    """Read a transfer at its pace and tell how it ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{size} {seed}\n".encode())
    digest, count, begun = hashlib.sha256(), 0, time.monotonic()
    try:
        async with asyncio.timeout(60):
            while data := await reader.read(1 << 18):
                digest.update(data)
                count += len(data)
                await asyncio.sleep(max(0.0, begun + count / PACE_BYTES_PER_S - time.monotonic()))
    except ConnectionError:
        return "broken"
    finally:
        writer.close()
    return "whole" if (count, digest.hexdigest()) == (size, stream_hash(size, seed)) else f"wrong after {count}"


@pytest.mark.parametrize("cut", [0, 2], ids=["the link with the control messages", "the youngest link"])
def test_a_link_of_three_cut_in_mid_transfer_breaks_its_own_transfer_and_nothing_else(world: World, cut: int) -> None:
    async def scene(origin: RawOrigin) -> None:
        async with published(world, origin.port, links_max=3) as (agent, port, cords), asyncio.TaskGroup() as visitors:
            transfers = [visitors.create_task(download(port, 0))]
            for links in (2, 3):
                await links_told(agent, links)
                transfers.append(visitors.create_task(download(port, links)))
            await asyncio.sleep(0.5)  # in mid-transfer, all three
            assert not any(transfer.done() for transfer in transfers)
            cords.cut(cut)
            outcomes = [await transfer for transfer in transfers]
            assert sorted(outcomes) == ["broken", "whole", "whole"]
            assert await download(port, 9, 1_000_000) == "whole", "the port is still this session's"
            assert not list(events(agent, "offline"))
            assert len(list(events(agent, "online"))) == 1
            assert not list(events(world.programs[0], "session_down"))
            assert not list(events(world.programs[0], "lease_down"))
        await told(world.programs[0], "lease_down")  # the good-bye found a link that lives

    with RawOrigin(pour) as origin:
        asyncio.run(scene(origin))


def test_ten_thousand_visitors_share_four_links_and_a_cut_one_takes_its_share_of_them(world: World) -> None:
    async def scene(port_of_origin: int) -> None:
        async with published(world, port_of_origin, links_max=4) as (agent, port, cords):
            visitors: list[Visitor] = []
            for start in range(0, CROWD, 250):
                visitors += await asyncio.gather(*(enter(port, start + number) for number in range(250)))
            await links_told(agent, 4)
            assert await served(visitors) == CROWD
            (server,) = (
                one for one in json.loads((await asyncio.to_thread(world.run, "status", "--json")).out) if one["program"] == "server"
            )
            assert [session["links"] for session in server["sessions"]] == [4]
            cords.cut(3)
            await links_told(agent, 3)
            left = await served(visitors)
            assert CROWD / 2 < left < CROWD * 9 / 10, left
            assert not list(events(agent, "offline"))
            visitors.append(await enter(port, CROWD))
            for _, writer in visitors:
                writer.transport.abort()

    with more_descriptors(), Program([sys.executable, "-c", ECHO], name="echo") as origin:
        asyncio.run(scene(int(origin.expect(r"^\d+$").string)))


async def enter(port: int, number: int) -> Visitor:
    """Come in, and get the own bytes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    mine = b"visitor %d." % number
    writer.write(mine)
    async with asyncio.timeout(30):
        assert await reader.readuntil(b".") == mine
    return reader, writer


async def served(visitors: list[Visitor]) -> int:
    """Return how many of them get an answer; the others must see a break."""

    async def ask(number: int) -> bool:
        reader, writer = visitors[number]
        try:
            writer.write(b"again %d." % number)
            async with asyncio.timeout(30):
                assert await reader.readuntil(b".") == b"again %d." % number
        except ConnectionError:
            return False
        return True

    answers = 0
    for start in range(0, len(visitors), 500):
        answers += sum(await asyncio.gather(*(ask(number) for number in range(start, min(start + 500, len(visitors))))))
    return answers


@contextmanager
def more_descriptors() -> Iterator[None]:
    """Let this process have as many descriptors as the crowd needs, or skip the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * CROWD:
        pytest.skip(f"this machine allows {hard} descriptors a process")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, DESCRIPTORS) if soft != resource.RLIM_INFINITY else soft, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
