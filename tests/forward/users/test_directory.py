"""Passwords of a proxy's users, with real but cheap hashes."""

import hashlib

import pytest

from portway.engine.policy import Policy
from portway.forward.interfaces import User
from portway.forward.outcomes import Failure, Outcome
from portway.forward.users import directory as directory_module
from portway.forward.users.directory import PasswordUsers, ProxyUser
from portway.protocol.password_hash import PasswordHash
from tests.kit.loops import EngineLoop

HOME, ELSEWHERE = "192.0.2.7", "198.51.100.9"


def cheap_hash(password: bytes) -> PasswordHash:
    """Return the cheapest hash that is accepted: 2 ms."""
    digest = hashlib.scrypt(password, salt=b"s" * 16, n=1 << 14, r=1, p=1, dklen=32)
    return PasswordHash(14, 1, 1, b"s" * 16, digest)


def users(**passwords: bytes) -> dict[str, ProxyUser]:
    return {name: ProxyUser(User(name), cheap_hash(password)) for name, password in passwords.items()}


class Stage:
    """Users in a loop."""

    def __init__(self, engine: EngineLoop, monkeypatch: pytest.MonkeyPatch, **passwords: bytes) -> None:
        self.engine = engine
        self.removed: list[str] = []
        self.hashed: list[bytes] = []
        original = PasswordHash.matches

        def counted(expected: PasswordHash, password: bytes) -> bool:
            self.hashed.append(password)
            return original(expected, password)

        monkeypatch.setattr(PasswordHash, "matches", counted)
        self.users = PasswordUsers(engine.reactor, users(**passwords), self.removed.append)

    def begin(self, name: str, password: bytes, source: str = HOME) -> list[User | Failure]:
        found: list[User | Failure] = []
        self.engine.reactor.refresh_now()

        async def check() -> None:
            self.users.check(name, password, source, found.append)

        self.engine.run(check())
        return found

    def check(self, name: str, password: bytes, source: str = HOME) -> User | Failure:
        found = self.begin(name, password, source)
        self.engine.run_until(lambda: bool(found))
        return found[0]


