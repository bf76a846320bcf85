"""Opens the server's listening sockets, and says in words when one cannot be opened."""

import errno
import socket

from portway.config.values import ListenAddress
from portway.engine.listener import listen
from portway.errors import ConfigError, UnavailableError

_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


def listen_on(address: ListenAddress) -> socket.socket:
    """Return a listening socket; an empty host means every interface, IPv4 and (where the machine has it) IPv6.

    Raises:
        OSError: the address is in use, not ours, or not permitted.
    """
    if address.host:
        return listen(address.host, address.port)
    try:
        return listen("::", address.port)  # Linux takes IPv4 visitors on it too
    except OSError as exc:
        if exc.errno not in _NO_IPV6:
            raise
        return listen("0.0.0.0", address.port)  # noqa: S104 - every interface is what was asked for


def listen_for_setting(address: ListenAddress, setting: str) -> socket.socket:
    """Return a listening socket for a setting.

    Raises:
        UnavailableError: another program listens there.
        ConfigError: the address can never be used.
    """
    try:
        return listen_on(address)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise UnavailableError(
                f"{setting}: {address} is in use by another program; stop it, or choose another with --{setting}"
            ) from exc
        hint = "; ports below 1024 need a privilege" if exc.errno in (errno.EACCES, errno.EPERM) else ""
        raise ConfigError(f"{setting}: cannot listen on {address}: {(exc.strerror or str(exc)).lower()}{hint}") from exc
