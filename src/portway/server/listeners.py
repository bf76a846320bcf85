"""The listening sockets of a server."""

import socket
from contextlib import ExitStack
from dataclasses import dataclass

from portway.links.listen_sockets import listen_for_setting, listen_if_free
from portway.server.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class Listeners:
    """The listening sockets of a server, ports of tcp tunnels excepted."""

    http: socket.socket
    https: socket.socket | None
    """The TLS port."""
    agents: socket.socket | None
    """None if agents use the TLS port."""
    https_failure: str = ""
    """Why the default TLS port is not open, with its address; empty if it is, or is not wanted."""

    def close(self) -> None:
        """Close all of them."""
        for sock in (self.http, self.https, self.agents):
            if sock is not None:
                sock.close()


def open_listeners(settings: ServerSettings) -> Listeners:
    """Open the listeners that the settings ask for.

    Raises:
        UnavailableError: another program uses an address.
        ConfigError: an address cannot be used.
    """
    with ExitStack() as failed:
        http = failed.enter_context(listen_for_setting(settings.http, "http"))
        https, failure = None, ""
        address = settings.https_address
        if address is not None:
            if settings.https_is_optional:
                found = listen_if_free(address)
                https, failure = (None, f"{address}: {found}") if isinstance(found, str) else (found, "")
            else:
                https = listen_for_setting(address, "https")
        if https is not None:
            failed.enter_context(https)
        agents = None if settings.agents is None else failed.enter_context(listen_for_setting(settings.agents, "agents"))
        failed.pop_all()
        return Listeners(http, https, agents, failure)
