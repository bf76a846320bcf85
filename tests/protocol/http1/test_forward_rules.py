"""Which fields a forward proxy passes on."""

import pytest

from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.field_rules import DROP
from portway.protocol.http1.field_table import DROPPED
from portway.protocol.http1.fields import REQUEST_LIMITS
from portway.protocol.http1.forward_rules import ForwardProxyRules
from portway.protocol.http1.request import parse_request_head
from portway.protocol.http1.serialise import request_lines

RULES = ForwardProxyRules(REQUEST_LIMITS)


def forwarded(*fields: str) -> list[str]:
    """Return the lines of the head that an origin gets, behind the request line."""
    head = "GET http://a.example/x?y HTTP/1.1\r\nHost: a.example\r\n" + "".join(f"{field}\r\n" for field in fields) + "\r\n"
    return request_lines(parse_request_head(head.encode(), RULES)).decode().split("\r\n")[1:-1]


NAMES = [name.replace("*", "x") for group in DROPPED for name in group.names if not name.startswith("proxy")]


@pytest.mark.parametrize("name", NAMES)
def test_what_an_edge_drops_from_strangers_passes_from_clients(name: str) -> None:
    assert forwarded(f"{name}: 1") == ["Host: a.example", f"{name}: 1"]


def test_fields_for_proxies_and_of_this_hop_end_here() -> None:
    fields = [
        "Proxy-Authorization: Basic eA==",
        "Proxy-Connection: keep-alive",
        "proxy-foo: 1",
        "Proxy: http://x/",
        "PROXY_AUTHORIZATION: a",
    ]
    fields += ["Connection: keep-alive, X-Mine", "X-Mine: 1", "Keep-Alive: timeout=5", "TE: gzip", "HTTP2-Settings: AAA"]
    assert forwarded(*fields, "Accept: */*") == ["Host: a.example", "Accept: */*"]


def test_nothing_is_added_and_loops_of_other_proxies_stay_visible() -> None:
    fields = ["CDN-Loop: other", "Via: 1.1 other", "X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1", "Max-Forwards: 3"]
    assert forwarded(*fields) == ["Host: a.example", *fields]


def test_via_is_added_where_it_is_configured() -> None:
    rules = ForwardProxyRules(REQUEST_LIMITS, via="me")
    head = parse_request_head(b"GET http://a.example/ HTTP/1.0\r\nVia: 1.1 other\r\n\r\n", rules)
    assert head.fields == [(b"Via", b"1.1 other"), (b"Via", b"1.0 me")]


@pytest.mark.parametrize("name", ["Content_Length", "Transfer.Encoding", "content length", "Transfer_Encoding"])
def test_alternative_spellings_of_framing_are_refused(name: str) -> None:
    with pytest.raises(MessageError):
        forwarded(f"{name}: 3")


def test_alternative_spellings_of_other_hop_fields_are_dropped() -> None:
    assert RULES.decide(b"Keep_Alive") == DROP
