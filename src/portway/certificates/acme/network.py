"""HTTPS requests to a CA: signed, bounded in time and size, repeated for bad nonces, and with failures in plain words."""

import email.utils
import re
from typing import Any, NoReturn

import requests
from acme import errors, messages
from acme.client import ClientNetwork
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWK

from portway import __version__
from portway.certificates.acme.failures import OrderFailed, Scope
from portway.clock import Clock, monotonic

CONNECT_S_MAX, SILENCE_S_MAX, REQUEST_S_MAX = 10.0, 20.0, 30.0
"""Deadlines of one request: to connect, between two reads, and for its response as a whole. CAs reply within seconds."""

RESPONSE_BYTES_MAX = 256 * 1024
"""A chain has 5 kB, a directory 1 kB."""

NONCE_ATTEMPTS_MAX = 20
"""Attempts of a request with bad nonces: if half of all nonces are rejected, one request in a million fails."""

_TEXTS = {
    "accountDoesNotExist": "the CA has lost the account, which the next attempt creates again",
    "badCSR": "the CA rejects the certificate request",
    "badSignatureAlgorithm": "the CA does not support ES256 signatures",
    "caa": "CAA records of the domain do not allow this CA",
    "connection": "the CA cannot connect to this name",
    "dns": "the CA cannot resolve this name",
    "externalAccountRequired": "the CA requires an external account: give its key id and HMAC key with --acme-eab",
    "incorrectResponse": "the CA received another response than that of this server",
    "invalidContact": "the CA rejects the address of --acme-email",
    "rateLimited": "rate limit of the CA",
    "rejectedIdentifier": "the CA does not issue for this name",
    "tls": "the TLS handshake of the CA with this name failed",
    "unauthorized": "the CA received another response than that of this server",
    "unsupportedContact": "the CA rejects the address of --acme-email",
    "unsupportedIdentifier": "the CA does not issue for this kind of name",
    "userActionRequired": "the CA requires an action of the operator",
}
"""By the CA's error code (RFC 8555 section 6.7)."""

_OF_CA = frozenset(
    {
        "accountDoesNotExist",
        "serverInternal",
        "badNonce",
        "externalAccountRequired",
        "invalidContact",
        "unsupportedContact",
        "userActionRequired",
    }
)
"""Codes that say nothing about the name."""


