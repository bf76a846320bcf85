"""Settings of the server: every field is one flag, one environment variable and one key of `[server]` in portway.toml."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from portway.certificates.acme.settings import AcmeSettings
from portway.config.fields import setting
from portway.config.paths import data_dir
from portway.config.values import ListenAddress, PortRange, parse_path, parse_yes_or_no
from portway.errors import ConfigError
from portway.protocol.http1.field_rules import read_trusted_headers
from portway.protocol.http1.fields import FIELDS_MAX, REQUEST_LIMITS, RESPONSE_LIMITS
from portway.protocol.http1.trusted_proxies import Family
from portway.protocol.names import normalise_host
from portway.protocol.networks import read_networks
from portway.protocol.units import parse_duration_s, parse_size_bytes
from portway.server.setting_values import (
    AUTO,
    OFF,
    WORKERS_MAX,
    read_advertise,
    read_agents,
    read_count,
    read_domain,
    read_family,
    read_https,
    read_listeners,
    read_public_url,
    read_via,
    read_workers,
)

LOCAL_DOMAIN = "localhost"
"""Every name below it is this machine in every browser, with no DNS."""

HOLD_S_MAX = 60.0
"""Browsers and proxies give up on a silent server after about a minute; a longer hold is useless."""

GRACE_S_MAX = 86400.0
"""A name that was not served for a day is free for others."""


HEAD_BYTES_LEAST = 8 * 1024
"""RFC 9112 section 3 recommends to accept request lines of 8,000 bytes."""

REQUEST_HEAD_BYTES_MOST = 128 * 1024
"""A handoff to another worker carries the head in one message, which a unix socket limits to 208 KiB."""

ANSWER_HEAD_BYTES_MOST = 1024 * 1024
"""No browser accepts more than 256 KiB; programs may."""

FIELDS_LEAST, FIELDS_MOST = 50, 10_000
"""Browsers send up to 30. Parsing 10,000 takes 10 ms, in which no other connection is served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings(AcmeSettings):
    """All settings of `portway.server.app.serve`. The defaults serve only this machine."""

    domain: str = setting(LOCAL_DOMAIN, read=read_domain, metavar="DOMAIN", help="Give tunnels names under DOMAIN.")
    """Normalised by `normalise_host`."""

    http: ListenAddress = setting(
        ListenAddress("127.0.0.1", 8080),
        read=ListenAddress.parse,
        metavar="ADDRESS",
        help="Listen for HTTP visitors on ADDRESS.",
        shown="127.0.0.1:8080; :80 with a real domain",
    )

    https: ListenAddress | str = setting(
        AUTO,
        read=read_https,
        metavar="ADDRESS|auto|off",
        help="Listen for HTTPS and TLS visitors, and for agents, on ADDRESS.",
        shown="auto: 127.0.0.1:8443; :443 with a real domain and certificates",
    )
    """An address, AUTO or OFF."""

    certificates: Path | None = setting(
        None,
        read=parse_path,
        metavar="DIR",
        help="Use the PEM certificates and keys in DIR for visitors; changed files are reloaded.",
        shown="",
    )

    dev_tls: bool = setting(
        False,
        read=parse_yes_or_no,
        help="Treat certificates of the development CA as trusted: print https URLs, and redirect plain HTTP to them.",
    )

    agents: ListenAddress | None = setting(
        ListenAddress("127.0.0.1", 4443),
        read=read_agents,
        metavar="ADDRESS|off",
        help="Listen for agents on ADDRESS; with off, they use the https port.",
        shown="127.0.0.1:4443; :4443 with a real domain",
    )
    """None: agents use the https port."""

    tcp_ports: PortRange = setting(
        PortRange(20000, 20999), read=PortRange.parse, metavar="LOW-HIGH", help="Assign public ports of tcp tunnels from LOW-HIGH."
    )

    advertise: ListenAddress | None = setting(
        None,
        read=read_advertise,
        metavar="HOST:PORT",
        help="Put HOST:PORT into join strings as the server's address.",
        shown="the agents' address",
    )
    """None: `advertised` derives it from the agents' address."""

    data: Path = setting(
        read=parse_path,
        metavar="DIR",
        help="Store tokens and the server's identity in DIR.",
        factory=data_dir,
        shown="the platform's data directory",
    )

    plaintext_links: bool = setting(False, read=parse_yes_or_no, help="Accept agents without TLS; for private networks only.")

    agents_certificate: Path | None = setting(
        None,
        read=parse_path,
        metavar="FILE",
        help="Use the PEM chain in FILE, from a CA, for the agents' listener instead of the server's own pinned certificate.",
        shown="",
    )

    agents_key: Path | None = setting(
        None, read=parse_path, metavar="FILE", help="Read the private key of that certificate from FILE.", shown=""
    )

    no_speed_test: bool = setting(False, read=parse_yes_or_no, help="Refuse speed tests of agents (`portway speedtest`).")

    log_visitors: bool = setting(
        False, read=parse_yes_or_no, help="Add the visitor's address to the JSON line of each finished connection or request."
    )

    hold_s: float = setting(
        5.0, read=parse_duration_s, metavar="TIME", help="Hold requests for an offline agent for at most TIME.", key="hold", shown="5s"
    )
    """Seconds, 0 to HOLD_S_MAX."""

    grace_s: float = setting(
        60.0, read=parse_duration_s, metavar="TIME", help="Reserve the addresses of a lost agent for TIME.", key="grace", shown="1m"
    )
    """Seconds, 0 to GRACE_S_MAX."""

    trusted_proxies: tuple[str, ...] = setting(
        (),
        read=read_networks,
        metavar="CIDR,...",
        help="Trust what proxies in CIDR networks report about visitors.",
        shown="",
        many=True,
    )
    """In the form that `Networks` accepts."""

    forwarded_fields: Family = setting(
        "x-forwarded",
        read=read_family,
        metavar="x-forwarded|forwarded",
        help="Read X-Forwarded-* or Forwarded from trusted proxies; drop the other family.",
    )

    trusted_header: tuple[str, ...] = setting(
        (),
        read=read_trusted_headers,
        metavar="NAME,...",
        help="Accept header field NAME only from trusted proxies, like X-Auth-Request-User or Remote-*.",
        shown="",
        many=True,
    )
    """In lower case."""

    proxy_protocol: tuple[str, ...] = setting(
        (),
        read=read_listeners,
        metavar="http,https,tcp",
        help="Require a PROXY header (v1 or v2) on connections from trusted proxies to these listeners.",
        shown="",
        many=True,
    )
    """Some of PROXY_LISTENERS."""

    public_url: str = setting(
        "",
        read=read_public_url,
        metavar="URL",
        help="Print tunnel URLs with the scheme, domain and port of URL, as served by a proxy in front.",
        shown="http://DOMAIN and the port of --http",
    )
    """Scheme, host and optionally a port; empty: derived from the http listener."""

    max_request_head: int = setting(
        REQUEST_LIMITS.bytes_max,
        read=parse_size_bytes,
        metavar="SIZE",
        help="Accept request heads (request line and header fields) of at most SIZE.",
        shown="96KiB",
    )
    """Bytes, HEAD_BYTES_LEAST to REQUEST_HEAD_BYTES_MOST."""

    max_answer_head: int = setting(
        RESPONSE_LIMITS.bytes_max,
        read=parse_size_bytes,
        metavar="SIZE",
        help="Accept response heads, and interim responses to one request, of at most SIZE.",
        shown="128KiB",
    )
    """Bytes, HEAD_BYTES_LEAST to ANSWER_HEAD_BYTES_MOST."""

    max_fields: int = setting(FIELDS_MAX, read=read_count, metavar="N", help="Accept at most N header fields per request or response.")
    """FIELDS_LEAST to FIELDS_MOST."""

    via: str = setting(
        "",
        read=read_via,
        metavar="NAME",
        help="Add Via with NAME to requests; nginx and others stop compressing then.",
        shown="",
    )
    """A host name or a token; empty: no Via."""

    workers: int = setting(1, read=read_workers, metavar="N", help="Run N worker processes.")
    """1 to WORKERS_MAX; 1: a single process does everything."""

    def __post_init__(self) -> None:
        """Reject impossible combinations before anything is opened."""
        if not 0 <= self.hold_s <= HOLD_S_MAX:
            raise ConfigError(f"hold: expected 0s to {HOLD_S_MAX:.0f}s, got {self.hold_s:g}s")
        if not 1 <= self.workers <= WORKERS_MAX:
            raise ConfigError(f"workers: expected 1 to {WORKERS_MAX}, got {self.workers}")
        if not 0 <= self.grace_s <= GRACE_S_MAX:
            raise ConfigError(f"grace: expected 0s to 24h, got {self.grace_s:g}s")
        self._check_heads()
        self.check_acme(is_local=self.is_local, has_https=self.https != OFF)
        self._check_front()
        if (self.agents_certificate is None) != (self.agents_key is None):
            raise ConfigError("agents_certificate, agents_key: expected both or neither")
        self._check_addresses()

    def _check_addresses(self) -> None:
        taken: dict[ListenAddress, str] = {}
        for key, address in (("http", self.http), ("https", self.https_address), ("agents", self.agents)):
            if address is None:
                continue
            if address.port and address in taken:
                raise ConfigError(f"{taken[address]}, {key}: expected two addresses, got {address} for both")
            taken[address] = key
            if address.port in self.tcp_ports and (not address.host or not self.tcp_host or address.host == self.tcp_host):
                raise ConfigError(f"tcp_ports: {self.tcp_ports} contains port {address.port}, which the {key} listener uses")
        if self.agents is None:
            if self.https_address is None:
                raise ConfigError("agents: off requires an https port for the agents; give --https an address and a source of certificates")
            if self.plaintext_links:
                raise ConfigError("agents, plaintext_links: the https port accepts agents with TLS only; give --agents an address")

    def _check_heads(self) -> None:
        for key, size, most in (
            ("max_request_head", self.max_request_head, REQUEST_HEAD_BYTES_MOST),
            ("max_answer_head", self.max_answer_head, ANSWER_HEAD_BYTES_MOST),
        ):
            if not HEAD_BYTES_LEAST <= size <= most:
                raise ConfigError(f"{key}: expected {HEAD_BYTES_LEAST} to {most} bytes, got {size}")
        if not FIELDS_LEAST <= self.max_fields <= FIELDS_MOST:
            raise ConfigError(f"max_fields: expected {FIELDS_LEAST} to {FIELDS_MOST}, got {self.max_fields}")

    def _check_front(self) -> None:
        for key, needed in (("trusted_header", self.trusted_header), ("proxy_protocol", self.proxy_protocol)):
            if needed and not self.trusted_proxies:
                raise ConfigError(f"{key}: requires the networks of the proxies in --trusted-proxies (trusted_proxies in a file)")
        if self.public_url and normalise_host(self.public_url.partition("://")[2]) != self.domain:
            raise ConfigError(f"public_url, domain: expected the same host, got {self.public_url} and {self.domain}")

    @property
    def is_local(self) -> bool:
        """True when the domain resolves to this machine only."""
        return _is_local(self.domain)

    @property
    def tcp_host(self) -> str:
        """The interface for ports of tcp tunnels: loopback with a local domain, otherwise all (empty)."""
        return "127.0.0.1" if self.is_local else ""

    @property
    def has_certificates(self) -> bool:
        """True when there is a source of certificates. A local domain always has one: the development CA."""
        return self.is_local or self.dev_tls or self.certificates is not None or bool(self.acme_email)

    @property
    def https_address(self) -> ListenAddress | None:
        """The address of the https port, None without one."""
        if isinstance(self.https, ListenAddress):
            return self.https
        if self.https == OFF or not self.has_certificates:
            return None
        return ListenAddress("127.0.0.1", 8443) if self.is_local else ListenAddress("", 443)

    @property
    def https_is_optional(self) -> bool:
        """True when the server goes on without an https port if another program uses it."""
        return self.https == AUTO and self.agents is not None

    @property
    def advertised(self) -> ListenAddress:
        """The address that agents dial: `advertise`, otherwise that of their listener, with the domain in place of a wildcard host."""
        if self.advertise is not None:
            return self.advertise
        address = self.agents or self.https_address or ListenAddress("", 443)
        if address.host in ("", "0.0.0.0", "::"):  # noqa: S104 - compared with, not bound
            return ListenAddress(self.domain, address.port)
        return address


def defaults_for(given: Mapping[str, object]) -> dict[str, object]:
    """Return the defaults that depend on the given domain."""
    domain = given.get("domain", LOCAL_DOMAIN)
    return {} if _is_local(str(domain)) else {"http": ListenAddress("", 80), "agents": ListenAddress("", 4443)}


def _is_local(domain: str) -> bool:
    return domain == LOCAL_DOMAIN or domain.endswith("." + LOCAL_DOMAIN)
