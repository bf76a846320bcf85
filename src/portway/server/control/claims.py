"""Answers claims: which address is meant, whether the token may have it, and who else has it."""

import asyncio
import errno
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from portway.clock import Clock, wall
from portway.config.values import PortRange
from portway.engine.reactor import Reactor
from portway.errors import RefusedError, UnavailableError
from portway.protocol.control import codes
from portway.protocol.control.messages import Claim, Granted
from portway.protocol.http1.head_changes import check_rewrite
from portway.server.access.tokens import RequestedAddress, TokenRecord, may_claim
from portway.server.control.limit_scopes import LimitScopes, requested_scopes
from portway.server.events import EventSink, LeaseDown, LeaseUp
from portway.server.tunnels.addresses import PublicAddresses
from portway.server.tunnels.lease import Holder, Lease, LeaseKey, Owner
from portway.server.tunnels.naming import SEEDED_MAX, chosen_hosts, drawn_from
from portway.server.tunnels.registry import NeedsProbe, Registry, in_use

PROBE_S = 1.0
"""A holder that is silent for so long gives way to the same identity (docs/wire.md, section 8)."""

ANSWERS_SPARE = 16
"""Answers that may be remembered of addresses that were released, so that not each claim looks for them."""

REBIND_S = 0.1
"""A port that was released a moment ago is really closed at the end of the reactor's batch."""


_ANOTHER_MAY_DO = frozenset(
    {
        codes.NAME_TAKEN,
        codes.NAME_IN_USE,
        codes.HOST_NOT_ALLOWED,
        codes.RESERVED_NAME,
        codes.INVALID_NAME,
        codes.PORT_TAKEN,
        codes.PORT_NOT_ALLOWED,
    }
)
"""Refusals of one address, after which another one is tried where any will do."""


class PortOpener(Protocol):
    """Opens and closes the public ports of tcp tunnels."""

    def open(self, lease: Lease) -> None:
        """Listen on the lease's port; raises OSError."""

    def close(self, lease: Lease) -> None:
        """Stop listening on it, if it was listened on."""


class ClaimingSession(Holder, Protocol):
    """A live session that claims: one of this process, or what stands in for one of a worker."""

    owner: Owner
    token: TokenRecord
    pending_claims: dict[int, asyncio.Event]
    """Claims that are being decided, by their request id."""
    granted_claims: dict[int, Granted]
    """What claims were answered with, by their request id."""
    claims: dict[LeaseKey, Claim]
    """Claims that are being decided, for workers, which are told of the lease before that is over."""
    closed: bool

    async def is_responsive(self, within_s: float) -> bool:
        """Return whether anything at all is heard from the agent within so many seconds of being pinged."""


class SessionLookup(Protocol):
    """What granting has to know of the live sessions."""

    def find(self, session_id: str) -> ClaimingSession | None:
        """Return a live session."""

    def replace(self, session_id: str, address: str) -> None:
        """End a session whose address was taken over by another one of its identity."""