class Network(ClientNetwork):
    """Connections to one CA. Not safe for threads."""

    def __init__(self, key: JWK, ca_file: str | None) -> None:
        """`ca_file` has the roots of a private CA's own HTTPS, instead of the system's."""
        super().__init__(key, alg=ES256, user_agent=f"portway/{__version__}")
        self._verify: str | bool = ca_file or True
        self.retry_after_s: float | None = None
        """Retry-After of the last response."""

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Post a signed object; repeat it with new nonces as long as the CA rejects them.

        Raises:
            OrderFailed: with the reason.
        """
        for attempt in range(NONCE_ATTEMPTS_MAX):
            try:
                return self._post_once(*args, **kwargs)
            except messages.Error as exc:
                if exc.code != "badNonce" or attempt == NONCE_ATTEMPTS_MAX - 1:
                    self._fail(exc)
            except errors.ConflictError:
                raise
            except (errors.Error, JoseError, requests.RequestException, ValueError) as exc:
                self._fail(exc)
        raise AssertionError

    def get(self, url: str, content_type: str = ClientNetwork.JSON_CONTENT_TYPE, **kwargs: Any) -> requests.Response:
        """Get a resource that needs no signature; raises as `post`."""
        try:
            return super().get(url, content_type=content_type, **kwargs)
        except (errors.Error, JoseError, requests.RequestException, ValueError) as exc:
            self._fail(exc)

    def _fail(self, exc: Exception) -> NoReturn:
        raise failure_of(exc, self.retry_after_s) from exc

    def _send_request(self, method: str, url: str, *_: Any, **kwargs: Any) -> requests.Response:
        """Send a request and read its response, both within the bounds."""
        if not url.startswith("https://"):
            raise errors.ClientError(f"the CA refers to {url!r}: expected https")
        self.retry_after_s = None
        headers = {"User-Agent": self.user_agent, "Accept-Language": "en", **kwargs.get("headers", {})}
        until = monotonic() + REQUEST_S_MAX
        with self.session.request(
            method,
            url,
            data=kwargs.get("data"),
            headers=headers,
            verify=self._verify,
            timeout=(CONNECT_S_MAX, SILENCE_S_MAX),
            allow_redirects=False,
            stream=True,
        ) as response:
            read_body(response, until, monotonic)
        response.encoding = "utf-8"
        self.retry_after_s = retry_after_s(response.headers.get("Retry-After"), response.headers.get("Date"))
        return response


def read_body(response: requests.Response, until: float, clock: Clock) -> None:
    """Read the body of a streamed response into it, within time and size."""
    body = bytearray()
    for piece in response.iter_content(16 * 1024):
        body += piece
        if len(body) > RESPONSE_BYTES_MAX:
            raise errors.ClientError(f"the CA's response has more than {RESPONSE_BYTES_MAX} bytes")
        if clock() > until:
            raise requests.Timeout(f"the CA's response was not complete after {REQUEST_S_MAX:g} s")
    response._content = bytes(body)  # noqa: SLF001 - where requests stores what it read itself


def retry_after_s(value: str | None, date: str | None) -> float | None:
    """Return Retry-After in seconds (RFC 9110 section 10.2.3); a date is compared with the CA's own clock."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        until = email.utils.parsedate_to_datetime(value)
        since = email.utils.parsedate_to_datetime(date or "")
    except (TypeError, ValueError):
        return None
    return max((until - since).total_seconds(), 0.0)


def failure_of(exc: Exception, retry_after: float | None = None) -> OrderFailed:
    """Return a failure in plain words."""
    if isinstance(exc, messages.Error):
        return problem_failure(exc, retry_after)
    if isinstance(exc, errors.ClientError) and exc.args and isinstance(exc.args[0], requests.Response):
        return OrderFailed(Scope.CA, f"the CA replied with status {exc.args[0].status_code} and no explanation", retry_after)
    if isinstance(exc, requests.exceptions.SSLError):
        return OrderFailed(
            Scope.CA, f"cannot verify the CA's own certificate: {_cause(exc)}; give the roots of a private CA with --acme-ca"
        )
    if isinstance(exc, requests.Timeout):
        return OrderFailed(Scope.CA, "the CA does not reply in time")
    if isinstance(exc, requests.RequestException):
        return OrderFailed(Scope.CA, f"cannot connect to the CA: {_cause(exc)}")
    return OrderFailed(Scope.CA, f"unexpected response of the CA: {exc}")


def problem_failure(problem: messages.Error, retry_after: float | None = None) -> OrderFailed:
    """Return a CA's problem document (RFC 8555 section 6.7) as a failure."""
    code = str(problem.typ).rpartition(":")[2]
    details = [problem.detail or problem.title or code, *(one.detail or "" for one in problem.subproblems or ())]
    reason = f"{_TEXTS.get(code, 'the CA refused')}: {'; '.join(filter(None, details))}"
    scope = Scope.LIMIT if code == "rateLimited" else Scope.CA if code in _OF_CA else Scope.NAME
    return OrderFailed(scope, reason, retry_after)


def _cause(exc: BaseException) -> str:
    """Return the innermost reason of an exception of requests, without its objects."""
    inner: BaseException = exc
    while True:
        deeper = getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)
        if not isinstance(deeper, BaseException):
            break
        inner = deeper
    text = str(getattr(inner, "strerror", None) or inner)
    return re.sub(r"\[[^]]*\] |\(_ssl\.c:\d+\)", "", text.rpartition(": ")[2]).strip() or type(inner).__name__
