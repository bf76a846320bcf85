"""Tickets: the right to attach one more link to a session, once and soon. Pure: time and chance come in."""

import hashlib
import hmac
from collections.abc import Callable

from portway.errors import RefusedError
from portway.protocol.control import codes

TICKET_BYTES = 32
"""256 bits: nobody guesses one."""

WORKER_BYTES = 4
"""Of these, where a server has several processes, the first ones name the one that issued it; 224 bits are left."""

LIFE_S = 30.0
"""A ticket is asked for just before a dial; after this long it is worthless to whoever kept a copy."""

OUTSTANDING_MAX = 8
"""Unused tickets of one session: twice its links, so that asking without end pins nothing; the oldest makes room."""


def attach_proof(session_key: bytes, ticket: bytes) -> bytes:
    """Return what an agent shows with a ticket: on a plain link an eavesdropper may have seen the ticket itself."""
    return hmac.new(session_key, ticket, hashlib.sha256).digest()


class Tickets:
    """All unused tickets of a server.

    Every method is synchronous, so each call is atomic: of two links with the same ticket, one gets in.
    Kept by their hash, so that looking one up tells nothing through its timing.
    """

    def __init__(self, random_bytes: Callable[[int], bytes], worker: int = 0) -> None:
        """`random_bytes` makes the tickets and must be cryptographic; `worker` is this process among several."""
        self._random_bytes = random_bytes
        self._worker = worker
        self._prefix = worker.to_bytes(WORKER_BYTES, "big") if worker else b""
        self._unused: dict[bytes, tuple[str, float]] = {}
        self._of_session: dict[str, list[bytes]] = {}

    def __len__(self) -> int:
        return len(self._unused)

    def issue(self, session_id: str, now: float) -> bytes:
        """Return a fresh ticket for one more link of the session."""
        ticket = self._prefix + self._random_bytes(TICKET_BYTES - len(self._prefix))
        key = _key(ticket)
        mine = self._of_session.setdefault(session_id, [])
        if len(mine) >= OUTSTANDING_MAX:
            del self._unused[mine.pop(0)]
        mine.append(key)
        self._unused[key] = (session_id, now + LIFE_S)
        return ticket

    def redeem(self, ticket: bytes, now: float) -> str:
        """Return the session that a ticket belongs to; whatever comes out, the ticket is worth nothing afterwards.

        Raises:
            RefusedError: `bad_ticket`: unknown, used, or too old. Which one is not said. `misdirected`: another process's.
        """
        if self._worker and ticket[:WORKER_BYTES] != self._prefix:
            raise RefusedError(codes.MISDIRECTED, codes.DESCRIPTIONS[codes.MISDIRECTED], "Dial again, with a new ticket and its hint.")
        key = _key(ticket)
        session_id, good_until = self._unused.pop(key, ("", 0.0))
        if session_id:
            self._of_session[session_id].remove(key)
        if not session_id or now >= good_until:
            raise bad_ticket()
        return session_id

    def forget(self, session_id: str) -> None:
        """Burn every ticket of a session that is over."""
        for key in self._of_session.pop(session_id, []):
            del self._unused[key]


def check_proof(session_key: bytes, ticket: bytes, proof: bytes) -> None:
    """Return when `proof` was made with the session's key.

    Raises:
        RefusedError: `bad_ticket`, in the same words as for an unknown ticket.
    """
    if not hmac.compare_digest(attach_proof(session_key, ticket), proof):
        raise bad_ticket()


def bad_ticket() -> RefusedError:
    """Return the refusal for any ticket that does not count."""
    return RefusedError(codes.BAD_TICKET, codes.DESCRIPTIONS[codes.BAD_TICKET], "Ask for a new ticket on the session's first link.")


def _key(ticket: bytes) -> bytes:
    return hashlib.sha256(ticket).digest()
