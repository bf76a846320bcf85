"""An agent leaves when its visitors have, or when time is up; against a real server, and one from before it could be asked."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from portway.agent import draining
from portway.agent.events import Notice, TunnelUp
from portway.protocol.control.messages import Released
from portway.server.control import dispatch as dispatch_module
from portway.server.control.claims import ClaimHandler, ClaimingSession
from tests.kit.origins import RawOrigin, echo
from tests.kit.pair import running_agent, running_server, tcp_tunnel


async def visit_while_stopping(tmp_path: Path, port: int, drain_s: float) -> tuple[list[str], bytes]:
    """Stop an agent while a visitor is connected; return the notices, and what the visitor still receives."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server.token(), tcp_tunnel(port), drain_s=drain_s) as agent:
        up = await agent.events.wait(TunnelUp)
        reader, writer = await asyncio.open_connection("127.0.0.1", up.port)
        writer.write(b"first")
        assert await reader.readexactly(5) == b"first"
        agent.stop.set()
        async with asyncio.timeout(5):
            await asyncio.wait({agent.task, asyncio.ensure_future(agent.events.wait(Notice))}, return_when=asyncio.FIRST_COMPLETED)
        heard = b""
        if not agent.task.done():
            writer.write(b"second")
            writer.write_eof()
            heard = await reader.read()
        async with asyncio.timeout(5):
            assert await agent.task == 0
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return [notice.text for notice in agent.events.of(Notice)], heard


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "NOTICE_AFTER_S", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_present_visitor_may_finish(tmp_path: Path) -> None:
    with RawOrigin(echo) as origin:
        announced, heard = asyncio.run(visit_while_stopping(tmp_path, origin.port, 60.0))
    assert heard == b"second"
    assert announced == ["stopping: waiting up to 60 s for 1 connection to finish; stop again to end them now"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("answers", [True, False], ids=["says that it frees", "says nothing"])
def test_drain_does_not_wait_if_the_server_holds_no_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: bool) -> None:
    release: Callable[..., None] = ClaimHandler.release

    def free(self: ClaimHandler, session: ClaimingSession, tunnel_id: int, *, keep: bool = False) -> None:
        release(self, session, tunnel_id)

    def released(id: int, addresses_held: bool) -> Any:
        return Released(id=id) if answers else None

    monkeypatch.setattr(ClaimHandler, "release", free)
    monkeypatch.setattr(dispatch_module, "Released", released)
    monkeypatch.setattr(draining, "REPLY_S_MAX", 0.02)
    with RawOrigin(echo) as origin:
        announced, heard = asyncio.run(visit_while_stopping(tmp_path, origin.port, 60.0))
    assert (announced, heard) == ([], b"")
