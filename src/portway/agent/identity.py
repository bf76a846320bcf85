"""The agent's identity: a secret in its data directory that owns its names and ports."""

import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path

from portway.config.files import NotWrittenError, read_secret, write_secret
from portway.errors import ConfigError
from portway.protocol.join_string import JoinString
from portway.telemetry.logs import get_log

FILE = "agent-identity"
"""The secret's name in the data directory."""

SECRET_BYTES = 32
"""256 bits, as a token's secret."""


log = get_log(__name__)


def find_identity(data_dir: Path | None, join: JoinString, random_bytes: Callable[[int], bytes]) -> bytes:
    """Return the agent's identity for a token (32 bytes), saved in `data_dir` if possible.

    Otherwise it is derived from the token's secret, so that an agent without a disk gets its names and ports back; all such agents
    of one token then count as one (ADR 0023). That is logged.

    Raises:
        ConfigError: the file is damaged, or other users can access it.
    """
    try:
        if data_dir is not None:
            return ensure_identity(data_dir, join.token_id, random_bytes)
        reason = "there is no data directory"
    except NotWrittenError as exc:
        reason = str(exc)
    log.warning("agent identity not saved: all agents of this token without a data directory (--data) count as one", reason=reason)
    secret = hmac.digest(join.secret.encode("ascii"), b"portway agent without a data directory", "sha256")
    return _for_token(secret, join.token_id)


def ensure_identity(data_dir: Path, token_id: str, random_bytes: Callable[[int], bytes]) -> bytes:
    """Return the agent's identity for a token (32 bytes); creates its secret if there is none.

    Two agents that start at the same time get the same one. A server cannot detect that two tokens are used by one agent,
    and an agent's other identities cannot be computed from one of them.

    Raises:
        NotWrittenError: there is none yet, and it cannot be written.
        ConfigError: the file is damaged, or other users can access it.
    """
    path = data_dir / FILE
    secret = read_secret(path)
    if secret is None:
        write_secret(path, random_bytes(SECRET_BYTES), replace=False)
        secret = read_secret(path)
    if secret is None or len(secret) != SECRET_BYTES:
        raise ConfigError(f"{path}: damaged: expected {SECRET_BYTES} bytes; remove it to get a new identity")
    return _for_token(secret, token_id)


def _for_token(secret: bytes, token_id: str) -> bytes:
    return hashlib.sha256(secret + token_id.encode("ascii")).digest()
