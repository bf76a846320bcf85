"""Requests find their origin, each by its own host."""

import re

from tests.edge.http.kit import Origin, Stage, say


def test_a_request_goes_to_the_origin_that_its_host_names(stage: Stage, origin: Origin) -> None:
    agent = stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            answer = visitor.get("/x?y=1", "A.LocalHost.:8080")
            assert (answer.status, answer.body) == (200, b"/x?y=1")

    stage.play(story)
    assert len(origin.requests) == 1
    request = origin.requests[0]
    assert request.all("host") == ["A.LocalHost.:8080"]
    assert request.all("x-forwarded-for") == ["127.0.0.1"]
    assert request.all("x-forwarded-host") == ["A.LocalHost.:8080"]
    assert request.all("x-forwarded-proto") == ["http"]
    assert request.all("forwarded") == ['for=127.0.0.1;host="A.LocalHost.:8080";proto=http']
    (start,) = request.all("x-request-start")
    assert re.fullmatch(r"t=\d{16}", start)
    assert agent.notes == [("GET", "/x?y=1", 200)]


def test_one_connection_serves_many_hosts_request_by_request(stage: Stage) -> None:
    with (
        Origin(lambda r, _: say(b"first " + r.target.encode())) as first,
        Origin(lambda r, _: say(b"second " + r.target.encode())) as second,
    ):
        stage.publish(first, "a.localhost")
        stage.publish(second, "b.localhost")

        def story() -> None:
            with stage.caller() as visitor:
                for turn in range(20):
                    assert visitor.get(f"/{turn}", "a.localhost").body == f"first /{turn}".encode()
                    assert visitor.get(f"/{turn}", "b.localhost").body == f"second /{turn}".encode()

        stage.play(story)
        assert len(first.wires) == len(second.wires) == 1


def test_an_unknown_host_gets_an_error_and_the_connection_goes_on(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            answer = visitor.get("/", "nobody.localhost")
            assert (answer.status, answer.code) == (404, "unknown_host")
            assert b"nobody.localhost" in answer.body
            assert visitor.get("/after").body == b"/after"
            answer = visitor.get("/", "nobody.localhost", "Accept: text/html")
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert visitor.get("/", "nobody.localhost", method="HEAD").body == b""
            assert visitor.get("/after").body == b"/after"

    stage.play(story)


def test_requests_that_were_sent_together_are_answered_in_order(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            hosts = ["a.localhost", "nobody.localhost"]
            visitor.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: %b\r\n\r\n" % (i, hosts[i % 2].encode()) for i in range(200)))
            for turn in range(200):
                answer = visitor.answer()
                assert (answer.status, answer.body) == (200, b"/%d" % turn) if turn % 2 == 0 else answer.status == 404

    stage.play(story)
    assert [request.target for request in origin.requests] == [f"/{i}" for i in range(0, 200, 2)]
    assert len(origin.wires) == 1


def test_a_head_may_come_byte_by_byte(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            for turn in range(3):
                for byte in b"GET /%d HTTP/1.1\r\nHost: a.localhost\r\nX: y\r\n\r\n" % turn:
                    visitor.send(bytes([byte]))
                assert visitor.answer().body == b"/%d" % turn

    stage.play(story)


def test_an_http_1_0_visitor_gets_an_http_1_0_response(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(b"GET /1 HTTP/1.0\r\nHost: a.localhost\r\nConnection: keep-alive\r\n\r\n")
            answer = visitor.answer()
            assert (answer.body, answer.headers["connection"]) == (b"/1", "keep-alive")
            visitor.send(b"GET /2 HTTP/1.0\r\nHost: a.localhost\r\n\r\n")
            assert visitor.answer().headers["connection"] == "close"
            assert visitor.rest() == b""

    stage.play(story)


def test_close_is_honoured_in_both_directions(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            assert visitor.get("/1", "a.localhost", "Connection: close").headers["connection"] == "close"
            assert visitor.rest() == b""
        stage.eventually(lambda: stage.edge.visitors == 0)
        stage.eventually(lambda: stage.idle_streams == 1)

    stage.play(story)


def test_a_visitor_that_ends_after_its_request_still_gets_the_answer(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(b"GET /half HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
            visitor.end()
            assert visitor.answer().body == b"/half"
            assert visitor.rest() == b""

    stage.play(story)
