"""How an agent reaches its server: directly, or through a proxy, and directly instead of one from the environment that fails."""

from portway.agent.events import EventSink, Notice
from portway.agent.settings import AgentSettings, ServerProxy
from portway.engine.channel import Channel
from portway.engine.reactor import Reactor
from portway.errors import PortwayError, RefusedError, UnavailableError
from portway.links.dial import DialError, dial
from portway.links.tls import AgentTls


class ServerPath:
    """Dials the server for one agent, and uses what worked the last time."""

    def __init__(self) -> None:
        """Start with the proxy, if there is one."""
        self._direct = False

    async def dial(self, reactor: Reactor, settings: AgentSettings, tls: AgentTls | None, on_event: EventSink, hint: str = "") -> Channel:
        """Return a new link; raises as `links.dial.dial`.

        A proxy from the environment is meant for all programs, and may not allow this connection: if it fails, the server is dialled
        directly. That is as safe, because the server is verified in the same way.
        """
        join, proxy = settings.join, settings.proxy
        if proxy is None or not proxy.variable:
            return await dial(reactor, join.host, join.port, tls, hint=hint, proxy=proxy.url if proxy else None)
        if self._direct:
            try:
                return await dial(reactor, join.host, join.port, tls, hint=hint)
            except UnavailableError:
                self._direct = False
        try:
            return await dial(reactor, join.host, join.port, tls, hint=hint, proxy=proxy.url)
        except PortwayError as failed:
            try:
                channel = await dial(reactor, join.host, join.port, tls, hint=hint)
            except RefusedError:
                raise
            except PortwayError as direct:
                raise _both_failed(proxy, failed, direct) from direct
            self._direct = True
            on_event(Notice(f"{failed} (from {proxy.variable}); connected directly instead. --proxy off skips the proxy"))
            return channel


def _both_failed(proxy: ServerProxy, failed: PortwayError, direct: PortwayError) -> PortwayError:
    """Return one error for both attempts. A refusal of the server's certificate is the more important one."""
    if isinstance(failed, RefusedError):
        return failed
    text = f"{failed} (from {proxy.variable}); directly: {direct}"
    return DialError(text, direct.next_step, connected=False) if isinstance(direct, DialError) else UnavailableError(text)
