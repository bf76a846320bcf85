"""The URL of a proxy: where it is, which protocol it speaks, and the credentials for it."""

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote_to_bytes

from portway.errors import ConfigError, PeerError
from portway.protocol.names import normalise_host

ProxyScheme = Literal["http", "https", "socks5"]

DEFAULT_PORTS: dict[ProxyScheme, int] = {"http": 80, "https": 443, "socks5": 1080}
_SCHEMES: dict[str, ProxyScheme] = {"http": "http", "https": "https", "socks5": "socks5", "socks5h": "socks5", "socks": "socks5"}
"""curl's `socks5h` means that the proxy resolves names. Here it always does: a machine behind a proxy often cannot."""

CREDENTIAL_BYTES_MAX = 255
"""Limit of SOCKS5 for a user name and for a password (RFC 1929)."""

EXPECTED = "expected http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT"
_SHAPE = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?(?:(?P<user>[^@/]*)@)?(?P<host>\[[^\]@/]+\]|[^:@/\[\]]+)(?::(?P<port>[0-9]{1,5}))?/?"
)


@dataclass(frozen=True, slots=True)
class ProxyUrl:
    """A proxy. `str()` and `repr()` leave the password out, and also the user name, which may be a token."""

    scheme: ProxyScheme
    host: str
    """Name or address; IPv6 without brackets."""
    port: int
    user: bytes = field(default=b"", repr=False)
    password: bytes = field(default=b"", repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def has_credentials(self) -> bool:
        """Whether the proxy gets a user name and a password."""
        return bool(self.user or self.password)

    def with_credentials(self, text: bytes, where: str) -> "ProxyUrl":
        """Return this proxy with the credentials `user:password`, as in a file.

        Raises:
            ConfigError: they are invalid; the text begins with `where` and does not contain them.
        """
        user, colon, password = text.partition(b":")
        if not colon:
            raise ConfigError(f"{where}: invalid: expected one line USER:PASSWORD")
        _check_credentials(user, password, where)
        return ProxyUrl(self.scheme, self.host, self.port, user, password)


def parse_proxy_url(text: str, where: str) -> ProxyUrl:
    """Return the proxy that a URL names; without a scheme it is an HTTP proxy, as for curl.

    Raises:
        ConfigError: it is invalid; the text begins with `where` and never contains credentials.
    """
    shape = _SHAPE.fullmatch(text.strip())
    if shape is None:
        raise ConfigError(f"{where}: invalid URL of a proxy: {EXPECTED}")
    scheme = _SCHEMES.get((shape["scheme"] or "http").lower())
    if scheme is None:
        raise ConfigError(f"{where}: unknown kind of proxy {shape['scheme']!a}: {EXPECTED}")
    port = int(shape["port"]) if shape["port"] else DEFAULT_PORTS[scheme]
    if not 0 < port <= 65535:
        raise ConfigError(f"{where}: invalid port {port} of a proxy: expected 1 to 65535")
    try:
        host = normalise_host(shape["host"])
    except PeerError as exc:
        raise ConfigError(f"{where}: invalid host of a proxy: {exc}") from exc
    user, _, password = (shape["user"] or "").partition(":")
    decoded = unquote_to_bytes(user), unquote_to_bytes(password)
    if any(decoded):
        _check_credentials(*decoded, where)
    return ProxyUrl(scheme, host.strip("[]"), port, *decoded)


def _check_credentials(user: bytes, password: bytes, where: str) -> None:
    """Raise ConfigError for credentials that a header field or a SOCKS5 message cannot contain."""
    if not user or b":" in user:
        raise ConfigError(f"{where}: invalid user name for a proxy: expected at least one character and no colon")
    for part, name in ((user, "user name"), (password, "password")):
        if len(part) > CREDENTIAL_BYTES_MAX:
            raise ConfigError(f"{where}: {name} for a proxy is too long: expected at most {CREDENTIAL_BYTES_MAX} bytes")
        if any(byte < 0x20 or byte == 0x7F for byte in part):
            raise ConfigError(f"{where}: invalid {name} for a proxy: it contains a control character")
