"""Tells of what may happen thousands of times a second: the first one at once, the others as a sum now and then."""

from collections.abc import Callable

from portway.engine.reactor import Reactor

EVERY_S = 10.0
"""From one sum to the next: a flood is six lines a minute, however fast it is, and no line comes without news."""


class Counted:
    """Counts one kind of thing. Costs an addition while a sum is being gathered."""

    def __init__(self, reactor: Reactor, tell: Callable[[int], None], every_s: float = EVERY_S) -> None:
        """`tell` gets how many there were since it was last told, never 0."""
        self._reactor = reactor
        self._tell = tell
        self._every_s = every_s
        self._count = 0
        self._gathering = False

    def note(self) -> None:
        """Count one more."""
        self._count += 1
        if not self._gathering:
            self._say()

    def _say(self) -> None:
        self._gathering = bool(self._count)
        if self._count:
            count, self._count = self._count, 0
            self._reactor.call_later(self._every_s, self._say)
            self._tell(count)
