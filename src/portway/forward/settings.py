"""Settings of the forward proxy: every field is one flag, one environment variable and one key of `[proxy]` in portway.toml."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from portway.config.fields import setting
from portway.config.values import ListenAddress, parse_path, parse_yes_or_no
from portway.engine.policy import UNLIMITED, Policy
from portway.errors import ConfigError, PortwayError
from portway.forward.connect.via import Route, read_routes
from portway.forward.policy.settings import PolicySettings
from portway.forward.users.settings import UserSettings, read_number
from portway.protocol.names import normalise_host
from portway.protocol.units import parse_duration_s

LOOPBACK = ("127.0.0.1", "::1", "localhost")

TIMEOUT_S_MAX = 3600.0


def read_timeout(text: str) -> float:
    """Return seconds; raises ConfigError."""
    seconds = parse_duration_s(text)
    if not 0 < seconds <= TIMEOUT_S_MAX:
        raise ConfigError(f"expected more than 0s and at most 1h, got {text!r}")
    return seconds


def read_ttl(text: str) -> float:
    """Return seconds, 0 for no cache; raises ConfigError."""
    seconds = parse_duration_s(text)
    if not 0 <= seconds <= 86400.0:
        raise ConfigError(f"expected at most 24h, got {text!r}")
    return seconds


def read_destination(text: str) -> ListenAddress:
    """Return the host and port of a target; raises ConfigError."""
    address = ListenAddress.parse(text)
    if not address.host or not address.port:
        raise ConfigError(f"expected HOST:PORT, such as db.internal:5432, got {text!r}")
    if ":" not in address.host:
        try:
            return ListenAddress(normalise_host(address.host), address.port)
        except PortwayError as exc:
            raise ConfigError(str(exc)) from exc
    return address


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardSettings(PolicySettings):
    """All settings of `portway.forward.app.serve`."""

    listen: ListenAddress = setting(
        ListenAddress("127.0.0.1", 8080), read=ListenAddress.parse, metavar="ADDRESS", help="Listen for clients on ADDRESS."
    )

    destination: ListenAddress | None = setting(
        None, read=read_destination, metavar="HOST:PORT", help="Connect every client to HOST:PORT, without a proxy protocol.", shown=""
    )

    via: tuple[Route, ...] = setting(
        (),
        read=read_routes,
        metavar="URL",
        help="Connect through the proxy URL (http://, https:// or socks5://HOST:PORT); PATTERN=URL and PATTERN=direct are for some targets, the first match applies.",
        shown="direct",
        many=True,
        separator="\n",
    )

    open: bool = setting(
        False, read=parse_yes_or_no, help="Serve all clients that can reach ADDRESS. Required for addresses beyond loopback without users."
    )

    users: Path | None = setting(
        None,
        read=parse_path,
        metavar="FILE",
        help="Require a user name and password of FILE, as `portway proxy user` writes it; reloaded when it changes.",
        shown="",
    )

    tls_cert: Path | None = setting(
        None, read=parse_path, metavar="FILE", help="Use TLS with clients (an HTTPS proxy), with the PEM chain in FILE.", shown=""
    )

    tls_key: Path | None = setting(None, read=parse_path, metavar="FILE", help="Read the private key of that chain from FILE.", shown="")

    tls_pkcs12: Path | None = setting(
        None, read=parse_path, metavar="FILE", help="Read chain and key from the PKCS #12 file FILE instead.", shown=""
    )

    tls_password_file: Path | None = setting(
        None, read=parse_path, metavar="FILE", help="Read the password of the PKCS #12 file from the first line of FILE.", shown=""
    )

    initiation_timeout_s: float = setting(
        30.0,
        read=read_timeout,
        key="initiation_timeout",
        metavar="TIME",
        help="Allow TIME from connect to a complete request.",
        shown="30s",
    )

    connect_timeout_s: float = setting(
        10.0, read=read_timeout, key="connect_timeout", metavar="TIME", help="Allow TIME to resolve and connect a target.", shown="10s"
    )

    dns_cache_ttl_s: float = setting(
        60.0, read=read_ttl, key="dns_cache_ttl", metavar="TIME", help="Use addresses of a name for TIME.", shown="60s"
    )

    max_tunnels: int = setting(
        8000, read=read_number, metavar="N", help="Serve at most N clients at the same time; each uses two descriptors."
    )

    max_per_source: int = setting(
        0, read=read_number, metavar="N", help="Allow at most N tunnels for each client address.", shown="no limit of its own"
    )

    log_targets: bool = setting(False, read=parse_yes_or_no, help="Include targets and users in events.")

    target_policy: Policy = UNLIMITED
    """Further limits, of the target's side; http-tunnel's file has both."""

    of_users: Mapping[str, UserSettings] = field(default_factory=dict)
    """Rules and limits of single users, by name: tables `[proxy.user.NAME]`."""

    def __post_init__(self) -> None:
        """Check that the settings are compatible.

        Raises:
            ConfigError: they are not.
        """
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("tls_cert, tls_key: a certificate and its key belong together: give both")
        if self.tls_cert is not None and self.tls_pkcs12 is not None:
            raise ConfigError("tls_cert, tls_pkcs12: two certificates: give one of them")
        if self.tls_password_file is not None and self.tls_pkcs12 is None:
            raise ConfigError("tls_password_file: requires tls_pkcs12")
        self.client_policy.check()

    @property
    def client_policy(self) -> Policy:
        """The limits of each tunnel, and of all together."""
        return self.limits

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine can reach the listener."""
        host = self.listen.host
        return host in LOOPBACK or host.startswith("127.")
