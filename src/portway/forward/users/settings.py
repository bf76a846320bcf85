"""Rules and limits of single users: tables `[proxy.user.NAME]` of the configuration file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portway.config.fields import setting
from portway.config.sources import read_table
from portway.errors import ConfigError
from portway.forward.policy.settings import PolicySettings

TUNNELS_MOST = 500_000


def read_number(text: str) -> int:
    """Return a number of tunnels; raises ConfigError."""
    if not text.isascii() or not text.isdigit() or int(text[:9]) > TUNNELS_MOST:
        raise ConfigError(f"expected a number up to {TUNNELS_MOST:,}, got {text!r}")
    return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSettings(PolicySettings):
    """What applies to one user, in addition to what applies to all."""

    max_tunnels: int = setting(
        0, read=read_number, metavar="N", help="Allow at most N tunnels at the same time.", shown="no limit of its own"
    )
    """0: no limit of its own."""

    def __post_init__(self) -> None:
        """Check that the limits are compatible."""
        self.limits.check()


def read_user_tables(file: Path, tables: Any) -> dict[str, UserSettings]:
    """Return the users of the table `user`.

    Raises:
        ConfigError: one line per unknown key or invalid value.
    """
    if not isinstance(tables, dict):
        raise ConfigError(f"{file}: $.proxy.user: expected tables, [proxy.user.NAME], got {tables!r}")
    return {name: read_table(UserSettings, file, f"$.proxy.user.{name}", values) for name, values in tables.items()}
