"""Checks passwords of visitors (RFC 7617) in a thread: hashes are slow on purpose, and the reactor never computes one."""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Callable
from functools import partial
from math import ceil

from portway.credentials.failure_delays import FAILURES_WITHOUT_DELAY, FailureDelays
from portway.credentials.fair_queue import FairQueue
from portway.credentials.hash_thread import HashThread
from portway.edge.http.refusal import Refusal
from portway.edge.lease import Lease
from portway.engine.reactor import Reactor
from portway.protocol.http1.fields import Field
from portway.protocol.http_access import HttpAccess
from portway.protocol.password_hash import PASSWORD_BYTES_MAX
from portway.protocol.source_key import source_key
from portway.protocol.units import format_duration

QUEUE_MAX = 512
"""Checks that wait for the thread, of all tunnels: at 60 ms each, more could not be done before their deadline."""

CHECK_S_MAX = 10.0
"""How long a request waits for its check; afterwards it gets 503."""

WAIT_S_MAX = 30.0
"""The longest delay of a source whose passwords are wrong: at most 2,880 guesses a day."""

KNOWN_WAIT_S_MAX = 10.0
"""The same for a user who has given the right password from there before."""

REMEMBERED_MAX = 1024
"""Right and wrong credentials that are remembered for a tunnel, each: about 100 kB. Their keyed hashes, not the credentials."""

CREDENTIALS_BYTES_MAX = 2 * PASSWORD_BYTES_MAX
"""Longer credentials are not right."""


class PasswordCheck:
    """A check that waits for its turn, or is in progress. The same credentials are checked once, for all requests that have them."""

    __slots__ = ("credentials", "deadline", "key", "lease", "password", "refused", "source", "user", "waiters")

    def __init__(self, lease: Lease, key: bytes, source: str, user: bytes, password: bytes, deadline: float) -> None:
        """Check `password` of `user` for `lease`."""
        self.lease = lease
        self.key = key
        self.source = source
        self.user = user
        self.password = password
        self.deadline = deadline
        self.refused = False
        """True if there was no capacity for it."""
        self.waiters: dict[object, Callable[[], None]] = {}
        """Requests that wait for the result: callbacks that route them again."""

    @property
    def subject(self) -> str:
        """The user, as delays know it."""
        return self.user.hex()


class PasswordChecks:
    """The checks of one edge."""

    def __init__(self, reactor: Reactor) -> None:
        """Start the thread with the first check."""
        self._reactor = reactor
        self._secret = secrets.token_bytes(32)
        self._delays = FailureDelays(WAIT_S_MAX, KNOWN_WAIT_S_MAX, forgiven=FAILURES_WITHOUT_DELAY)
        self._queue: FairQueue[PasswordCheck] = FairQueue(QUEUE_MAX)
        self._pending: dict[tuple[int, bytes], PasswordCheck] = {}
        self._thread = HashThread()

    def close(self) -> None:
        """Stop the thread, after the check in progress."""
        self._thread.close()

    def check(self, lease: Lease, access: HttpAccess, authorizations: list[bytes], address: str) -> Refusal | PasswordCheck | None:
        """Check the Authorization values of a request from `address`: None if they are right, a check to wait for, or the refusal."""
        if len(authorizations) != 1 or len(authorizations[0]) > CREDENTIALS_BYTES_MAX:
            return _unauthorized(lease, "it needs a user name and a password")
        key = hashlib.blake2b(authorizations[0], key=self._secret, digest_size=16).digest()
        if key in access.accepted:
            return None
        if key in access.rejected:
            return _unauthorized(lease, "the user name or the password is wrong")
        pending = self._pending.get((lease.epoch, key))
        if pending is not None:
            return Refusal("overloaded") if pending.refused else pending
        credentials = read_credentials(authorizations[0])
        if credentials is None:
            return _unauthorized(lease, "it needs a user name and a password")
        source = f"{lease.address} {source_key(address)}"
        check = PasswordCheck(lease, key, source, *credentials, self._reactor.now + CHECK_S_MAX)
        wait_s = self._delays.wait_s(source, check.subject, self._reactor.now)
        if wait_s > 0:
            return _delayed(wait_s)
        self._enqueue(check)
        return Refusal("overloaded") if check.refused else check

    def _enqueue(self, check: PasswordCheck) -> None:
        displaced = self._queue.push(check.lease.owner.token_id, check.source, check)
        if displaced is not check:
            self._pending[check.lease.epoch, check.key] = check
        if displaced is not None:
            self._refuse(displaced)
        self._reactor.call_soon(self._start_next)

    def _start_next(self) -> None:
        """Start the next check whose requests still wait, and whose source is not delayed by now."""
        now = self._reactor.now
        while not self._thread.running and (check := self._queue.pop()) is not None:
            access = check.lease.access
            if check.deadline < now:
                self._refuse(check)
                continue
            if access is None or not (check.waiters and access.users) or self._delays.wait_s(check.source, check.subject, now) > 0:
                self._settle(check)
                continue
            # An unknown user's password is compared with another one's hash, so that the time does not tell who exists.
            expected = access.users.get(check.user) or next(iter(access.users.values()))
            known = check.user in access.users
            self._thread.start(expected, check.password, partial(self._finish, check, access, known))

    def _finish(self, check: PasswordCheck, access: HttpAccess, known: bool, matches: bool) -> None:
        now = self._reactor.refresh_now()
        if matches and known:
            _remember(access.accepted, check.key)
            self._delays.record_success(check.source, check.subject, now)
        else:
            _remember(access.rejected, check.key)
            self._delays.record_failure(check.source, check.subject, now)
        self._settle(check)
        self._start_next()

    def _refuse(self, check: PasswordCheck) -> None:
        """Let the requests that wait for a check get 503: they find it refused when they are routed again, and only then is it forgotten."""
        check.refused = True
        self._wake(check)
        self._reactor.call_soon(lambda: self._forget(check))

    def _settle(self, check: PasswordCheck) -> None:
        """Route the requests again that wait for a check: they find its result, or why it was not made."""
        self._forget(check)
        self._wake(check)

    def _wake(self, check: PasswordCheck) -> None:
        woken = list(check.waiters.values())
        check.waiters.clear()
        for callback in woken:
            self._reactor.call_soon(callback)

    def _forget(self, check: PasswordCheck) -> None:
        if self._pending.get((check.lease.epoch, check.key)) is check:
            del self._pending[check.lease.epoch, check.key]


def read_credentials(value: bytes) -> tuple[bytes, bytes] | None:
    """Return user and password of an Authorization value, None if it is not valid Basic."""
    scheme, _, encoded = value.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(b" "), validate=True).partition(b":")
    except binascii.Error:
        return None
    return (user, password) if colon and len(password) <= PASSWORD_BYTES_MAX else None


def _remember(table: dict[bytes, None], key: bytes) -> None:
    if len(table) >= REMEMBERED_MAX:
        del table[next(iter(table))]
    table[key] = None


def _unauthorized(lease: Lease, why: str) -> Refusal:
    challenge: Field = (b"WWW-Authenticate", b'Basic realm="%b", charset="UTF-8"' % lease.address.encode("ascii"))
    return Refusal("unauthorized", why, (challenge,))


def _delayed(wait_s: float) -> Refusal:
    seconds = ceil(wait_s)
    return Refusal("too_many_failures", format_duration(seconds), ((b"Retry-After", b"%d" % seconds),))
