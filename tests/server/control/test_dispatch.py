"""Control messages of sessions at a real server: replies, refusals, and the rate of requests."""

import asyncio
from pathlib import Path

import pytest

from portway.protocol.control.framing import encode
from portway.protocol.control.messages import AskTicket, Hello, Refused, Ticket
from portway.server.access import request_pacing
from tests.kit.pair import RunningServer
from tests.kit.raw_agent import RawReactor, raw_agent
from tests.server.control.test_session_manager import play


def test_an_unknown_message_is_refused_and_the_session_continues(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        agent = await raw_agent(reactor, join)
        await agent.log_in(join)
        agent.control._outbox += encode(b"\x82\xa1t\xa6Unborn\xa2id\x07")
        agent.control._push()
        reply = await agent.receive()
        assert isinstance(reply, Refused)
        assert (reply.id, reply.code) == (7, "bad_message")
        again = await agent.request(Hello(version=1, token="x", identity=b"i" * 32, scram="x", agent=""), Refused)
        assert again.code == "bad_message"
        await agent.claim(1, "app")

    play(tmp_path, scene)


def test_the_requests_of_an_agent_are_paced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its requests wait in its own stream; without pacing they would occupy the loop, 30,000 per second."""
    monkeypatch.setattr(request_pacing, "BURST", 3)
    monkeypatch.setattr(request_pacing, "PER_S", 20.0)

    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        agent = await raw_agent(reactor, join)
        await agent.log_in(join)
        began = asyncio.get_running_loop().time()
        for number in range(1, 10):
            agent.control.send(AskTicket(id=number))
        replies = [await agent.receive() for _ in range(9)]
        assert [reply.id for reply in replies if isinstance(reply, Ticket)] == list(range(1, 10))
        assert asyncio.get_running_loop().time() - began >= (9 - 3 - 1) / 20.0

    play(tmp_path, scene)
