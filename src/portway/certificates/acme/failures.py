"""Failures of an order: which part failed, and what the operator reads about it."""

from enum import Enum

from portway.errors import UnavailableError

TEXT_CHARS_MAX = 400
"""A CA's explanation is a sentence or two; a larger one is cut in events and status."""


class Scope(Enum):
    """What a failure says about other orders."""

    NAME = "name"
    """Only this name: the CA could not check it, or does not issue for it."""
    LIMIT = "limit"
    """A rate limit of the CA, of this name or of the account."""
    CA = "ca"
    """The CA itself: unreachable, or out of order."""


class OrderFailed(UnavailableError):
    """An order failed; a later attempt may succeed."""

    def __init__(self, scope: Scope, reason: str, retry_after_s: float | None = None) -> None:
        """`retry_after_s` is the CA's own Retry-After, if it sent one."""
        super().__init__(shortened(reason))
        self.scope = scope
        self.retry_after_s = retry_after_s


def shortened(text: str) -> str:
    """Return text from a CA or a program as one line of bounded length."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 8 * TEXT_CHARS_MAX]).split())
    return line if len(line) <= TEXT_CHARS_MAX else line[: TEXT_CHARS_MAX - 1] + "…"
