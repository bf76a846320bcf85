"""The supervisor's proxy of a worker's session."""

import asyncio

import pytest

from portway.edge.lease import Owner
from portway.errors import MisuseError
from portway.server.workers.remote_session import RemoteSession


def remote_session(*, alive: bool = True) -> RemoteSession:
    async def probe(session: str, within_s: float) -> bool:
        assert (session, within_s) == ("s", 1.0)
        return alive

    return RemoteSession(1, "s", Owner("t", b"secret"), probe)


def test_its_worker_is_asked_whether_it_answers_until_it_is_over() -> None:
    one = remote_session()
    assert asyncio.run(one.is_responsive(1.0))
    one.closed = True
    assert not asyncio.run(one.is_responsive(1.0))
    assert not asyncio.run(remote_session(alive=False).is_responsive(1.0))


def test_no_stream_can_be_opened_to_it() -> None:
    with pytest.raises(MisuseError, match="tunnel 7"):
        remote_session().open(7, b"", lambda status: None)


def test_its_identity_is_not_shown() -> None:
    assert "secret" not in repr(remote_session())
