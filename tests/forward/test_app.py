"""`portway.forward.app`: exposure, and what a stop does."""

import asyncio

import pytest

from portway.config.values import ListenAddress
from portway.errors import ConfigError
from portway.forward.app import check_exposure, serve
from portway.forward.events import Listening, Stopping
from portway.forward.settings import ForwardSettings


@pytest.mark.parametrize("host", ["", "0.0.0.0", "192.0.2.1", "::"])
def test_an_open_proxy_must_be_asked_for(host: str) -> None:
    settings = ForwardSettings(listen=ListenAddress(host, 8080))
    with pytest.raises(ConfigError, match="is reachable from other machines, and the proxy has no users"):
        check_exposure(settings, has_users=False)
    check_exposure(settings, has_users=True)
    check_exposure(ForwardSettings(listen=ListenAddress(host, 8080), open=True), has_users=False)


def test_it_serves_until_stopped() -> None:
    events: list[object] = []

    async def run() -> None:
        stop = asyncio.Event()
        stop.set()
        await serve(ForwardSettings(listen=ListenAddress("127.0.0.1", 0)), on_event=events.append, stop=stop)

    asyncio.run(run())
    assert isinstance(events[0], Listening)
    assert events[1] == Stopping(0)
