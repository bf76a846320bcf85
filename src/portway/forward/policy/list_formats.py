"""Names in the lines of host lists: one per line, hosts files, and domain rules of ad blockers. Pure."""

import re
from functools import lru_cache
from ipaddress import ip_address

from portway.errors import PeerError
from portway.protocol.names import normalise_host

_PLAIN = re.compile(rb"(?=[^\s]{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})+")
"""Most lines of most lists: a name in lower case, which needs no normaliser."""

_RULE = re.compile(rb"\|\|(?P<name>[^\s/^$*|]+)\^(?:\$(?:important|all|document|doc|third-party|3p))?")
"""`||example.com^`: the name and everything below it. Rules with paths or conditions do not concern whole hosts."""

_LOCAL = frozenset(
    b"localhost localhost.localdomain local broadcasthost ip6-localhost ip6-loopback ip6-localnet ip6-mcastprefix ip6-allnodes ip6-allrouters"
    b" ip6-allhosts 0.0.0.0".split()
)
"""Names that every hosts file defines for the machine itself."""


def names_in_line(line: bytes) -> list[bytes] | None:
    """Return the names of one line, normalised; an empty list for a comment, None if it is not understood."""
    text = line.partition(b"#")[0].strip().lower() if b"##" not in line else line
    if not text or text.startswith((b"!", b"[")):
        return []
    if _PLAIN.fullmatch(text) is not None:
        return [text]
    if text.startswith(b"||"):
        rule = _RULE.fullmatch(text)
        return None if rule is None else _normalised([rule["name"]])
    words = text.split()
    if len(words) > 1:
        return _normalised([word for word in words[1:] if word not in _LOCAL]) if _is_address(words[0]) else None
    return _normalised([text.removeprefix(b"*.").removeprefix(b".")])


def _normalised(names: list[bytes]) -> list[bytes] | None:
    try:
        return [_normalise(name) for name in names]
    except (PeerError, UnicodeError):
        return None


def _normalise(name: bytes) -> bytes:
    if _PLAIN.fullmatch(name) is not None:
        return name
    text = name.decode("utf-8")
    if not text.isascii():
        text = text.encode("idna").decode("ascii")
    if ":" in text:
        raise PeerError("a list contains names, not ports")
    return normalise_host(text).encode("ascii")


@lru_cache(64)
def _is_address(word: bytes) -> bool:
    try:
        ip_address(word.decode("ascii"))
    except ValueError:
        return False
    return True
