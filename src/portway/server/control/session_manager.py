"""The agents' door: strangers come in on links, log in, and become sessions until they leave or are put out."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial

from portway import __version__
from portway.clock import Clock, wall
from portway.engine.channel import Channel
from portway.engine.listener import Address
from portway.engine.reactor import Reactor
from portway.errors import PeerError, PortwayError, RefusedError, UnavailableError
from portway.links.worker_hint import hint_for
from portway.protocol.control import codes
from portway.protocol.control.messages import (
    AskTicket,
    Attach,
    BadMessageError,
    Claim,
    Drain,
    Ended,
    Limits,
    Measure,
    Message,
    Refused,
    Release,
    Released,
    Ticket,
    Welcome,
)
from portway.protocol.scram import ScramVerifier
from portway.server.access.login_throttle import UNAUTHENTICATED_MAX
from portway.server.access.tokens import TokenRecord
from portway.server.control.incoming_link import IncomingLink, UnauthenticatedPeer, format_peer, link_settings
from portway.server.control.interfaces import ClaimService, ControlSettings, LeaseLifecycle
from portway.server.control.login_admission import LoginAdmission
from portway.server.control.session import LINKS_MAX, Session, SessionLink
from portway.server.control.speed_tests import SpeedTests
from portway.server.control.tenant_accounts import TenantAccounts
from portway.server.control.token_budgets import TokenBudgets
from portway.server.edge.admission import AdmissionControl
from portway.server.events import EventSink, LinksChanged, SessionDown, SessionUp
from portway.server.storage.token_reader import TokenReader
from portway.server.storage.token_watch import TokenWatch
from portway.server.tunnels.lease import Owner
from portway.session.control_stream import ControlStream
from portway.session.login import Authenticated, authenticate, refusal_of, send_refusal
from portway.session.tickets import Tickets, bad_ticket, check_proof
from portway.telemetry.logs import get_log

SESSIONS_PER_TOKEN_MAX = 1000
"""Sessions of one token at a time: a leaked one may not take the descriptors (20,000 a process) of all others."""

EXPIRE_EVERY_S = 0.25
"""How often held addresses and the ends of tokens are looked at; both are seconds away at least."""

GOODBYE_S = 0.5
"""How long an ended session's agent may take to read why, before its links are closed."""

SESSION_ID_BYTES = 8

log = get_log(__name__)


