"""Checks passwords of a proxy's users: known ones at once, others in a thread, fewer and fewer from a source that guesses."""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import ceil

from portway.credentials.failure_delays import FAILURES_WITHOUT_DELAY, FailureDelays
from portway.credentials.fair_queue import FairQueue
from portway.credentials.hash_thread import HashThread
from portway.engine.reactor import Reactor
from portway.forward.interfaces import User
from portway.forward.outcomes import Failure, Outcome
from portway.protocol.password_hash import PASSWORD_BYTES_MAX, PasswordHash
from portway.protocol.source_key import source_key
from portway.protocol.units import format_duration

QUEUE_MAX = 256
"""Passwords that wait for the thread: at 60 ms each, more could not be checked before their deadline."""

CHECK_S_MAX = 10.0
"""How long a client waits for its check."""

WAIT_S_MAX = 30.0
"""The longest delay of a source whose passwords are wrong. It doubles from 1 s after five failures, so that at most 10 are checked in the first minute and two in
each further one."""

KNOWN_WAIT_S_MAX = 10.0
"""The same for a user who has given the right password from there before."""

REMEMBERED_MAX = 4096
"""Right and wrong passwords that are remembered, each: about 400 kB. Their keyed hashes, not the passwords."""

OnChecked = Callable[[User | Failure], None]

WRONG = Failure(Outcome.AUTH_REQUIRED, "The user name or the password is wrong.")
BUSY = Failure(Outcome.TOO_MANY, "Too many passwords are being checked. Try again in a few seconds.")


@dataclass(frozen=True, slots=True)
class ProxyUser:
    """A user with its password."""

    user: User
    password: PasswordHash


@dataclass(slots=True)
class _Check:
    """A check that waits for the thread, or is in progress; equal passwords of a source are checked once."""

    key: bytes
    name: str
    password: bytes
    source: str
    deadline: float
    waiters: list[OnChecked]


class PasswordUsers:
    """The users of one process. `replace` changes them while the proxy runs."""

    required = True

    def __init__(self, reactor: Reactor, users: Mapping[str, ProxyUser], on_removed: Callable[[str], object] = lambda _name: None) -> None:
        """`on_removed` is called with the name of each user that a replacement lacks: its tunnels end."""
        self._reactor = reactor
        self._users = dict(users)
        self._on_removed = on_removed
        self._secret = secrets.token_bytes(32)
        self._accepted: dict[bytes, str] = {}
        self._rejected: dict[bytes, str] = {}
        """Names by keyed hash of name and password."""
        self._delays = FailureDelays(WAIT_S_MAX, KNOWN_WAIT_S_MAX, forgiven=FAILURES_WITHOUT_DELAY)
        self._queue: FairQueue[_Check] = FairQueue(QUEUE_MAX)
        self._pending: dict[tuple[str, bytes], _Check] = {}
        self._thread = HashThread()

    def close(self) -> None:
        """Stop the thread; checks that wait are not answered."""
        self._thread.close()

    def replace(self, users: Mapping[str, ProxyUser]) -> None:
        """Use other users from now on. Tunnels of removed users end; those of users with a new password or new limits continue."""
        before, self._users = self._users, dict(users)
        changed = {name for name, known in before.items() if name not in users or users[name].password != known.password}
        self._accepted = {key: name for key, name in self._accepted.items() if name not in changed}
        self._rejected.clear()
        for name in before.keys() - users.keys():
            self._on_removed(name)

    def check(self, name: str, password: bytes, source: str, on_checked: OnChecked) -> None:
        """Check a password: at once if it is known, otherwise in the thread."""
        if len(password) > PASSWORD_BYTES_MAX:
            on_checked(WRONG)
            return
        key = hashlib.blake2b(name.encode("utf-8", "surrogateescape") + b"\0" + password, key=self._secret, digest_size=16).digest()
        known = self._users.get(name) if key in self._accepted else None
        if known is not None:
            on_checked(known.user)
            return
        if key in self._rejected:
            on_checked(WRONG)
            return
        source = source_key(source)
        pending = self._pending.get((source, key))
        if pending is not None:
            pending.waiters.append(on_checked)
            return
        wait_s = self._delays.wait_s(source, name, self._reactor.now)
        if wait_s > 0:
            on_checked(_delayed(wait_s))
            return
        check = _Check(key, name, password, source, self._reactor.now + CHECK_S_MAX, [on_checked])
        displaced = self._queue.push("", source, check)
        if displaced is not check:
            self._pending[source, key] = check
            self._reactor.call_soon(self._start_next)
        if displaced is not None:
            self._settle(displaced, BUSY)

    def _start_next(self) -> None:
        """Start the next check whose source is not delayed by now."""
        now = self._reactor.now
        while not self._thread.running and (check := self._queue.pop()) is not None:
            wait_s = self._delays.wait_s(check.source, check.name, now)
            if check.deadline < now:
                self._settle(check, BUSY)
            elif wait_s > 0:
                self._settle(check, _delayed(wait_s))
            elif not self._users:
                self._settle(check, WRONG)
            else:
                # An unknown user's password is compared with another one's hash, so that the time does not reveal which users exist.
                known = self._users.get(check.name)
                expected = (known or next(iter(self._users.values()))).password
                self._thread.start(expected, check.password, partial(self._finish, check, known))

    def _finish(self, check: _Check, expected: ProxyUser | None, matches: bool) -> None:
        now = self._reactor.refresh_now()
        current = self._users.get(check.name)
        if matches and expected is not None and current is not None and current.password == expected.password:
            _remember(self._accepted, check.key, check.name)
            self._delays.record_success(check.source, check.name, now)
            self._settle(check, current.user)
        else:
            if current == expected:  # otherwise the user changed meanwhile, and the same password may be right the next time
                _remember(self._rejected, check.key, check.name)
            self._delays.record_failure(check.source, check.name, now)
            self._settle(check, WRONG)
        self._start_next()

    def _settle(self, check: _Check, result: User | Failure) -> None:
        self._pending.pop((check.source, check.key), None)
        for on_checked in check.waiters:
            self._reactor.call_soon(partial(on_checked, result))


def _remember(table: dict[bytes, str], key: bytes, name: str) -> None:
    if len(table) >= REMEMBERED_MAX:
        del table[next(iter(table))]
    table[key] = name


def _delayed(wait_s: float) -> Failure:
    return Failure(Outcome.TOO_MANY, f"Too many wrong passwords from your address. Try again in {format_duration(ceil(wait_s))}.")
