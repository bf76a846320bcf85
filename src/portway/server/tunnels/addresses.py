"""Which public address a claim asks for, and how people write it. Pure."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from portway.errors import PeerError, RefusedError
from portway.protocol.control import codes
from portway.protocol.control.messages import Claim
from portway.protocol.names import check_label, normalise_host

_NO_NAME = re.compile(r"[0-9.]+|\[.*\]", re.ASCII)


@dataclass(frozen=True, slots=True)
class PublicAddresses:
    """How the server's addresses look from outside."""

    domain: str
    """Normalised; http tunnels get names below it."""
    own_hosts: Collection[str]
    """Names that are the server's own (what agents dial, say); normalised."""
    http_port: int
    """Where visitors come in, for URLs."""
    tcp_host: str
    """What visitors of tcp tunnels connect to, for URLs."""
    public_url: str = ""
    """Where visitors of http tunnels come in as they see it, if that is not `http_port`: the domain with its scheme and port."""

    def url(self, kind: str, address: str) -> str:
        """Return what a visitor opens."""
        if kind == "tcp":
            host = f"[{self.tcp_host}]" if ":" in self.tcp_host else self.tcp_host
            return f"tcp://{host}:{address}"
        if self.public_url:
            scheme, _, authority = self.public_url.partition("://")
            _, colon, port = authority.partition(":")
            return f"{scheme}://{address}{colon}{port}"
        return f"http://{address}" if self.http_port == 80 else f"http://{address}:{self.http_port}"

    def host_of(self, claim: Claim) -> str:
        """Return the full, normalised host name that an http claim asks for; empty if it asks for any.

        Raises:
            RefusedError: `invalid_name`, `reserved_name`; says what would be right.
        """
        if claim.host:
            return self.whole_host(claim.host)
        if not claim.name:
            return ""
        check_label(claim.name)
        return self._not_ours(f"{claim.name}.{self.domain}")

    def name_of(self, host: str) -> str:
        """Return what to claim next time: the label below the domain, or the whole host."""
        label = host.removesuffix("." + self.domain)
        return label if label != host and "." not in label else host

    def whole_host(self, raw: str) -> str:
        """Return a whole host name, normalised, if it may be claimed; raises as `host_of`."""
        try:
            host = normalise_host(raw)
        except PeerError as exc:
            raise RefusedError(codes.INVALID_NAME, str(exc), "Give a host name like app.example.org.") from exc
        if host.endswith("." + self.domain):
            # The rules for names hold however they are asked for, and only one level: a wildcard certificate covers no more.
            label = host.removesuffix("." + self.domain)
            if "." in label:
                raise RefusedError(
                    codes.INVALID_NAME, f"{host} is two levels below {self.domain}", f"Choose one label, like {label.replace('.', '-')}."
                )
            check_label(label)
        elif _NO_NAME.fullmatch(host) or "." not in host:
            raise RefusedError(codes.INVALID_NAME, f"{host} is no host name that visitors could look up", "Give one like app.example.org.")
        return self._not_ours(host)

    def _not_ours(self, host: str) -> str:
        if host == self.domain or host in self.own_hosts:
            raise RefusedError(codes.RESERVED_NAME, f"{host} is the server's own name", "Choose another name.")
        return host
