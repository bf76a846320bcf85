"""One session of an agent: dials, logs in, claims tunnels, and handles the server's messages on one or a few links."""

import asyncio
import sys

from portway import __version__
from portway.agent.context import SessionContext
from portway.agent.events import LinksChanged, Notice, Online, RequestLine, RequestsOmitted, RoundTrip, TunnelUp
from portway.agent.events import Refused as RefusedEvent
from portway.agent.host_check import HINT
from portway.agent.link import AgentLink, Budgets
from portway.agent.link_manager import LinkManager
from portway.engine.timers import Timer
from portway.errors import PeerError, PortwayError, RefusedError, UnavailableError
from portway.protocol.control import codes
from portway.protocol.control.messages import (
    Activity,
    BadMessageError,
    Drain,
    Ended,
    Granted,
    Message,
    Refused,
    Release,
    Released,
    Ticket,
    Welcome,
)
from portway.session.login import Credentials, Login, error_of, log_in
from portway.telemetry.logs import get_log

CLAIM_S_MAX = 10.0
"""How long the server may take for the next reply while claims are pending; its probe of a silent holder takes one second."""

RTT_CHECK_S = 2.0
"""Interval between checks of the links' round trip; the mux pings every 4 s."""
RTT_CHANGE_MIN = 0.2
"""The relative change from which a round trip is reported."""

NO_ACCESS = "the server is older than this agent: it ignores --plain-http and --hsts"
NO_REWRITES = "the server is older than this agent: it ignores --host-header, --request-header and --response-header"
NO_PROTECTION = "the server is older than this agent, and would serve the tunnel without its access rules"

PROGRAM = f"portway/{__version__} {sys.platform}"
"""Program, version and platform, as sent in `Hello`."""

log = get_log(__name__)


