"""The values that settings are made of, read from text: addresses, port ranges, durations, yes or no."""

import re
from dataclasses import dataclass

from portway.errors import ConfigError

PORT_MAX = 65535

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]\s/@]*):([0-9]{1,5})", re.ASCII)
_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where a listener stands, or where somebody else finds it; as text `host:port`."""

    host: str
    """A host name or an address without brackets; empty means every interface, IPv4 and IPv6."""
    port: int
    """0 lets the kernel choose, which only tests want."""

    @classmethod
    def parse(cls, text: str) -> "ListenAddress":
        """Read `127.0.0.1:8080`, `:80`, `[::1]:443` or `name:4443`.

        Raises:
            ConfigError: it is none of these.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None or int(found[2]) > PORT_MAX:
            raise ConfigError(f"expected an address like 127.0.0.1:8080 or :80, got {text!r}")
        return cls(found[1].removeprefix("[").removesuffix("]"), int(found[2]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports from `first` to `last`, both included; as text `20000-20999` or `22`."""

    first: int
    last: int

    def __post_init__(self) -> None:
        """Hold every range to real ports in ascending order."""
        if not 1 <= self.first <= self.last <= PORT_MAX:
            raise ConfigError(f"expected ports from 1 to {PORT_MAX} as LOW-HIGH, got {self.first}-{self.last}")

    @classmethod
    def parse(cls, text: str) -> "PortRange":
        """Read `LOW-HIGH` or one port.

        Raises:
            ConfigError: it is neither, or no real port is in it.
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
    """Read a switch as environments spell it: 1, true, yes, on; 0, false, no, off.

    Raises:
        ConfigError: it is neither.
    """
    try:
        return _WORDS[text.lower()]
    except KeyError:
        raise ConfigError(f"expected yes or no, got {text!r}") from None
