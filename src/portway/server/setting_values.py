"""Parses values of the server's settings; errors name what was expected."""

import re
from typing import Any

from portway.config.values import ListenAddress
from portway.errors import ConfigError, PortwayError
from portway.protocol.http1.trusted_proxies import Family
from portway.protocol.names import normalise_host, split_authority

WORKERS_MAX = 64
"""Every worker has a channel to every other one; more workers than cores gain nothing."""


OFF = "off"
"""Value of an address setting: no such listener."""

AUTO = "auto"
"""Value of `https`: open the usual port if there are certificates, and go on without it if another program uses it."""

PROXY_LISTENERS = ("http", "https", "tcp")
"""The listeners for visitors."""

_PUBLIC_URL = re.compile(r"(https?)://([^/?#@\s]+)/?")

_VIA = re.compile(r"[A-Za-z0-9._-]{1,64}(?::[0-9]{1,5})?")
"""A host with or without port, or a pseudonym (RFC 9110 section 7.6.3)."""


def read_count(text: str) -> int:
    """Return a number; raises ConfigError."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ConfigError(f"expected a number, got {text!r}")
    return int(text)


def read_via(text: str) -> str:
    """Return the pseudonym of a Via field; raises ConfigError."""
    if _VIA.fullmatch(text) is None:
        raise ConfigError(f"expected a name of letters, digits, dots and hyphens, got {text!r}")
    return text


def read_family(text: str) -> Family:
    """Return a family of forwarding fields; raises ConfigError."""
    if text not in ("x-forwarded", "forwarded"):
        raise ConfigError(f"expected x-forwarded or forwarded, got {text!r}")
    return "forwarded" if text == "forwarded" else "x-forwarded"


def read_listeners(text: str) -> tuple[str, ...]:
    """Return names of PROXY_LISTENERS; raises ConfigError."""
    names = tuple(item.strip() for item in text.split(","))
    for name in names:
        if name not in PROXY_LISTENERS:
            raise ConfigError(f"expected listeners, {' or '.join(PROXY_LISTENERS)}, got {name!r}")
    return names


def read_public_url(text: str) -> str:
    """Return scheme, host and optionally a port; raises ConfigError."""
    found = _PUBLIC_URL.fullmatch(text)
    try:
        if found is None:
            raise ConfigError("path, user and query are not allowed")
        host, port = split_authority(found[2])
    except PortwayError as exc:
        raise ConfigError(f"expected a URL like https://tunnel.example.org, got {text!r}: {exc}") from exc
    usual = port is None or (found[1], port) in (("http", 80), ("https", 443))
    return f"{found[1]}://{host}" if usual else f"{found[1]}://{host}:{port}"


def read_workers(text: str) -> int:
    """Return a number of processes; raises ConfigError."""
    if not text.isascii() or not text.isdigit() or len(text) > 4:
        raise ConfigError(f"expected a number of processes from 1 to {WORKERS_MAX}, got {text!r}")
    return int(text)


def read_domain(text: str) -> str:
    """Return a domain, normalised; raises ConfigError."""
    try:
        return normalise_host(text)
    except PortwayError as exc:
        raise ConfigError(f"expected a domain like tunnel.example.org, got {text!r}: {exc}") from exc


def read_advertise(text: str) -> ListenAddress:
    """Return an address that agents can dial; raises ConfigError."""
    address = ListenAddress.parse(text)
    if not address.host or not address.port:
        raise ConfigError(f"expected the host and port that agents dial, like tunnel.example.org:4443, got {text!r}")
    return address


def read_agents(text: str) -> Any:
    """Return an address, or None for OFF; raises ConfigError."""
    return None if text == OFF else ListenAddress.parse(text)


def read_https(text: str) -> Any:
    """Return an address, AUTO or OFF; raises ConfigError."""
    return text if text in (AUTO, OFF) else ListenAddress.parse(text)
