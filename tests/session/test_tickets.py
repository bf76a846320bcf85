"""Tickets: once, soon, and only for the session that asked."""

import secrets

import pytest

from portway.errors import RefusedError
from portway.session.tickets import OUTSTANDING_MAX, VALID_S, Tickets, attach_proof, check_proof

KEY = b"k" * 32


def test_a_ticket_is_valid_once() -> None:
    tickets = Tickets(secrets.token_bytes)
    ticket = tickets.issue("s1", now=0.0)
    assert tickets.redeem(ticket, now=1.0) == "s1"
    with pytest.raises(RefusedError) as refusal:
        tickets.redeem(ticket, now=1.0)
    assert refusal.value.code == "bad_ticket"


def test_a_forged_ticket_is_refused_with_the_same_text() -> None:
    tickets = Tickets(secrets.token_bytes)
    used = tickets.issue("s1", now=0.0)
    tickets.redeem(used, now=0.0)
    texts = set()
    for bad in (used, b"\0" * 32, secrets.token_bytes(32)):
        with pytest.raises(RefusedError) as refusal:
            tickets.redeem(bad, now=0.0)
        texts.add(str(refusal.value))
    with pytest.raises(RefusedError) as refusal:
        check_proof(KEY, used, b"\0" * 32)
    texts.add(str(refusal.value))
    assert len(texts) == 1


def test_an_expired_ticket_is_invalidated() -> None:
    tickets = Tickets(secrets.token_bytes)
    ticket = tickets.issue("s1", now=0.0)
    with pytest.raises(RefusedError):
        tickets.redeem(ticket, now=VALID_S)
    with pytest.raises(RefusedError):
        tickets.redeem(ticket, now=0.0)
    assert len(tickets) == 0


def test_endless_requests_keep_only_a_few_tickets() -> None:
    tickets = Tickets(secrets.token_bytes)
    asked = [tickets.issue("s1", now=0.0) for _ in range(100)]
    assert len(tickets) == OUTSTANDING_MAX
    with pytest.raises(RefusedError):
        tickets.redeem(asked[0], now=0.0)
    assert tickets.redeem(asked[-1], now=0.0) == "s1"


def test_the_tickets_of_an_ended_session_are_invalidated() -> None:
    tickets = Tickets(secrets.token_bytes)
    gone, kept = tickets.issue("s1", now=0.0), tickets.issue("s2", now=0.0)
    tickets.forget("s1")
    with pytest.raises(RefusedError):
        tickets.redeem(gone, now=0.0)
    assert tickets.redeem(kept, now=0.0) == "s2"
    tickets.forget("s2")
    assert len(tickets) == 0


def test_the_proof_of_another_session_is_refused() -> None:
    ticket = b"t" * 32
    check_proof(KEY, ticket, attach_proof(KEY, ticket))
    with pytest.raises(RefusedError):
        check_proof(KEY, ticket, attach_proof(b"x" * 32, ticket))
