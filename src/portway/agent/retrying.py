"""Decides whether an agent continues after a session ended, and when it retries. Pure."""

from collections.abc import Callable

from portway.links.backoff import STABLE_S_MIN, Backoff
from portway.protocol.control import codes

REFUSED_S = 30.0
"""The first pause after a refusal that can be repaired; each further one in a row is twice as long."""

REFUSED_S_MAX = 900.0
"""Longer than a server remembers failed logins of an address (10 minutes): an agent that is refused for days does not delay
others behind the same address."""


class Retrying:
    """The retries of one agent, over all its sessions."""

    def __init__(self, random: Callable[[], float]) -> None:
        """`random` returns numbers in [0, 1), as `random.random` does."""
        self._random = random
        self._backoff = Backoff(random)
        self._logged_in = False
        self._refusals = 0
        """In a row."""

    def is_final(self, code: str, *, logged_in_s: float, had_tunnels: bool) -> bool:
        """Return whether a refusal ends the agent.

        `logged_in_s` is how long the refused session was logged in, `had_tunnels` whether any tunnel was granted since the
        program started: an agent that was never online may have a wrong setting, which its user must see.
        """
        if code == codes.WRONG_CERTIFICATE:
            # It was the right server before: an expired certificate will be renewed.
            return not (self._logged_in or logged_in_s)
        return not had_tunnels or code in codes.FINAL

    def delay_s(self, *, logged_in_s: float, refusal: str = "") -> float:
        """Return the pause in seconds after a session that was logged in for `logged_in_s` and ended with the code `refusal`."""
        if logged_in_s:
            self._logged_in = True
            self._backoff.session_ended(logged_in_s)
        if logged_in_s >= STABLE_S_MIN:
            self._refusals = 0
        if not refusal or refusal == codes.WRONG_CERTIFICATE:
            return self._backoff.next_delay_s()
        self._refusals += 1
        ceiling: float = min(REFUSED_S * 2 ** min(self._refusals - 1, 16), REFUSED_S_MAX)
        return ceiling * (0.75 + self._random() / 4)