@pytest.fixture
def stage(engine: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(engine, monkeypatch, ann=b"sesame", bob=b"barley")


def outcome(result: User | Failure) -> Outcome | str:
    return result.outcome if isinstance(result, Failure) else result.name


def test_a_right_password_is_hashed_once(stage: Stage) -> None:
    assert stage.check("ann", b"sesame") == User("ann")
    assert stage.begin("ann", b"sesame") == [User("ann")], "at once, from memory"
    assert stage.check("ann", b"sesame", ELSEWHERE) == User("ann")
    assert stage.hashed == [b"sesame"]


@pytest.mark.parametrize(
    ("name", "password"), [("ann", b"barley"), ("eve", b"sesame"), ("", b""), ("ann", b""), ("ANN", b"sesame"), ("\udcff", b"x")]
)
def test_a_wrong_password_is_hashed_once_for_unknown_users_too(stage: Stage, name: str, password: bytes) -> None:
    for _ in range(2):
        assert outcome(stage.check(name, password)) == Outcome.AUTH_REQUIRED
    assert stage.hashed == [password]


def test_a_password_that_is_too_long_is_never_hashed(stage: Stage) -> None:
    assert outcome(stage.check("ann", b"x" * 1025)) == Outcome.AUTH_REQUIRED
    assert stage.hashed == []


def test_equal_passwords_that_arrive_together_are_hashed_once(stage: Stage) -> None:
    waiting = [stage.begin("ann", b"sesame") for _ in range(20)]
    stage.engine.run_until(lambda: all(waiting))
    assert {outcome(found[0]) for found in waiting} == {"ann"}
    assert stage.hashed == [b"sesame"]


def test_guesses_of_one_source_are_few_however_many_arrive(stage: Stage) -> None:
    waiting = [stage.begin("ann", b"guess %d" % number) for number in range(50)]
    stage.engine.run_until(lambda: all(waiting))

    results = [outcome(found[0]) for found in waiting]
    assert set(results) == {Outcome.AUTH_REQUIRED, Outcome.TOO_MANY}
    assert len(stage.hashed) == 5
    delayed = stage.check("ann", b"sesame")
    assert isinstance(delayed, Failure)
    assert delayed.outcome is Outcome.TOO_MANY
    assert "Try again in 1s." in delayed.text
    assert outcome(stage.check("ann", b"sesame", ELSEWHERE)) == "ann"


def test_at_most_ten_guesses_of_a_source_are_checked_in_a_minute(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    now = stage.engine.reactor.now
    passed = 0.0
    monkeypatch.setattr(stage.engine.reactor, "_clock", lambda: now + passed)
    for half_second in range(120):
        passed = half_second / 2
        stage.check("ann", b"guess %d" % half_second)

    assert 5 < len(stage.hashed) <= 10


def test_a_user_who_was_here_before_is_not_delayed_by_others(stage: Stage) -> None:
    assert outcome(stage.check("ann", b"sesame")) == "ann"
    for number in range(20):
        stage.check("bob", b"guess %d" % number)
    stage.users._accepted.clear()
    assert outcome(stage.check("ann", b"sesame")) == "ann"
    assert outcome(stage.check("bob", b"barley")) == Outcome.TOO_MANY


def test_a_full_queue_refuses_the_largest_source(engine: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "QUEUE_MAX", 4)
    stage = Stage(engine, monkeypatch, ann=b"sesame")
    flood = [stage.begin("ann", b"guess %d" % number) for number in range(10)]
    innocent = stage.begin("ann", b"sesame", ELSEWHERE)
    engine.run_until(lambda: bool(innocent) and all(flood))

    assert outcome(innocent[0]) == "ann"
    assert Outcome.TOO_MANY in {outcome(found[0]) for found in flood}


def test_a_check_that_waited_too_long_is_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "CHECK_S_MAX", -1.0)

    assert outcome(stage.check("ann", b"sesame")) == Outcome.TOO_MANY
    assert stage.hashed == []


def test_removed_users_are_reported_and_their_password_is_wrong(stage: Stage) -> None:
    assert outcome(stage.check("ann", b"sesame")) == "ann"
    assert outcome(stage.check("bob", b"barley")) == "bob"
    stage.users.replace(users(bob=b"barley"))

    assert stage.removed == ["ann"]
    assert outcome(stage.check("ann", b"sesame")) == Outcome.AUTH_REQUIRED
    assert stage.begin("bob", b"barley") == [User("bob")], "others need no new check"


def test_a_new_password_replaces_the_old_one(stage: Stage) -> None:
    assert outcome(stage.check("ann", b"sesame")) == "ann"
    assert outcome(stage.check("ann", b"lentil")) == Outcome.AUTH_REQUIRED
    stage.users.replace(users(ann=b"lentil", bob=b"barley"))

    assert outcome(stage.check("ann", b"sesame")) == Outcome.AUTH_REQUIRED
    assert outcome(stage.check("ann", b"lentil")) == "ann"
    assert stage.removed == []


def test_new_limits_apply_without_a_new_check(stage: Stage) -> None:
    assert outcome(stage.check("ann", b"sesame")) == "ann"
    limited = User("ann", Policy(max_rate_bps=1000), tunnels_max=3)
    stage.users.replace({"ann": ProxyUser(limited, cheap_hash(b"sesame"))})

    assert stage.begin("ann", b"sesame") == [limited]


def test_a_user_removed_during_the_check_is_refused(stage: Stage) -> None:
    found = stage.begin("ann", b"sesame")
    stage.engine.run_until(lambda: bool(stage.hashed))
    stage.users.replace({})
    stage.engine.run_until(lambda: bool(found))

    assert outcome(found[0]) == Outcome.AUTH_REQUIRED
    assert outcome(stage.check("bob", b"barley")) == Outcome.AUTH_REQUIRED, "without any user nobody gets in"


def test_memory_of_passwords_is_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "REMEMBERED_MAX", 3)
    for number in range(6):
        stage.check("ann", b"guess", f"203.0.113.{number}")
        stage.check("ann", b"guess %d" % number, f"203.0.113.{number}")

    assert len(stage.users._rejected) == 3
