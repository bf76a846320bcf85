"""Alerts, as a client of OpenSSL understands them."""

import pytest

from portway.errors import PeerError
from portway.protocol.tls_alert import Alert, FirstProtocol, HelloError, alert_record
from tests.kit.tls_opinion import alert_as_a_client_sees_it


@pytest.mark.parametrize("alert", Alert)
def test_a_client_understands_each_alert(alert: Alert) -> None:
    # CPython has constants for most of them, and for the others OpenSSL's text.
    assert alert.name in alert_as_a_client_sees_it(alert_record(alert)).upper().replace(" ", "_")


def test_the_record_is_the_one_of_the_rfc() -> None:
    assert alert_record(Alert.UNRECOGNIZED_NAME) == bytes.fromhex("15 03 03 00 02 02 70")


def test_an_error_carries_its_alert_and_what_the_peer_speaks() -> None:
    error = HelloError("empty", Alert.DECODE_ERROR)
    assert isinstance(error, PeerError)
    assert (str(error), error.alert, error.protocol) == ("empty", Alert.DECODE_ERROR, FirstProtocol.TLS)
    assert HelloError("HTTP", None, FirstProtocol.HTTP).alert is None
