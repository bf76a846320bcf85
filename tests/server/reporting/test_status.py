"""What `portway status` hears of a server."""

import msgspec

from portway.server.events import (
    HandshakesFailed,
    LeaseDown,
    LeaseUp,
    LinksChanged,
    Listening,
    LoginRefused,
    SessionDown,
    SessionUp,
    Stopping,
    VisitorsTurnedAway,
)
from portway.server.reporting.status import ServerStatus, ServerStatusTracker


def picture(board: ServerStatusTracker) -> ServerStatus:
    return msgspec.json.decode(board.to_json(), type=ServerStatus)


def test_the_board_knows_who_is_there_and_what_is_held() -> None:
    board = ServerStatusTracker(lambda: 5.0)
    board(Listening("127.0.0.1:8080", "127.0.0.1:4443", "127.0.0.1:4443", "20000-20999", "localhost"))
    board(SessionUp("s1", "laptop", "0.1.0", "127.0.0.1:5"))
    board(SessionUp("s2", "phone", "0.1.0", "127.0.0.1:6"))
    board(LinksChanged("s1", 3))
    board(LinksChanged("s0", 2))
    board(LeaseUp("s1", 1, "http", "http://a.localhost:8080"))
    board(LeaseUp("s2", 2, "tcp", "tcp://localhost:20001"))
    board(LoginRefused("127.0.0.1:7", "bad_credentials"))
    board(LoginRefused("127.0.0.1:8", "too_many_logins", 99))
    board(HandshakesFailed(1, "127.0.0.1:9", "no TLS"))
    board(HandshakesFailed(6, "127.0.0.1:9", "no TLS"))
    board(SessionDown("s2", "phone", "link lost"))
    board(LeaseDown(2, "tcp://localhost:20001"))
    board(VisitorsTurnedAway(1, 500, 512, "http"))
    board(VisitorsTurnedAway(4000, 512, 512, "tcp port 20001"))
    board(Stopping("SIGTERM"))

    status = picture(board)
    assert (status.domain, status.http, status.tcp_ports, status.since) == ("localhost", "127.0.0.1:8080", "20000-20999", 5.0)
    assert [(session.session, session.token, session.links) for session in status.sessions] == [("s1", "laptop", 3)]
    assert [(lease.url, lease.session) for lease in status.tunnels] == [("http://a.localhost:8080", "s1")]
    assert status.logins_refused == 100
    assert status.handshakes_failed == 7
    assert status.visitors_turned_away == 4001


def test_a_lease_that_another_session_took_over_is_one_lease() -> None:
    board = ServerStatusTracker(lambda: 5.0)
    board(LeaseUp("s1", 1, "http", "http://a"))
    board(LeaseUp("s2", 2, "http", "http://a"))

    assert [(lease.url, lease.session) for lease in picture(board).tunnels] == [("http://a", "s2")]
