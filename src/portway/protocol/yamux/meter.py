"""Rate limits for frames that cost the sender nothing: a higher rate is an attack or a bug."""

from portway.errors import PeerError


class Meter:
    """Counts events per clock second; a burst across two seconds may be twice the limit."""

    __slots__ = ("_count", "_name", "_per_s_max", "_second")

    def __init__(self, name: str, per_s_max: int) -> None:
        """Allow `per_s_max` of `name` per second."""
        self._name = name
        self._per_s_max = per_s_max
        self._second = -1
        self._count = 0

    def count(self, now: float) -> None:
        """Count one event at `now` (monotonic seconds).

        Raises:
            PeerError: there were too many in this second.
        """
        second = int(now)
        if second != self._second:
            self._second = second
            self._count = 0
        self._count += 1
        if self._count > self._per_s_max:
            raise PeerError(f"yamux: more than {self._per_s_max} {self._name} per second")
