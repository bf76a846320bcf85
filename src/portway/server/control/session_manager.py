"""Manages agent sessions: authenticates links, attaches further ones, ends sessions on loss, takeover or revocation."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial

from portway import __version__
from portway.clock import Clock, wall
from portway.edge.admission import AdmissionControl
from portway.edge.lease import Owner
from portway.engine.channel import Channel
from portway.engine.listener import Address
from portway.engine.reactor import Reactor
from portway.errors import PeerError, PortwayError, RefusedError, UnavailableError
from portway.protocol.control import codes
from portway.protocol.control.messages import Attach, Drain, Ended, Limits, Welcome
from portway.protocol.scram import ScramVerifier
from portway.server.access.login_throttle import UNAUTHENTICATED_MAX
from portway.server.access.tokens import TokenRecord
from portway.server.control.dispatch import MessageDispatcher
from portway.server.control.incoming_link import IncomingLink, UnauthenticatedPeer, format_peer, link_settings
from portway.server.control.interfaces import ControlSettings, LeaseLifecycle
from portway.server.control.login_admission import LoginAdmission
from portway.server.control.session import LINKS_MAX, Session, SessionLink
from portway.server.control.speed_tests import SpeedTests
from portway.server.control.tenant_accounts import TenantAccounts
from portway.server.control.token_budgets import TokenBudgets
from portway.server.events import EventSink, LinksChanged, SessionDown, SessionUp
from portway.server.storage.token_reader import TokenReader
from portway.server.storage.token_watch import TokenWatch
from portway.session.control_stream import ControlStream
from portway.session.login import Authenticated, authenticate, send_refusal
from portway.session.tickets import Tickets, bad_ticket, check_proof
from portway.telemetry.logs import get_log

SESSIONS_PER_TOKEN_MAX = 1000
"""Sessions of one token at a time: a leaked token must not exhaust the descriptors (20,000 per process) of all others."""

EXPIRE_EVERY_S = 0.25
"""How often held addresses and the expiry of tokens are checked; both take seconds at least."""

FINAL_MESSAGE_S = 0.5
"""How long the agent of an ended session has to read the reason before its links are closed."""

SESSION_ID_BYTES = 8

log = get_log(__name__)


class SessionManager:
    """All live sessions and all links of agents, authenticated or not.

    State changes only in synchronous methods, so each change is atomic.
    """

    def __init__(  # noqa: PLR0913 - the collaborators of a login, wired in core.py
        self,
        reactor: Reactor,
        leases: LeaseLifecycle,
        tokens: TokenReader,
        settings: ControlSettings,
        *,
        on_event: EventSink,
        random_bytes: Callable[[int], bytes],
        clock: Clock = wall,
        admission: AdmissionControl | None = None,
    ) -> None:
        """Start without sessions; set `dispatcher.claim_handler` before the first link. `clock` decides when tokens expire.

        `admission` is shared with the edges.
        """
        self._reactor = reactor
        self._leases = leases
        self._settings = settings
        self._on_event = on_event
        self._random_bytes = random_bytes
        self._tokens = TokenWatch(tokens, clock)
        self._admission = admission or AdmissionControl(reactor)
        self.login_admission = LoginAdmission(reactor, on_event, self._admission.unauthenticated_max)
        self._tenants = TenantAccounts(reactor)
        self._tickets = Tickets(random_bytes, settings.worker)
        speed_tests = SpeedTests(reactor, on_event, random_bytes, allowed=settings.speed_tests)
        self.dispatcher = MessageDispatcher(reactor, self._tickets, speed_tests, self._check_open, settings.worker)
        self._live: dict[str, Session] = {}
        self._links: set[IncomingLink] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._drain_reason = ""
        self._budgets = TokenBudgets()
        self._mux_settings = link_settings(self._budgets.total)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Serve agents within this block; close all links at its end."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            watchers = [
                tasks.create_task(self._expire(), name="expire held addresses and tokens"),
                tasks.create_task(self._tokens.watch(self._tokens_used, self._tokens_changed), name="watch for revoked tokens"),
            ]
            try:
                yield
            finally:
                self._tasks = None
                for watcher in watchers:
                    watcher.cancel()
                for incoming in list(self._links):
                    incoming.mux.close("the server is stopping")

    def __len__(self) -> int:
        return len(self._live)

    @property
    def streams_open(self) -> int:
        """Open streams of visitors."""
        return sum(session.streams_open for session in self._live.values())

    def find(self, session_id: str) -> Session | None:
        """Return a live session."""
        return self._live.get(session_id)

    def drain(self, reason: str) -> None:
        """Refuse logins and claims from now on, and notify all agents that the server stops."""
        self._drain_reason = reason
        for session in self._live.values():
            session.send(Drain(reason=reason))

    def replace(self, session_id: str, address: str) -> None:
        """End a session whose address was taken over; its other addresses are held for its identity."""
        session = self._live.get(session_id)
        if session is not None:
            reason = f"another session of this agent took over {address}"
            self._end_session(session, reason)
            self._close_links(session, Ended(code=codes.REPLACED, reason=reason, next_step="Stop one of the two."))

    def accept(self, link: Channel, address: Address) -> None:
        """Accept a link after its handshake (LinkListener's `on_link`)."""
        if self._tasks is None:
            link.abort()
            return
        peer = UnauthenticatedPeer(host=address[0], address=format_peer(address))
        try:
            self.login_admission.admit(peer)
        except RefusedError as exc:
            # Sending the reason takes a mux, so the number of refusals is bounded, too.
            if sum(incoming.session is None for incoming in self._links) >= min(UNAUTHENTICATED_MAX, self._admission.unauthenticated_max):
                link.abort()
                self.login_admission.record_failure(peer, exc)
                return
            peer.refusal = exc.code, exc.reason, exc.next_step
        self._links.add(IncomingLink(self, self._reactor, link, peer, self._mux_settings))

    # One link, from its first message to its last.

    def on_control_stream(self, incoming: IncomingLink, stream: ControlStream) -> None:
        """Serve the control stream that the agent has opened."""
        if self._tasks is None:
            incoming.mux.close("the server is stopping")
            return
        self._tasks.create_task(self._run_control_stream(incoming, stream), name=f"control stream of {incoming.peer.address}")

    def on_link_lost(self, incoming: IncomingLink, reason: str) -> None:
        """Remove a lost link; the last link of a session ends it."""
        incoming.peer.release()
        self._links.discard(incoming)
        session, link = incoming.session, incoming.session_link
        if session is None and incoming.mux.offended:
            self.login_admission.record_failure(incoming.peer, PeerError(reason))
        if not incoming.control_stream_opened and self._tasks is not None:
            self.login_admission.record_disconnect(incoming.peer, reason)
        if session is not None and link is not None:
            was_last = session.drop_link(link)
            if session.closed:
                return
            if was_last:
                self._end_session(session, reason)
            else:
                self._on_event(LinksChanged(session.session_id, len(session.links)))

    async def _run_control_stream(self, incoming: IncomingLink, stream: ControlStream) -> None:
        reason = "the control stream ended"
        try:
            session = await self._authenticate(incoming, stream)
            while True:
                await self.dispatcher.handle_next(session, stream)
                await asyncio.sleep(session.request_pacer.delay_s(self._reactor.refresh_now()))
        except PortwayError as error:
            reason = str(error)
            if incoming.session is None:
                # Recorded before the refusal is sent, so that an attacker cannot guess on meanwhile.
                self.login_admission.record_failure(incoming.peer, error)
                await send_refusal(stream, error)
        except Exception as exc:  # noqa: BLE001 - a bug in one control stream must not end the server
            log.error("control stream failed", exc=exc, peer=incoming.peer.address)  # noqa: TRY400 - our log adds the traceback
            reason = "internal error"
        finally:
            incoming.mux.close(reason)
            stream.close()

    async def _authenticate(self, incoming: IncomingLink, stream: ControlStream) -> Session:
        """Log in or attach a link, send Welcome, and return its session."""
        if incoming.peer.refusal is not None:
            raise RefusedError(*incoming.peer.refusal)
        login = await authenticate(
            stream,
            find_verifier=partial(self._verifier, incoming.peer),
            decoy_seed=self._settings.decoy_seed,
            binding=self._settings.binding,
            random_bytes=self._random_bytes,
        )
        if isinstance(login, Attach):
            self.login_admission.check(incoming.peer)
            self._check_connected(incoming)
            session, scram = self._attach(login), ""
        else:
            token = await self._tokens.live(login.hello.token)
            self._check_connected(incoming)
            session, scram = self._start_session(login, token, incoming), login.scram
        self.login_admission.record_login(incoming.peer, session.token.id)
        incoming.attach(session, SessionLink(incoming.mux, stream, self._reactor.now))
        if len(session.links) > 1:
            self._on_event(LinksChanged(session.session_id, len(session.links)))
        stream.allow_large_messages()
        stream.send(self._welcome(session, scram))
        return session

    async def _verifier(self, peer: UnauthenticatedPeer, token_id: str) -> ScramVerifier | None:
        """Return the verifier of a token, if a login with it is allowed now."""
        self.login_admission.check(peer, token_id)
        return await self._tokens.verifier(token_id)

    def _check_connected(self, incoming: IncomingLink) -> None:
        """Check that the link is still up, and that the server accepts logins."""
        if incoming.mux.lost:
            raise UnavailableError("the link was lost during the login")
        self._check_open()

    def _start_session(self, login: Authenticated, token: TokenRecord, incoming: IncomingLink) -> Session:
        """Create the session of a login whose `token` was just read."""
        hello = login.hello
        if sum(session.token.id == token.id for session in self._live.values()) >= SESSIONS_PER_TOKEN_MAX:
            raise RefusedError(
                codes.TOO_MANY_LOGINS, f"token {token.name} has {SESSIONS_PER_TOKEN_MAX} sessions already", "Stop some of its agents."
            )
        self._check_link_capacity(token.id)
        owner = Owner(token.id, hello.identity)
        session_id = self._random_bytes(SESSION_ID_BYTES).hex()
        session = Session(
            self._reactor, session_id, owner, token, login.session_key, admission=self._admission, budget=self._budgets.of(token.id)
        )
        session.account = self._tenants.of(token.id)
        session.version, session.agent, session.peer = login.version, hello.agent, incoming.peer.address
        self._live[session.session_id] = session
        self._on_event(SessionUp(session.session_id, token.name, hello.agent, incoming.peer.address))
        return session

    def _attach(self, attach: Attach) -> Session:
        """Return the session that a further link belongs to."""
        session = self._live.get(self._tickets.redeem(attach.ticket, self._reactor.refresh_now()))
        if session is None or session.links_full:
            raise bad_ticket()
        check_proof(session.key, attach.ticket, attach.proof)
        self._check_link_capacity(session.token.id)
        return session

    def _check_link_capacity(self, token_id: str) -> None:
        links = sum(len(session.links) for session in self._live.values() if session.token.id == token_id)
        self._admission.check_link(links, len(self._links))

    def _welcome(self, session: Session, scram: str) -> Welcome:
        return Welcome(
            scram=scram,
            session=session.session_id,
            server=__version__,
            region=self._settings.region,
            grace_s=self._settings.grace_s,
            version=session.version,
            limits=Limits(links=LINKS_MAX, tunnels=session.token.grants.tunnels_max),
        )

    def _check_open(self) -> None:
        if self._drain_reason:
            raise RefusedError(codes.DRAINING, self._drain_reason, "Try again in a moment.")

    # Ends of sessions.

    def _end_session(self, session: Session, reason: str) -> None:
        """Remove a session; its addresses are held for its identity."""
        session.end()
        self._live.pop(session.session_id, None)
        self._tickets.forget(session.session_id)
        self._leases.session_lost(session.session_id, self._reactor.refresh_now())
        self._on_event(SessionDown(session.session_id, session.token.name, reason))

    def _close_links(self, session: Session, ended: Ended) -> None:
        """Send an agent the reason why its session ended, then close its links."""
        if self._tasks is None:
            return
        for link in session.links:
            self._tasks.create_task(self._close_link(link, ended), name=f"close a link of {session.peer}")

    async def _close_link(self, link: SessionLink, ended: Ended) -> None:
        await link.stream.close_gracefully(ended, FINAL_MESSAGE_S)
        link.mux.close(ended.reason)

    async def _expire(self) -> None:
        """Periodically free held addresses, end sessions of expired tokens, and update the output budgets of links."""
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            self._expire_once()

    def _expire_once(self) -> None:
        """Do one round of `_expire`; a function of its own, as a local variable of `_expire` would keep an ended session alive."""
        self._leases.expire(self._reactor.refresh_now())
        for session in list(self._live.values()):
            self._check_token(session, session.token)
            session.update_output_budgets()

    def _tokens_used(self) -> Collection[str]:
        return {session.token.id for session in self._live.values()} | set(self._leases.held_tokens())

    def _tokens_changed(self, tokens: Mapping[str, TokenRecord | None]) -> None:
        """End sessions of revoked tokens and free addresses held for them; sessions that started meanwhile have current records."""
        for session in list(self._live.values()):
            if session.token.id in tokens:
                self._check_token(session, tokens[session.token.id])
        for token_id in set(self._leases.held_tokens()) & tokens.keys():
            try:
                self._tokens.check(tokens[token_id])
            except RefusedError:
                self._leases.token_revoked(token_id)

    def _check_token(self, session: Session, token: TokenRecord | None) -> None:
        """End a session if its token is no longer usable."""
        try:
            session.token = self._tokens.check(token)
        except RefusedError as refused:
            self._end_session(session, refused.reason)
            self._close_links(session, Ended(code=refused.code, reason=refused.reason, next_step=refused.next_step))
            self._leases.token_revoked(session.token.id)