class AgentSession:
    """A session, from the dial to its end. Use it once."""

    def __init__(self, context: SessionContext) -> None:
        """Prepare a session; `run` starts it."""
        self.links: list[AgentLink] = []
        """Live links, lowest number first: control messages travel on the first one."""
        self.welcome: Welcome | None = None
        """The server's reply to the login; None before it."""
        self.addresses_held: bool | None = None
        """Whether the server holds the released addresses for this agent; None before its reply."""
        self._context = context
        self._budgets = Budgets(context)
        self._welcomed_at: float | None = None
        self._drain_reason = ""
        self._reported_rtt_s = 0.0
        self._replies_received = 0
        self._released = False
        self._tasks: asyncio.TaskGroup
        self._readers: set[asyncio.Task[None]] = set()
        self._link_manager: LinkManager
        self._ended: asyncio.Future[PortwayError] | None = None
        self._rtt_timer: Timer | None = None
        self._reply_timer: Timer | None = None

    @property
    def logged_in_s(self) -> float:
        """Seconds since the login; 0 before it."""
        return 0.0 if self._welcomed_at is None else self._context.clock() - self._welcomed_at

    @property
    def visitors(self) -> int:
        """Number of open visitor streams on all links."""
        return sum(link.visitors for link in self.links)

    def send_changes(self) -> None:
        """Release the tunnels that were withdrawn and claim those that were added; without a link, the next session does."""
        if self.links and self.welcome is not None:
            self._send_pending()

    def release_addresses(self) -> None:
        """Release all addresses: no new visitors arrive, and the server holds the addresses unless another agent claims them."""
        self._released = True
        claims = self._context.claims
        for link in self.links:
            try:
                for tunnel_id in claims.tunnel_ids():
                    link.stream.send(Release(id=claims.new_request_id(), tunnel=tunnel_id, keep=True))
            except UnavailableError:
                continue
            return

    async def run(self) -> None:
        """Run the session until it ends, which always raises; when cancelled, close gracefully.

        Raises:
            RefusedError: the server permanently refuses the token, all tunnels, or this session.
            UnavailableError: the server cannot be reached, or the last link was lost.
            PeerError: the peer violates the protocol.
        """
        context = self._context
        first = await AgentLink.dial(context, self._budgets, 1)
        self.links.append(first)
        try:
            raise await self._serve(await self._log_in(first))
        except asyncio.CancelledError:
            await self._close_gracefully()
            raise
        finally:
            links, self.links = self.links, []
            context.claims.session_lost()
            for link in links:
                link.close("the agent stopped")
            context.origins.on_claim_reply()

    async def _log_in(self, link: AgentLink) -> Login:
        context = self._context
        join = context.settings.join
        credentials = Credentials(join.token_id, join.secret, context.identity, PROGRAM)
        try:
            login = await log_in(link.stream, credentials, binding=link.binding, random_bytes=context.random_bytes)
        except (UnavailableError, PeerError) as error:
            raise link.with_link_reason(error) from error
        self._welcomed_at, self.welcome = context.clock(), login.welcome
        link.on_welcome()
        context.on_event(Online(login.welcome.session, login.welcome.server, link.mux.rtt_s))
        return login

    async def _serve(self, login: Login) -> PortwayError:
        """Handle messages on all links, and return why the session ended."""
        ended: asyncio.Future[PortwayError] = asyncio.get_running_loop().create_future()
        self._ended = ended
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._link_manager = LinkManager(self._context, self, login, self._budgets, tasks)
                self._start_reading(self.links[0])
                self._send_pending()
                self._link_manager.start()
                self._rtt_timer = self._context.reactor.call_later(RTT_CHECK_S, self._report_rtt)
                try:
                    return await ended
                finally:
                    self._link_manager.stop()
                    for reader in self._readers:
                        reader.cancel()
        finally:
            # Each of them references this session, and would keep its links in memory for seconds or until a collection.
            for timer in (self._rtt_timer, self._reply_timer):
                if timer is not None:
                    timer.cancel()
            self._ended = None
            del self._link_manager, self._tasks

    # Links.

    def send(self, message: Message) -> None:
        """Send on the control link, the one with the lowest number; raises UnavailableError."""
        if not self.links:
            raise UnavailableError("the session has no link left")
        self.links[0].stream.send(message)

    def add_link(self, link: AgentLink) -> None:
        """Add a further link after its Welcome."""
        self.links.append(link)
        self._start_reading(link)
        self.report_links()

    def report_links(self) -> None:
        """Emit the current number of links."""
        self._context.on_event(LinksChanged(len(self.links), sum(link.draining for link in self.links)))

    def _start_reading(self, link: AgentLink) -> None:
        reader = self._tasks.create_task(self._read_messages(link), name=f"control stream of link {link.number}")
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)

    async def _read_messages(self, link: AgentLink) -> None:
        """Handle the server's messages on one link until the link is lost or the session ends."""
        try:
            while True:
                try:
                    message = await link.stream.receive()
                except UnavailableError as error:
                    self._on_link_lost(link, error)
                    return
                except BadMessageError as error:  # perhaps of a newer server: versions may differ by one
                    log.debug("unknown message ignored", reason=error)
                    continue
                self._handle(message)
        except PortwayError as error:
            self._end(link.with_link_reason(error, self._drain_reason))

    def _on_link_lost(self, link: AgentLink, error: UnavailableError) -> None:
        """Continue on the other links; only the streams of the lost one are lost with it."""
        was_control_link = link is self.links[0]
        self.links.remove(link)
        link.close(str(error))
        if not self.links:
            self._end(link.with_link_reason(error, self._drain_reason))
            return
        self.report_links()
        if was_control_link:
            log.info("control link changed", lost=link.number, now=self.links[0].number)
            self._send_pending()

    def _end(self, error: PortwayError) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(error)

    # Control messages.

    def _send_pending(self) -> None:
        """Send all claims without a reply on the control link, including those that were sent on a lost one."""
        link, claims = self.links[0], self._context.claims
        try:
            for release in claims.releases():
                link.stream.send(release)
            for claim in claims.pending():
                link.stream.send(claim)
            self._link_manager.repeat_request()
            if self._released:
                self.release_addresses()
        except UnavailableError:
            return  # its reader notices the loss, and the next link is used
        self._await_replies(link)

    def _await_replies(self, link: AgentLink) -> None:
        received = self._replies_received
        if self._reply_timer is not None:
            self._reply_timer.cancel()  # that of another control link, or of a reply that has arrived
        self._reply_timer = self._context.reactor.call_later(CLAIM_S_MAX, lambda: self._check_replies(link, received))

    def _check_replies(self, link: AgentLink, received: int) -> None:
        """Reset the control link when the server has left a claim on it without a reply for too long."""
        if not self.links or link is not self.links[0] or not self._context.claims.unanswered:
            return
        if self._replies_received > received:
            self._await_replies(link)
        else:
            link.stream.abort(f"no reply within {CLAIM_S_MAX:g} s to a pending claim")

    def _handle(self, message: Message) -> None:
        if self._context.on_reply(message):
            return
        match message:
            case Granted() | Refused():
                self._handle_reply(message)
            case Activity():
                self._handle_activity(message)
            case Ended():
                raise error_of(message)
            case Drain():
                log.info("server is stopping", reason=message.reason)
                self._drain_reason = message.reason
            case Ticket():
                if not self._link_manager.on_reply(message):
                    log.debug("late ticket ignored")
            case Released():
                closed = self._context.claims.on_released(message.id)
                if closed is None:
                    self.addresses_held = message.kept
            case _:
                raise PeerError(f"the server sent an unexpected {type(message).__name__}")

    def _handle_reply(self, message: Granted | Refused) -> None:
        if isinstance(message, Refused) and self._link_manager.on_reply(message):
            return
        claims = self._context.claims
        if isinstance(message, Granted) and claims.lacks_protection(message):
            self.send(Release(id=claims.new_request_id(), tunnel=message.tunnel))
            next_step = "Ask its operator to update it, or leave out the options that restrict access."
            message = Refused(id=message.id, code=codes.ACCESS_UNSUPPORTED, reason=NO_PROTECTION, next_step=next_step)
        claim = claims.apply_reply(message)
        self._replies_received += 1
        if claim is None:
            log.warning("unexpected reply ignored", reply=repr(message))
        elif claim.withdrawn:
            if isinstance(message, Granted):
                self.send_changes()
        elif isinstance(message, Granted):
            subject = claim.subject
            self._context.on_event(TunnelUp(message.tunnel, message.url, message.name, message.port, subject.target.text, subject.label))
            if claim.rewrite is not None and not message.rewrites:
                self._context.on_event(Notice(NO_REWRITES))
            if claim.access is not None and not message.access:
                self._context.on_event(Notice(NO_ACCESS))
            self._context.origins.on_claim_reply()
        else:
            error = _tls_unsupported() if claim.kind == "tls" and message.code == codes.BAD_MESSAGE else error_of(message)
            if not isinstance(error, RefusedError):
                raise error
            if not claim.was_granted or error.code in codes.FINAL:
                claims.drop(claim)
            if claims.all_refused:
                raise error  # the next session repeats the claims that were not dropped
            label = claim.subject.label
            self._context.on_event(RefusedEvent(error.code, f"{label}: {error.reason}" if label else error.reason, error.next_step))

    def _handle_activity(self, activity: Activity) -> None:
        claim = self._context.claims.exported(activity.tunnel)
        if claim is None:
            return
        cuts = dict(activity.cuts)
        for number, (method, path, status, seconds) in enumerate(activity.requests):
            self._context.on_event(RequestLine(method, path, status, seconds, activity.tunnel, cuts.get(number, "")))
            if self._context.host_check.is_refusal(status):
                self._context.on_event(Notice(HINT))
        if activity.missed:
            self._context.on_event(RequestsOmitted(activity.missed))

    def _report_rtt(self) -> None:
        """Emit the lowest round trip of the links when it has changed, until the session ends."""
        if not self.links:
            return
        rtt_s = min((link.mux.rtt_s for link in self.links if link.mux.rtt_s is not None), default=None)
        if rtt_s is not None and abs(rtt_s - self._reported_rtt_s) > RTT_CHANGE_MIN * self._reported_rtt_s:
            self._reported_rtt_s = rtt_s
            self._context.on_event(RoundTrip(rtt_s))
        self._rtt_timer = self._context.reactor.call_later(RTT_CHECK_S, self._report_rtt)

    async def _close_gracefully(self) -> None:
        """Release all addresses, and close every link gracefully."""
        if not self._released:
            self.release_addresses()
        async with asyncio.TaskGroup() as tasks:
            for link in self.links:
                tasks.create_task(link.stream.close_gracefully(), name=f"close link {link.number}")


def _tls_unsupported() -> RefusedError:
    """Return the refusal by a server that cannot read the claim of a tls tunnel."""
    return RefusedError(
        codes.PROTOCOL_NOT_ALLOWED,
        "the server is older than this agent: it does not support tls tunnels",
        "Ask its operator to update it, or publish the service on a port of its own with `portway tcp`.",
    )
