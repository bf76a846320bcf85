"""What the API reads from the store: `portway.inspector.documents`, `portway.inspector.lookup` and `portway.inspector.messages`."""

import gzip

from portway.inspector.documents import frame_of, message_of
from portway.inspector.exchange import EventPiece, Exchange, TunnelInfo
from portway.inspector.lookup import Lookup, condition_of
from portway.inspector.messages import EventSplitter
from portway.inspector.originals import Originals
from portway.inspector.store import Store

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nX: \xe4\r\n\r\n"


def body_row(data: bytes, coding: str = "", state: str = "complete") -> dict[str, object]:
    return {"data": data, "coding": coding, "state": state, "size": len(data)}


def test_bodies_are_decoded_for_showing() -> None:
    message = message_of(HEAD, body_row(gzip.compress("hällo".encode()), "gzip"))

    assert message is not None
    assert message.body is not None
    assert (message.start_line, message.body.text, message.body.shown) == ("HTTP/1.1 200 OK", "hällo", "complete")
    assert message.headers[-1] == ("X", "ä")


def test_bodies_that_are_no_text_are_base64() -> None:
    for data, coding, text, base64 in ((b"\xff\x00", "", None, "/wA="), ("hä".encode()[:2], "", "h", None), (b"ab", "own", None, "YWI=")):
        message = message_of(HEAD, body_row(data, coding))
        assert message is not None
        assert message.body is not None
        assert (message.body.text, message.body.base64) == (text, base64)


def test_a_large_body_is_shown_up_to_a_bound() -> None:
    message = message_of(HEAD, body_row(gzip.compress(bytes(3_000_000)), "gzip"))

    assert message is not None
    assert message.body is not None
    assert message.body.shown == "truncated"


def test_frames_have_a_direction() -> None:
    row = {"id": 1, "side": 0, "at": 1.0, "kind": "text", "name": "", "size": 2, "state": "complete", "data": b"hi"}

    assert (frame_of(row).direction, frame_of(row).text) == ("in", "hi")
    exchange = Exchange(TunnelInfo("a", "", ""), 1.0, 1.0, b"")
    assert [one.data for one in EventSplitter().messages(EventPiece(exchange, 1.0, b"data: a\n\n"))] == [b"a"]


def test_filters_are_combined() -> None:
    condition = condition_of({"q": "method:GET", "status": "200", "path": 'a"b'})

    assert condition.values == ("GET", 200, 'a"b%')


def test_an_empty_store_has_an_empty_page() -> None:
    page = Lookup(Store(None, 1_000_000), Originals()).page(condition_of({}), 10, 0)

    assert (page.requests, page.next) == ([], None)
