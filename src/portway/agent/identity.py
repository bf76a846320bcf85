"""The agent's identity: a secret in its data directory that its names and ports belong to."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from portway.config.files import read_secret, write_secret
from portway.errors import ConfigError

FILE = "agent-identity"
"""The secret's name in the data directory."""

SECRET_BYTES = 32
"""256 bits, as a token's secret."""


def ensure_identity(data_dir: Path, token_id: str, random_bytes: Callable[[int], bytes]) -> bytes:
    """Return who this agent is for a token (32 bytes), with a secret made now if there is none yet.

    Two agents that start at once end up with the same one. Servers cannot tell that two tokens are used by one agent,
    and whoever sees an identity cannot work out the agent's others.

    Raises:
        ConfigError: the file is damaged, readable by others, or cannot be written.
    """
    path = data_dir / FILE
    secret = read_secret(path)
    if secret is None:
        write_secret(path, random_bytes(SECRET_BYTES), replace=False)
        secret = read_secret(path)
    if secret is None or len(secret) != SECRET_BYTES:
        raise ConfigError(f"{path}: is damaged, expected {SECRET_BYTES} bytes; remove it to get a new identity")
    return hashlib.sha256(secret + token_id.encode("ascii")).digest()
