"""The server's state for `portway status`."""

import msgspec

from portway.certificates.events import CertificateUp
from portway.edge.events import VisitorsTurnedAway
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
)
from portway.server.reporting.status import ServerStatus, ServerStatusTracker


def status_of(tracker: ServerStatusTracker) -> ServerStatus:
    return msgspec.json.decode(tracker.to_json(), type=ServerStatus)


def test_the_state_follows_the_events() -> None:
    tracker = ServerStatusTracker(lambda: 5.0)
    tracker(Listening("127.0.0.1:8080", "127.0.0.1:4443", "127.0.0.1:4443", "20000-20999", "localhost"))
    tracker(SessionUp("s1", "laptop", "0.1.0", "127.0.0.1:5"))
    tracker(SessionUp("s2", "phone", "0.1.0", "127.0.0.1:6"))
    tracker(LinksChanged("s1", 3))
    tracker(LinksChanged("s0", 2))
    tracker(LeaseUp("s1", 1, "http", "http://a.localhost:8080"))
    tracker(LeaseUp("s2", 2, "tcp", "tcp://localhost:20001"))
    tracker(LoginRefused("127.0.0.1:7", "bad_credentials"))
    tracker(LoginRefused("127.0.0.1:8", "too_many_logins", 99))
    tracker(HandshakesFailed(1, "127.0.0.1:9", "no TLS"))
    tracker(HandshakesFailed(6, "127.0.0.1:9", "no TLS"))
    tracker(SessionDown("s2", "phone", "link lost"))
    tracker(LeaseDown(2, "tcp://localhost:20001"))
    tracker(VisitorsTurnedAway(1, 500, 512, "http"))
    tracker(VisitorsTurnedAway(4000, 512, 512, "tcp port 20001"))
    tracker(CertificateUp("files", "/etc/a.pem", ("a.example.org",), "Example CA", 9.0))
    tracker(Stopping("SIGTERM"))

    status = status_of(tracker)
    assert (status.domain, status.http, status.tcp_ports, status.since) == ("localhost", "127.0.0.1:8080", "20000-20999", 5.0)
    assert [(session.session, session.token, session.links) for session in status.sessions] == [("s1", "laptop", 3)]
    assert [(lease.url, lease.session) for lease in status.tunnels] == [("http://a.localhost:8080", "s1")]
    assert status.logins_refused == 100
    assert status.handshakes_failed == 7
    assert status.visitors_turned_away == 4001
    assert [(row.names, row.not_after) for row in status.certificates] == [(("a.example.org",), 9.0)]


def test_a_lease_taken_over_by_another_session_is_listed_once() -> None:
    tracker = ServerStatusTracker(lambda: 5.0)
    tracker(LeaseUp("s1", 1, "http", "http://a"))
    tracker(LeaseUp("s2", 2, "http", "http://a"))

    assert [(lease.url, lease.session) for lease in status_of(tracker).tunnels] == [("http://a", "s2")]
