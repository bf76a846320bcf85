"""Connections that are closed before their handshake: the peer gets the reason, not a reset that overtakes it."""

import pytest

from portway.edge.tls.refusals import PLAIN_HTTP_RESPONSE, refuse, send_alert
from portway.protocol.tls_alert import Alert, FirstProtocol, HelloError, alert_record
from tests.kit.loops import EngineLoop
from tests.kit.sockets import read_to_end, tcp_pair


def test_an_alert_arrives_although_bytes_were_unread(engine: EngineLoop) -> None:
    near, far = tcp_pair()
    near.setblocking(False)
    far.sendall(bytes(1000))
    send_alert(engine.reactor, near, Alert.UNRECOGNIZED_NAME)
    engine.settle()
    assert read_to_end(far) == alert_record(Alert.UNRECOGNIZED_NAME)
    far.close()


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (HelloError("no", Alert.DECODE_ERROR), alert_record(Alert.DECODE_ERROR)),
        (HelloError("no", None, FirstProtocol.HTTP), PLAIN_HTTP_RESPONSE),
    ],
    ids=["TLS", "HTTP"],
)
def test_the_answer_is_in_the_peers_protocol(engine: EngineLoop, error: HelloError, answer: bytes) -> None:
    near, far = tcp_pair()
    near.setblocking(False)
    refuse(engine.reactor, near, error)
    engine.settle()
    assert read_to_end(far) == answer
    far.close()


def test_other_protocols_are_reset(engine: EngineLoop) -> None:
    near, far = tcp_pair()
    near.setblocking(False)
    refuse(engine.reactor, near, HelloError("no", None, FirstProtocol.SSH))
    engine.settle()
    with pytest.raises(ConnectionResetError):
        far.recv(1)
    far.close()
