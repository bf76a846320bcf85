"""What is known of the addresses that links come from: whether anybody has logged in from there. Pure."""

KNOWN_FOR_S = 86_400.0
"""How long a source is known after a login: an agent that was online yesterday is no stranger."""

SOURCES_MAX = 10_000
"""Sources remembered, about 1 MB; the one that was seen least lately makes room."""


class Sources:
    """Sources (see `source_key`) of one process. Every method is synchronous, so each call is atomic."""

    def __init__(self) -> None:
        """Know nobody."""
        self._logged_in: dict[str, float] = {}
        """When the last login was, least lately first."""

    def logged_in(self, source: str, now: float) -> None:
        """Note a login; `now` is monotonic seconds."""
        self._logged_in.pop(source, None)
        self._logged_in[source] = now
        if len(self._logged_in) > SOURCES_MAX:
            del self._logged_in[next(iter(self._logged_in))]

    def is_known(self, source: str, now: float) -> bool:
        """Return whether somebody has logged in from there lately."""
        at = self._logged_in.get(source)
        return at is not None and now - at < KNOWN_FOR_S
