"""A connection that one visitor authenticated stays that visitor's (RFC 4559 section 6)."""

import shutil
import subprocess
import threading
from collections.abc import Iterator

import pytest

from tests.edge.http.kit import Stage
from tests.kit.ntlm_origin import NtlmOrigin

NEGOTIATE = "Authorization: Negotiate YII="
MINE = b"private page of alice"


@pytest.fixture
def ntlm() -> Iterator[NtlmOrigin]:
    with NtlmOrigin() as origin:
        yield origin


def test_a_connection_that_one_visitor_authenticated_serves_no_other(stage: Stage, ntlm: NtlmOrigin) -> None:
    stage.publish(ntlm.port)

    def story() -> None:
        with stage.caller() as alice, stage.caller() as mallory:
            assert mallory.get("/public").status == 200, "there is an idle stream for her to take"
            assert alice.get("/", "a.localhost", NEGOTIATE).body == MINE
            for _ in range(5):
                assert mallory.get().status == 401
                assert alice.get().body == MINE, "her connection stays authenticated"
        with stage.caller() as mallory:
            assert mallory.get().status == 401, "also once she has left"

    stage.play(story)


def test_a_response_that_authenticates_pins_the_connection_too(stage: Stage, ntlm: NtlmOrigin) -> None:
    stage.publish(ntlm.port)

    def story() -> None:
        with stage.caller() as carol, stage.caller() as mallory:
            assert carol.get("/persistent").body == b"hello carol"
            assert mallory.get().status == 401
            assert carol.get().body == b"private page of carol"

    stage.play(story)


def test_requests_with_a_body_stay_on_the_visitors_connection_and_do_not_ask_it_to_close(stage: Stage, ntlm: NtlmOrigin) -> None:
    stage.publish(ntlm.port)

    def story() -> None:
        with stage.caller() as alice:
            for fields in (NEGOTIATE + "\r\n", ""):
                alice.send(f"POST / HTTP/1.1\r\nHost: a.localhost\r\n{fields}Content-Length: 2\r\n\r\n!!".encode())
                assert alice.answer().body == MINE + b"!!"

    stage.play(story)
    assert ntlm.seen == [(0, "Negotiate", ""), (0, "", "")]


@pytest.mark.parametrize("rude", [False, True])
def test_it_ends_with_its_visitor(stage: Stage, ntlm: NtlmOrigin, rude: bool) -> None:
    stage.publish(ntlm.port)

    def story() -> None:
        with stage.caller() as alice:
            assert alice.get("/", "a.localhost", NEGOTIATE).body == MINE
            assert (ntlm.open, stage.idle_streams) == (1, 0)
            if rude:
                alice.reset()
        stage.eventually(lambda: ntlm.open == 0)
        stage.eventually(lambda: stage.edge.visitors == 0)

    stage.play(story)


def test_its_visitor_ends_with_it(stage: Stage, ntlm: NtlmOrigin) -> None:
    """As directly: a client that goes on in the middle of a handshake on another connection would fail."""
    stage.publish(ntlm.port)

    def story() -> None:
        with stage.caller() as alice:
            assert alice.get("/", "a.localhost", NEGOTIATE).body == MINE
            alice.send(b"GET /leave HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
            assert alice.answer().body == b"bye"
            assert alice.rest() == b"", "a proper end"

    stage.play(story)


def test_a_visitor_has_one_stream_of_its_own_at_most(stage: Stage, ntlm: NtlmOrigin) -> None:
    stage.publish(ntlm.port)
    stage.publish(ntlm.port, "b.localhost")

    def story() -> None:
        with stage.caller() as alice:
            for _ in range(2):
                for host in ("a.localhost", "b.localhost"):
                    assert alice.get("/", host, NEGOTIATE).body == MINE
                    assert alice.get("/", host).body == MINE
                    stage.eventually(lambda: ntlm.open == 1)

    stage.play(story)


def test_its_tunnel_may_be_granted_anew(stage: Stage, ntlm: NtlmOrigin) -> None:
    stage.publish(ntlm.port)

    def story() -> None:
        with stage.caller() as alice:
            assert alice.get("/", "a.localhost", NEGOTIATE).body == MINE
            stage.on_loop(lambda: stage.publish(ntlm.port))
            with stage.caller() as other:
                assert other.get("/public").status == 200
            assert alice.rest() == b""
        stage.eventually(lambda: ntlm.open == 1)

    stage.play(story)


def test_an_idle_pinned_stream_is_closed_for_queued_visitors(stage: Stage, ntlm: NtlmOrigin) -> None:
    agent = stage.publish(ntlm.port)
    if stage.kind != "mux":
        return  # only links have a limit

    def story() -> None:
        with stage.caller() as alice, stage.caller() as other:
            assert alice.get("/", "a.localhost", NEGOTIATE).body == MINE
            agent.streams_max = 1
            assert other.get("/public").body == b"public"
            assert alice.rest() == b""

    stage.play(story)


def test_the_three_legs_of_ntlm_with_curl_and_other_visitors_in_between(stage: Stage, ntlm: NtlmOrigin) -> None:
    curl = shutil.which("curl")
    if curl is None or "NTLM" not in subprocess.run([curl, "--version"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("needs a curl that speaks NTLM")
    stage.publish(ntlm.port)
    over = threading.Event()
    wrong: list[bytes] = []

    def others() -> None:
        with stage.caller() as visitor:
            while not over.is_set():
                heard = visitor.get()
                if heard.status != 401:
                    wrong.append(heard.body)

    def story() -> None:
        threads = [threading.Thread(target=others) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(5):
                url = f"http://a.localhost:{stage.port}/"
                resolve = ["--resolve", f"a.localhost:{stage.port}:127.0.0.1"]
                words = [curl, "-sS", "--max-time", "10", "--ntlm", "-u", "bob:secret", *resolve, url, url, "--data-binary", "!"]
                said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
                assert said == "private page of bob!" * 2
        finally:
            over.set()
            for thread in threads:
                thread.join(10)

    stage.play(story, deadline_s=60)
    assert not wrong
