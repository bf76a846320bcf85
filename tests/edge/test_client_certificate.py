"""The line that tells a service who its visitor is."""

import base64

from portway.edge.client_certificate import VerifiedClient


def test_the_line_is_a_byte_sequence_of_structured_fields() -> None:
    line = VerifiedClient("ca", bytes(range(256))).field_line()
    assert line.startswith(b"Client-Cert: :")
    assert line.endswith(b":\r\n")
    assert base64.b64decode(line[14:-3]) == bytes(range(256))


def test_it_is_not_shown_in_logs() -> None:
    assert repr(VerifiedClient("ca", b"secret")) == "VerifiedClient()"
