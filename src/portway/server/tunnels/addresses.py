"""Public addresses: resolves the address that a claim requests, and builds URLs. Pure."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from portway.edge.lease import ProtocolName
from portway.errors import PeerError, RefusedError
from portway.protocol.control import codes
from portway.protocol.control.messages import Claim
from portway.protocol.names import check_label, normalise_host

_NO_NAME = re.compile(r"[0-9.]+|\[.*\]", re.ASCII)


def _has_no_certificate(_host: str) -> bool:
    """Return False: the default of `PublicAddresses.has_https`."""
    return False


@dataclass(frozen=True, slots=True)
class PublicAddresses:
    """The server's public addresses."""

    domain: str
    """Normalised; http tunnels get names below it."""
    own_hosts: Collection[str]
    """The server's own names, such as the one that agents dial; normalised. Claims of them are refused."""
    http_port: int
    """Port of the http listener, for URLs."""
    tcp_host: str
    """Host of tcp tunnels, for URLs."""
    public_url: str = ""
    """Scheme, domain and port of http tunnels as visitors see them, if not `http_port`."""
    https_port: int | None = None
    """Port of the TLS listener, for URLs; None without one: claims of tls tunnels are refused."""
    has_https: Callable[[str], bool] = _has_no_certificate
    """Returns whether a host name has a certificate that visitors trust: then it gets an https URL."""

    def url(self, protocol: ProtocolName, address: str) -> str:
        """Return the URL that visitors open."""
        if protocol == "tcp":
            host = f"[{self.tcp_host}]" if ":" in self.tcp_host else self.tcp_host
            return f"tcp://{host}:{address}"
        if protocol == "tls":
            return self._https_url(address)
        if self.public_url:
            scheme, _, authority = self.public_url.partition("://")
            _, colon, port = authority.partition(":")
            return f"{scheme}://{address}{colon}{port}"
        if self.https_port is not None and self.has_https(address):
            return self._https_url(address)
        return f"http://{address}" if self.http_port == 80 else f"http://{address}:{self.http_port}"

    def _https_url(self, host: str) -> str:
        return f"https://{host}" if self.https_port in (443, None) else f"https://{host}:{self.https_port}"

    def host_of(self, claim: Claim) -> str:
        """Return the full, normalised host name that an http or tls claim requests; empty if it accepts any.

        Raises:
            RefusedError: `invalid_name`, `reserved_name`; with the next step.
        """
        if claim.host:
            return self.whole_host(claim.host)
        if not claim.name:
            return ""
        check_label(claim.name)
        return self._check_not_reserved(f"{claim.name}.{self.domain}")

    def name_of(self, host: str) -> str:
        """Return the name to claim next time: the label below the domain, or the full host."""
        label = host.removesuffix("." + self.domain)
        return label if label != host and "." not in label else host

    def whole_host(self, raw: str) -> str:
        """Return a full host name, normalised, if it may be claimed; raises as `host_of`."""
        try:
            host = normalise_host(raw)
        except PeerError as exc:
            raise RefusedError(codes.INVALID_NAME, str(exc), "Give a host name like app.example.org.") from exc
        if host.endswith("." + self.domain):
            # The rules for names apply to full hosts as well. Only one level, because a wildcard certificate covers no more.
            label = host.removesuffix("." + self.domain)
            if "." in label:
                raise RefusedError(
                    codes.INVALID_NAME, f"{host} is two levels below {self.domain}", f"Choose one label, like {label.replace('.', '-')}."
                )
            check_label(label)
        elif _NO_NAME.fullmatch(host) or "." not in host:
            raise RefusedError(
                codes.INVALID_NAME, f"invalid host name {host}: visitors cannot resolve it", "Give a host name like app.example.org."
            )
        return self._check_not_reserved(host)

    def _check_not_reserved(self, host: str) -> str:
        if host == self.domain or host in self.own_hosts:
            raise RefusedError(codes.RESERVED_NAME, f"{host} is the server's own name", "Choose another name.")
        return host
