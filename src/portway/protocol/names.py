"""Host names: the only normaliser, and the rules for names that can be claimed.

Router, access rules, certificates and logs all use normalise_host(); a second normaliser would make it possible to bypass one of
them (threats H1).
"""

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv6Address

from portway.errors import PeerError, RefusedError
from portway.protocol.control.codes import INVALID_NAME, RESERVED_NAME
from portway.protocol.name_words import ADJECTIVES, ANIMALS

HOST_CHARS_MAX = 253
"""RFC 1035 section 2.3.4, without the trailing dot."""

LABEL_CHARS_MAX = 63

_OWN = """
    www api admin root portway server dashboard status health metrics login signup register auth account assets static cdn
    edge agents agent links connect tunnel tunnels support help security abuse
"""
# Names that programs look up on their own: the owner of one would answer them.
_SOUGHT = "localhost localdomain broadcasthost wpad isatap autoconfig autodiscover mta-sts openpgpkey acme-challenge"
# Mail and name service, and the mailboxes that certificate authorities trust (CA/B Forum baseline 3.2.2.4.4).
_MAIL = "mail smtp imap pop pop3 mx ns ns1 ns2 ns3 ns4 dns ftp hostmaster postmaster webmaster administrator"

RESERVED = frozenset((_OWN + _SOUGHT + " " + _MAIL).split())
"""Labels that cannot be claimed, besides all that begin with "_" (_acme-challenge, _dmarc, ...)."""

# No vowels and no digits that look like one: the tail cannot spell a word, and no two characters look alike.
_TAIL_ALPHABET = "26789bcdfghjkmnpqrstvwxz"
_TAIL_CHARS = 8

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?")
_HOST = re.compile(r"[a-z0-9_\-]{1,63}(?:\.[a-z0-9_\-]{1,63})*")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.\-]+)(?::(?P<port>[0-9]{0,5}))?")


def normalise_host(raw: str | bytes) -> str:
    """Return the host of a Host field, an :authority, an SNI or a setting, in the form in which hosts are compared.

    Lower case, without port and without a trailing dot. An IPv6 literal keeps its brackets. "xn--" labels are kept;
    non-ASCII names are refused, because they are not allowed on the wire (RFC 9110 section 4.2.3).

    Raises:
        PeerError: invalid host name.
    """
    return split_authority(raw)[0]


def split_authority(raw: str | bytes) -> tuple[str, int | None]:
    """Return the host as normalise_host() does, and the port if one was given.

    Raises:
        PeerError: not a `host` or `host:port` (userinfo, percent-encoding, empty labels, two colons, ...).
    """
    text = raw.decode("latin-1") if isinstance(raw, bytes) else raw
    match = _AUTHORITY.fullmatch(text) if len(text) <= HOST_CHARS_MAX + len(".:65535") else None
    if match is None:
        raise PeerError(f"invalid host name {_quoted(text)}: expected letters, digits, hyphens and dots, with an optional port")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port <= 65535:
        raise PeerError(f"invalid port {port} of a host: expected 1 to 65535")
    host = match["host"]
    return (_ipv6_literal(host) if host.startswith("[") else _reg_name(host)), port


def check_label(name: str) -> None:
    """Check that `name` can be claimed as a label under the server's domain.

    Raises:
        RefusedError: invalid_name or reserved_name, with a valid alternative if there is one.
    """
    fault = _label_fault(name)
    if name in RESERVED or name.startswith("_"):
        raise RefusedError(RESERVED_NAME, f"the name {_quoted(name)} is reserved for the server", "Choose another name.")
    if fault:
        raise RefusedError(INVALID_NAME, f"the name {_quoted(name)} {fault}", _better_than(name))


def random_name(random_bytes: Callable[[int], bytes]) -> str:
    """Return a name like "brave-otter-x7k2q9wm": readable, but not guessable (50 bits, threats Y6)."""
    number = int.from_bytes(random_bytes(16), "big")  # 128 bits, so that remainders are practically uniform
    number, adjective = divmod(number, len(ADJECTIVES))
    number, animal = divmod(number, len(ANIMALS))
    return f"{ADJECTIVES[adjective]}-{ANIMALS[animal]}-{_tail(number)}"


def random_tail(random_bytes: Callable[[int], bytes]) -> str:
    """Return only the end of such a name, 36 bits, for names that must be short."""
    return _tail(int.from_bytes(random_bytes(16), "big"))


def _tail(number: int) -> str:
    tail = ""
    for _ in range(_TAIL_CHARS):
        number, char = divmod(number, len(_TAIL_ALPHABET))
        tail += _TAIL_ALPHABET[char]
    return tail


def _reg_name(host: str) -> str:
    name = host.lower().removesuffix(".")
    if len(name) > HOST_CHARS_MAX or not _HOST.fullmatch(name):
        raise PeerError(
            f"invalid host name {_quoted(host)}: expected labels of 1 to {LABEL_CHARS_MAX} characters, separated by single dots"
        )
    return name


def _ipv6_literal(host: str) -> str:
    try:
        return f"[{IPv6Address(host[1:-1]).compressed}]"
    except AddressValueError:
        raise PeerError(f"invalid IPv6 address {_quoted(host)}") from None


def _label_fault(name: str) -> str:
    if not name:
        return "is empty"
    if len(name) > LABEL_CHARS_MAX:
        return f"has {len(name)} characters, at most {LABEL_CHARS_MAX} fit into a host name"
    if name.startswith("-") or name.endswith("-"):
        return "begins or ends with a hyphen"
    if not _LABEL.fullmatch(name):
        return "may contain only lower-case letters, digits and hyphens"
    if name[2:4] == "--" and not name.startswith("xn--"):
        return "has hyphens in third and fourth place, which are reserved for encoded names"
    return ""


def _better_than(name: str) -> str:
    """Return the next step: a valid name similar to the requested one, if there is one."""
    close = re.sub(r"[^a-z0-9]+", "-", name.lower())[:LABEL_CHARS_MAX].strip("-")
    if not close or close in RESERVED or _label_fault(close):
        return "Choose 1 to 63 lower-case letters, digits and hyphens."
    return f"Try {close!r}, or omit the name to get a random one."


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= 80 else text[:79] + "…")
