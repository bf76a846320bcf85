"""A request that has not reached its origin, as the agent reports, is sent again, whatever it is; any other is not."""

import pytest

from tests.edge.http.kit import Origin, Stage

POST = b"POST /once HTTP/1.1\r\nHost: a.localhost\r\n\r\n"
POST_WITH_BODY = b"POST /once HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 1\r\n\r\n."


@pytest.mark.parametrize(
    ("wire", "tells", "hangs_up", "outcome"),
    [
        (POST, True, 1, (200, "")),
        (POST, True, 2, (502, "origin_closed")),
        (POST, False, 1, (502, "origin_closed")),
        (POST_WITH_BODY, True, 1, (502, "origin_closed")),
    ],
    ids=["told", "told twice", "not told", "a body that is gone"],
)
def test_what_may_be_sent_again(stage: Stage, origin: Origin, wire: bytes, tells: bool, hangs_up: int, outcome: tuple[int, str]) -> None:
    agent = stage.publish(origin)
    if stage.kind != "mux":
        return  # only streams report it
    agent.tells, agent.hangs_up = tells, hangs_up

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(wire)
            heard = visitor.answer()
            assert (heard.status, heard.code) == outcome
            assert visitor.get("/next").status in (200, 502)

    stage.play(story)
    assert [request.target for request in origin.requests].count("/once") == (outcome[0] == 200)


def test_an_upgraded_connection_may_half_close(stage: Stage) -> None:
    """The origin ends and still reads: what the visitor sends then is not dropped, as it would be for the next request."""
    heard = []

    def answer(request, sock):  # type: ignore[no-untyped-def]
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\nbye")
        sock.shutdown(1)
        while data := sock.recv(100):
            heard.append(data)

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n")
                visitor.read_head()
                assert visitor.rest() == b"bye"
                visitor.send(b"one more thing")
                visitor.end()
            stage.eventually(lambda: b"".join(heard) == b"one more thing")

        stage.play(story)
