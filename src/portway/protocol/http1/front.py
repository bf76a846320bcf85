"""A proxy in front: what its forwarding fields say of a request (X-Forwarded-*, or Forwarded of RFC 7239)."""

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from portway.errors import PeerError
from portway.protocol.names import split_authority
from portway.protocol.networks import Networks, plain_address

Family = Literal["x-forwarded", "forwarded"]

LOOKED_AT_BYTES_MAX = 4096
"""How much of a field is looked at, from its end: sixteen proxies write less, and a visitor may write anything before them."""

HOPS_MAX = 16
"""Proxies between a visitor and this server that are counted; nobody has so many, and each is compared with every trusted network."""

_X_FORWARDED = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port")
_SCHEMES = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
_PORT = re.compile(rb"[1-9][0-9]{0,4}")
_NODE = re.compile(r"(?:([0-9.]+)|\[([0-9A-Fa-f:.]+)\])(?::[0-9]{1,5})?")
"""An address, as proxies write it: IPv6 in brackets where a port may follow."""

_PAIR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+=(?:[!#$%&'*+\-.^_`|~0-9A-Za-z:\[\]]+|\"(?:[^\"\\]|\\.)*\")"
_ELEMENT = re.compile(rb"[ \t]*%b(?:[ \t]*;[ \t]*%b)*[ \t;]*" % (_PAIR, _PAIR))
_PAIRS = re.compile(rb"([^=;\s]+)=(\"(?:[^\"\\]|\\.)*\"|[^;]*)")


class Hops(NamedTuple):
    """What trusted proxies say of a request; what they do not say is empty."""

    addresses: tuple[str, ...] = ()
    """The visitor's, and those of the proxies behind it, up to the one before this server's peer."""
    scheme: str = ""
    """How the visitor came to the last proxy: http or https."""
    host: bytes = b""
    port: bytes = b""


class Front(NamedTuple):
    """Whose forwarding fields are believed, and which ones."""

    trusted: Networks
    family: Family

    @property
    def reads(self) -> tuple[bytes, ...]:
        """The names of the fields that are read, in lower case."""
        return _X_FORWARDED if self.family == "x-forwarded" else (b"forwarded",)

    def hops(self, said: Mapping[bytes, bytes]) -> Hops:
        """Return what a trusted peer's fields say; of a field that came several times all values, joined by LF.

        The visitor is the last address that is no trusted proxy's: what stands before it anybody may have written. Scheme, host and port
        are the last proxy's word, the rightmost.
        """
        if self.family == "x-forwarded":
            nodes = _items(said.get(b"x-forwarded-for", b""))
            last = {name: _items(said.get(name, b""))[-1:] for name in _X_FORWARDED[1:]}
            scheme, host, port = (values[0] if values else b"" for values in last.values())
        else:
            elements = _elements(said.get(b"forwarded", b""))
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
    return [item for part in value[-LOOKED_AT_BYTES_MAX:].replace(b"\n", b",").split(b",") if (item := part.strip(b" \t"))]


def _elements(value: bytes) -> list[dict[bytes, bytes]]:
    """Return the elements of Forwarded that can be understood, from the last one to the left: what a visitor wrote before a proxy's
    may be anything, an open quotation mark for one.
    """
    found: list[dict[bytes, bytes]] = []
    value = value[-LOOKED_AT_BYTES_MAX:].replace(b"\n", b",")
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
    """Return the address of a node as people write it, empty if it has none (`unknown`, a name)."""
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
