"""Unauthenticated connections that fill the agents' address exclude no agent: one logs in at its first try, many behind one address soon."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from portway.errors import RefusedError, UnavailableError
from portway.links.tls import ALPN
from tests.e2e.world import World, event, events, web
from tests.kit.descriptors import raise_descriptors
from tests.kit.raw_agent import RawReactor, raw_agent, raw_reactor

SOURCES = 5
EACH = 128
"""Connections from each address, for each process that serves: 640 where 512 have room."""
AGENTS = 500
"""An office behind one NAT that restarts."""

HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


def silent(sock: socket.socket) -> socket.socket:
    return sock


def half(sock: socket.socket) -> socket.socket:
    sock.sendall(HALF_A_HELLO)
    return sock


def encrypted(sock: socket.socket) -> socket.socket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([ALPN])
    return context.wrap_socket(sock)


@contextmanager
def besieged(port: int, behave: Callable[[socket.socket], socket.socket], workers: int = 1) -> Iterator[None]:
    """Keep many connections open from five addresses, however many are cut; within the block they are all there."""
    over, full = threading.Event(), threading.Barrier(SOURCES + 1)

    def hold(source: int) -> None:
        held: list[socket.socket] = []
        with ExitStack() as stack:
            first = True
            while not over.is_set():
                for _ in range(EACH * workers - len(held)):
                    with suppress(OSError):
                        sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10, (f"127.0.0.{source}", 0)))
                        held.append(stack.enter_context(behave(sock)))
                if first:
                    full.wait()
                    first = False
                held = [sock for sock in held if not cut(sock)]
                over.wait(0.05)

    def cut(sock: socket.socket) -> bool:
        sock.settimeout(0)
        try:
            return not sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True

    threads = [threading.Thread(target=hold, args=(2 + number,)) for number in range(SOURCES)]
    for thread in threads:
        thread.start()
    full.wait(60)
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


BEHAVIOURS = [silent, half, encrypted]


@pytest.fixture(autouse=True)
def descriptors() -> None:
    if raise_descriptors() < 4000:
        pytest.skip("needs 4,000 descriptors")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("behave", BEHAVIOURS)
def test_an_agent_logs_in_at_once_while_five_addresses_occupy_all_slots(
    behave: Callable[[socket.socket], socket.socket], workers: int
) -> None:
    with World(server_flags=("--workers", str(workers))) as world:
        world.start_server()
        join = world.token()
        with besieged(world.agents_port, behave, workers):
            agents = [world.agent(join, *web(f"blog{number}"), data=f"agent{number}") for number in range(4)]
            for agent in agents:
                event(agent, "tunnel_up")
                assert not list(events(agent, "offline")), "in at the first try"


def test_an_agent_on_a_plain_link_logs_in_at_once_too() -> None:
    with World(server_flags=("--plaintext-links",)) as world:
        world.start_server()
        join = world.token()
        with besieged(world.agents_port, silent):
            agent = world.agent(join, *web(), "--plaintext-links")
            event(agent, "tunnel_up")
            assert not list(events(agent, "offline")), "in at the first try"


@pytest.mark.parametrize("attacked", [False, True], ids=["in peace", "under attack"])
def test_many_agents_behind_one_address_reconnect_soon(attacked: bool) -> None:
    with World() as world, ExitStack() as siege:
        world.start_server()
        join = world.token()
        if attacked:
            siege.enter_context(besieged(world.agents_port, half))

        async def all_in() -> int:
            async with raw_reactor() as reactor, asyncio.timeout(30):
                tries = await asyncio.gather(*[log_in(reactor, number) for number in range(AGENTS)])
                return sum(tries)

        async def log_in(reactor: RawReactor, number: int) -> int:
            """Log in as an agent does, which comes back after 0, 0.1, 0.2, 0.4 … seconds; return after how many tries."""
            for tries in range(1, 10):
                try:
                    agent = await raw_agent(reactor, join)
                    await agent.log_in(join, number.to_bytes(32, "big"))
                except UnavailableError:
                    await asyncio.sleep(0.0 if tries == 1 else 0.1 * 2 ** (tries - 2))
                except RefusedError as refused:
                    raise AssertionError(f"refused for good: {refused}") from None
                else:
                    return tries
            raise AssertionError("not in after nine tries")

        tries = asyncio.run(all_in())
        assert tries < AGENTS * 4, tries
