"""Hostile requests and responses, judged by what reaches the other side."""

import re
from collections.abc import Callable

import pytest

from portway.edge.http.settings import HttpEdgeSettings
from tests.edge.http.kit import Caller, Origin, Request, Stage, judge, say
from tests.protocol.http1.corpus import HostileRequest, HostileResponse, hostile_requests, hostile_responses

REQUESTS = hostile_requests()
RESPONSES = hostile_responses()


def hear_all(visitor: Caller) -> bytes:
    """Half-close, and return all that is answered; a reset ends it, too."""
    heard = b""
    try:
        visitor.end()
        while data := visitor.sock.recv(1 << 16):
            heard += data
    except OSError:
        pass
    return heard


def names_in_order(request: Request) -> list[str]:
    """Return the names of all fields."""
    return [name for name, _ in request.headers]


def check_truth(request: Request) -> None:
    """Check that the origin gets the edge's own fields, each once, and nothing of the previous hop."""
    assert request.all("x-forwarded-for") == ["127.0.0.1"]
    assert request.all("x-forwarded-proto") == ["http"]
    assert request.all("x-forwarded-host") == request.all("host")
    assert len(request.all("forwarded")) == len(request.all("x-request-start")) == 1
    assert "6.6.6" not in str(request.headers) + str(request.trailers)
    assert "smuggled" not in request.target
    names = {name for name, _ in request.headers}
    assert not names & {"keep-alive", "proxy-connection", "proxy-authorization", "http2-settings", "x-real-ip", "x-secret"}
    assert not [name for name in names if name.startswith("x-forwarded-") and name[12:] not in ("for", "proto", "host")]
    assert request.all("connection") in ([], ["close"], ["Upgrade"], ["TE"], ["TE, close"])
    assert request.all("te") == (["trailers"] if "TE" in str(request.all("connection")) else [])
    assert request.all("trailer") in ([], ["X-Checksum"])
    assert request.all("upgrade") in ([], ["websocket"], ["tcp"])
    # An origin that takes every separator for a hyphen finds no second Content-Length, and no identity from another source.
    plain = [re.sub("[^a-z0-9]", "-", name) for name, _ in request.headers]
    assert not {"script-name", "path-info", "proxy"} & set(plain)
    assert [name for name in plain if name.startswith(("x-forwarded-", "content-length", "transfer-encoding"))] == [
        name for name in names_in_order(request) if name.startswith(("x-forwarded-", "content-length", "transfer-encoding"))
    ]


@pytest.mark.parametrize("pooled", [False, True])
def test_no_hostile_request_reaches_an_origin_as_anything_but_what_it_is(
    stage_with: Callable[[HttpEdgeSettings], Stage], pooled: bool
) -> None:
    stage = stage_with(HttpEdgeSettings(pool_idle_max=64 if pooled else 0))
    with Origin(lambda request, _sock: say(b"" if request.method == "HEAD" else b"fine")) as origin:
        stage.publish(origin)

        def attack(case: HostileRequest) -> None:
            before = len(origin.requests)
            with stage.caller() as visitor:
                visitor.send(case.wire)
                heard = hear_all(visitor)
            stage.eventually(lambda: stage.edge.visitors == 0)
            came = origin.requests[before:]
            if case.outcome[:3].isdigit():
                assert heard.startswith(b"HTTP/1.1 " + case.outcome[:3].encode()), heard[:100]
                assert b"\r\nPortway-Error: " + case.outcome[4:].encode() + b"\r\n" in heard
                assert heard.count(b"\r\nPortway-Error: ") == heard.count(b"\r\nContent-Length: ") == 1
            if case.outcome.startswith("pass"):
                assert len(came) == int(case.outcome[5:])
                assert heard.count(b"HTTP/1.1 200 OK") == len(came)
                for request in came:
                    check_truth(request)
            else:
                assert not came

        def story() -> None:
            for case in REQUESTS:
                try:
                    attack(case)
                except AssertionError as exc:
                    raise AssertionError(f"{case.name}: {exc}") from exc

        stage.play(story, deadline_s=60)
        assert not origin.faults
        for wire in origin.wires:
            requests, rest = judge(bytes(wire))
            for request in requests:
                check_truth(request)
            # An incomplete request stands last on its connection, or is the connection's only one.
            assert not rest or rest.startswith((b"POST / HTTP/1.1\r\n", b"DELETE "))


@pytest.mark.parametrize("cut", [1, 7])
def test_cuts_change_nothing(stage_with: Callable[[HttpEdgeSettings], Stage], origin: Origin, cut: int) -> None:
    stage = stage_with(HttpEdgeSettings())
    stage.publish(origin)

    def story() -> None:
        for case in REQUESTS[:: 5 if cut == 1 else 3]:
            before = len(origin.requests)
            with stage.caller() as visitor:
                try:
                    for at in range(0, len(case.wire), cut):
                        visitor.send(case.wire[at : at + cut])
                except OSError:
                    pass
                hear_all(visitor)
            stage.eventually(lambda: stage.edge.visitors == 0)
            expected = int(case.outcome[5:]) if case.outcome.startswith("pass") else 0
            assert len(origin.requests) - before == expected, case.name

    stage.play(story, deadline_s=60)


@pytest.mark.parametrize("kind", ["mux", "socket"])
def test_a_hostile_response_harms_only_its_own_visitor(stage_with: Callable[[HttpEdgeSettings], Stage], kind: str) -> None:
    """One tenant's answers, and after each one a second visitor, which must see nothing of them."""
    stage = stage_with(HttpEdgeSettings())
    stage.kind = kind
    cases = iter(RESPONSES)
    current: list[HostileResponse] = []

    def answer(request: Request, _sock: object) -> bytes | None:
        if request.target == "/clean":
            return say(b"clean")
        _sock.sendall(current[0].wire)  # type: ignore[attr-defined]
        return None if "until the end" in current[0].name else b""

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            for case in cases:
                current[:] = [case]
                with stage.caller() as visitor, stage.caller() as bystander:
                    heard = visitor.get("/dirty", method=case.method.decode())
                    if case.outcome == "bad":
                        assert (heard.status, heard.code) == (502, "origin_invalid"), case.name
                    else:
                        assert heard.status == int(case.outcome[5:]), case.name
                        assert heard.code == ""
                        assert heard.body == (b"abc" if case.method == b"GET" and heard.status not in (204, 304) else b""), case.name
                        assert not {"keep-alive", "x-secret"} & heard.headers.keys()
                    assert heard.headers.get("trailer", "A") == "A"
                    assert heard.status == 426 or "upgrade" not in heard.headers
                    for _ in range(2):
                        clean = bystander.get("/clean")
                        assert (clean.status, clean.body) == (200, b"clean"), case.name

        stage.play(story, deadline_s=60)
