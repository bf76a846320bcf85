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
from tests.kit.origins import RawOrigin, send_requested
from tests.kit.per_link_proxy import PerLinkProxy, per_link_proxy
from tests.kit.programs import Program
from tests.kit.streams import stream_hash

SIZE = 60_000_000
PACE_BYTES_PER_S = 20_000_000
"""Three seconds long: no transfer ends before all have begun, and before the cut."""

FAR_BYTES = 2_000_000
"""How far each transfer is when a link is cut; it has more than two seconds for that."""

QUIET = 256
"""So many visitors keep a link busy however slow the machine is: see `agent/link_policy`. A large transfer would have to be fast."""

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
async def published(world: World, port: int, links_max: int) -> AsyncIterator[tuple[Program, int, PerLinkProxy]]:
    """An agent that publishes `port`, whose links can be cut one by one; yield it, the public port, and its cords."""
    async with per_link_proxy(world.agents_port) as proxy:
        join = await asyncio.to_thread(world.token)
        words = ("tcp", str(port), "--max-links", str(links_max))
        agent = await asyncio.to_thread(world.agent, altered(join, port=proxy.port), *words)
        up = await told(agent, "tunnel_up")
        yield agent, up["port"], proxy
        await asyncio.to_thread(agent.stop)


async def told(program: Program, name: str, number: int = 1) -> dict[str, Any]:
    """Wait for an event without holding up the cords."""
    return await asyncio.to_thread(event, program, name, number)


async def links_told(agent: Program, count: int) -> None:
    """Wait until the agent has reported this number of links."""
    async with asyncio.timeout(20):
        while not has_told_of(agent, count):  # noqa: ASYNC110 - from a pipe
            await asyncio.sleep(0.02)


def has_told_of(agent: Program, count: int) -> bool:
    """Return whether the agent has reported this number of links."""
    return any(news["links"] == count for news in events(agent, "links_changed"))


class Transfer:
    """A visitor that begins to read, waits for `go_on`, and then reads at a fixed pace."""

    def __init__(self, port: int, seed: int, go_on: asyncio.Event, size: int = SIZE) -> None:
        self.count = 0
        self._port, self._seed, self._size, self._go_on = port, seed, size, go_on

    async def run(self) -> str:
        """Return how it ended."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(f"{self._size} {self._seed}\n".encode())
        digest = hashlib.sha256()
        try:
            digest.update(data := await reader.readexactly(1))
            self.count += len(data)
            await self._go_on.wait()
            begun = time.monotonic()
            async with asyncio.timeout(60):
                while data := await reader.read(1 << 18):
                    digest.update(data)
                    self.count += len(data)
                    await asyncio.sleep(max(0.0, begun + self.count / PACE_BYTES_PER_S - time.monotonic()))
        except ConnectionError:
            return "broken"
        finally:
            writer.close()
        whole = (self.count, digest.hexdigest()) == (self._size, stream_hash(self._size, self._seed))
        return "whole" if whole else f"wrong after {self.count}"


async def until_all_read(transfers: list[Transfer], least: int) -> None:
    """Wait until each has got so many bytes."""
    async with asyncio.timeout(30):
        while min(transfer.count for transfer in transfers) < least:  # noqa: ASYNC110 - counted where the bytes are
            await asyncio.sleep(0.01)


async def crowd_in(crowd: list[Visitor], port: int, agent: Program, links: int) -> None:
    """Connect visitors that send nothing until there are `links` links; the quietest link gets most of them, not all."""
    come = QUIET
    async with asyncio.timeout(30):
        while not has_told_of(agent, links):
            crowd += [await asyncio.open_connection("127.0.0.1", port) for _ in range(come)]
            come = 8
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("cut", [0, 2], ids=["the link with the control messages", "the youngest link"])
def test_one_link_of_three_cut_during_a_transfer_breaks_only_its_own_transfer(world: World, cut: int) -> None:
    """Each transfer starts when a link is new and has no visitors, so it gets that link."""

    async def scene(origin: RawOrigin) -> None:
        async with published(world, origin.port, links_max=3) as (agent, port, proxy):
            crowd: list[Visitor] = []
            transfers: list[Transfer] = []
            go_on = asyncio.Event()
            async with asyncio.TaskGroup() as visitors:
                outcomes = []
                for links in (1, 2, 3):
                    if links > 1:
                        await crowd_in(crowd, port, agent, links)
                    transfers.append(Transfer(port, links, go_on))
                    outcomes.append(visitors.create_task(transfers[-1].run()))
                    await until_all_read(transfers, 1)
                go_on.set()
                await until_all_read(transfers, FAR_BYTES)
                assert not any(outcome.done() for outcome in outcomes), "all three are in mid-transfer"
                proxy.cut(cut)
            assert [outcome.result() for outcome in outcomes] == ["broken" if link == cut else "whole" for link in range(3)]
            assert await Transfer(port, 9, go_on, 1_000_000).run() == "whole", "the port is still this session's"
            assert not list(events(agent, "offline"))
            assert len(list(events(agent, "online"))) == 1
            assert not list(events(world.programs[0], "session_down"))
            assert not list(events(world.programs[0], "lease_down"))
            for _, writer in crowd:
                writer.transport.abort()
        await told(world.programs[0], "lease_down")  # the final message was sent on a live link

    with more_descriptors(), RawOrigin(send_requested) as origin:
        asyncio.run(scene(origin))


def test_ten_thousand_visitors_share_four_links_and_a_cut_one_ends_only_its_own(world: World) -> None:
    async def scene(port_of_origin: int) -> None:
        async with published(world, port_of_origin, links_max=4) as (agent, port, proxy):
            visitors: list[Visitor] = []
            for start in range(0, CROWD, 250):
                visitors += await asyncio.gather(*(enter(port, start + number) for number in range(250)))
            await links_told(agent, 4)
            assert await served(visitors) == CROWD
            (server,) = (
                one for one in json.loads((await asyncio.to_thread(world.run, "status", "--json")).out) if one["program"] == "server"
            )
            assert [session["links"] for session in server["sessions"]] == [4]
            proxy.cut(3)
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
