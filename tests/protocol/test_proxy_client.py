"""The client's dialogue with a proxy: it asks, reads no byte beyond the reply, and reports why not."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import PeerError
from portway.protocol.proxy_client import HEAD_BYTES_MAX, Dialogue, Refusal, dialogue_with
from portway.protocol.proxy_url import parse_proxy_url

BEHIND = b"SSH-2.0-the target speaks first\r\n\r\n"


def converse(dialogue: Dialogue, replies: bytes, piece: int = 1 << 20) -> tuple[bytes, bytes]:
    """Return what was sent, and what the dialogue left unread."""
    sent = dialogue.start()
    while dialogue.wanted:
        assert replies, "it waits for more"
        size = min(dialogue.wanted, piece, len(replies))
        sent, replies = sent + dialogue.feed(replies[:size]), replies[size:]
    return sent, replies


def to(url: str, host: str = "example.org", port: int = 443) -> Dialogue:
    return dialogue_with(parse_proxy_url(url, "test"), host, port)


@pytest.mark.parametrize("piece", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        b"HTTP/1.0 200\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 \r\nX: \r\r\n\r\n",
    ],
)
def test_connect_reads_exactly_the_head(head: bytes, piece: int) -> None:
    dialogue = to("http://proxy:1")
    sent, rest = converse(dialogue, head + BEHIND, piece)
    assert sent == b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"
    assert rest == BEHIND
    assert dialogue.refusal is None


def test_connect_sends_credentials_and_brackets() -> None:
    sent, _ = converse(to("http://ann:a%3Ab@proxy:1", "fd00::1", 22), b"HTTP/1.1 200 OK\r\n\r\n")
    assert sent.startswith(b"CONNECT [fd00::1]:22 HTTP/1.1\r\nHost: [fd00::1]:22\r\n")
    assert b"\r\nProxy-Authorization: Basic " + b64encode(b"ann:a:b") + b"\r\n" in sent


@pytest.mark.parametrize(
    ("head", "error", "text"),
    [
        (b"407 Proxy Authentication Required", "authentication", "407 Proxy Authentication Required"),
        (b"403 Forbidden", "http_request_denied", "403 Forbidden"),
        (b"502 Bad Gateway\r\nproxy-status: far; error=dns_error", "dns_error", "502 Bad Gateway"),
        (b"504 \x1b[31mslow", "connection_timeout", "504 ?[31mslow"),
        (b"999", "destination_unavailable", "999"),
        (b"301 Moved\r\nLocation: /", "destination_unavailable", "301 Moved"),
    ],
)
def test_connect_reports_refusals(head: bytes, error: str, text: str) -> None:
    dialogue = to("http://proxy:1")
    converse(dialogue, b"HTTP/1.1 " + head + b"\r\nContent-Length: 5\r\n\r\nhello")
    assert dialogue.refusal is not None
    assert (dialogue.refusal.error, dialogue.refusal.text) == (error, text)


def test_connect_reports_the_hop_that_failed() -> None:
    dialogue = to("http://proxy:1")
    head = b'HTTP/1.1 502 Bad\r\nProxy-Status: far; error=connection_refused; details="why"\r\nProxy-Status: near; error=destination_unavailable\r\n\r\n'
    converse(dialogue, head)
    assert dialogue.refusal is not None
    assert dialogue.refusal.error == "connection_refused"
    assert [(hop.name, hop.error, hop.details) for hop in dialogue.refusal.hops] == [
        ("far", "connection_refused", "why"),
        ("near", "destination_unavailable", ""),
    ]


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\x05\xff\x05\xff",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 \xc2\xb2\xc2\xb20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * HEAD_BYTES_MAX,
        b"HTTP/1.1 100 Continue\r\n\r\n" * HEAD_BYTES_MAX,
    ],
)
def test_what_is_not_a_proxy_is_an_error(reply: bytes) -> None:
    with pytest.raises(PeerError):
        converse(to("http://proxy:1"), reply)


# SOCKS5.

GRANTED = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


@pytest.mark.parametrize("piece", [1, 2, 1000])
@pytest.mark.parametrize("reply", [GRANTED, b"\x05\x00\x00\x04" + bytes(18), b"\x05\x00\x00\x03\x03abc\x00\x00"])
def test_socks_reads_exactly_its_replies(reply: bytes, piece: int) -> None:
    dialogue = to("socks5://proxy")
    sent, rest = converse(dialogue, b"\x05\x00" + reply + BEHIND, piece)
    assert sent == b"\x05\x01\x00" + b"\x05\x01\x00\x03\x0bexample.org\x01\xbb"
    assert rest == BEHIND
    assert dialogue.refusal is None


def test_socks_sends_credentials_only_if_asked() -> None:
    sent, _ = converse(to("socks5://ann:pw@proxy", "10.0.0.1", 22), b"\x05\x02\x01\x00" + GRANTED)
    assert sent == b"\x05\x02\x00\x02" + b"\x01\x03ann\x02pw" + b"\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x16"
    sent, _ = converse(to("socks5://ann:pw@proxy", "fd00::1", 22), b"\x05\x00" + GRANTED)
    assert sent == b"\x05\x02\x00\x02" + b"\x05\x01\x00\x04\xfd" + bytes(14) + b"\x01\x00\x16"


@pytest.mark.parametrize(
    ("replies", "error"),
    [
        (b"\x05\xff", "authentication"),
        (b"\x05\x02\x01\x01", "authentication"),
        (b"\x05\x00\x05\x02\x00\x01" + bytes(6), "http_request_denied"),
        (b"\x05\x00\x05\x05\x00\x01" + bytes(6), "connection_refused"),
        (b"\x05\x00\x05\x63\x00\x01" + bytes(6), "destination_unavailable"),
    ],
)
def test_socks_reports_refusals(replies: bytes, error: str) -> None:
    dialogue = to("socks5://ann:pw@proxy")
    converse(dialogue, replies)
    assert isinstance(dialogue.refusal, Refusal)
    assert dialogue.refusal.error == error


@pytest.mark.parametrize("replies", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x04\x00", b"\x05\x01", b"\x05\x00\x05\x00\x00\x07\x00"])
def test_socks_refuses_other_protocols(replies: bytes) -> None:
    with pytest.raises(PeerError):
        converse(to("socks5://proxy"), replies)


@given(st.sampled_from(["http://proxy", "socks5://a:b@proxy"]), st.lists(st.binary(min_size=1, max_size=40), max_size=20))
def test_noise_ends_in_an_error_a_refusal_or_waits(url: str, pieces: list[bytes]) -> None:
    dialogue = to(url)
    dialogue.start()
    try:
        for byte in b"".join(pieces):
            if not dialogue.wanted:
                break
            dialogue.feed(bytes((byte,)))
    except PeerError:
        return
    assert dialogue.wanted >= 0
