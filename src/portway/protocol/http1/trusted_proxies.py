"""Reads the forwarding fields of trusted proxies: X-Forwarded-*, or Forwarded (RFC 7239)."""

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from portway.errors import PeerError
from portway.protocol.names import split_authority
from portway.protocol.networks import Networks, plain_address

Family = Literal["x-forwarded", "forwarded"]

PARSED_BYTES_MAX = 4096
"""How much of a field is parsed, from its end: sixteen proxies write less, and anything before their entries is untrusted."""

HOPS_MAX = 16
"""Proxies between a visitor and this server; each one is compared with every trusted network."""

_X_FORWARDED = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port")
_SCHEMES = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
_PORT = re.compile(rb"[1-9][0-9]{0,4}")
_NODE = re.compile(r"(?:([0-9.]+)|\[([0-9A-Fa-f:.]+)\])(?::[0-9]{1,5})?")
"""An address with an optional port; IPv6 in brackets."""

_PAIR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+=(?:[!#$%&'*+\-.^_`|~0-9A-Za-z:\[\]]+|\"(?:[^\"\\]|\\.)*\")"
_ELEMENT = re.compile(rb"[ \t]*%b(?:[ \t]*;[ \t]*%b)*[ \t;]*" % (_PAIR, _PAIR))
_PAIRS = re.compile(rb"([^=;\s]+)=(\"(?:[^\"\\]|\\.)*\"|[^;]*)")


class Hops(NamedTuple):
    """What trusted proxies report about a request; missing values are empty."""

    addresses: tuple[str, ...] = ()
    """The visitor's address, followed by those of the proxies up to the one before this server's peer."""
    scheme: str = ""
    """http or https, between the visitor and the last proxy."""
    host: bytes = b""
    port: bytes = b""


class TrustedProxies(NamedTuple):
    """Which peers are trusted proxies, and which family of forwarding fields they use."""

    trusted: Networks
    family: Family

    @property
    def field_names(self) -> tuple[bytes, ...]:
        """The names of the fields that are read, in lower case."""
        return _X_FORWARDED if self.family == "x-forwarded" else (b"forwarded",)

    def parse(self, values: Mapping[bytes, bytes]) -> Hops:
        """Return what the forwarding fields of a trusted peer report. Values of repeated fields are joined by LF.

        The visitor is the rightmost address that is not a trusted proxy's; entries to its left are untrusted. Scheme, host and port
        are the rightmost values, which the last proxy added.
        """
        if self.family == "x-forwarded":
            nodes = _items(values.get(b"x-forwarded-for", b""))
            last = {name: _items(values.get(name, b""))[-1:] for name in _X_FORWARDED[1:]}
            scheme, host, port = (found[0] if found else b"" for found in last.values())
        else:
            elements = _elements(values.get(b"forwarded", b""))
            nodes = [element.get(b"for", b"") for element in elements]
            final = elements[-1] if elements else {}
            scheme, host, port = final.get(b"proto", b""), final.get(b"host", b""), b""
        return Hops(
            self._addresses(nodes),
            _SCHEMES.get(scheme.lower(), ""),
            host if _is_host(host) else b"",
            port if _PORT.fullmatch(port) is not None and int(port) <= 65535 else b"",
        )

    def _addresses(self, nodes: list[bytes]) -> tuple[str, ...]:
        found: list[str] = []
        for node in reversed(nodes[-HOPS_MAX:]):
            address = _address(node)
            if not address:
                break
            found.append(address)
            if address not in self.trusted:
                break
        return tuple(reversed(found))


def _items(value: bytes) -> list[bytes]:
    return [item for part in value[-PARSED_BYTES_MAX:].replace(b"\n", b",").split(b",") if (item := part.strip(b" \t"))]


def _elements(value: bytes) -> list[dict[bytes, bytes]]:
    """Return the valid elements of Forwarded. Parsing begins at the end, because the part that the visitor sent may be malformed,
    with an unclosed quoted string for example.
    """
    found: list[dict[bytes, bytes]] = []
    value = value[-PARSED_BYTES_MAX:].replace(b"\n", b",")
    end = at = len(value)
    while end > 0 and len(found) < HOPS_MAX:
        at = value.rfind(b",", 0, at)
        if _ELEMENT.fullmatch(value, at + 1, end) is not None:
            pairs = _PAIRS.findall(value[at + 1 : end])
            found.append({name.lower(): _unquoted(text) for name, text in pairs})
            end = at
        if at < 0:
            break
    return found[::-1]


def _unquoted(text: bytes) -> bytes:
    return re.sub(rb"\\(.)", rb"\1", text[1:-1]) if text[:1] == b'"' else text.strip(b" \t")


def _address(node: bytes) -> str:
    """Return the address of a node in canonical form; empty for `unknown` and obfuscated identifiers."""
    text = node.decode("latin-1").strip('"')
    match = _NODE.fullmatch(text)
    address = plain_address((match[1] or match[2]) if match is not None else text)
    return "" if address is None or "%" in text else str(address)


def _is_host(host: bytes) -> bool:
    try:
        split_authority(host)
    except PeerError:
        return False
    return True
