"""IPC messages survive encoding, and invalid ones are errors."""

from pathlib import Path
from typing import get_args

import pytest

from portway.config.values import ListenAddress, PortRange
from portway.errors import MisuseError
from portway.protocol.control.messages import Claim, Granted, Refused
from portway.server.settings import ServerSettings
from portway.server.workers import messages as m

CLAIM = Claim(id=1, kind="http", name="app")
GRANTED = Granted(id=1, tunnel=7, epoch=2**63, url="http://app.localhost", name="app")
REFUSED = Refused(id=1, code="name_taken", reason="it is")

TO_WORKER: list[m.ToWorker] = [
    m.Configure(1, True, b"settings", "id"),
    m.RoutesComplete(),
    m.RouteChanged(3, "http", "app.localhost", 7, 9, 2, "session"),
    m.RouteRemoved(4, "tcp", "20001"),
    m.Listen("20001"),
    m.Unlisten("20001"),
    m.WorkerJoined(2),
    m.WorkerLeft(2),
    m.AgentAssigned("192.0.2.7", 4711),
    m.ClaimResponse(5, GRANTED),
    m.Replace("session", "app.localhost"),
    m.Probe(6, "session", 1.0),
    m.ChallengePending(7, "app.example.org", "token", "body", b"pem"),
    m.ChallengeEnded("app.example.org"),
    m.CertificateAwaited("app.example.org", True),
    m.CertificateIssued(b"pem"),
    m.Ping(),
    m.Reload(),
    m.Stop("because"),
]
TO_SUPERVISOR: list[m.ToSupervisor] = [
    m.Ready(),
    m.EventReported("WorkerUp", {"worker": 1, "pid": 2}),
    m.RouteAck(3),
    m.ClaimRequest(5, "session", "token", b"identity", CLAIM),
    m.Released("session", 7),
    m.SessionLost("session"),
    m.TokenRevoked("token"),
    m.Probed(6, True),
    m.ChallengeAck(7),
    m.Pong(),
]


@pytest.mark.parametrize("message", [*TO_WORKER, m.ClaimResponse(5, REFUSED), m.ClaimResponse(5, None)], ids=repr)
def test_messages_of_the_supervisor_arrive(message: m.ToWorker) -> None:
    assert m.decode_for_worker(memoryview(m.encode(message))) == message


@pytest.mark.parametrize("message", TO_SUPERVISOR, ids=repr)
def test_messages_of_a_worker_arrive(message: m.ToSupervisor) -> None:
    assert m.decode_for_supervisor(memoryview(m.encode(message))) == message


def test_every_message_is_tried_here() -> None:
    assert {type(message) for message in TO_WORKER} == set(get_args(m.ToWorker))
    assert {type(message) for message in TO_SUPERVISOR} == set(get_args(m.ToSupervisor))


def test_a_visitor_arrives_with_bytes_that_outlive_the_buffer_they_came_in() -> None:
    passed = m.VisitorHandedOff("http", "app.localhost", "192.0.2.7", 4711, b"GET / HTTP/1.1\r\n\r\n", 1)
    buffer = bytearray(m.encode(passed))
    heard = m.decode_handoff(memoryview(buffer))
    buffer[:] = bytes(len(buffer))

    assert heard == passed


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x80", m.encode(m.Pong())[:-1]])
def test_nonsense_is_a_fault_of_our_own(data: bytes) -> None:
    for read in (m.decode_for_worker, m.decode_for_supervisor, m.decode_handoff):
        with pytest.raises(MisuseError):
            read(memoryview(data))


def test_a_message_for_another_recipient_is_invalid() -> None:
    with pytest.raises(MisuseError):
        m.decode_for_worker(memoryview(m.encode(m.Pong())))
    with pytest.raises(MisuseError):
        m.decode_for_supervisor(memoryview(m.encode(m.Ping())))


def test_settings_survive_the_transfer_to_a_worker(tmp_path: Path) -> None:
    settings = ServerSettings(
        domain="tunnel.example.org",
        http=ListenAddress("", 80),
        agents=ListenAddress("::1", 4443),
        advertise=ListenAddress("tunnel.example.org", 443),
        tcp_ports=PortRange(21000, 21009),
        data=tmp_path / "ä b",
        plaintext_links=True,
        agents_certificate=tmp_path / "c.pem",
        agents_key=tmp_path / "k.pem",
        hold_s=1.5,
        workers=3,
        trusted_proxies=("10.0.0.0/8", "::1/128"),
        forwarded_fields="forwarded",
        trusted_header=("remote-*",),
        proxy_protocol=("http", "tcp"),
        public_url="https://tunnel.example.org",
    )

    assert m.decode_settings(m.encode_settings(settings)) == settings


def test_an_identity_is_not_shown() -> None:
    assert "secret" not in repr(m.ClaimRequest(1, "s", "laptop", b"secret identity", CLAIM))
