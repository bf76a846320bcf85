"""The agent's identity: a secret in its data directory that its names and ports belong to."""

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
    """Return who this agent is for a token (32 bytes), kept in `data_dir` where that can be done.

    Else it follows from the token's secret, so that names and ports come back to an agent that has no disk; all such agents
    of one token are then one agent (ADR 0023). That is logged.

    Raises:
        ConfigError: the file is damaged, or others can reach it.
    """
    try:
        if data_dir is not None:
            return ensure_identity(data_dir, join.token_id, random_bytes)
        why = "there is no data directory"
    except NotWrittenError as exc:
        why = str(exc)
    log.warning("identity of this agent not kept: all agents of its token without a data directory (--data) are taken for one", why=why)
    secret = hmac.digest(join.secret.encode("ascii"), b"portway agent without a data directory", "sha256")
    return _for_token(secret, join.token_id)


def ensure_identity(data_dir: Path, token_id: str, random_bytes: Callable[[int], bytes]) -> bytes:
    """Return who this agent is for a token (32 bytes), with a secret made now if there is none yet.

    Two agents that start at once end up with the same one. Servers cannot tell that two tokens are used by one agent,
    and whoever sees an identity cannot work out the agent's others.

    Raises:
        NotWrittenError: there is none yet, and it cannot be written.
        ConfigError: the file is damaged, or others can reach it.
    """
    path = data_dir / FILE
    secret = read_secret(path)
    if secret is None:
        write_secret(path, random_bytes(SECRET_BYTES), replace=False)
        secret = read_secret(path)
    if secret is None or len(secret) != SECRET_BYTES:
        raise ConfigError(f"{path}: is damaged, expected {SECRET_BYTES} bytes; remove it to get a new identity")
    return _for_token(secret, token_id)


def _for_token(secret: bytes, token_id: str) -> bytes:
    return hashlib.sha256(secret + token_id.encode("ascii")).digest()
