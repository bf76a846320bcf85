"""The join string: all that an agent needs to connect to its server, to verify it, and to log in.

portway://ID.SECRET@HOST:PORT?pin=sha256:HEX      verified by the server's own certificate (64 hex digits)
portway://ID.SECRET@HOST:PORT                     verified by a certificate authority
portway://ID.SECRET@HOST:PORT?links=plaintext     no TLS: for private networks only
"""

import re
from dataclasses import dataclass

from portway.errors import ConfigError, PeerError
from portway.protocol.names import normalise_host

_TOKEN_ID = re.compile(r"[A-Za-z0-9_\-]{1,64}")
_SECRET = re.compile(r"[A-Za-z0-9_\-]{22,128}")  # 22 base64url characters are 128 bits; ours are 43 for 256
_SHAPE = re.compile(
    r"portway://(?P<id>[^.@/?]+)\.(?P<secret>[^@/?]+)@(?P<host>\[[^\]@]+\]|[^:/?@]+):(?P<port>[0-9]{1,5})/?(?:\?(?P<options>.*))?"
)
_LINE_BREAK = re.compile(r"[ \t]*[\r\n]+[ \t]*")
"""Line breaks from a narrow terminal or a mail; the part behind them, perhaps the pin, must not be lost."""
_PIN = re.compile(r"pin=sha256:(?P<hex>[0-9A-Fa-f]{64})")
_EXPECTED = "expected portway://ID.SECRET@HOST:PORT?pin=sha256:HEX, as `portway token create` prints it"


@dataclass(frozen=True, slots=True, repr=False)
class JoinString:
    """The parts of a join string. str() returns it with its secret; repr() hides the secret."""

    token_id: str
    secret: str
    host: str
    """Name or address; IPv6 without brackets."""
    port: int
    pin: bytes | None = None
    """SHA-256 of the server's certificate (DER); None: verified by an authority, or no certificate."""
    plaintext: bool = False
    """The server's links have no TLS."""

    def __post_init__(self) -> None:
        """Raise ConfigError if a part is invalid; the text never contains the secret."""
        if not _TOKEN_ID.fullmatch(self.token_id):
            raise ConfigError(f"join string: invalid token id {self.token_id!a}: expected 1 to 64 letters, digits, '-' or '_'")
        if not _SECRET.fullmatch(self.secret):
            raise ConfigError(
                f"join string: invalid secret of {len(self.secret)} characters: expected 22 to 128 letters, digits, '-' or '_'"
            )
        if not 0 < self.port <= 65535:
            raise ConfigError(f"join string: invalid port {self.port}: expected 1 to 65535")
        if self.pin is not None and len(self.pin) != 32:
            raise ConfigError(f"join string: invalid pin of {len(self.pin)} bytes: expected 32 (SHA-256)")
        if self.pin is not None and self.plaintext:
            raise ConfigError("join string: pin and links=plaintext cannot be combined: a link without TLS has no certificate to pin")
        object.__setattr__(self, "host", _checked_host(self.host))

    def __str__(self) -> str:
        return self._text(self.secret)

    def __repr__(self) -> str:
        return f"<JoinString {self._text('•••')}>"

    def _text(self, secret: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        option = f"?pin=sha256:{self.pin.hex()}" if self.pin else "?links=plaintext" if self.plaintext else ""
        return f"portway://{self.token_id}.{secret}@{host}:{self.port}{option}"


def parse(text: str) -> JoinString:
    """Return the parts of a join string. White space around it and line breaks in it, as left by pasting, are ignored.

    Raises:
        ConfigError: invalid join string, or an invalid part; the message never contains the secret.
    """
    match = _SHAPE.fullmatch(_LINE_BREAK.sub("", text).strip(" \t"))
    if match is None:
        raise ConfigError(f"invalid join string: {_EXPECTED}")
    pin, plaintext = _parsed_options(match["options"])
    return JoinString(match["id"], match["secret"], match["host"], int(match["port"]), pin, plaintext)


def _parsed_options(options: str | None) -> tuple[bytes | None, bool]:
    pin, plaintext = None, False
    for option in options.split("&") if options else ():
        if pin is None and (match := _PIN.fullmatch(option)):
            pin = bytes.fromhex(match["hex"])
        elif option == "links=plaintext" and not plaintext:
            plaintext = True
        else:
            # Only the key: the value may be a secret pasted into the wrong place.
            raise ConfigError(f"join string: unknown, invalid or repeated option {option.partition('=')[0][:20]!a}: {_EXPECTED}")
    return pin, plaintext


def _checked_host(host: str) -> str:
    try:
        normal = normalise_host(f"[{host}]" if ":" in host and not host.startswith("[") else host)
    except PeerError:
        raise ConfigError(f"join string: invalid host {host[:80]!a}: expected a name, an IPv4 address or [IPv6]") from None
    return normal.strip("[]")