class ClaimHandler:
    """Grants and releases addresses. One claim may take a second, when a silent holder has to be probed."""

    def __init__(  # noqa: PLR0913 - all that takes part in a grant, wired in app.py
        self,
        reactor: Reactor,
        registry: Registry,
        sessions: SessionLookup,
        ports: PortOpener,
        *,
        addresses: PublicAddresses,
        tcp_ports: PortRange,
        on_event: EventSink,
        random_bytes: Callable[[int], bytes],
        clock: Clock = wall,
    ) -> None:
        """`clock` tells when tokens expire."""
        self._reactor = reactor
        self._registry = registry
        self._sessions = sessions
        self._ports = ports
        self._addresses = addresses
        self._tcp_ports = tcp_ports
        self._on_event = on_event
        self._random_bytes = random_bytes
        self._clock = clock
        self._scopes = LimitScopes(reactor)

    async def grant(self, session: ClaimingSession, claim: Claim) -> Granted:
        """Return the answer to a claim that holds; a claim that comes twice gets the same answer.

        A repeat may come while the first is still being decided: its link died, and the agent asks on the next one.

        Raises:
            RefusedError: why not, and what to do.
            UnavailableError: the session was lost meanwhile.
        """
        while (first := session.pending_claims.get(claim.id)) is not None:
            await first.wait()
        decided = session.pending_claims[claim.id] = asyncio.Event()
        try:
            return await self._decide(session, claim)
        finally:
            del session.pending_claims[claim.id]
            decided.set()

    async def _decide(self, session: ClaimingSession, claim: Claim) -> Granted:
        if session.closed:
            raise UnavailableError("the session was lost before its claim was decided")
        before = session.granted_claims.get(claim.id)
        if before is not None and any(lease.epoch == before.epoch for lease in self._registry.of_session(session.session_id)):
            return before
        lease = await (self._grant_host(session, claim) if claim.kind == "http" else self._grant_port(session, claim))
        lease.on_gone = lambda: self._gone(lease)  # from here on, for the end of what never came up is no news
        answer = self._answer(claim, lease)
        self._remember(session, answer)
        self._on_event(LeaseUp(session.session_id, lease.tunnel_id, lease.key.kind, answer.url))
        return answer

    def _remember(self, session: ClaimingSession, answer: Granted) -> None:
        """Keep an answer for the case that its claim comes again: one for each address that the session has, or twice as many."""
        session.granted_claims[answer.id] = answer
        leases = self._registry.of_session(session.session_id)
        if len(session.granted_claims) > 2 * len(leases) + ANSWERS_SPARE:
            latest = {kept.epoch: kept for kept in session.granted_claims.values()}
            session.granted_claims = {kept.id: kept for lease in leases if (kept := latest.get(lease.epoch)) is not None}

    def release(self, session: ClaimingSession, tunnel_id: int, *, keep: bool = False) -> None:
        """Free a tunnel's address at once, or `keep` it for its agent; a tunnel that the session does not have (any more) is no error."""
        for lease in self._registry.of_session(session.session_id):
            if lease.tunnel_id != tunnel_id:
                continue
            if keep and self._registry.keep(lease, lease.epoch, self._reactor.refresh_now()):
                lease.on_gone = partial(self._ports.close, lease)
                self._tell_down(lease)
            else:
                self._registry.release(lease, lease.epoch)

    async def _grant_host(self, session: ClaimingSession, claim: Claim) -> Lease:
        """Grant the host that is asked for; where any will do, the first of those that the token allows."""
        if claim.rewrite is not None:
            check_rewrite(claim.rewrite)
        grants, domain = session.token.grants, self._addresses.domain
        refusal = RefusedError(
            codes.HOST_NOT_ALLOWED,
            f"token {session.token.name} allows only {', '.join(grants.hosts) or 'no host'}, and no name for this tunnel follows from that",
            "Ask for a name that it allows (--name).",
        )
        if claim.name or claim.host:
            try:
                return await self._grant_this_host(session, claim, self._addresses.host_of(claim))
            except RefusedError as refused:
                if not claim.seed or refused.code not in _ANOTHER_MAY_DO:
                    raise
        for host in chosen_hosts(grants.hosts, domain, claim.seed, self._random_bytes):
            lease = self._registry.lookup("http", host)
            if lease is not None and lease.holder is not None and lease.holder.session_id == session.session_id:
                continue  # another tunnel of the same agent to the same origin
            try:
                return await self._grant_this_host(session, claim, self._addresses.whole_host(host))
            except RefusedError as refused:
                if refused.code not in _ANOTHER_MAY_DO:
                    raise
                refusal = refused
        raise refusal

    async def _grant_this_host(self, session: ClaimingSession, claim: Claim, host: str) -> Lease:
        key = LeaseKey("http", host)
        session.claims[key] = claim
        try:
            lease = await self._claim(session, key, RequestedAddress("http", host=host), takeover=claim.takeover)
        finally:
            session.claims.pop(key, None)
        lease.scopes += requested_scopes(self._reactor, claim.limits)
        lease.rewrite = claim.rewrite
        lease.origin_timeout_s = 0.0 if claim.limits is None else claim.limits.origin_timeout_s
        return lease

    async def _grant_port(self, session: ClaimingSession, claim: Claim) -> Lease:
        if claim.port:
            try:
                return await self._grant_asked_port(session, claim)
            except RefusedError as refused:
                if not claim.seed or refused.code not in _ANOTHER_MAY_DO:
                    raise
        self._check(session, RequestedAddress("tcp"), extra=0)
        for port in self._free_ports(session, claim.seed):
            key = LeaseKey("tcp", str(port))
            was_kept = self._registry.lookup(*key) is not None
            try:
                lease = await self._claim(session, key, RequestedAddress("tcp", port=port), takeover=False)
            except RefusedError as refused:
                if refused.code not in _ANOTHER_MAY_DO:
                    raise
                continue
            try:
                if was_kept:
                    await self._open_port(lease, lease.epoch)
                else:
                    self._ports.open(lease)
            except OSError:
                self._registry.release(lease, lease.epoch)
                continue
            return lease
        raise RefusedError(
            codes.NO_FREE_PORT, f"every port of {self._tcp_ports} is in use", "Stop a tcp tunnel, or ask the operator for more ports."
        )

    async def _grant_asked_port(self, session: ClaimingSession, claim: Claim) -> Lease:
        if claim.port not in self._tcp_ports:
            raise RefusedError(
                codes.PORT_NOT_ALLOWED,
                f"port {claim.port} is outside of this server's {self._tcp_ports}",
                "Ask for a port in that range, or for none to get a free one.",
            )
        key = LeaseKey("tcp", str(claim.port))
        lease = await self._claim(session, key, RequestedAddress("tcp", port=claim.port), takeover=claim.takeover)
        epoch = lease.epoch
        try:
            await self._open_port(lease, epoch)
        except OSError as exc:
            self._registry.release(lease, epoch)
            raise RefusedError(
                codes.PORT_TAKEN,
                f"port {claim.port} cannot be opened on the server: {exc.strerror}",
                "Ask for another port, or for none to get a free one.",
            ) from exc
        return lease

    async def _open_port(self, lease: Lease, epoch: int) -> None:
        try:
            self._ports.open(lease)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
            await asyncio.sleep(REBIND_S)
            if lease.epoch != epoch or lease.gone:
                raise UnavailableError("the address changed hands while its port was opened") from None
            self._ports.open(lease)

    async def _claim(self, session: ClaimingSession, key: LeaseKey, wanted: RequestedAddress, *, takeover: bool) -> Lease:
        """Take an address in the registry, after a probe where one is needed."""
        self._registry.expire(self._reactor.refresh_now())
        known = self._registry.lookup(*key)
        self._check(session, wanted, extra=int(known is not None and known.owner == session.owner and not known.yields))
        outcome = self._registry.claim(key, session.owner, session, takeover=takeover)
        if isinstance(outcome, NeedsProbe):
            if await self._is_alive(outcome.holder):
                raise in_use(key)
            if session.closed:
                raise UnavailableError("the session was lost while its claim was decided")
            outcome = self._registry.claim(key, session.owner, session, silent_epoch=outcome.epoch)
            if isinstance(outcome, NeedsProbe):
                raise in_use(key)  # a third session was faster, and it is alive: it has just claimed
        if outcome.replaced is not None:
            self._sessions.replace(outcome.replaced.session_id, key.address)
        outcome.lease.scopes = self._scopes.of(session.token)
        return outcome.lease

    async def _is_alive(self, holder: Holder) -> bool:
        session = self._sessions.find(holder.session_id)
        return session is not None and await session.is_responsive(PROBE_S)

    def _check(self, session: ClaimingSession, wanted: RequestedAddress, *, extra: int) -> None:
        """Ask the token; `extra` addresses that it has already are the ones that it asks for."""
        held = self._registry.count(session.token.id) - extra
        may_claim(session.token, wanted, domain=self._addresses.domain, held=held, now=self._clock())

    def _free_ports(self, session: ClaimingSession, seed: bytes) -> Iterator[int]:
        """Walk over the ports that nobody has and the token may have, from a random one, so that ports are not guessed.

        With a `seed` from the one that follows from it, and over those first that the agent had from the same seed before. Those
        that are held for agents that left on purpose come last.
        """
        first, size = self._tcp_ports.first, len(self._tcp_ports)
        start = int.from_bytes(drawn_from(seed)(4) if seed else self._random_bytes(4), "big") % size
        kept = []
        for step in range(size):
            port = first + (start + step) % size
            if not session.token.grants.allows_port(port):
                continue
            lease = self._registry.lookup("tcp", str(port))
            if lease is None or (seed and step < SEEDED_MAX and self._may_be_again(lease, session)):
                yield port
            elif lease.yields:
                kept.append(port)
        yield from kept

    def _may_be_again(self, lease: Lease, session: ClaimingSession) -> bool:
        """Return whether a lease is the agent's own, and not one that this very session serves."""
        return lease.owner == session.owner and (lease.holder is None or lease.holder.session_id != session.session_id)

    def _answer(self, claim: Claim, lease: Lease) -> Granted:
        url = self._addresses.url(lease.key.kind, lease.address)
        if lease.key.kind == "tcp":
            return Granted(id=claim.id, tunnel=lease.tunnel_id, epoch=lease.epoch, url=url, port=int(lease.address))
        name = self._addresses.name_of(lease.address)
        rewrites = claim.rewrite is not None
        return Granted(id=claim.id, tunnel=lease.tunnel_id, epoch=lease.epoch, url=url, name=name, rewrites=rewrites)

    def _gone(self, lease: Lease) -> None:
        self._ports.close(lease)
        self._tell_down(lease)

    def _tell_down(self, lease: Lease) -> None:
        self._on_event(LeaseDown(lease.tunnel_id, self._addresses.url(lease.key.kind, lease.address)))
