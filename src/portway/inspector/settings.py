"""Settings of an agent's inspector."""

from dataclasses import dataclass
from pathlib import Path

from portway.config.values import ListenAddress
from portway.errors import ConfigError

CAPTURE_BYTES_MAX = 256 * 1024 * 1024
BODY_BYTES_MAX = 1024 * 1024
CAPTURE_BYTES_LEAST = 1024 * 1024
BODY_LIMIT = 16 * 1024 * 1024
"""The largest limit of a body; half of what all bodies that are being captured may use."""

DEFAULT_ADDRESS = ListenAddress("127.0.0.1", 4040)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectorSettings:
    """Where the inspector listens, and what it captures."""

    listen: ListenAddress = DEFAULT_ADDRESS
    is_open: bool = False
    """Whether every local user may use it, without the key."""
    capture_bytes_max: int = CAPTURE_BYTES_MAX
    body_bytes_max: int = BODY_BYTES_MAX
    redact: tuple[str, ...] = ()
    """Further names of fields, parameters and keys with secrets."""
    redacts: bool = True
    data_dir: Path | None = None
    """The agent's data directory; None: captures are in memory."""
    runtime_dir: Path | None = None
    """Where the key file is written; None: none is."""

    def __post_init__(self) -> None:
        """Reject values that cannot work.

        Raises:
            ConfigError: begins with the flag.
        """
        if self.listen.host not in LOOPBACK:
            raise ConfigError(
                f"--inspect: {self.listen} is reachable from other machines: expected a loopback address such as 127.0.0.1:4040; "
                "use `ssh -L 4040:127.0.0.1:4040` to reach it from elsewhere"
            )
        if self.capture_bytes_max < CAPTURE_BYTES_LEAST:
            raise ConfigError(f"--capture-max: expected at least {CAPTURE_BYTES_LEAST} bytes, got {self.capture_bytes_max}")
        if not 0 <= self.body_bytes_max <= BODY_LIMIT:
            raise ConfigError(f"--capture-bodies: expected at most {BODY_LIMIT} bytes, got {self.body_bytes_max}")
