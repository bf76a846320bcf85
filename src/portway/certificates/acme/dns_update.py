"""Writes TXT records by dynamic updates (RFC 2136), signed with a TSIG key (RFC 8945)."""

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update

from portway.certificates.acme.failures import OrderFailed, Scope
from portway.clock import Clock, monotonic
from portway.config.files import read_secret
from portway.errors import ConfigError

QUERY_S_MAX = 10.0
"""Deadline of one query or update."""

VISIBLE_S_MAX = 90.0
"""How long all servers of a zone may take to have a record; secondaries are notified within seconds."""

LOOK_EVERY_S = 1.0

TTL_S = 60
"""Of the records: the CA reads them once."""

SERVERS_MAX = 16
"""Servers of a zone that are asked for the record; zones have 2 to 8."""

_KEY = re.compile(r'key\s+"?([A-Za-z0-9._-]+)"?\s*\{([^}]*)\}\s*;?')
_ALGORITHM = re.compile(r'algorithm\s+"?(hmac-[a-z0-9-]+)"?\s*;')
_SECRET = re.compile(r'secret\s+"?([A-Za-z0-9+/=]+)"?\s*;')

ALGORITHMS = ("hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224")


@dataclass(frozen=True, slots=True)
class TsigKey:
    """A key that the DNS server accepts updates with."""

    name: str
    algorithm: str
    secret: str = field(repr=False)
    """base64."""


def read_tsig_key(path: Path) -> TsigKey:
    """Read a key file as `tsig-keygen` writes it.

    Raises:
        ConfigError: the file is missing, readable by others, or has another content.
    """
    content = read_secret(path, follow=True)
    if content is None:
        raise ConfigError(f"acme_dns_key: {path} does not exist")
    key = _KEY.search(content.decode("utf-8", "replace"))
    algorithm, secret = (key and pattern.search(key[2]) for pattern in (_ALGORITHM, _SECRET))
    if key is None or not algorithm or not secret or algorithm[1] not in ALGORITHMS:
        raise ConfigError(
            f'acme_dns_key: {path}: expected the output of tsig-keygen, like key "NAME" {{ algorithm hmac-sha256; secret "…"; }};'
        )
    return TsigKey(key[1], algorithm[1], secret[1])


class UpdateRecords:
    """TXT records by dynamic updates to the primary server of a zone."""

    def __init__(
        self, host: str, port: int, key: TsigKey, *, sleep: Callable[[float], None], clock: Clock = monotonic, servers_port: int = 53
    ) -> None:
        """Send updates to `host`; `servers_port` is the port of the zone's other servers."""
        self._host, self._port = host, port
        self._key = key
        self._keyring = dns.tsig.Key(key.name, key.secret, key.algorithm)
        self._sleep = sleep
        self._clock = clock
        self._servers_port = servers_port

    def add(self, name: str, value: str) -> None:
        """Add a record, and wait until all servers of its zone have it."""
        address = self._address()
        record, zone = dns.name.from_text(name), self._zone_of(dns.name.from_text(name), address)
        update = dns.update.UpdateMessage(zone, keyring=self._keyring)
        update.add(record, TTL_S, "TXT", f'"{value}"')
        self._send(update, address, zone)
        self._until_visible(record, zone, value, address)

    def remove(self, name: str, value: str) -> None:
        """Remove a record."""
        address = self._address()
        record, zone = dns.name.from_text(name), self._zone_of(dns.name.from_text(name), address)
        update = dns.update.UpdateMessage(zone, keyring=self._keyring)
        update.delete(record, "TXT", f'"{value}"')
        self._send(update, address, zone)

    def _address(self) -> str:
        try:
            return str(socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)[0][4][0])
        except OSError as exc:
            raise self._failed(f"cannot be resolved: {exc.strerror}") from exc

    def _zone_of(self, name: dns.name.Name, address: str) -> dns.name.Name:
        """Return the zone that a name belongs to on this server."""
        zone = name
        while zone != dns.name.root:
            reply = self._ask(zone, "SOA", address, self._port)
            if any(found.rdtype == dns.rdatatype.SOA and found.name == zone for found in reply.answer):
                return zone
            zone = zone.parent()
        raise self._failed(f"has no zone for {name}")

    def _send(self, update: dns.update.UpdateMessage, address: str, zone: dns.name.Name) -> None:
        try:
            reply = dns.query.tcp(update, address, QUERY_S_MAX, self._port)
        except (OSError, dns.exception.DNSException) as exc:
            raise self._failed(f"update of {zone} failed: {_reason(exc)}") from exc
        if reply.rcode() != dns.rcode.NOERROR:
            raise self._failed(f"update of {zone} refused for key {self._key.name}: {dns.rcode.to_text(reply.rcode())}")

    def _until_visible(self, record: dns.name.Name, zone: dns.name.Name, value: str, address: str) -> None:
        until = self._clock() + VISIBLE_S_MAX
        missing = {(address, self._port), *self._servers_of(zone, address)}
        while True:
            missing = {server for server in missing if not self._has(record, value, *server)}
            if not missing:
                return
            if self._clock() >= until:
                raise self._failed(f"TXT record of {record} not visible after {VISIBLE_S_MAX:g} s at {min(missing)[0]}")
            self._sleep(LOOK_EVERY_S)

    def _has(self, record: dns.name.Name, value: str, address: str, port: int) -> bool:
        """Return whether a server has a record; one that does not reply cannot keep the others from being enough for the CA."""
        try:
            reply = self._ask(record, "TXT", address, port)
        except OrderFailed:
            return True
        values = (b"".join(text.strings) for found in reply.answer if found.rdtype == dns.rdatatype.TXT for text in found)
        return value.encode("ascii") in values

    def _servers_of(self, zone: dns.name.Name, address: str) -> Iterator[tuple[str, int]]:
        reply = self._ask(zone, "NS", address, self._port)
        hosts = [str(one.target) for found in reply.answer if found.rdtype == dns.rdatatype.NS for one in found]
        for host in sorted(hosts)[:SERVERS_MAX]:
            try:
                yield str(socket.getaddrinfo(host, self._servers_port, type=socket.SOCK_DGRAM)[0][4][0]), self._servers_port
            except OSError:
                continue  # a name that the CA cannot resolve either

    def _ask(self, name: dns.name.Name, kind: str, address: str, port: int) -> Any:
        query = dns.message.make_query(name, kind)
        query.flags &= ~dns.flags.RD
        try:
            if port == self._port:
                return dns.query.tcp(query, address, QUERY_S_MAX, port)  # needed for the update anyway, and its failures show at once
            return dns.query.udp_with_fallback(query, address, QUERY_S_MAX, port)[0]
        except (OSError, dns.exception.DNSException) as exc:
            raise self._failed(f"does not reply: {_reason(exc)}") from exc

    def _failed(self, reason: str) -> OrderFailed:
        return OrderFailed(Scope.NAME, f"acme_dns_server: {self._host}:{self._port}: {reason}")


def _reason(exc: Exception) -> str:
    return str(getattr(exc, "strerror", None) or str(exc) or type(exc).__name__)
