"""Fixture: a running sample site on its own port."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from portway.demo.site_app import Site, site_app
from portway.demo.site_bytes import sums
from portway.demo.site_facts import LinkFacts
from portway.demo.site_server import serve_site, site_socket

SMALL_SAMPLE_BYTES = 1_000_000


@dataclass
class RunningSite:
    site: Site
    address: str

    @property
    def url(self) -> str:
        return f"http://{self.address}"


@pytest.fixture
def running_site() -> Iterator[RunningSite]:
    """A site with a sample of one megabyte, stopped after the test."""
    sock = site_socket()
    address = f"127.0.0.1:{sock.getsockname()[1]}"
    site = Site(address, sums(SMALL_SAMPLE_BYTES), link=lambda: LinkFacts(rtt_s=0.0005, encrypted=True))
    ready, stops = threading.Event(), list[asyncio.Event]()
    loops = list[asyncio.AbstractEventLoop]()

    async def serve() -> None:
        stops.append(asyncio.Event())
        loops.append(asyncio.get_running_loop())
        ready.set()
        await serve_site(site_app(site), sock, stops[0])

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(5)
    yield RunningSite(site, address)
    loops[0].call_soon_threadsafe(stops[0].set)
    thread.join(10)
    assert not thread.is_alive()
