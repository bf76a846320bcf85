"""Tickets, each of which attaches one further link to a session, once and within 30 s. Pure: time and randomness are arguments."""

import hashlib
import hmac
from collections.abc import Callable

from portway.errors import RefusedError
from portway.protocol.control import codes

TICKET_BYTES = 32
"""256 bits cannot be guessed."""

WORKER_BYTES = 4
"""In a server with several workers, the first bytes of a ticket name the worker that issued it; 224 random bits remain."""

VALID_S = 30.0
"""A ticket is requested just before a dial; after this time a copy is worthless."""

OUTSTANDING_MAX = 8
"""Unused tickets of one session: twice its links. A further one replaces the oldest, so that endless requests use no memory."""


def attach_proof(session_key: bytes, ticket: bytes) -> bytes:
    """Return the proof that an agent sends with a ticket: on a plain link an eavesdropper may have seen the ticket itself."""
    return hmac.new(session_key, ticket, hashlib.sha256).digest()


class Tickets:
    """All unused tickets of a server.

    Every method is synchronous, so each call is atomic: of two links with the same ticket, one is attached.
    Tickets are stored by their hash, so that the time of a lookup reveals nothing.
    """

    def __init__(self, random_bytes: Callable[[int], bytes], worker: int = 0) -> None:
        """`random_bytes` makes the tickets and must be cryptographic; `worker` is this process's number, 0 in a single process."""
        self._random_bytes = random_bytes
        self._worker = worker
        self._prefix = worker.to_bytes(WORKER_BYTES, "big") if worker else b""
        self._unused: dict[bytes, tuple[str, float]] = {}
        self._by_session: dict[str, list[bytes]] = {}

    def __len__(self) -> int:
        return len(self._unused)

    def issue(self, session_id: str, now: float) -> bytes:
        """Return a new ticket for one further link of the session."""
        ticket = self._prefix + self._random_bytes(TICKET_BYTES - len(self._prefix))
        key = _key(ticket)
        own = self._by_session.setdefault(session_id, [])
        if len(own) >= OUTSTANDING_MAX:
            del self._unused[own.pop(0)]
        own.append(key)
        self._unused[key] = (session_id, now + VALID_S)
        return ticket

    def redeem(self, ticket: bytes, now: float) -> str:
        """Return the session of a ticket, and invalidate the ticket, whatever the result.

        Raises:
            RefusedError: `bad_ticket`: unknown, used or expired, without saying which. `misdirected`: issued by another worker.
        """
        if self._worker and ticket[:WORKER_BYTES] != self._prefix:
            raise RefusedError(codes.MISDIRECTED, codes.DESCRIPTIONS[codes.MISDIRECTED], "Dial again, with a new ticket and its hint.")
        key = _key(ticket)
        session_id, expires_at = self._unused.pop(key, ("", 0.0))
        if session_id:
            self._by_session[session_id].remove(key)
        if not session_id or now >= expires_at:
            raise bad_ticket()
        return session_id

    def forget(self, session_id: str) -> None:
        """Invalidate all tickets of a session that has ended."""
        for key in self._by_session.pop(session_id, []):
            del self._unused[key]


def check_proof(session_key: bytes, ticket: bytes, proof: bytes) -> None:
    """Verify that `proof` was made with the session's key.

    Raises:
        RefusedError: `bad_ticket`, with the same text as for an unknown ticket.
    """
    if not hmac.compare_digest(attach_proof(session_key, ticket), proof):
        raise bad_ticket()


def bad_ticket() -> RefusedError:
    """Return the refusal for any invalid ticket."""
    return RefusedError(codes.BAD_TICKET, codes.DESCRIPTIONS[codes.BAD_TICKET], "Ask for a new ticket on the session's first link.")


def _key(ticket: bytes) -> bytes:
    return hashlib.sha256(ticket).digest()
