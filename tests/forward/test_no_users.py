"""A proxy without users."""

from portway.forward.interfaces import User
from portway.forward.no_users import NoUsers
from portway.forward.outcomes import Failure, Outcome


def test_no_password_is_right() -> None:
    found: list[User | Failure] = []
    NoUsers().check("ada", b"secret", "192.0.2.1", found.append)
    assert [one.outcome for one in found if isinstance(one, Failure)] == [Outcome.AUTH_REQUIRED]
    assert not NoUsers().required
