"""Errors of Portway, classified by what the caller does next: close, report the refusal, retry, fix the configuration.

PortwayError
├── PeerError         protocol violation          → close this connection only
├── RefusedError      refused by a policy         → report the reason; do not retry unchanged
├── UnavailableError  temporarily unreachable     → retry later
│   └── BrokenChannel channel ended without a proper end (reset, truncation, lost link)
├── ConfigError       invalid configuration       → name the source and key
└── MisuseError       internal error              → never caught
"""


class PortwayError(Exception):
    """Any error that Portway raises on purpose."""

    exit_code = 1
    """Exit code of a command that ends with this error: 1 failed, 2 usage or configuration, 3 refused."""


class PeerError(PortwayError):
    """The peer violated a protocol; only its connection is closed."""


class RefusedError(PortwayError):
    """A policy refused a request; repeating it unchanged gives the same result."""

    exit_code = 3

    def __init__(self, code: str, reason: str, next_step: str = "") -> None:
        """`code` is stable and for programs, `reason` is what happened, `next_step` what to do about it."""
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.next_step = next_step

    def __str__(self) -> str:
        text = f"{self.reason} ({self.code})"
        return f"{text}. {self.next_step}" if self.next_step else text


class UnavailableError(PortwayError):
    """Temporarily unreachable; a later attempt may succeed."""


class BrokenChannel(UnavailableError):
    """A channel ended without a proper end: a reset, a truncation, a lost link."""


class ConfigError(PortwayError):
    """A setting, flag or file is invalid; the message names it and what was expected."""

    exit_code = 2


class MisuseError(PortwayError):
    """An internal interface was misused: a bug to report. Never caught."""
