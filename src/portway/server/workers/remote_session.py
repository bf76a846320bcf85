"""The supervisor's proxy of a worker's session, for decisions about claims."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from portway.edge.lease import LeaseKey, OnStatus, Owner
from portway.engine.accounts import Account
from portway.errors import MisuseError
from portway.protocol.control.messages import Claim, Granted
from portway.server.access.tokens import TokenRecord

Probing = Callable[[str, float], Awaitable[bool]]
"""Asks a worker whether the agent of a session responds within so many seconds."""


class RemoteSession:
    """Holds leases in the supervisor's registry (see `server.control.claims.ClaimingSession`) for a session of a worker."""

    def __init__(self, worker: int, session_id: str, owner: Owner, probe: Probing) -> None:
        """Represent a session of `worker`."""
        self.worker = worker
        self.owner = owner
        self.token: TokenRecord
        """Read for each claim before it is decided."""
        self.pending_claims: dict[int, asyncio.Event] = {}
        self.granted_claims: dict[int, Granted] = {}
        self.claims: dict[LeaseKey, Claim] = {}
        self.closed = False
        self.account = Account()
        self._session_id = session_id
        self._probe = probe

    def __repr__(self) -> str:
        return f"<RemoteSession {self._session_id} on worker {self.worker}{', closed' if self.closed else ''}>"

    @property
    def session_id(self) -> str:
        """Id of the session."""
        return self._session_id

    async def is_responsive(self, within_s: float) -> bool:
        """Return whether the agent responds to a ping of its worker."""
        return not self.closed and await self._probe(self._session_id, within_s)

    def open(self, tunnel_id: int, header: bytes, on_status: OnStatus) -> NoReturn:  # noqa: ARG002 - streams are opened in workers only
        """Raise MisuseError: visitors never arrive at the supervisor."""
        raise MisuseError(f"a visitor of tunnel {tunnel_id} arrived at the supervisor")

    def record_request(self, tunnel_id: int, method: str, path: str, status: int, seconds: float, cut: str = "") -> None:
        """Do nothing, for the same reason."""
