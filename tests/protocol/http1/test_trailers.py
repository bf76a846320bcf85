"""Fields that are allowed as trailers."""

import pytest

from portway.protocol.http1.field_table import DROPPED
from portway.protocol.http1.trailers import accepts_trailers, allowed_trailer_names, is_allowed_trailer


@pytest.mark.parametrize(
    "name", ["X-Checksum", "Server-Timing", "Digest", "Content-Digest", "ETag", "grpc-status", "Grpc-Message", "my_sum", "Content-MD5"]
)
def test_fields_known_only_at_the_end_are_allowed_trailers(name: str) -> None:
    assert is_allowed_trailer(name.encode())


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Transfer-Encoding",
            "content-length",
            "Content_Length",
            "Host",
            "Connection",
            "Upgrade",
            "TE",
            "Trailer",
            "Keep-Alive",
            "Expect",
        ),
        *("Authorization", "WWW-Authenticate", "Proxy-Authorization", "Authentication-Info", "Cookie", "SET-COOKIE", "Set_Cookie"),
        *("Cache-Control", "Range", "If-Match", "Max-Forwards", "Via", "CDN-Loop", "Location", "Vary", "Retry-After", "Date"),
        *("Content-Encoding", "Content-Type", "Content-Range", "X-HTTP-Method-Override", "Portway-Error", "portway_error"),
    ],
)
def test_framing_routing_authentication_and_control_fields_are_not_allowed_trailers(name: str) -> None:
    assert not is_allowed_trailer(name.encode())


@pytest.mark.parametrize("name", [name.replace("*", "x") for group in DROPPED for name in group.names])
def test_fields_dropped_from_the_head_are_dropped_from_trailers(name: str) -> None:
    assert not is_allowed_trailer(name.encode())
    assert not is_allowed_trailer(name.upper().replace("-", "_").encode())


@pytest.mark.parametrize(
    ("sent", "goes_on"),
    [
        (None, None),
        (b"", None),
        (b"Host", None),
        (b"X-Sum", b"X-Sum"),
        (b" X-Sum ,, Cookie\nServer-Timing", b"X-Sum, Server-Timing"),
    ],
)
def test_trailer_names_only_forwarded_fields(sent: bytes | None, goes_on: bytes | None) -> None:
    assert allowed_trailer_names(sent) == goes_on


@pytest.mark.parametrize(
    ("te", "wanted"),
    [(None, False), (b"", False), (b"gzip", False), (b"Trailers", True), (b"gzip;q=0.5 , trailers", True), (b"x\ntrailers", True)],
)
def test_trailers_are_accepted_according_to_te(te: bytes | None, wanted: bool) -> None:
    assert accepts_trailers(te) is wanted
