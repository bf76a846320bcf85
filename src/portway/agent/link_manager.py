"""Keeps as many links as a session needs: opens further ones by ticket, drains those that are idle or expire."""

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
"""How often a single link is looked at while nothing happens on it: an idle agent should let a laptop sleep."""

TICKET_S_MAX = 10.0
"""How long the server may take to make a ticket, another control link included."""

log = get_log(__name__)


class LinkOwner(Protocol):
    """The session whose links are kept."""

    links: list[AgentLink]
    """Live links, lowest number first."""

    def add_link(self, link: AgentLink) -> None:
        """Use a further link that was welcomed."""

    def tell_links(self) -> None:
        """Tell how many links there are now."""

    def send(self, message: Message) -> None:
        """Send on the control link; raises UnavailableError."""


class LinkManager:
    """Looks at the links of one session every 100 ms. All its tasks belong to `tasks`."""

    def __init__(self, needs: SessionContext, session: LinkOwner, login: Login, budgets: Budgets, tasks: asyncio.TaskGroup) -> None:
        """Nothing happens before `start`."""
        self._needs = needs
        self._session = session
        self._login = login
        self._budgets = budgets
        self._tasks = tasks
        server_max = login.welcome.limits.links
        self._policy = LinkPolicy(min(needs.settings.links_max, server_max), server_max)
        self._opening = False
        self._numbers = 1
        self._moved = 0
        self._asked: tuple[AskTicket, asyncio.Future[Ticket | Refused]] | None = None
        self._parting: set[AgentLink] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._over = False
        self._timer: Timer | None = None

    def start(self) -> None:
        """Look at the links from now on; also at a single one, which may have to be replaced."""
        self._look_again()

    def stop(self) -> None:
        """Do nothing any more; a link that is being opened is given up."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._running:
            task.cancel()

    def hear(self, message: Ticket | Refused) -> bool:
        """Take the answer to a request for a ticket; return whether it was one."""
        if self._asked is None or self._asked[0].id != message.id:
            return False
        _, reply = self._asked
        if not reply.done():
            reply.set_result(message)
        return True

    def ask_again(self) -> None:
        """Repeat, under the same id, what the lost control link has not answered; raises UnavailableError."""
        if self._asked is not None and not self._asked[1].done():
            self._session.send(self._asked[0])

    def _look_again(self) -> None:
        links = self._session.links
        moved = sum(link.load.bytes_moved for link in links)
        quiet = len(links) == 1 and moved == self._moved and not self._opening
        self._moved = moved
        self._timer = self._needs.reactor.call_later(QUIET_SAMPLE_S if quiet else SAMPLE_S, self._look)

    def _look(self) -> None:
        if self._over:
            return
        links = self._session.links
        taking = [link for link in links if not link.draining]
        now = self._needs.reactor.now
        match self._policy.decide(now, [link.load for link in taking], len(links) - len(taking), opening=self._opening):
            case OpenLink():
                self._opening = True
                self._start(self._open(), "opens a link")
            case DrainLink(number):
                log.info("link drains", link=number)
                next(link for link in links if link.number == number).drain()
                self._session.tell_links()
        if taking:
            for link in links:
                if link.drained and not link.visitors and link not in self._parting and not self._awaits_answers(link):
                    self._parting.add(link)
                    self._start(self._part(link), "parts from a link")
        self._look_again()

    def _awaits_answers(self, link: AgentLink) -> bool:
        """Return whether a link carries requests whose answers would be missed."""
        return link is self._session.links[0] and (self._asked is not None or bool(self._needs.claims.unanswered))

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        task = self._tasks.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _open(self) -> None:
        """Try to have one more link."""
        link: AgentLink | None = None
        try:
            ticket = await self._ticket()
            self._numbers += 1
            hint = ticket.hint if is_hint(ticket.hint) else ""
            link = await AgentLink.dial(self._needs, self._budgets, self._numbers, hint)
            welcome = await attach(link.stream, ticket.ticket, self._login.session_key, "" if self._needs.tls else hint)
            if welcome.session != self._login.welcome.session:
                raise PeerError(f"the server joined a further link to session {welcome.session}, not to {self._login.welcome.session}")
        except PortwayError as error:
            log.info("no further link", why=error)
            self._policy.failed(self._needs.reactor.refresh_now())
            if link is not None:
                link.close("it could not join its session")
        except asyncio.CancelledError:
            if link is not None:
                link.close("this agent left")
            raise
        else:
            self._policy.opened()
            link.welcomed()
            self._session.add_link(link)
            log.info("link opened", link=link.number)
        finally:
            self._opening = False

    async def _ticket(self) -> Ticket:
        """Return a ticket for one more link."""
        request = AskTicket(id=self._needs.claims.new_request_id())
        reply: asyncio.Future[Ticket | Refused] = asyncio.get_running_loop().create_future()
        self._asked = (request, reply)
        try:
            async with asyncio.timeout(TICKET_S_MAX):
                try:
                    self._session.send(request)
                except UnavailableError:
                    pass  # the control link is being lost; the next one will be asked
                message = await reply
        except TimeoutError:
            raise UnavailableError(f"no ticket for a further link came within {TICKET_S_MAX:g} s") from None
        finally:
            self._asked = None
        if isinstance(message, Refused):
            raise error_of(message)
        return message

    async def _part(self, link: AgentLink) -> None:
        """Say good-bye on a link that has no visitors and gets none; whoever listens there finds its end."""
        await link.stream.close_gracefully()
        link.close("not needed any more")
