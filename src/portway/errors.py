"""The errors of Portway, cut by what the catcher does next: close, say no, try again, fix the set-up.

PortwayError
├── PeerError         they broke the rules        → close this one connection
├── RefusedError      a policy says no            → tell them why; do not try again unchanged
├── UnavailableError  nobody there right now      → try again later
│   └── BrokenChannel the bytes ended without an end (reset, truncation, lost link)
├── ConfigError       the set-up cannot be used   → say which file and key
└── MisuseError       a bug of our own            → nobody catches it
"""


class PortwayError(Exception):
    """Any error that Portway raises on purpose."""

    exit_code = 1
    """Exit code of a command that ends with this error (design: 1 failed, 2 usage, 3 refused)."""


class PeerError(PortwayError):
    """The other end broke the rules of a protocol; its connection is closed, nobody else's is."""


class RefusedError(PortwayError):
    """A policy said no: asking again unchanged gets the same answer."""

    exit_code = 3

    def __init__(self, code: str, reason: str, next_step: str = "") -> None:
        """`code` is stable and for machines, `reason` says what happened, `next_step` what to do."""
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.next_step = next_step

    def __str__(self) -> str:
        text = f"{self.reason} ({self.code})"
        return f"{text}. {self.next_step}" if self.next_step else text


class UnavailableError(PortwayError):
    """Nobody answers there right now; a later try may work."""


class BrokenChannel(UnavailableError):
    """A channel's bytes stopped without a proper end: a reset, a truncation, a lost link."""


class ConfigError(PortwayError):
    """A setting, flag or file cannot be used; the message names it and says what was expected."""

    exit_code = 2


class MisuseError(PortwayError):
    """Portway called itself wrongly. Nobody catches it: it is a bug to be reported."""
