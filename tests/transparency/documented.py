"""Intended differences, each with the row of docs/http.md that gives its reason."""

import re
from typing import NamedTuple


class Rule(NamedTuple):
    """An allowed difference: patterns for the case name and for the line."""

    row: str
    """The beginning of its row in docs/http.md, or a sentence there."""
    line: str
    case: str = ".*"


_FORWARDING = "x-forwarded-for|x-forwarded-host|x-forwarded-proto|forwarded"
_OF_ONE_HOP = "connection|keep-alive|proxy-connection|proxy-authorization|http2-settings|upgrade|x-hop"
_IDENTITY = "x-real-ip|true-client-ip|cf-connecting-ip|remote-user|x-remote-user|x-forwarded-user|proxy"

REQUESTS: tuple[Rule, ...] = (
    Rule("To each request the edge adds", rf"request field added: ({_FORWARDING}|x-request-start|cdn-loop)"),
    Rule(
        "a field that tells origins who a visitor is",
        rf"request field (missing|changed): ({_FORWARDING}|{_IDENTITY})(: .*)?",
        "fields-.*",
    ),
    Rule("Connection and the fields that it names", rf"request field missing: ({_OF_ONE_HOP})"),
    Rule("Connection and the fields that it names", "request field missing: connection"),
    Rule("a body", "request field added: connection"),
    Rule("HEAD, or an upgrade that the origin refuses", "request field added: connection", "method-HEAD|fields-h2c-upgrade"),
    Rule("an empty body with POST, PUT or PATCH", "request field added: content-length", "method-.*|framing-no-length-post"),
    Rule("white space around a value", "request field changed: (x-padded|x-tab|host): .*", "fields-padded|framing-host-padded"),
    Rule("white space around a value", "request field changed: content-length: '0005' -> '5'"),
    Rule("white space around a value", "request field changed: (expect|transfer-encoding): .*", "framing-expect-case|chunked-case"),
    Rule("HTTP/1.0", "request version: direct '(HTTP/)?1.0', through '(HTTP/)?1.1'", ".*1\\.0.*"),
    Rule("HTTP/1.0", "(version|framing|response field (added|missing)).*", "framing-(http-1.0|absolute-1.0).*"),
    Rule("a target in absolute form", "(request target: .*|request field added: host)", "framing-absolute.*"),
    Rule("a target in absolute form", "request (host|field changed: host): .*", "framing-absolute-.*"),
    Rule("a target in absolute form", "(status: direct 400, through 200|error None|end: .*|final count: .*)", "framing-absolute-.*"),
    Rule("an empty line before a request", "(status|error|end|request method|final count|response|framing).*", "framing-leading-crlf"),
    Rule("several requests at once", "(final count|end|bytes before the break): .*", "pipeline-.*"),
    Rule("an Upgrade to h2c", "(status: direct 101, through 200|error None)", "fields-h2c-upgrade"),
    Rule("a body in chunks", "request field (missing|added): (trailer|te)", "chunked-.*"),
)

RESPONSES: tuple[Rule, ...] = (
    Rule("Connection and the fields that it names", "response field (missing|added): (connection|keep-alive)"),
    Rule(
        "Connection and the fields that it names",
        "response field missing: (x-hop|upgrade)",
        "answer-fields-(connection-nominates|upgrade-offer)",
    ),
    Rule("Connection and the fields that it names", "response field respelled: (transfer-encoding|connection): .*"),
    Rule("an origin's connection that ends", "end: direct 'closed', through 'kept'"),
    Rule("an origin's connection that ends", "(end: direct 'cut'.*|final count: direct 0, through 1)", "fields-many-150"),
    Rule("HTTP/1.0, or no length", "framing: direct 'close', through 'chunked'"),
    Rule("HTTP/1.0, or no length", "response field added: transfer-encoding"),
    Rule("HTTP/1.0, or no length", "version: direct 'HTTP/1.0', through 'HTTP/1.1'"),
    Rule("`Proxy-Authenticate`", "response field missing: proxy-authenticate"),
    Rule("`Portway-Error`", "response field missing: portway-error"),
    Rule(
        "a length or a coding where there is no body",
        "response field missing: (content-length|transfer-encoding)",
        "answer-framing-no-content.*|answer-head-chunked",
    ),
    Rule("a body behind the response to HEAD", "end: direct 'unexpected bytes.*", "method-HEAD"),
    Rule("less than it announced, or a break", "end: direct 'cut', through 'reset'", "answer-break-.*"),
    Rule(
        "less than it announced, or a break",
        "(end: .*|final count: direct 0, through 1)",
        "answer-break-(head-cut|closed-without|reset-without).*",
    ),
    Rule(
        "a response before the request has ended",
        "(end: direct 'kept', through 'closed'|response field added: connection)",
        "answer-early-.*",
    ),
)

RULES = REQUESTS + RESPONSES

VARYING = (
    Rule("", "response field changed: content-length: .*", "method-HEAD"),
    Rule("", "(response field changed: content-type|body): .*", "server-range-several"),
)
"""Differences between two direct exchanges: the length of an echo that HEAD does not show, a boundary."""


def undocumented(case: str, found: list[str]) -> list[str]:
    """Return the differences of a case for which there is no rule."""
    rules = (*RULES, *VARYING)
    return [line for line in found if not any(re.fullmatch(rule.case, case) and re.fullmatch(rule.line, line, re.DOTALL) for rule in rules)]
