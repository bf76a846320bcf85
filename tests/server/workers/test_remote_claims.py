"""A worker's claims: decided by the supervisor, once, within a bounded time."""

import asyncio

import pytest

from portway.edge.lease import Owner
from portway.errors import RefusedError, UnavailableError
from portway.protocol.control.messages import Claim, Granted, Refused
from portway.server.workers import lease_coordinator as leases
from portway.server.workers import remote_claims as claims
from portway.server.workers.messages import ClaimRequest, ClaimResponse, Released, ToSupervisor
from portway.server.workers.remote_claims import RemoteClaimHandler
from portway.server.workers.remote_session import RemoteSession

CLAIM = Claim(id=9, kind="http", name="app")
GRANTED = Granted(id=9, tunnel=1, epoch=1, url="http://app.localhost")


async def alive(_session: str, _within_s: float) -> bool:
    return True


SESSION = RemoteSession(1, "s", Owner("t", b"identity"), alive)


class Desk:
    """A claim_handler whose supervisor is the test."""

    def __init__(self) -> None:
        self.said: list[ToSupervisor] = []
        self.claim_handler = RemoteClaimHandler(self.said.append)

    async def claim(self, answer: Granted | Refused | None) -> Granted:
        """Claim, and answer at once."""
        task = asyncio.ensure_future(self.claim_handler.grant(SESSION, CLAIM))
        await asyncio.sleep(0)
        asked = self.said[-1]
        assert isinstance(asked, ClaimRequest)
        self.claim_handler.on_response(ClaimResponse(asked.id + 1000, GRANTED))  # of no claim
        assert not task.done()
        self.claim_handler.on_response(ClaimResponse(asked.id, answer))
        self.claim_handler.on_response(ClaimResponse(asked.id, None))  # a second response, after the claim is decided
        return await task


def test_a_claim_goes_with_all_that_decides_it_and_comes_back_granted() -> None:
    desk = Desk()

    assert asyncio.run(desk.claim(GRANTED)) == GRANTED
    assert desk.said == [ClaimRequest(1, "s", "t", b"identity", CLAIM)]


def test_a_refusal_keeps_its_code_and_its_words() -> None:
    with pytest.raises(RefusedError) as refused:
        asyncio.run(Desk().claim(Refused(id=9, code="name_taken", reason="it is", next_step="another")))

    assert (refused.value.code, refused.value.reason, refused.value.next_step) == ("name_taken", "it is", "another")


def test_no_decision_is_no_grant() -> None:
    with pytest.raises(UnavailableError, match="lost"):
        asyncio.run(Desk().claim(None))


def test_a_supervisor_that_does_not_answer_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "REPLY_S_MAX", 0.05)
    desk = Desk()

    async def claim() -> None:
        async with asyncio.timeout(5):
            await desk.claim_handler.grant(SESSION, CLAIM)

    with pytest.raises(UnavailableError, match="not decided within"):
        asyncio.run(claim())

    desk.claim_handler.on_response(ClaimResponse(1, GRANTED))  # too late: the claim has timed out
    assert desk.claim_handler._pending == {}


def test_a_release_waits_for_nothing() -> None:
    desk = Desk()
    desk.claim_handler.release(SESSION, 7)

    desk.claim_handler.release(SESSION, 8, keep=True)

    assert desk.said == [Released("s", 7), Released("s", 8, keep=True)]


def test_the_supervisor_has_time_for_a_probe_and_for_slow_workers() -> None:
    assert claims.REPLY_S_MAX > 1.0 + leases.PROBE_MARGIN_S + leases.ACK_S_MAX
