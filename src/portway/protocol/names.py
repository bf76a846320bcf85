"""Names of hosts: one normaliser for all that arrives, and the rules for names that may be claimed.

Router, access rules, certificates and logs all take their host names from normalise_host(); a second normaliser
anywhere would be a way around one of them (threats H1).
"""

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv6Address

from portway.errors import PeerError, RefusedError
from portway.protocol.control.codes import INVALID_NAME, RESERVED_NAME
from portway.protocol.name_words import ADJECTIVES, ANIMALS

HOST_CHARS_MAX = 253
"""RFC 1035 section 2.3.4, without the root's dot."""

LABEL_CHARS_MAX = 63

_OWN = """
    www api admin root portway server dashboard status health metrics login signup register auth account assets static cdn
    edge agents agent links connect tunnel tunnels support help security abuse
"""
# Names that programs look for by themselves: who owns one, answers them.
_SOUGHT = "localhost localdomain broadcasthost wpad isatap autoconfig autodiscover mta-sts openpgpkey acme-challenge"
# Mail and name service, and the mailboxes that certificate authorities trust (CA/B Forum baseline 3.2.2.4.4).
_MAIL = "mail smtp imap pop pop3 mx ns ns1 ns2 ns3 ns4 dns ftp hostmaster postmaster webmaster administrator"

RESERVED = frozenset((_OWN + _SOUGHT + " " + _MAIL).split())
"""Labels that nobody may claim, beside everything that begins with "_" (_acme-challenge, _dmarc, ...)."""

# No vowels and no digits that look like one: the tail can spell no word, and no character is taken for another.
_TAIL_ALPHABET = "26789bcdfghjkmnpqrstvwxz"
_TAIL_CHARS = 8

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?")
_HOST = re.compile(r"[a-z0-9_\-]{1,63}(?:\.[a-z0-9_\-]{1,63})*")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.\-]+)(?::(?P<port>[0-9]{0,5}))?")


def normalise_host(raw: str | bytes) -> str:
    """Return the host of a Host field, an :authority, an SNI or a configuration, as everybody here compares it.

    Lower case, without port and without the one dot that may end it. An IPv6 literal keeps its brackets. "xn--"
    labels pass as they are; what is not ASCII is refused, since nobody may send it (RFC 9110 section 4.2.3).

    Raises:
        PeerError: it is no host name.
    """
    return split_authority(raw)[0]


def split_authority(raw: str | bytes) -> tuple[str, int | None]:
    """Return the host as normalise_host() does, and the port if one was given.

    Raises:
        PeerError: it is no `host` or `host:port` (userinfo, percent-encoding, empty labels, two colons, ...).
    """
    text = raw.decode("latin-1") if isinstance(raw, bytes) else raw
    match = _AUTHORITY.fullmatch(text) if len(text) <= HOST_CHARS_MAX + len(".:65535") else None
    if match is None:
        raise PeerError(f"{_shown(text)} is no host name, expected letters, digits, hyphens and dots, and perhaps a port")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port <= 65535:
        raise PeerError(f"host with port {port}, expected 1 to 65535")
    host = match["host"]
    return (_ipv6_literal(host) if host.startswith("[") else _reg_name(host)), port


def check_label(name: str) -> None:
    """Make sure that `name` may be claimed as the label under the server's domain.

    Raises:
        RefusedError: invalid_name or reserved_name; says what is wrong and what would be right.
    """
    fault = _label_fault(name)
    if name in RESERVED or name.startswith("_"):
        raise RefusedError(RESERVED_NAME, f"the name {_shown(name)} is kept for the server itself", "Choose another name.")
    if fault:
        raise RefusedError(INVALID_NAME, f"the name {_shown(name)} {fault}", _better_than(name))


def random_name(random_bytes: Callable[[int], bytes]) -> str:
    """Return a name like "brave-otter-x7k2q9wm": readable, and not to be guessed (50 bits, threats Y6)."""
    number = int.from_bytes(random_bytes(16), "big")  # 128 bits, so that taking remainders favours nobody
    number, adjective = divmod(number, len(ADJECTIVES))
    number, animal = divmod(number, len(ANIMALS))
    return f"{ADJECTIVES[adjective]}-{ANIMALS[animal]}-{_tail(number)}"


def random_tail(random_bytes: Callable[[int], bytes]) -> str:
    """Return the end of such a name alone, 36 bits, where there is no room for more."""
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
        raise PeerError(f"{_shown(host)} is no host name, expected labels of 1 to {LABEL_CHARS_MAX} characters with single dots between")
    return name


def _ipv6_literal(host: str) -> str:
    try:
        return f"[{IPv6Address(host[1:-1]).compressed}]"
    except AddressValueError:
        raise PeerError(f"{_shown(host)} is no IPv6 address") from None


def _label_fault(name: str) -> str:
    if not name:
        return "is empty"
    if len(name) > LABEL_CHARS_MAX:
        return f"has {len(name)} characters, at most {LABEL_CHARS_MAX} fit into a host name"
    if name.startswith("-") or name.endswith("-"):
        return "begins or ends with a hyphen"
    if not _LABEL.fullmatch(name):
        return "may only have lower-case letters, digits and hyphens"
    if name[2:4] == "--" and not name.startswith("xn--"):
        return "has hyphens in its third and fourth place, which are kept for encoded names"
    return ""


def _better_than(name: str) -> str:
    """Return the next step: a name close to the asked one, if there is one."""
    close = re.sub(r"[^a-z0-9]+", "-", name.lower())[:LABEL_CHARS_MAX].strip("-")
    if not close or close in RESERVED or _label_fault(close):
        return "Choose 1 to 63 lower-case letters, digits and hyphens."
    return f"Try {close!r}, or leave the name away and get a random one."


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 80 else text[:79] + "…")
