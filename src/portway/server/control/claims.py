"""Decides claims: resolves the address, checks the token, and acquires the lease."""

import asyncio
import errno
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from portway.clock import Clock, wall
from portway.config.client_ca import check_client_ca
from portway.config.values import PortRange
from portway.edge.lease import Holder, Lease, LeaseKey, Owner
from portway.engine.reactor import Reactor
from portway.errors import ConfigError, RefusedError, UnavailableError
from portway.protocol.control import codes
from portway.protocol.control.messages import Claim, Granted
from portway.protocol.http1.head_changes import check_rewrite
from portway.protocol.http_access import HttpAccess, check_access
from portway.server.access.tokens import RequestedAddress, TokenRecord, may_claim
from portway.server.control.limit_scopes import LimitScopes, requested_scopes
from portway.server.events import EventSink, LeaseDown, LeaseUp
from portway.server.tunnels.addresses import PublicAddresses
from portway.server.tunnels.naming import SEEDED_MAX, chosen_hosts, drawn_from
from portway.server.tunnels.registry import Acquired, NeedsProbe, Registry, in_use

PROBE_S = 1.0
"""A holder that is silent for this time is replaced by the same identity (docs/wire.md, section 8)."""

SPARE_REPLIES = 16
"""Replies to claims of released addresses that may stay in memory, so that not every claim has to look for them."""

REBIND_S = 0.1
"""A port that was just released is closed at the end of the reactor's batch."""


