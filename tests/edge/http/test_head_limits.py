"""Heads of realistic size pass, larger ones are refused with the limit's name, and the limits are settings."""

import socket
from collections.abc import Callable

import pytest

from portway.edge.http.settings import HttpEdgeSettings
from tests.edge.http.kit import Origin, Request, Stage, say


def test_a_request_may_have_many_fields_and_a_large_ticket(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)
    ticket = "Negotiate " + "YII" * (64_000 // 3)
    fields = [f"Cookie: c{number}={'x' * 20}" for number in range(400)]

    def story() -> None:
        with stage.caller() as visitor:
            assert visitor.get("/", "a.localhost", *fields, f"Authorization: {ticket}").status == 200

    stage.play(story)
    (request,) = origin.requests
    assert request.all("authorization") == [ticket]
    assert len(request.all("cookie")) == 400


def test_an_answer_may_have_many_cookies(stage: Stage) -> None:
    cookies = [b"Set-Cookie: c%d=%b" % (number, b"x" * 900) for number in range(120)]
    with Origin(lambda _request, _sock: say(b"body", *cookies)) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                for _ in range(2):
                    visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                    head = visitor.read_head()
                    assert head.count(b"\r\nSet-Cookie: c") == 120
                    assert visitor.read(4) == b"body"

        stage.play(story)


@pytest.mark.parametrize(
    ("fields", "code", "setting"),
    [
        ([f"A: {'x' * 8000}", f"B: {'x' * 3000}"], "head_too_large", "--max-request-head"),
        (["A: b"] * 60, "head_too_large", "--max-fields"),
    ],
)
def test_a_request_beyond_a_limit_gets_an_error_that_names_it(
    stage_with: Callable[[HttpEdgeSettings], Stage], origin: Origin, fields: list[str], code: str, setting: str
) -> None:
    stage = stage_with(HttpEdgeSettings(request_head_bytes_max=10_000, fields_max=50))
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            assert visitor.get("/", "a.localhost", *fields[:1]).status == 200
            heard = visitor.get("/", "a.localhost", *fields)
            assert (heard.status, heard.code) == (431, code)
            assert f"({setting})" in heard.body.decode()
            assert visitor.rest() == b""

    stage.play(story)
    assert len(origin.requests) == 1


@pytest.mark.parametrize(
    ("reply", "setting"),
    [
        (say(b"", *[b"Set-Cookie: " + b"x" * 900] * 12), b"--max-answer-head"),
        (say(b"", *[b"Set-Cookie: a=b"] * 60), b"--max-fields"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 400 + say(b""), b"--max-answer-head"),
    ],
    ids=["bytes", "fields", "interim answers"],
)
def test_a_response_beyond_a_limit_becomes_an_error_that_names_it(
    stage_with: Callable[[HttpEdgeSettings], Stage], reply: bytes, setting: bytes
) -> None:
    def answer(request: Request, sock: socket.socket) -> bytes:
        return say(b"fine") if request.target == "/fine" else reply

    stage = stage_with(HttpEdgeSettings(response_head_bytes_max=10_000, fields_max=50))
    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                heard = visitor.get("/large")
                assert (heard.status, heard.code) == (502, "origin_head_too_large")
                assert b"(" + setting + b")" in heard.body
                assert b"TLS" not in heard.body
                assert visitor.get("/fine").body == b"fine", "the visitor's connection is as good as before"

        stage.play(story)


def test_interim_answers_in_pieces_are_counted_whole(stage_with: Callable[[HttpEdgeSettings], Stage]) -> None:
    """Each comes in two writes, of which the last is one byte."""

    def answer(_request: Request, sock: socket.socket) -> bytes | None:
        try:
            for _ in range(2000):
                sock.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </" + b"a" * 100 + b">\r\n\r")
                sock.sendall(b"\n")
        except OSError:
            pass
        return None

    stage = stage_with(HttpEdgeSettings(response_head_bytes_max=10_000))
    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                heard = visitor.get("/")
                assert (heard.status, heard.code) == (502, "origin_head_too_large")
                assert len(heard.interim) < 10_000 / 100

        stage.play(story)
