"""Remembers from which addresses agents have logged in. Pure."""

KNOWN_FOR_S = 86_400.0
"""How long a source stays known after a login: an agent that was online yesterday is known."""

SOURCES_MAX = 10_000
"""Maximum of sources, about 1 MB; the one with the oldest login is dropped."""


class Sources:
    """The sources (see `source_key`) of one process. All methods are synchronous, so each call is atomic."""

    def __init__(self) -> None:
        """Start empty."""
        self._logged_in: dict[str, float] = {}
        """Time of the last login, oldest first."""

    def logged_in(self, source: str, now: float) -> None:
        """Record a login; `now` is monotonic seconds."""
        self._logged_in.pop(source, None)
        self._logged_in[source] = now
        if len(self._logged_in) > SOURCES_MAX:
            del self._logged_in[next(iter(self._logged_in))]

    def is_known(self, source: str, now: float) -> bool:
        """Return whether there was a recent login from this source."""
        at = self._logged_in.get(source)
        return at is not None and now - at < KNOWN_FOR_S
