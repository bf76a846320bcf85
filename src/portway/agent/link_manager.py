"""Manages the links of a session: opens further ones by ticket, drains those that are idle or expire."""

import asyncio
from collections.abc import Coroutine
from typing import Protocol

from portway.agent.context import SessionContext
from portway.agent.link import AgentLink, Budgets
from portway.agent.link_policy import SAMPLE_S, DrainLink, LinkPolicy, OpenLink
from portway.engine.timers import Timer
from portway.errors import PeerError, PortwayError, UnavailableError
from portway.links.worker_hint import is_hint
from portway.protocol.control.messages import AskTicket, Message, Refused, Ticket
from portway.session.login import Login, attach, error_of
from portway.telemetry.logs import get_log

QUIET_SAMPLE_S = 0.5
"""Interval between checks of a single idle link: an idle agent should let a laptop sleep."""

TICKET_S_MAX = 10.0
"""How long the server may take to issue a ticket, including a change of the control link."""

log = get_log(__name__)


class LinkOwner(Protocol):
    """The session that the links belong to."""

    links: list[AgentLink]
    """Live links, lowest number first."""

    def add_link(self, link: AgentLink) -> None:
        """Add a further link after its Welcome."""

    def report_links(self) -> None:
        """Emit the current number of links."""

    def send(self, message: Message) -> None:
        """Send on the control link; raises UnavailableError."""


class LinkManager:
    """Checks the links of one session every 100 ms. All its tasks belong to `tasks`."""

    def __init__(self, context: SessionContext, session: LinkOwner, login: Login, budgets: Budgets, tasks: asyncio.TaskGroup) -> None:
        """Prepare; `start` begins."""
        self._context = context
        self._session = session
        self._login = login
        self._budgets = budgets
        self._tasks = tasks
        server_max = login.welcome.limits.links
        self._policy = LinkPolicy(min(context.settings.links_max, server_max), server_max)
        self._opening = False
        self._last_number = 1
        self._moved = 0
        self._request: tuple[AskTicket, asyncio.Future[Ticket | Refused]] | None = None
        self._closing: set[AgentLink] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._timer: Timer | None = None

    def start(self) -> None:
        """Check the links from now on; also a single one, which may have to be replaced."""
        self._schedule_check()

    def stop(self) -> None:
        """Stop checking, and abandon a link that is being opened."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._running:
            task.cancel()

    def on_reply(self, message: Ticket | Refused) -> bool:
        """Handle the reply to a ticket request; return whether `message` is one."""
        if self._request is None or self._request[0].id != message.id:
            return False
        _, reply = self._request
        if not reply.done():
            reply.set_result(message)
        return True

    def repeat_request(self) -> None:
        """Repeat, with the same id, a ticket request that a lost control link left without a reply; raises UnavailableError."""
        if self._request is not None and not self._request[1].done():
            self._session.send(self._request[0])

    def _schedule_check(self) -> None:
        links = self._session.links
        moved = sum(link.load.bytes_moved for link in links)
        quiet = len(links) == 1 and moved == self._moved and not self._opening
        self._moved = moved
        self._timer = self._context.reactor.call_later(QUIET_SAMPLE_S if quiet else SAMPLE_S, self._check)

    def _check(self) -> None:
        if self._stopped:
            return
        links = self._session.links
        active = [link for link in links if not link.draining]
        now = self._context.reactor.now
        match self._policy.decide(now, [link.load for link in active], len(links) - len(active), opening=self._opening):
            case OpenLink():
                self._opening = True
                self._start_task(self._open(), "open a link")
            case DrainLink(number):
                log.info("link draining", link=number)
                next(link for link in links if link.number == number).drain()
                self._session.report_links()
        if active:
            for link in links:
                if link.drained and not link.visitors and link not in self._closing and not self._awaits_replies(link):
                    self._closing.add(link)
                    self._start_task(self._close_link(link), "close a link")
        self._schedule_check()

    def _awaits_replies(self, link: AgentLink) -> bool:
        """Return whether closing a link would lose the replies to pending requests."""
        return link is self._session.links[0] and (self._request is not None or bool(self._context.claims.unanswered))

    def _start_task(self, work: Coroutine[None, None, None], name: str) -> None:
        task = self._tasks.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _open(self) -> None:
        """Try to open a further link."""
        link: AgentLink | None = None
        try:
            ticket = await self._ticket()
            self._last_number += 1
            hint = ticket.hint if is_hint(ticket.hint) else ""
            link = await AgentLink.dial(self._context, self._budgets, self._last_number, hint)
            welcome = await attach(link.stream, ticket.ticket, self._login.session_key, "" if self._context.tls else hint)
            if welcome.session != self._login.welcome.session:
                raise PeerError(f"the server attached a link to session {welcome.session}: expected {self._login.welcome.session}")
        except PortwayError as error:
            log.info("further link failed", reason=error)
            self._policy.failed(self._context.reactor.refresh_now())
            if link is not None:
                link.close("it could not be attached to its session")
        except asyncio.CancelledError:
            if link is not None:
                link.close("the agent stopped")
            raise
        else:
            self._policy.opened()
            link.on_welcome()
            self._session.add_link(link)
            log.info("link opened", link=link.number)
        finally:
            self._opening = False

    async def _ticket(self) -> Ticket:
        """Request a ticket for a further link."""
        request = AskTicket(id=self._context.claims.new_request_id())
        reply: asyncio.Future[Ticket | Refused] = asyncio.get_running_loop().create_future()
        self._request = (request, reply)
        try:
            async with asyncio.timeout(TICKET_S_MAX):
                try:
                    self._session.send(request)
                except UnavailableError:
                    pass  # the control link is being lost; the request is repeated on the next one
                message = await reply
        except TimeoutError:
            raise UnavailableError(f"no ticket for a further link within {TICKET_S_MAX:g} s") from None
        finally:
            self._request = None
        if isinstance(message, Refused):
            raise error_of(message)
        return message

    async def _close_link(self, link: AgentLink) -> None:
        """Close a link without visitors gracefully; the task that reads its control stream handles the end."""
        await link.stream.close_gracefully()
        link.close("no longer needed")
