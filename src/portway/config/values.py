"""Types of settings, parsed from text: addresses, port ranges, booleans."""

import re
from dataclasses import dataclass
from pathlib import Path

from portway.errors import ConfigError

PORT_MAX = 65535

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]\s/@]*):([0-9]{1,5})", re.ASCII)
_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Host and port of a listener, or of its public address; as text `host:port`."""

    host: str
    """A host name or an address without brackets; empty means every interface, IPv4 and IPv6."""
    port: int
    """0: the kernel chooses, for tests."""

    @classmethod
    def parse(cls, text: str) -> "ListenAddress":
        """Parse `127.0.0.1:8080`, `:80`, `[::1]:443` or `name:4443`.

        Raises:
            ConfigError: any other text.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None or int(found[2]) > PORT_MAX:
            raise ConfigError(f"expected an address like 127.0.0.1:8080 or :80, got {text!r}")
        return cls(found[1].removeprefix("[").removesuffix("]"), int(found[2]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports from `first` to `last`, inclusive; as text `20000-20999` or `22`."""

    first: int
    last: int

    def __post_init__(self) -> None:
        """Check that the ports are valid and in ascending order."""
        if not 1 <= self.first <= self.last <= PORT_MAX:
            raise ConfigError(f"expected ports from 1 to {PORT_MAX} as LOW-HIGH, got {self.first}-{self.last}")

    @classmethod
    def parse(cls, text: str) -> "PortRange":
        """Parse `LOW-HIGH` or one port.

        Raises:
            ConfigError: any other text, or ports that do not exist.
        """
        found = _RANGE.fullmatch(text)
        if found is None:
            raise ConfigError(f"expected ports like 20000-20999, got {text!r}")
        first = int(found[1])
        return cls(first, int(found[2]) if found[2] else first)

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.first <= port <= self.last

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def parse_yes_or_no(text: str) -> bool:
    """Parse a boolean: 1, true, yes, on; 0, false, no, off.

    Raises:
        ConfigError: any other text.
    """
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise ConfigError(f"expected yes or no, got {text!r}") from None


def parse_path(text: str) -> Path:
    """Parse the path of a file or directory; `~` is the home directory.

    Raises:
        ConfigError: it is empty, or that user has no home directory.
    """
    if not text or "\0" in text:
        raise ConfigError(f"expected a path, got {text!r}")
    try:
        return Path(text).expanduser()
    except RuntimeError as exc:
        raise ConfigError(f"expected a path, got {text!r}, and that user has no home directory") from exc
