"""Diagnoses of an address where no agent gets online."""

import asyncio
import socket

import pytest

from portway.agent.diagnosis import address_of, describe_wrong_server, with_advice
from portway.errors import PeerError, PortwayError, UnavailableError
from portway.links.dial import DialError
from portway.links.tls import WrongServerError
from portway.protocol.join_string import JoinString
from tests.kit.http_origin import HttpOrigin
from tests.kit.origins import RawOrigin
from tests.kit.sockets import free_port


def join_at(port: int, host: str = "127.0.0.1") -> JoinString:
    return JoinString("abc", "s" * 43, host, port, b"p" * 32)


def found(port: int, error: PortwayError) -> str:
    return asyncio.run(describe_wrong_server(join_at(port), error))


BROKE = UnavailableError("cannot establish TLS: the connection ended without close_notify")


def test_ipv6_addresses_are_shown_in_brackets() -> None:
    assert address_of(join_at(4443, "::1")) == "[::1]:4443"
    assert address_of(join_at(4443, "example.org")) == "example.org:4443"


def test_a_web_server_is_recognised_by_its_response_whatever_the_last_error() -> None:
    with HttpOrigin() as origin:
        for error in (BROKE, WrongServerError("x"), DialError("it is silent", "do this", connected=True)):
            assert "is a web server; check host and port" in found(origin.port, error)


def test_the_visitors_listener_is_recognised_by_its_header_field() -> None:
    def be_an_edge(sock: socket.socket) -> None:
        sock.recv(1000)
        sock.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nPortway-Error: unknown_host\r\n\r\n")

    with RawOrigin(be_an_edge) as origin:
        assert "is where this Portway server accepts HTTP visitors; agents use another port" in found(origin.port, BROKE)


@pytest.mark.parametrize("error", [WrongServerError("ALPN None"), PeerError("yamux: version 72")])
def test_a_peer_with_another_protocol_is_not_a_portway_server(error: PortwayError) -> None:
    with RawOrigin(lambda sock: sock.sendall(b"SSH-2.0-x\r\n")) as origin:
        said = found(origin.port, error)
    assert "is not a Portway server, or only one of the two ends has --plaintext-links" in said
    assert str(error) in said


def test_a_server_that_may_be_available_later_gets_no_diagnosis() -> None:
    with RawOrigin(lambda sock: sock.close()) as balancer:
        assert found(balancer.port, BROKE) == ""
    assert found(free_port(), BROKE) == ""


def test_no_request_is_sent_after_a_failed_connect() -> None:
    with HttpOrigin() as origin:
        assert found(origin.port, DialError("cannot resolve the name", "do this", connected=False)) == ""
        assert not origin.requests


def test_a_failed_dial_comes_with_advice() -> None:
    assert with_advice(DialError("nobody is there", "Start the server", connected=False)) == "nobody is there. Start the server"
    assert with_advice(BROKE) == str(BROKE)
