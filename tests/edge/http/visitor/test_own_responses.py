"""Responses to a CA's HTTP-01 challenges."""

import pytest

from portway.edge.http.access_control import PublicHttps
from tests.edge.http.kit import Origin, Stage

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
PATH = f"/.well-known/acme-challenge/{TOKEN}"
HOST = "new.example.org"


def offer(stage: Stage) -> list[tuple[str, str]]:
    """Let an order for HOST be pending; return what was looked up."""
    asked = []

    def http_challenge(name: str, token: str) -> bytes | None:
        asked.append((name, token))
        return b"authorization" if (name, token) == (HOST, TOKEN) else None

    stage.edge.access.https = PublicHttps(443, lambda _name: True, http_challenge)
    return asked


def test_a_pending_order_is_answered_for_a_name_without_a_tunnel(stage: Stage) -> None:
    asked = offer(stage)

    def story() -> None:
        with stage.caller() as visitor:
            answer = visitor.get(PATH, "New.Example.org:80")
            assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"authorization", "application/octet-stream")
            assert visitor.get(PATH, HOST, method="HEAD").headers["content-length"] == "13"
            assert visitor.get(PATH, "other.example.org").status == 404
            assert visitor.get(PATH + "/x", HOST).status == 404
            assert visitor.get(PATH, HOST, method="POST").status == 404
            assert visitor.get(PATH, HOST, "X-Long: " + "x" * 3000).status == 200

    stage.play(story)
    assert asked[:3] == [(HOST, TOKEN), (HOST, TOKEN), ("other.example.org", TOKEN)]
    assert len(asked) == 4


def test_without_a_pending_order_the_path_is_the_tunnel_s(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)
    offer(stage)
    stage.edge.access.https = PublicHttps(443, lambda _name: False, stage.edge.access.https.http_challenge)  # type: ignore[union-attr]

    def story() -> None:
        with stage.caller() as visitor:
            assert visitor.get("/").body == b"/"
            assert visitor.get(PATH).body == PATH.encode()
            assert visitor.get(PATH, HOST).body == b"authorization"
            assert visitor.get(PATH, "not a host").status == 400

    stage.play(story)


def test_a_challenge_is_neither_redirected_nor_refused(stage: Stage, origin: Origin) -> None:
    stage.publish(origin, HOST)
    offer(stage)

    def story() -> None:
        with stage.caller() as visitor:
            assert visitor.get("/", HOST).status == 308
            assert visitor.get(PATH, HOST).status == 200
            assert visitor.get(PATH + "x", HOST).status == 308

    stage.play(story)


@pytest.mark.parametrize("version", [0, 1])
def test_a_challenge_keeps_the_connection_as_asked(stage: Stage, version: int) -> None:
    offer(stage)

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(f"GET {PATH} HTTP/1.{version}\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
            assert visitor.answer().headers["connection"] == "close"
            assert visitor.rest() == b""

    stage.play(story)
