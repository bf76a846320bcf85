"""The facts about a request's path come from its head only."""

import pytest

from portway.demo.site_facts import edge_to_site_s, request_facts

NOW = 1_700_000_000.5


def test_the_edges_timestamp_gives_the_time_from_edge_to_site() -> None:
    assert edge_to_site_s("t=1700000000498000", NOW) == pytest.approx(0.002, abs=1e-6)


@pytest.mark.parametrize(
    "stamp",
    [
        None,
        "",
        "1700000000498000",
        "t=1700000000498",  # milliseconds, as some proxies send
        "t=1700000000.498",
        "t=17000000004980000",
        "t=\uff11\uff1700000000498000",
        "t=1700000000498000\n",
        "t=1700000000600000",  # later than now: another clock
        "t=1699999900000000",  # 100 s ago: another clock
    ],
)
def test_an_invalid_timestamp_gives_none(stamp: str | None) -> None:
    assert edge_to_site_s(stamp, NOW) is None


def test_forwarded_headers_are_shown_unchanged() -> None:
    headers = {
        "host": "demo.localhost:8080",
        "x-forwarded-for": "10.1.2.3",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "demo.localhost",
    }
    facts = request_facts(("GET", "/", "1.1"), headers, NOW)
    assert (facts.forwarded_for, facts.forwarded_proto, facts.forwarded_host) == ("10.1.2.3", "https", "demo.localhost")
    assert facts.tunnelled


def test_without_an_edge_the_request_is_not_tunnelled() -> None:
    facts = request_facts(("GET", "/", "1.1"), {"host": "127.0.0.1:3000"}, NOW)
    assert not facts.tunnelled
    assert facts.edge_to_site_s is None
