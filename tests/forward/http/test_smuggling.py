"""The hostile requests and responses of the edge's tests, sent to the proxy with an absolute target."""

import pytest

from tests.edge.http.kit import Origin, judge, say
from tests.edge.http.test_smuggling import REQUESTS, RESPONSES, hear_all
from tests.forward.http.kit import Client, absolute, url
from tests.forward.stage import Stage
from tests.protocol.http1.corpus import HostileResponse

NOT_FOR_A_PROXY = ("404", "405", "421", "508")
"""Outcomes that depend on names of tunnels or on the server's own id in CDN-Loop, and CONNECT."""


VALID_FOR_A_PROXY = ("no Host in HTTP/1.0", "empty Host")
"""An absolute target names the host itself."""


@pytest.mark.parametrize("cut", [0, 7])
def test_no_hostile_request_reaches_an_origin_as_anything_but_what_it_is(cut: int) -> None:
    judged = 0
    with Origin(lambda request, _sock: say(b"" if request.method == "HEAD" else b"fine")) as origin, Stage() as stage:
        for case in REQUESTS[:: 1 if not cut else 4]:
            wire = absolute(case.wire, origin.port)
            if wire == case.wire or case.outcome.startswith(NOT_FOR_A_PROXY) or case.name in VALID_FOR_A_PROXY:
                continue
            judged += 1
            before = len(origin.requests)
            with Client(stage) as client:
                try:
                    for at in range(0, len(wire), cut or len(wire)):
                        client.send(wire[at : at + (cut or len(wire))])
                except OSError:
                    pass
                heard = hear_all(client)
            came = origin.requests[before:]
            if case.outcome[:3].isdigit():
                assert cut or heard.startswith(b"HTTP/1.1 " + case.outcome[:3].encode()), (case.name, heard[:200])
            # Requests that follow on the same connection have no absolute target: they get 400.
            assert len(came) == (1 if case.outcome.startswith("pass") and int(case.outcome[5:]) else 0), (case.name, heard[:200])
            for request in came:
                assert "smuggled" not in request.target, case.name
                names = {name for name, _ in request.headers}
                assert not names & {"keep-alive", "proxy-connection", "proxy-authorization", "http2-settings", "x-secret", "proxy"}, (
                    case.name
                )
                assert request.all("connection") in ([], ["close"], ["Upgrade"], ["TE"], ["TE, close"]), case.name
        assert judged > 20
        assert not origin.faults
        for received in origin.wires:
            _, rest = judge(bytes(received))
            assert not rest or rest.startswith((b"POST / HTTP/1.1\r\n", b"DELETE "))


def test_a_hostile_response_harms_only_its_own_client() -> None:
    current: list[HostileResponse] = []

    def answer(request: object, sock: object) -> bytes | None:
        if request.target == "/clean":  # type: ignore[attr-defined]
            return say(b"clean")
        sock.sendall(current[0].wire)  # type: ignore[attr-defined]
        return None if "until the end" in current[0].name else b""

    with Origin(answer) as origin, Stage() as stage:
        for case in RESPONSES:
            current[:] = [case]
            with Client(stage) as client, Client(stage) as bystander:
                heard = client.ask(url(origin, "/dirty"), method=case.method.decode())
                if case.outcome == "bad":
                    assert (heard.status, "http_protocol_error" in heard.headers["proxy-status"]) == (502, True), case.name
                else:
                    assert heard.status == int(case.outcome[5:]), case.name
                    assert not {"keep-alive", "x-secret"} & heard.headers.keys()
                for _ in range(2):
                    clean = bystander.ask(url(origin, "/clean"))
                    assert (clean.status, clean.body) == (200, b"clean"), case.name
