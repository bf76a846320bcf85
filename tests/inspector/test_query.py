"""The language of the search box, against a real store."""

import pytest

from portway.errors import ConfigError
from portway.inspector.query import parse_query
from portway.inspector.store import Store

ROWS = (
    {"method": "GET", "target": "/api/users?page=1", "status": 200, "tunnel": "blog", "duration_ms": 12.0, "response_bytes": 100},
    {"method": "POST", "target": "/api/login", "status": 401, "tunnel": "api", "duration_ms": 1500.0, "response_bytes": 2_000_000},
    {
        "method": "GET",
        "target": "/100%_done",
        "status": 503,
        "tunnel": "api",
        "duration_ms": 3.0,
        "replay_of": 1,
        "error": "origin refused",
    },
)


@pytest.fixture(scope="module")
def store() -> Store:
    store = Store(None, 10_000_000)
    with store.transaction() as batch:
        for row in ROWS:
            head = f"{row['method']} {row['target']} HTTP/1.1\r\nHost: shop.test\r\nX-Trace: Abc-1\r\n\r\n".encode()
            common = {"url": "http://a", "origin": "x", "kind": "http", "state": "done", "started_at": 1.0, "request_head": head}
            number = batch.insert({**common, "host": "shop.test", "content_type": "application/json", **row})
            batch.add_body(number, 1, 10, "complete", "", b'{"name": "Zo\xc3\xab %s"}' % str(number).encode())
        batch.add_message(3, 0, 1.0, "text", "", 5, "complete", b"ping-pong")
    return store


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", [3, 2, 1]),
        ("method:GET", [3, 1]),
        ("method:get status:5xx", [3]),
        ("-method:GET", [2]),
        ("status:401", [2]),
        ("status:>=400", [3, 2]),
        ("status:200-299", [1]),
        ("path:/api", [2, 1]),
        ("path:*login", [2]),
        ("path:/100%_", [3]),
        ("tunnel:blog", [1]),
        ("tunnel:b*", [1]),
        ("duration:>1s", [2]),
        ("duration:<10ms", [3]),
        ("size:>1MB", [2]),
        ("header:x-trace", [3, 2, 1]),
        ("header:x-trace=abc-1", [3, 2, 1]),
        ("header:x-trace=other", []),
        ("header:trace", []),
        ("type:json", [3, 2, 1]),
        ("body:ZOË", []),
        ("body:Zoë", [3, 2, 1]),
        ("replay:yes", [3]),
        ("error:yes", [3]),
        ("error:refused", [3]),
        ("id:2", [2]),
        ("login", [2]),
        ("ping-pong", [3]),
        ('"Zoë 2"', [2]),
        ("shop.test", [3, 2, 1]),
        ('path:"/api/login"', [2]),
        ("host:shop.* method:POST", [2]),
        ("kind:websocket", []),
        ("100%", [3]),
        ("' OR 1=1 --", []),
    ],
)
def test_queries(store: Store, query: str, ids: list[int]) -> None:
    assert [row["id"] for row in store.page(parse_query(query))] == ids


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("colour:red", "unknown key 'colour'"),
        ("status:abc", "invalid status"),
        ("duration:>fast", "invalid duration"),
        ("size:>x", "invalid size"),
        ("id:x", "invalid id"),
        ("replay:maybe", "expected yes or no"),
        ('"open', "unclosed quotation mark"),
        ("a " * 30, "at most 20 terms"),
        ("a" * 2000, "too long"),
    ],
)
def test_invalid_queries(query: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_query(query)