_RETRYABLE_CODES = frozenset(
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
"""Refusals of one address after which another one is tried if the claim accepts any."""


class PortOpener(Protocol):
    """Opens and closes the public ports of tcp tunnels."""

    def open(self, lease: Lease) -> None:
        """Listen on the lease's port; raises OSError."""

    def close(self, lease: Lease) -> None:
        """Stop listening on the lease's port, if it is open."""


class ClaimingSession(Holder, Protocol):
    """A live session that claims: one of this process, or the supervisor's proxy of a worker's session."""

    owner: Owner
    token: TokenRecord
    pending_claims: dict[int, asyncio.Event]
    """Claims being decided, by request id."""
    granted_claims: dict[int, Granted]
    """Replies to claims, by request id."""
    claims: dict[LeaseKey, Claim]
    """Claims being decided, by address: workers receive the lease before the decision is complete."""
    closed: bool

    async def is_responsive(self, within_s: float) -> bool:
        """Ping the agent; return whether anything is received from it within `within_s` seconds."""


class SessionLookup(Protocol):
    """Access to the live sessions."""

    def find(self, session_id: str) -> ClaimingSession | None:
        """Return a live session, None if there is none."""

    def replace(self, session_id: str, address: str) -> None:
        """End a session whose address another session of its identity took over."""


class CertificateOrders(Protocol):
    """Orders certificates for the names of live tunnels; both methods return at once."""

    def certificate_wanted(self, name: str, *, reserved: bool) -> None:
        """Order a certificate if there is none. `reserved`: the tunnel's token lists exactly this name."""

    def certificate_released(self, name: str) -> None:
        """Renew nothing for a name without a tunnel, or whose tunnel does not need a certificate."""


class ClaimHandler:
    """Grants and releases addresses. A claim may take a second if the holder has to be probed."""

    def __init__(  # noqa: PLR0913 - the collaborators of a grant, wired in app.py
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
        certificates: CertificateOrders | None = None,
        clock: Clock = wall,
    ) -> None:
        """`certificates` orders those of http tunnels; `clock` decides when tokens expire."""
        self._reactor = reactor
        self._registry = registry
        self._sessions = sessions
        self._ports = ports
        self._addresses = addresses
        self._tcp_ports = tcp_ports
        self._on_event = on_event
        self._random_bytes = random_bytes
        self._certificates = certificates
        self._clock = clock
        self._scopes = LimitScopes(reactor)

    async def grant(self, session: ClaimingSession, claim: Claim) -> Granted:
        """Grant a claim and return the reply; a repeated claim gets the same reply.

        A repeat may arrive while the first one is still being decided, if its link was lost and the agent uses the next one.

        Raises:
            RefusedError: the reason, and the next step.
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
        previous = session.granted_claims.get(claim.id)
        if previous is not None and any(lease.epoch == previous.epoch for lease in self._registry.of_session(session.session_id)):
            return previous
        lease = await (self._grant_port(session, claim) if claim.kind == "tcp" else self._grant_host(session, claim))
        lease.on_gone = lambda: self._on_gone(lease)  # set only now: a lease that failed before it came up must not emit LeaseDown
        self._order_certificate(session, lease)
        reply = self._reply(claim, lease)
        self._remember_grant(session, reply)
        self._on_event(LeaseUp(session.session_id, lease.tunnel_id, lease.protocol, reply.url))
        return reply

    def _order_certificate(self, session: ClaimingSession, lease: Lease) -> None:
        if self._certificates is None or lease.key.kind != "http":
            return
        if lease.passthrough:
            self._certificates.certificate_released(lease.address)  # its agent has one
        else:
            reserved = session.token.grants.lists_host(lease.address, self._addresses.domain)
            self._certificates.certificate_wanted(lease.address, reserved=reserved)

    def _remember_grant(self, session: ClaimingSession, reply: Granted) -> None:
        """Store a reply for repeats of its claim: at most two for each address of the session, and some spare ones."""
        session.granted_claims[reply.id] = reply
        leases = self._registry.of_session(session.session_id)
        if len(session.granted_claims) > 2 * len(leases) + SPARE_REPLIES:
            latest = {one.epoch: one for one in session.granted_claims.values()}
            session.granted_claims = {one.id: one for lease in leases if (one := latest.get(lease.epoch)) is not None}

    def release(self, session: ClaimingSession, tunnel_id: int, *, keep: bool = False) -> None:
        """Free a tunnel's address at once; with `keep`, hold it for its agent. Unknown tunnels are ignored."""
        for lease in self._registry.of_session(session.session_id):
            if lease.tunnel_id != tunnel_id:
                continue
            if keep and self._registry.release_held(lease, lease.epoch, self._reactor.refresh_now()):
                lease.on_gone = partial(self._ports.close, lease)
                self._emit_down(lease)
            else:
                self._registry.release(lease, lease.epoch)

    async def _grant_host(self, session: ClaimingSession, claim: Claim) -> Lease:
        """Grant the requested host or, if the claim accepts any, the first one that the token allows and that is free."""
        if claim.kind == "tls":
            self._check_https()
        elif claim.rewrite is not None:
            check_rewrite(claim.rewrite)
        if claim.access is not None:
            check_access(claim.access)
            if claim.access.client_ca:
                self._check_https()
                _check_client_ca(claim.access.client_ca)
        grants, domain = session.token.grants, self._addresses.domain
        refusal = RefusedError(
            codes.HOST_NOT_ALLOWED,
            f"token {session.token.name} allows only {', '.join(grants.hosts) or 'no host'}, and no name for this tunnel matches that",
            "Request a name that it allows (--name).",
        )
        if claim.name or claim.host:
            try:
                return await self._grant_named_host(session, claim, self._addresses.host_of(claim))
            except RefusedError as refused:
                if not claim.seed or refused.code not in _RETRYABLE_CODES:
                    raise
        for host in chosen_hosts(grants.hosts, domain, claim.seed, self._random_bytes):
            lease = self._registry.lookup("http", host)
            if lease is not None and lease.holder is not None and lease.holder.session_id == session.session_id:
                continue  # another tunnel of the same agent to the same origin
            try:
                return await self._grant_named_host(session, claim, self._addresses.whole_host(host))
            except RefusedError as refused:
                if refused.code not in _RETRYABLE_CODES:
                    raise
                refusal = refused
        raise refusal

    async def _grant_named_host(self, session: ClaimingSession, claim: Claim, host: str) -> Lease:
        key = LeaseKey("http", host)
        session.claims[key] = claim
        try:
            lease = await self._claim(session, key, RequestedAddress(claim.kind, host=host), takeover=claim.takeover)
        finally:
            session.claims.pop(key, None)
        lease.scopes += requested_scopes(self._reactor, claim.limits)
        lease.rewrite = None if lease.passthrough else claim.rewrite
        lease.access = None if claim.access is None or lease.passthrough else HttpAccess(claim.access)
        lease.origin_timeout_s = 0.0 if claim.limits is None else claim.limits.origin_timeout_s
        return lease

    def _check_https(self) -> None:
        """Check that visitors of tls tunnels can connect."""
        if self._addresses.https_port is None:
            raise RefusedError(
                codes.PROTOCOL_NOT_ALLOWED,
                "this server has no https port, on which visitors of tls tunnels would connect",
                "Ask the server's operator for one, or publish the service on a port of its own with `portway tcp`.",
            )

    async def _grant_port(self, session: ClaimingSession, claim: Claim) -> Lease:
        if claim.port:
            try:
                return await self._grant_numbered_port(session, claim)
            except RefusedError as refused:
                if not claim.seed or refused.code not in _RETRYABLE_CODES:
                    raise
        self._check(session, RequestedAddress("tcp"), extra=0)
        for port in self._free_ports(session, claim.seed):
            key = LeaseKey("tcp", str(port))
            was_held = self._registry.lookup(*key) is not None
            try:
                lease = await self._claim(session, key, RequestedAddress("tcp", port=port), takeover=False)
            except RefusedError as refused:
                if refused.code not in _RETRYABLE_CODES:
                    raise
                continue
            try:
                if was_held:
                    await self._open_port(lease, lease.epoch)
                else:
                    self._ports.open(lease)
            except OSError:
                self._registry.release(lease, lease.epoch)
                continue
            return lease
        raise RefusedError(
            codes.NO_FREE_PORT,
            f"every port of {self._tcp_ports} is in use",
            "Stop a tcp tunnel, or ask the server's operator for more ports.",
        )

    async def _grant_numbered_port(self, session: ClaimingSession, claim: Claim) -> Lease:
        if claim.port not in self._tcp_ports:
            raise RefusedError(
                codes.PORT_NOT_ALLOWED,
                f"port {claim.port} is outside of this server's range {self._tcp_ports}",
                "Request a port in that range, or none to get a free one.",
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
                "Request another port, or none to get a free one.",
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

    async def _claim(self, session: ClaimingSession, key: LeaseKey, requested: RequestedAddress, *, takeover: bool) -> Lease:
        """Acquire an address in the registry, after a probe if one is needed."""
        self._registry.expire(self._reactor.refresh_now())
        known = self._registry.lookup(*key)
        self._check(session, requested, extra=int(known is not None and known.owner == session.owner and not known.yields))
        passthrough = requested.protocol == "tls"
        outcome = self._acquire(key, session, passthrough=passthrough, takeover=takeover)
        if isinstance(outcome, NeedsProbe):
            if await self._is_alive(outcome.holder):
                raise in_use(key)
            if session.closed:
                raise UnavailableError("the session was lost while its claim was decided")
            outcome = self._acquire(key, session, passthrough=passthrough, silent_epoch=outcome.epoch)
            if isinstance(outcome, NeedsProbe):
                raise in_use(key)  # a third session claimed it meanwhile, so that one is alive
        if outcome.replaced is not None:
            self._sessions.replace(outcome.replaced.session_id, key.address)
        outcome.lease.scopes = self._scopes.of(session.token)
        return outcome.lease

    def _acquire(
        self, key: LeaseKey, session: ClaimingSession, *, passthrough: bool, takeover: bool = False, silent_epoch: int | None = None
    ) -> Acquired | NeedsProbe:
        """Claim an address in the registry; emit LeaseDown for a tunnel of another protocol that had it, as its URL is another one."""
        known = self._registry.lookup(*key)
        before = None if known is None or known.yields or known.passthrough == passthrough else self._down_event(known)
        outcome = self._registry.claim(key, session.owner, session, takeover=takeover, silent_epoch=silent_epoch, passthrough=passthrough)
        if before is not None and isinstance(outcome, Acquired):
            self._on_event(before)
        return outcome

    async def _is_alive(self, holder: Holder) -> bool:
        session = self._sessions.find(holder.session_id)
        return session is not None and await session.is_responsive(PROBE_S)

    def _check(self, session: ClaimingSession, requested: RequestedAddress, *, extra: int) -> None:
        """Check the token; `extra` is the number of its addresses that the claim requests again."""
        held = self._registry.count(session.token.id) - extra
        may_claim(session.token, requested, domain=self._addresses.domain, held=held, now=self._clock())

    def _free_ports(self, session: ClaimingSession, seed: bytes) -> Iterator[int]:
        """Yield free ports that the token allows, starting at a random one, so that ports cannot be guessed.

        With a `seed`, start at the port that it determines, and include ports that the agent had from the same seed before. Ports
        held for agents that left on purpose come last.
        """
        first, size = self._tcp_ports.first, len(self._tcp_ports)
        start = int.from_bytes(drawn_from(seed)(4) if seed else self._random_bytes(4), "big") % size
        yielding = []
        for step in range(size):
            port = first + (start + step) % size
            if not session.token.grants.allows_port(port):
                continue
            lease = self._registry.lookup("tcp", str(port))
            if lease is None or (seed and step < SEEDED_MAX and self._may_reclaim(lease, session)):
                yield port
            elif lease.yields:
                yielding.append(port)
        yield from yielding

    def _may_reclaim(self, lease: Lease, session: ClaimingSession) -> bool:
        """Return whether a lease belongs to the agent, but is not served by this session."""
        return lease.owner == session.owner and (lease.holder is None or lease.holder.session_id != session.session_id)

    def _reply(self, claim: Claim, lease: Lease) -> Granted:
        url = self._addresses.url(lease.protocol, lease.address)
        if lease.key.kind == "tcp":
            return Granted(id=claim.id, tunnel=lease.tunnel_id, epoch=lease.epoch, url=url, port=int(lease.address))
        name = self._addresses.name_of(lease.address)
        in_force = {"rewrites": lease.rewrite is not None, "access": lease.access is not None}
        return Granted(id=claim.id, tunnel=lease.tunnel_id, epoch=lease.epoch, url=url, name=name, **in_force)

    def _on_gone(self, lease: Lease) -> None:
        self._ports.close(lease)
        self._emit_down(lease)

    def _emit_down(self, lease: Lease) -> None:
        if self._certificates is not None and lease.key.kind == "http":
            self._certificates.certificate_released(lease.address)
        self._on_event(self._down_event(lease))

    def _down_event(self, lease: Lease) -> LeaseDown:
        return LeaseDown(lease.tunnel_id, self._addresses.url(lease.protocol, lease.address))


def _check_client_ca(pem: str) -> None:
    try:
        check_client_ca(pem)
    except ConfigError as exc:
        raise RefusedError(codes.INVALID_ACCESS, str(exc), "Give a PEM file with the CA certificates to --client-ca.") from exc
