"""Parses TARGET, the local service that a tunnel publishes: `3000`, `host:port`, `https://host:port`, `unix:/path`, `./folder`."""

import os
import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import Literal

from portway.errors import ConfigError

FORMS = "a port (3000), host:port, http://host:port, https://host:port, unix:/path or a folder (./public)"
"""The valid forms, for error messages."""

UNIX_PATH_BYTES_MAX = 107
"""Linux limits `sun_path` to 108 bytes with the final zero; a longer path cannot be connected to."""

_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_NUMBER = re.compile(r"[0-9]+", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,252})", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9._-]{1,32}", re.ASCII)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.ASCII | re.DOTALL)
_FOLDER = re.compile(r"/|~|\.\.?(/|$)", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """The address that an agent connects to for every visitor: `host` and `port`, or `path` of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""
    """Path of a unix socket; empty for TCP."""
    tls: bool = False
    """True when the origin itself uses TLS (`https://`)."""
    scheme: Literal["", "http", "https"] = ""
    """The scheme that the user wrote; empty if none."""
    directory: str = ""
    """Absolute path of a folder that the agent serves itself; empty otherwise."""
    listing: bool = False
    """Whether folders in it without an index page are listed."""
    status: int = 0
    """Status of the one response that the agent gives to every request; 0 otherwise."""
    body: str = ""
    """Body of that response; empty for the status as text."""

    @property
    def is_static(self) -> bool:
        """True for an origin without a port, which the agent itself is."""
        return bool(self.directory or self.status)

    @property
    def text(self) -> str:
        """The complete target, as shown by a console: `http://127.0.0.1:3000`, `127.0.0.1:22`, `unix:/run/app.sock`."""
        if self.path:
            return f"unix:{self.path}"
        if self.directory:
            return self.directory
        if self.status:
            return f"status {self.status}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}" if self.scheme else f"{host}:{self.port}"


def parse_target(text: str, kind: Literal["http", "tcp", "tls"] = "http") -> Target:
    """Return the target of a tunnel of this `kind`.

    Raises:
        ConfigError: TARGET has no valid form, or none for this kind of tunnel.
    """
    if _NUMBER.fullmatch(text):
        return Target("localhost", _port(text, text))  # both addresses, because some development servers listen only on ::1
    if text.startswith("unix:"):
        return _unix(text)
    if _FOLDER.match(text):
        return _folder(text, kind)
    found = _SCHEME.fullmatch(text)
    if found is None:
        return _host_and_port(text, text, default_port=None)
    scheme, rest = found[1].lower(), found[2]
    if scheme not in _DEFAULT_PORTS:
        raise ConfigError(f"TARGET {text!r}: unsupported scheme {scheme}://; give {FORMS}")
    return _url(text, "https" if scheme == "https" else "http", rest, kind)


def _url(text: str, scheme: Literal["http", "https"], rest: str, kind: str) -> Target:
    if kind != "http":
        raise ConfigError(f"TARGET {text!r}: a {kind} tunnel relays bytes as they are; give host:port, or use `portway http {text}`")
    authority, slash, path = rest.partition("/")
    if slash and path:
        raise ConfigError(f"TARGET {text!r}: a tunnel publishes a whole origin, not a path; give {scheme}://{authority}")
    if "@" in authority:
        raise ConfigError("TARGET: leave the user name and password out of the address; the origin can ask its visitors for them")
    found = _host_and_port(text, authority, default_port=_DEFAULT_PORTS[scheme])
    return Target(found.host, found.port, tls=scheme == "https", scheme=scheme)


def _folder(text: str, kind: str) -> Target:
    if kind != "http":
        raise ConfigError(f"TARGET {text!r}: a {kind} tunnel needs a service; give host:port, or use `portway http {text}` for a folder")
    try:
        path = Path(text).expanduser().resolve()
    except RuntimeError as exc:
        raise ConfigError(f"TARGET {text!r}: that user has no home directory") from exc
    except (OSError, ValueError) as exc:  # a NUL, a name that is too long
        raise ConfigError(f"TARGET {text!r}: invalid path: expected that of a folder") from exc
    if not os.path.isdir(path):  # noqa: PTH112 - False, where Path.is_dir raises, for a name that is too long
        reason = "is a file; give its folder" if os.path.exists(path) else "no such folder"  # noqa: PTH110 - the same
        raise ConfigError(f"TARGET {text!r}: {reason}")
    return Target(directory=str(path))


def _unix(text: str) -> Target:
    path = text.removeprefix("unix:")
    if not path.startswith("/"):
        raise ConfigError(f"TARGET {text!r}: give the socket's absolute path, as in unix:/run/app.sock")
    if len(path.encode("utf-8", "surrogateescape")) > UNIX_PATH_BYTES_MAX or "\0" in path:
        raise ConfigError(f"TARGET {text!r}: a unix socket's path has at most {UNIX_PATH_BYTES_MAX} bytes")
    return Target(path=path)


def _host_and_port(text: str, authority: str, default_port: int | None) -> Target:
    host, colon, port = authority.rpartition(":")
    if authority.endswith("]") or not colon:
        host, colon, port = authority, "", ""
    if not colon and default_port is None:
        raise ConfigError(f"TARGET {text!r}: the port is missing; give {FORMS}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        good = _is_ipv6(host)
    else:
        good = _HOST.fullmatch(host) is not None
    if not host and default_port is None:
        raise ConfigError(f"TARGET {text!r}: the host is missing; give a port alone for this machine (3000), or host:port")
    if not good:
        raise ConfigError(f"TARGET {text!r}: invalid host name {host!r}; give {FORMS}")
    return Target(host, _port(text, port) if colon else default_port or 0)


def _is_ipv6(host: str) -> bool:
    """Return whether this is an IPv6 address, optionally with a zone (RFC 4007): `fe80::1%eth0`."""
    address, percent, zone = host.partition("%")
    try:
        IPv6Address(address)
    except ValueError:
        return False
    return not percent or _ZONE.fullmatch(zone) is not None


def _port(text: str, port: str) -> int:
    number = int(port) if _PORT.fullmatch(port) else 0
    if not 1 <= number <= 65535:
        raise ConfigError(f"TARGET {text!r}: invalid port {port!r}: expected 1 to 65535")
    return number
