"""Failures of plain HTTP: what the edge calls them, and what the client of a forward proxy gets."""

from dataclasses import dataclass

from portway.forward.outcomes import NAMES, Failure, Names, Outcome
from portway.protocol.http1.error_responses import ERROR_RESPONSES

CONNECT_PREFIX = "forward:"
"""Begins the codes of failures whose text is complete: those of policy, users and connectors."""


@dataclass(frozen=True, slots=True)
class HttpFailure(Failure):
    """A failure of one request, whose HTTP status is not that of its outcome."""

    http_names: Names = NAMES[Outcome.CONNECT_FAILED]

    @property
    def names(self) -> Names:
        """Its own names."""
        return self.http_names


_TARGET_FAILED = "If the service is yours, check its log."

_TEXTS: dict[str, tuple[Outcome, str, str]] = {
    "bad_request": (Outcome.BAD_REQUEST, "http_request_error", "The request is not accepted: {detail}."),
    "request_timeout": (
        Outcome.INITIATION_TIMEOUT,
        "http_request_error",
        "The request did not arrive in time. Send it again without pauses.",
    ),
    "head_too_large": (Outcome.BAD_REQUEST, "http_request_error", "The request is not accepted: {detail}. Send fewer and shorter fields."),
    "target_too_long": (Outcome.BAD_REQUEST, "http_request_error", "The request is not accepted: {detail}. Use a shorter URL."),
    "body_too_large": (Outcome.ESTABLISHED, "http_request_error", "The request body is not accepted: {detail}."),
    "expectation_failed": (Outcome.BAD_REQUEST, "http_request_error", "The request contained {detail}. Omit Expect, or send 100-continue."),
    "version_unsupported": (Outcome.BAD_REQUEST, "http_request_error", "The request used {detail}. Use HTTP/1.1."),
    "overloaded": (Outcome.INTERNAL, "connection_limit_reached", "The proxy is busy: try again in a few seconds."),
    "origin_timeout": (Outcome.ESTABLISHED, "http_response_timeout", "{host} did not respond in time. " + _TARGET_FAILED),
    "origin_closed": (
        Outcome.ESTABLISHED,
        "http_response_incomplete",
        "{host} closed the connection before it sent a response: it may expect HTTPS on this port, or have failed. " + _TARGET_FAILED,
    ),
    "origin_invalid": (
        Outcome.ESTABLISHED,
        "http_protocol_error",
        "{host} sent a response that is not valid HTTP/1.1: {detail}. Is it an HTTP service?",
    ),
    "origin_head_too_large": (Outcome.ESTABLISHED, "http_response_header_section_size", "{host} sent {detail}."),
    "agent_offline": (Outcome.CONNECT_FAILED, "destination_unavailable", "{host} cannot be reached at the moment: try again."),
}
"""Outcome, error token of Proxy-Status (RFC 9209 section 2.3) and text for codes of the edge. A failure after the connect is counted as
established: that is how the attempt to reach the target ended.
"""

_STATUS = {"agent_offline": 502}


def failure_of(code: str, host: str, detail: str) -> Failure:
    """Return the failure for an error code of the edge; `host` is the target, `detail` a phrase."""
    if code.startswith(CONNECT_PREFIX):
        return Failure(Outcome(code.removeprefix(CONNECT_PREFIX)), detail)
    response = ERROR_RESPONSES[code]
    outcome, error, text = _TEXTS.get(code, (Outcome.INTERNAL, "proxy_internal_error", response.text))
    status = _STATUS.get(code, response.status)
    phrase = NAMES[Outcome.CONNECT_FAILED].phrase if code in _STATUS else response.reason.decode()
    filled = text.format(host=host or "The target", detail=detail or "it breaks a rule")
    return HttpFailure(outcome, filled, http_names=Names(status, phrase, error, 1))


def code_of(failure: Failure) -> str:
    """Return the code under which the edge passes on a failure, with its text as detail."""
    return CONNECT_PREFIX + failure.outcome
