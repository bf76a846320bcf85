"""One session of an agent: dial, log in, claim, then answer the server on one or a few links until one of them leaves."""

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
"""How long the server may take for the next answer while claims are open; a probe of a silent holder takes it one second."""

MEASURE_EVERY_S = 2.0
"""How often the links' round trip is looked at; the mux pings every 4 s."""
CHANGE_MIN = 0.2
"""The share by which it must have changed to be news."""

NO_REWRITES = "the server is older than this agent: it ignores --host-header, --request-header and --response-header"

PROGRAM = f"portway/{__version__} {sys.platform}"
"""How the agent introduces itself."""

log = get_log(__name__)


class AgentSession:
    """A session, from the dial to its end. Use it once."""

    def __init__(self, needs: SessionContext) -> None:
        """Nothing happens before `run`."""
        self.links: list[AgentLink] = []
        """Live links, lowest number first: control messages travel on the first one."""
        self.welcome: Welcome | None = None
        """What the server said of this session; None before the login."""
        self.kept: bool | None = None
        """Whether the server holds the addresses that were given back; None before it has said so."""
        self._needs = needs
        self._budgets = Budgets(needs)
        self._welcomed_at: float | None = None
        self._drain_reason = ""
        self._told_rtt_s = 0.0
        self._answers_heard = 0
        self._given_back = False
        self._tasks: asyncio.TaskGroup
        self._listeners: set[asyncio.Task[None]] = set()
        self._keeper: LinkManager
        self._over: asyncio.Future[PortwayError] | None = None
        self._measuring: Timer | None = None
        self._awaiting: Timer | None = None

    @property
    def lived_s(self) -> float:
        """How long it was logged in, in seconds; 0 if it never was."""
        return 0.0 if self._welcomed_at is None else self._needs.clock() - self._welcomed_at

    @property
    def visitors(self) -> int:
        """Streams of visitors that are open now, on all links."""
        return sum(link.visitors for link in self.links)

    def give_back(self) -> None:
        """Give all addresses back: nobody new comes, and the server holds them for this agent, unless somebody else claims them."""
        self._given_back = True
        claims = self._needs.claims
        for link in self.links:
            try:
                for tunnel_id in claims.tunnel_ids():
                    link.stream.send(Release(id=claims.new_request_id(), tunnel=tunnel_id, keep=True))
            except UnavailableError:
                continue
            return

    async def run(self) -> None:
        """Hold the session until it ends, which is always told by an error; when cancelled, leave with a good-bye.

        Raises:
            RefusedError: the server says no for good: to the token, to all tunnels, or to this session from now on.
            UnavailableError: the server cannot be reached, or the last link was lost.
            PeerError: what answers there breaks the protocol.
        """
        needs = self._needs
        first = await AgentLink.dial(needs, self._budgets, 1)
        self.links.append(first)
        try:
            raise await self._hold(await self._log_in(first))
        except asyncio.CancelledError:
            await self._leave()
            raise
        finally:
            links, self.links = self.links, []
            needs.claims.session_lost()
            for link in links:
                link.close("this agent left")
            needs.origins.claims_answered()

    async def _log_in(self, link: AgentLink) -> Login:
        needs = self._needs
        join = needs.settings.join
        credentials = Credentials(join.token_id, join.secret, needs.identity, PROGRAM)
        try:
            login = await log_in(link.stream, credentials, binding=link.binding, random_bytes=needs.random_bytes)
        except (UnavailableError, PeerError) as error:
            raise link.explained(error) from error
        self._welcomed_at, self.welcome = needs.clock(), login.welcome
        link.welcomed()
        needs.on_event(Online(login.welcome.session, login.welcome.server, link.mux.rtt_s))
        return login

    async def _hold(self, login: Login) -> PortwayError:
        """Converse on all links, and return why the session is over."""
        over: asyncio.Future[PortwayError] = asyncio.get_running_loop().create_future()
        self._over = over
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._keeper = LinkManager(self._needs, self, login, self._budgets, tasks)
                self._listen_on(self.links[0])
                self._ask()
                self._keeper.start()
                self._measuring = self._needs.reactor.call_later(MEASURE_EVERY_S, self._measure)
                try:
                    return await over
                finally:
                    self._keeper.stop()
                    for listener in self._listeners:
                        listener.cancel()
        finally:
            # Each of them holds this session, and with it the links of a lost one, for seconds or until a collector comes.
            for timer in (self._measuring, self._awaiting):
                if timer is not None:
                    timer.cancel()
            self._over = None
            del self._keeper, self._tasks

    # Links come and go.

    def send(self, message: Message) -> None:
        """Send on the control link, the one with the lowest number; raises UnavailableError."""
        if not self.links:
            raise UnavailableError("the session has no link left")
        self.links[0].stream.send(message)

    def add_link(self, link: AgentLink) -> None:
        """Use a further link that was welcomed."""
        self.links.append(link)
        self._listen_on(link)
        self.tell_links()

    def tell_links(self) -> None:
        """Tell how many links there are now."""
        self._needs.on_event(LinksChanged(len(self.links), sum(link.draining for link in self.links)))

    def _listen_on(self, link: AgentLink) -> None:
        listener = self._tasks.create_task(self._listen(link), name=f"control stream of link {link.number}")
        self._listeners.add(listener)
        listener.add_done_callback(self._listeners.discard)

    async def _listen(self, link: AgentLink) -> None:
        """Hear what the server says on one link, until the link is lost or the session is over."""
        try:
            while True:
                try:
                    message = await link.stream.receive()
                except UnavailableError as gone:
                    self._lose(link, gone)
                    return
                except BadMessageError as unknown:  # of a newer server, perhaps: versions may differ by one
                    log.debug("message passed over", why=unknown)
                    continue
                self._hear(message)
        except PortwayError as over:
            self._end(link.explained(over, self._drain_reason))

    def _lose(self, link: AgentLink, gone: UnavailableError) -> None:
        """Go on without a link; it took its own streams with it, and no more."""
        controlled = link is self.links[0]
        self.links.remove(link)
        link.close(str(gone))
        if not self.links:
            self._end(link.explained(gone, self._drain_reason))
            return
        self.tell_links()
        if controlled:
            log.info("control goes over to another link", lost=link.number, now=self.links[0].number)
            self._ask()

    def _end(self, error: PortwayError) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(error)

    # The conversation.

    def _ask(self) -> None:
        """Send all claims that have no answer on the control link, those included that a lost one was asked before."""
        link = self.links[0]
        try:
            for claim in self._needs.claims.open():
                link.stream.send(claim)
            self._keeper.ask_again()
            if self._given_back:
                self.give_back()
        except UnavailableError:
            return  # whoever listens there hears of it, and the next link is asked
        self._await_answers(link)

    def _await_answers(self, link: AgentLink) -> None:
        heard = self._answers_heard
        if self._awaiting is not None:
            self._awaiting.cancel()  # of another control link, or answered
        self._awaiting = self._needs.reactor.call_later(CLAIM_S_MAX, lambda: self._check_answers(link, heard))

    def _check_answers(self, link: AgentLink, heard: int) -> None:
        """Give the control link up when the server has left a claim unanswered there for too long."""
        if not self.links or link is not self.links[0] or not self._needs.claims.unanswered:
            return
        if self._answers_heard > heard:
            self._await_answers(link)
        else:
            link.stream.abort(f"no message came within {CLAIM_S_MAX:g} s, and a claim is open")

    def _hear(self, message: Message) -> None:
        if self._needs.on_answer(message):
            return
        match message:
            case Granted() | Refused():
                self._hear_answer(message)
            case Activity():
                self._hear_activity(message)
            case Ended():
                raise error_of(message)
            case Drain():
                log.info("server about to stop", why=message.reason)
                self._drain_reason = message.reason
            case Ticket():
                if not self._keeper.hear(message):
                    log.debug("ticket that came too late")
            case Released():
                self.kept = message.kept
            case _:
                raise PeerError(f"the server sent {type(message).__name__}, which nobody asked for")

    def _hear_answer(self, message: Granted | Refused) -> None:
        if isinstance(message, Refused) and self._keeper.hear(message):
            return
        claims = self._needs.claims
        wish = claims.answered(message)
        self._answers_heard += 1
        if wish is None:
            log.warning("answer to nothing that was asked", received=repr(message))
        elif isinstance(message, Granted):
            target = wish.subject.target.text
            self._needs.on_event(TunnelUp(message.tunnel, message.url, message.name, message.port, target))
            if wish.rewrite is not None and not message.rewrites:
                self._needs.on_event(Notice(NO_REWRITES))
            self._needs.origins.claims_answered()
        else:
            error = error_of(message)
            if not isinstance(error, RefusedError):
                raise error
            if not wish.was_granted or error.code in codes.FINAL:
                claims.drop(wish)
            if claims.hopeless:
                raise error  # the next session asks again for what was not dropped
            self._needs.on_event(RefusedEvent(error.code, error.reason, error.next_step))

    def _hear_activity(self, activity: Activity) -> None:
        wish = self._needs.claims.exported(activity.tunnel)
        if wish is None:
            return
        cuts = dict(activity.cuts)
        for number, (method, path, status, seconds) in enumerate(activity.requests):
            self._needs.on_event(RequestLine(method, path, status, seconds, activity.tunnel, cuts.get(number, "")))
            if self._needs.host_check.is_refusal(status):
                self._needs.on_event(Notice(HINT))
        if activity.missed:
            self._needs.on_event(RequestsOmitted(activity.missed))

    def _measure(self) -> None:
        """Tell the lowest round trip of the links when it has changed, for as long as the session lives."""
        if not self.links:
            return
        rtt_s = min((link.mux.rtt_s for link in self.links if link.mux.rtt_s is not None), default=None)
        if rtt_s is not None and abs(rtt_s - self._told_rtt_s) > CHANGE_MIN * self._told_rtt_s:
            self._told_rtt_s = rtt_s
            self._needs.on_event(RoundTrip(rtt_s))
        self._measuring = self._needs.reactor.call_later(MEASURE_EVERY_S, self._measure)

    async def _leave(self) -> None:
        """Give all addresses back, and say good-bye on every link."""
        if not self._given_back:
            self.give_back()
        async with asyncio.TaskGroup() as goodbyes:
            for link in self.links:
                goodbyes.create_task(link.stream.close_gracefully(), name=f"good-bye on link {link.number}")
