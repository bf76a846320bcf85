"""The user directory of a proxy without users."""

from collections.abc import Callable

from portway.forward.interfaces import User
from portway.forward.outcomes import Failure, Outcome


class NoUsers:
    """Requires no authentication, and accepts none."""

    required = False

    def check(self, _name: str, _password: bytes, _source: str, on_checked: Callable[[User | Failure], None]) -> None:
        """Refuse: no client is asked for a password."""
        on_checked(Failure(Outcome.AUTH_REQUIRED, "This proxy has no users."))
