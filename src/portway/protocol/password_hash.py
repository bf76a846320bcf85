"""Hashes of passwords: scrypt (RFC 7914) in the PHC string format. Pure: the salt is an argument."""

import base64
import binascii
import hashlib
import hmac
import re
from typing import NamedTuple

from portway.errors import ConfigError

LOG_N, BLOCK, LANES = 15, 8, 1
"""Parameters of new hashes: 32 MiB and about 60 ms, what interactive logins may cost."""

SALT_BYTES = 16
DIGEST_BYTES = 32

LOG_N_MIN = 14
"""Cheaper hashes are refused: their file would be guessed from too fast."""

MEMORY_BYTES_MAX = 32 * 1024 * 1024
"""Memory of one hash; the agent of any tenant chooses the parameters, and the server computes it."""

WORK_MAX = 1 << 19
"""N times block size times lanes, twice as much as new hashes have: about 120 ms."""

PASSWORD_BYTES_MAX = 1024
"""Longer passwords are never right."""

_FORM = re.compile(r"\$scrypt\$ln=([0-9]{1,2}),r=([0-9]{1,3}),p=([0-9]{1,3})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})", re.ASCII)


class PasswordHash(NamedTuple):
    """A parsed hash."""

    log_n: int
    block: int
    lanes: int
    salt: bytes
    digest: bytes

    def __str__(self) -> str:
        return f"$scrypt$ln={self.log_n},r={self.block},p={self.lanes}${_encoded(self.salt)}${_encoded(self.digest)}"

    def __repr__(self) -> str:
        return "<PasswordHash>"

    def matches(self, password: bytes) -> bool:
        """Return whether `password` has this hash; takes about 60 ms, without the interpreter's lock."""
        return hmac.compare_digest(_digest_of(password, self), self.digest)


def hash_password(password: bytes, salt: bytes) -> PasswordHash:
    """Return the hash of a password; `salt` is SALT_BYTES of randomness."""
    empty = PasswordHash(LOG_N, BLOCK, LANES, salt, b"\0" * DIGEST_BYTES)
    return empty._replace(digest=_digest_of(password, empty))


def parse_password_hash(text: str) -> PasswordHash:
    """Return the hash in a PHC string, if it is neither too cheap nor too expensive.

    Raises:
        ConfigError: another format, or parameters out of bounds.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ConfigError("unknown password hash: expected one of scrypt, as `portway passwd` writes it")
    log_n, block, lanes = int(found[1]), int(found[2]), int(found[3])
    if not (LOG_N_MIN <= log_n <= 20 and block > 0 and lanes > 0):
        raise ConfigError(f"weak or invalid password hash: expected at least ln={LOG_N_MIN},r=1,p=1")
    if 128 * block << log_n > MEMORY_BYTES_MAX or block * lanes << log_n > WORK_MAX:
        raise ConfigError(f"expensive password hash: expected at most ln={LOG_N},r={BLOCK},p={WORK_MAX // BLOCK >> LOG_N}")
    return PasswordHash(log_n, block, lanes, _decoded(found[4]), _decoded(found[5]))


def _digest_of(password: bytes, form: PasswordHash) -> bytes:
    return hashlib.scrypt(
        password,
        salt=form.salt,
        n=1 << form.log_n,
        r=form.block,
        p=form.lanes,
        maxmem=2 * MEMORY_BYTES_MAX,
        dklen=len(form.digest),
    )


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii").rstrip("=")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as exc:
        raise ConfigError("invalid password hash: its salt or digest is not base64") from exc
