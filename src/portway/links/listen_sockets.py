"""Opens listening sockets for settings, and explains failures."""

import errno
import socket

from portway.config.values import ListenAddress
from portway.engine.listener import listen
from portway.errors import ConfigError, UnavailableError

_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


def listen_on(address: ListenAddress) -> socket.socket:
    """Return a listening socket; an empty host means every interface, IPv4 and (where available) IPv6.

    Raises:
        OSError: the address is in use, not local, or not permitted.
    """
    if address.host:
        return listen(address.host, address.port)
    try:
        return listen("::", address.port)  # Linux accepts IPv4 on it as well
    except OSError as exc:
        if exc.errno not in _NO_IPV6:
            raise
        return listen("0.0.0.0", address.port)  # noqa: S104 - the setting asks for every interface


def listen_if_free(address: ListenAddress) -> socket.socket | str:
    """Return a listening socket, or why there is none: for a listener that the server can do without."""
    try:
        return listen_on(address)
    except OSError as exc:
        return "in use by another program" if exc.errno == errno.EADDRINUSE else (exc.strerror or str(exc)).lower()


def listen_for_setting(address: ListenAddress, setting: str) -> socket.socket:
    """Return a listening socket for a setting.

    Raises:
        UnavailableError: another program uses the address.
        ConfigError: the address cannot be used.
    """
    try:
        return listen_on(address)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise UnavailableError(
                f"{setting}: {address} is in use by another program; stop it, or choose another address with --{setting}"
            ) from exc
        hint = "; ports below 1024 need root or CAP_NET_BIND_SERVICE" if exc.errno in (errno.EACCES, errno.EPERM) else ""
        raise ConfigError(f"{setting}: cannot listen on {address}: {(exc.strerror or str(exc)).lower()}{hint}") from exc
