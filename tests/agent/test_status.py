"""What `portway status` gets from an agent."""

import msgspec

from portway.agent.events import (
    Connecting,
    LinksChanged,
    Offline,
    Online,
    Refused,
    RelayDone,
    RequestLine,
    RequestsOmitted,
    RoundTrip,
    TunnelUp,
)
from portway.agent.status import AgentStatus, AgentStatusTracker


def picture(board: AgentStatusTracker) -> AgentStatus:
    return msgspec.json.decode(board.to_json(), type=AgentStatus)


def test_the_status_follows_the_events_of_a_session() -> None:
    now = 100.0
    board = AgentStatusTracker("example.org:4443", lambda: now)
    assert (picture(board).state, picture(board).server, picture(board).since) == ("connecting", "example.org:4443", 100.0)

    now = 101.0
    board(Connecting("10.0.0.1:4443"))
    board(Online("s1", "0.1.0", 0.002))
    assert (picture(board).links, picture(board).links_draining) == (1, 0)
    board(LinksChanged(3, 1))
    assert (picture(board).links, picture(board).links_draining) == (3, 1)
    board(RoundTrip(0.001))
    assert picture(board).rtt_s == 0.001
    board(TunnelUp(1, "http://a", "a", 0, "127.0.0.1:3000"))
    board(RequestLine("GET", "/", 200, 0.1, 1))
    board(RelayDone(1, 10, 20, 1.0, "closed"))
    board(RelayDone(1, 10, 20, 1.0, "a connection of an http tunnel", kind="http"))
    board(RelayDone(99, 10, 20, 1.0, "of a tunnel that is gone"))
    board(RequestsOmitted(3))
    status = picture(board)
    assert (status.state, status.since, status.session, status.server, status.missed) == ("online", 101.0, "s1", "10.0.0.1:4443", 3)
    assert [(t.url, t.requests, t.relays, t.bytes_in, t.bytes_out) for t in status.tunnels] == [("http://a", 1, 1, 20, 40)]

    board(Offline("link lost", 1.0))
    assert (picture(board).state, picture(board).problem, picture(board).links) == ("offline", "link lost", 0)


def test_counts_continue_after_a_reconnect_and_old_tunnels_are_removed() -> None:
    board = AgentStatusTracker("h:1", lambda: 0.0)
    for session in range(50):
        board(Online(f"s{session}", "0.1.0"))
        board(TunnelUp(session, "http://a", "a", 0, "3000"))
        board(TunnelUp(1000 + session, f"http://random{session}", "", 0, "3001"))
        board(RequestLine("GET", "/", 200, 0.1, session))

    status = picture(board)
    assert [(tunnel.url, tunnel.requests) for tunnel in status.tunnels] == [("http://a", 50), ("http://random49", 0)]


def test_a_refusal_is_kept_with_its_reason() -> None:
    board = AgentStatusTracker("h:1", lambda: 0.0)
    board(Refused("replaced", "another session took over"))

    assert (picture(board).state, picture(board).problem) == ("refused", "another session took over")
