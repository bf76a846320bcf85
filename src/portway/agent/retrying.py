"""Decides whether an agent goes on after a session ended, and when it tries again. Pure."""

from collections.abc import Callable

from portway.links.backoff import STABLE_S_MIN, Backoff
from portway.protocol.control import codes

REFUSED_S = 30.0
"""The first pause after a refusal that somebody may put right; each further one in a row is twice as long."""

REFUSED_S_MAX = 900.0
"""Longer than a server remembers failed logins of an address (10 minutes): an agent that is refused for days costs nobody
behind the same address a wait."""


class Retrying:
    """The tries of one agent, over all its sessions."""

    def __init__(self, random: Callable[[], float]) -> None:
        """`random` returns numbers in [0, 1), as `random.random` does."""
        self._random = random
        self._backoff = Backoff(random)
        self._logged_in = False
        self._refusals = 0
        """In a row."""

    def is_final(self, code: str, *, lived_s: float, had_tunnels: bool) -> bool:
        """Return whether a refusal ends the agent.

        `lived_s` is how long the session was logged in that ended with it, `had_tunnels` whether anything was granted since the
        program started: whoever was never online may have mistyped something, and has to be told.
        """
        if code == codes.WRONG_CERTIFICATE:
            # It was the right server once: a certificate that ran out is renewed, perhaps tonight.
            return not (self._logged_in or lived_s)
        return not had_tunnels or code in codes.FINAL

    def delay_s(self, *, lived_s: float, refusal: str = "") -> float:
        """Return how many seconds to wait before the next try, after a session that lasted `lived_s` and ended with the code `refusal`."""
        if lived_s:
            self._logged_in = True
            self._backoff.session_ended(lived_s)
        if lived_s >= STABLE_S_MIN:
            self._refusals = 0
        if not refusal or refusal == codes.WRONG_CERTIFICATE:
            return self._backoff.next_delay_s()
        self._refusals += 1
        ceiling: float = min(REFUSED_S * 2 ** min(self._refusals - 1, 16), REFUSED_S_MAX)
        return ceiling * (0.75 + self._random() / 4)
