"""Unauthenticated links: which failures count, and what is reported to the operator."""

import asyncio

import pytest

from portway.credentials.failure_delays import FAILURES_WITHOUT_DELAY
from portway.engine.reactor import Reactor
from portway.errors import PeerError, RefusedError, UnavailableError
from portway.protocol.control import codes
from portway.server.control.incoming_link import UnauthenticatedPeer
from portway.server.control.login_admission import LoginAdmission
from portway.server.events import HandshakesFailed, LoginRefused
from tests.kit.pair import Events


def new_peer() -> UnauthenticatedPeer:
    return UnauthenticatedPeer("192.0.2.1", "192.0.2.1:5000")


FAILURES = [
    (RefusedError(codes.BAD_CREDENTIALS, "x"), True),
    (RefusedError(codes.BAD_TICKET, "x"), True),
    (PeerError("x"), True),
    (RefusedError(codes.TOKEN_REVOKED, "x"), False),
    (RefusedError(codes.TOO_MANY_LOGINS, "x"), False),
    (RefusedError(codes.DRAINING, "x"), False),
    (UnavailableError("x"), False),
]


@pytest.mark.parametrize(("error", "counts"), FAILURES)
def test_only_failures_that_correct_agents_do_not_cause_delay_a_source(error: RefusedError | PeerError, counts: bool) -> None:
    async def scene() -> bool:
        reactor = Reactor(asyncio.get_running_loop())
        try:
            admission = LoginAdmission(reactor, Events())
            for _ in range(FAILURES_WITHOUT_DELAY):
                admission.record_failure(new_peer(), error)
            try:
                admission.check(new_peer(), "token")
            except RefusedError as refused:
                return refused.code == codes.TOO_MANY_LOGINS
            return False
        finally:
            reactor.close()

    assert asyncio.run(scene()) is counts


def test_failed_logins_and_lost_links_are_reported() -> None:
    async def scene() -> Events:
        reactor = Reactor(asyncio.get_running_loop())
        events = Events()
        try:
            admission = LoginAdmission(reactor, events)
            admission.record_failure(new_peer(), RefusedError(codes.BAD_CREDENTIALS, "x"))
            admission.record_disconnect(new_peer(), "the other end closed the link")
        finally:
            reactor.close()
        return events

    events = asyncio.run(scene())
    assert [event.code for event in events.of(LoginRefused)] == [codes.BAD_CREDENTIALS]
    assert "closed before login" in events.of(HandshakesFailed)[0].reason


def test_a_login_slot_is_taken_until_its_release() -> None:
    async def scene() -> tuple[int, int]:
        reactor = Reactor(asyncio.get_running_loop())
        try:
            admission, peer = LoginAdmission(reactor, Events()), new_peer()
            admission.admit(peer)
            inside = admission._throttle.unauthenticated
            peer.release()
            peer.release()
            return inside, admission._throttle.unauthenticated
        finally:
            reactor.close()

    assert asyncio.run(scene()) == (1, 0)