class SessionManager:
    """All live sessions, and the links that want to become some.

    State changes only in synchronous methods, so each change is atomic.
    """

    def __init__(  # noqa: PLR0913 - all that takes part in a login, wired in app.py
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
        """Start with nobody; `claim_handler` has to be set before the first link comes. `clock` tells when tokens expire.

        `admission` are shared with whoever takes visitors.
        """
        self.claim_handler: ClaimService
        self._reactor = reactor
        self._leases = leases
        self._settings = settings
        self._on_event = on_event
        self._random_bytes = random_bytes
        self._tokens = TokenWatch(tokens, clock)
        self._admission = admission or AdmissionControl(reactor)
        self.newcomers = LoginAdmission(reactor, on_event, self._admission.unauthenticated_max)
        self._tenants = TenantAccounts(reactor)
        self._speed_tests = SpeedTests(reactor, on_event, random_bytes, allowed=settings.speed_tests)
        self._tickets = Tickets(random_bytes, settings.worker)
        self._live: dict[str, Session] = {}
        self._guests: set[IncomingLink] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._draining = ""
        self._budgets = TokenBudgets()
        self._mux_settings = link_settings(self._budgets.total)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Serve agents within this block; at its end all links are closed."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            watchers = [
                tasks.create_task(self._expire(), name="held addresses and tokens expire"),
                tasks.create_task(self._tokens.watch(self._tokens_used, self._tokens_changed), name="revoked tokens end sessions"),
            ]
            try:
                yield
            finally:
                self._tasks = None
                for watcher in watchers:
                    watcher.cancel()
                for guest in list(self._guests):
                    guest.mux.close("the server stops")

    def __len__(self) -> int:
        return len(self._live)

    @property
    def streams_open(self) -> int:
        """Visitors' streams open now."""
        return sum(session.streams_open for session in self._live.values())

    def find(self, session_id: str) -> Session | None:
        """Return a live session."""
        return self._live.get(session_id)

    def drain(self, reason: str) -> None:
        """Let nobody in from now on, and tell all agents that the server stops."""
        self._draining = reason
        for session in self._live.values():
            session.send(Drain(reason=reason))

    def replace(self, session_id: str, address: str) -> None:
        """End a session whose address was taken over; what else it had is held for its identity."""
        session = self._live.get(session_id)
        if session is not None:
            reason = f"another session of this agent took {address} over"
            self._lose(session, reason)
            self._say_and_close(session, Ended(code=codes.REPLACED, reason=reason, next_step="Stop one of the two."))

    def accept(self, link: Channel, address: Address) -> None:
        """Take a link whose handshake is done (LinkListener's `on_link`)."""
        if self._tasks is None:
            link.abort()
            return
        stranger = UnauthenticatedPeer(host=address[0], peer=format_peer(address))
        try:
            self.newcomers.enter(stranger)
        except RefusedError as exc:
            # Telling why costs a mux; nobody may make us pay that without a bound either.
            if sum(guest.session is None for guest in self._guests) >= min(UNAUTHENTICATED_MAX, self._admission.unauthenticated_max):
                link.abort()
                self.newcomers.failed(stranger, exc)
                return
            stranger.refusal = exc.code, exc.reason, exc.next_step
        self._guests.add(IncomingLink(self, self._reactor, link, stranger, self._mux_settings))

    # One guest, from its first message to its last.

    def on_control_stream(self, guest: "IncomingLink", stream: ControlStream) -> None:
        """Begin the conversation: the guest has opened its control stream."""
        if self._tasks is None:
            guest.mux.close("the server stops")
            return
        self._tasks.create_task(self._run_control_stream(guest, stream), name=f"control stream of {guest.stranger.peer}")

    def on_link_lost(self, guest: "IncomingLink", reason: str) -> None:
        """Note that a link is gone; the last one takes its session along."""
        guest.stranger.depart()
        self._guests.discard(guest)
        session, link = guest.session, guest.link
        if session is None and guest.mux.offended:
            self.newcomers.failed(guest.stranger, PeerError(reason))
        if not guest.spoke and self._tasks is not None:
            self.newcomers.left(guest.stranger, reason)
        if session is not None and link is not None:
            was_last = session.drop_link(link)
            if session.closed:
                return
            if was_last:
                self._lose(session, reason)
            else:
                self._on_event(LinksChanged(session.session_id, len(session.links)))

    async def _run_control_stream(self, guest: IncomingLink, stream: ControlStream) -> None:
        reason = "the conversation ended"
        try:
            session = await self._authenticate(guest, stream)
            while True:
                await self._hear(session, stream)
                await asyncio.sleep(session.pace.delay_s(self._reactor.refresh_now()))
        except PortwayError as error:
            reason = str(error)
            if guest.session is None:
                # Counted before it is told: a guesser shall not guess on while he is told.
                self.newcomers.failed(guest.stranger, error)
                await send_refusal(stream, error)
        except Exception as exc:  # noqa: BLE001 - a bug in one conversation must not end the server
            log.error("conversation failed", exc=exc, peer=guest.stranger.peer)  # noqa: TRY400 - our log takes the traceback
            reason = "internal error"
        finally:
            guest.mux.close(reason)
            stream.close()

    async def _authenticate(self, guest: IncomingLink, stream: ControlStream) -> Session:
        """Return the session that the guest logged in for, after the Welcome."""
        if guest.stranger.refusal is not None:
            raise RefusedError(*guest.stranger.refusal)
        admitted = await authenticate(
            stream,
            find_verifier=partial(self._verifier, guest.stranger),
            decoy_seed=self._settings.decoy_seed,
            binding=self._settings.binding,
            random_bytes=self._random_bytes,
        )
        if isinstance(admitted, Attach):
            self.newcomers.check(guest.stranger)
            self._check_here(guest)
            session, scram = self._attach(admitted), ""
        else:
            token = await self._tokens.live(admitted.hello.token)
            self._check_here(guest)
            session, scram = self._begin(admitted, token, guest), admitted.scram
        self.newcomers.logged_in(guest.stranger, session.token.id)
        guest.join(session, SessionLink(guest.mux, stream, self._reactor.now))
        if len(session.links) > 1:
            self._on_event(LinksChanged(session.session_id, len(session.links)))
        stream.allow_large_messages()
        stream.send(self._welcome(session, scram))
        return session

    async def _verifier(self, stranger: UnauthenticatedPeer, token_id: str) -> ScramVerifier | None:
        """Return what checks the proof of a token, if it may be tried now."""
        self.newcomers.check(stranger, token_id)
        return await self._tokens.verifier(token_id)

    def _check_here(self, guest: IncomingLink) -> None:
        """Make sure that the guest is still there, and that the server takes somebody in."""
        if guest.mux.lost:
            raise UnavailableError("the link was lost within the login")
        self._check_open()

    def _begin(self, admitted: Authenticated, token: TokenRecord, guest: "IncomingLink") -> Session:
        """Make a session for who has just proved to have a token, which was just read."""
        hello = admitted.hello
        if sum(session.token.id == token.id for session in self._live.values()) >= SESSIONS_PER_TOKEN_MAX:
            raise RefusedError(
                codes.TOO_MANY_LOGINS, f"token {token.name} has {SESSIONS_PER_TOKEN_MAX} sessions already", "Stop some of its agents."
            )
        self._check_room(token.id)
        owner = Owner(token.id, hello.identity)
        session_id = self._random_bytes(SESSION_ID_BYTES).hex()
        session = Session(
            self._reactor, session_id, owner, token, admitted.session_key, admission=self._admission, memory=self._budgets.of(token.id)
        )
        session.account = self._tenants.of(token.id)
        session.version, session.agent, session.peer = admitted.version, hello.agent, guest.stranger.peer
        self._live[session.session_id] = session
        self._on_event(SessionUp(session.session_id, token.name, hello.agent, guest.stranger.peer))
        return session

    def _attach(self, attach: Attach) -> Session:
        """Find the session that a further link belongs to."""
        session = self._live.get(self._tickets.redeem(attach.ticket, self._reactor.refresh_now()))
        if session is None or session.links_full:
            raise bad_ticket()
        check_proof(session.key, attach.ticket, attach.proof)
        self._check_room(session.token.id)
        return session

    def _check_room(self, token_id: str) -> None:
        held = sum(len(session.links) for session in self._live.values() if session.token.id == token_id)
        self._admission.check_link(held, len(self._guests))

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

    async def _hear(self, session: Session, stream: ControlStream) -> None:
        """Answer one message."""
        try:
            message = await stream.receive()
        except BadMessageError as bad:
            # One message of a newer agent, perhaps: it is refused, the session lives.
            stream.send(Refused(id=bad.request_id, code=codes.BAD_MESSAGE, reason=str(bad)))
            return
        if session.closed:
            raise UnavailableError("the session is over")
        answer = await self._answer(session, message)
        if answer is not None:
            stream.send(answer)

    async def _answer(self, session: Session, message: Message) -> Message | None:
        match message:
            case Claim():
                try:
                    return await self._claim(session, message)
                except RefusedError as refused:
                    return refusal_of(refused, message.id)
            case Release():
                self.claim_handler.release(session, message.tunnel, keep=message.keep)
                return Released(id=message.id, kept=message.keep)
            case AskTicket():
                if session.links_full:
                    return Refused(id=message.id, code=codes.BAD_TICKET, reason=f"the session has {LINKS_MAX} links already")
                ticket = self._tickets.issue(session.session_id, self._reactor.refresh_now())
                return Ticket(id=message.id, ticket=ticket, hint=hint_for(self._settings.worker))
            case Measure():
                return self._speed_tests.begin(session, message)  # it answers when it is over
            case _:
                name, expected = type(message).__name__, " or ".join(kind.__name__ for kind in (Claim, Release, AskTicket, Measure))
                return Refused(code=codes.BAD_MESSAGE, reason=f"{name} came after the login", next_step=f"Send {expected}.")

    async def _claim(self, session: Session, claim: Claim) -> Message:
        self._check_open()
        return await self.claim_handler.grant(session, claim)

    def _check_open(self) -> None:
        if self._draining:
            raise RefusedError(codes.DRAINING, self._draining, "Come back in a moment.")

    # How sessions end.

    def _lose(self, session: Session, reason: str) -> None:
        """Take a session out; its addresses are held for its identity."""
        session.end()
        self._live.pop(session.session_id, None)
        self._tickets.forget(session.session_id)
        self._leases.session_lost(session.session_id, self._reactor.refresh_now())
        self._on_event(SessionDown(session.session_id, session.token.name, reason))

    def _say_and_close(self, session: Session, ended: Ended) -> None:
        """Tell an agent why its session is over, then close its links."""
        if self._tasks is None:
            return
        for link in session.links:
            self._tasks.create_task(self._close_link(link, ended), name=f"good-bye to {session.peer}")

    async def _close_link(self, link: SessionLink, ended: Ended) -> None:
        await link.stream.close_gracefully(ended, GOODBYE_S)
        link.mux.close(ended.reason)

    async def _expire(self) -> None:
        """Free what was held long enough, end the sessions of tokens that have expired, and count what waits for links; for ever."""
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            self._leases.expire(self._reactor.refresh_now())
            for session in list(self._live.values()):
                self._check_token(session, session.token)
                session.look_at_output()

    def _tokens_used(self) -> Collection[str]:
        return {session.token.id for session in self._live.values()} | set(self._leases.held_tokens())

    def _tokens_changed(self, tokens: Mapping[str, TokenRecord | None]) -> None:
        """End the sessions of tokens that were revoked, and free what is held for them; sessions that came meanwhile have new ones."""
        for session in list(self._live.values()):
            if session.token.id in tokens:
                self._check_token(session, tokens[session.token.id])
        for token_id in set(self._leases.held_tokens()) & tokens.keys():
            try:
                self._tokens.check(tokens[token_id])
            except RefusedError:
                self._leases.token_revoked(token_id)

    def _check_token(self, session: Session, token: TokenRecord | None) -> None:
        """End a session whose token may not be used any more."""
        try:
            session.token = self._tokens.check(token)
        except RefusedError as refused:
            self._lose(session, refused.reason)
            self._say_and_close(session, Ended(code=refused.code, reason=refused.reason, next_step=refused.next_step))
            self._leases.token_revoked(session.token.id)
