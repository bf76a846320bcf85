"""Control messages: round trip, tolerance for newer peers, and strict bounds for hostile ones."""

import string
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import PeerError
from portway.protocol.control.framing import POST_LOGIN_BYTES_MAX, PRE_LOGIN_BYTES_MAX, MessageReader
from portway.protocol.control.messages import (
    PATH_CHARS_MAX,
    REQUEST_LINES_MAX,
    Activity,
    AskTicket,
    Attach,
    BadMessageError,
    Challenge,
    Claim,
    Drain,
    Ended,
    Granted,
    Hello,
    Limits,
    Measure,
    Measured,
    Message,
    Proof,
    Refused,
    Release,
    Released,
    Ticket,
    Welcome,
    decode_message,
    encode_message,
    request_line,
)

u32 = st.integers(0, 2**32 - 1)
ids = st.integers(1, 2**32 - 1)
text = st.text(max_size=60)
secrets = st.binary(min_size=32, max_size=32)
counts = st.integers(0, 1000)
seconds = st.floats(0, 1e6)
lines = st.lists(st.builds(request_line, text, st.text(max_size=400), st.integers(0, 999), seconds), max_size=REQUEST_LINES_MAX)

messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, version=u32, token=text, identity=secrets, scram=text, agent=text),
    st.builds(Proof, scram=text),
    st.builds(Attach, ticket=secrets, proof=secrets),
    st.builds(AskTicket, id=ids),
    st.builds(
        Claim, id=ids, kind=st.sampled_from(["http", "tcp"]), name=text, host=text, port=st.integers(0, 65535), takeover=st.booleans()
    ),
    st.builds(Release, id=ids, tunnel=u32, keep=st.booleans()),
    st.builds(Challenge, scram=text),
    st.builds(
        Welcome,
        scram=text,
        session=text,
        server=text,
        region=text,
        grace_s=seconds,
        limits=st.builds(Limits, links=counts, tunnels=counts),
        version=u32,
    ),
    st.builds(Ticket, id=ids, ticket=secrets),
    st.builds(Granted, id=ids, tunnel=u32, epoch=st.integers(0, 2**64 - 1), url=text, port=st.integers(0, 65535), name=text),
    st.builds(Refused, id=u32, code=text, reason=text, next_step=text),
    st.builds(Released, id=ids, kept=st.booleans()),
    st.builds(Drain, reason=text),
    st.builds(Ended, code=text, reason=text, next_step=text),
    st.builds(Measure, id=ids, direction=st.sampled_from(["down", "up"]), streams=counts, seconds=seconds),
    st.builds(Measured, id=ids, bytes=st.integers(0, 2**64 - 1), seconds=seconds, cpu_s=seconds, wait_s=seconds),
    st.builds(Activity, tunnel=u32, requests=lines, missed=counts),
)


def packed(**fields: object) -> bytes:
    return msgspec.msgpack.encode(fields)


def hello(**changes: object) -> dict[str, object]:
    return {"t": "Hello", "version": 1, "token": "a", "identity": bytes(32), "scram": "x", "agent": "y"} | changes


@given(message=messages)
def test_every_message_survives_the_wire(message: Message) -> None:
    (body,) = MessageReader(POST_LOGIN_BYTES_MAX).feed(encode_message(message))
    assert decode_message(body) == message


def test_the_strategy_above_knows_every_message() -> None:
    drawn = {"Hello", "Proof", "Attach", "AskTicket", "Claim", "Release", "Challenge", "Welcome", "Ticket", "Granted", "Refused"}
    assert {kind.__name__ for kind in get_args(Message)} == drawn | {"Released", "Drain", "Ended", "Activity", "Measure", "Measured"}


@given(noise=st.binary(max_size=300))
def test_noise_is_the_peers_fault(noise: bytes) -> None:
    with pytest.raises(PeerError):
        decode_message(noise)


@given(message=messages, data=st.data())
def test_a_damaged_message_is_a_message_or_the_peers_fault(message: Message, data: st.DataObject) -> None:
    body = bytearray(encode_message(message)[4:])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_message(bytes(body[: data.draw(st.integers(0, len(body)))]))
    except PeerError:
        pass


def test_fields_of_a_newer_peer_are_ignored() -> None:
    body = packed(t="Drain", reason="upgrade", until=12.5, more={"a": [1, None, b"x"]})
    assert decode_message(body) == Drain(reason="upgrade")


def test_fields_at_their_default_stay_at_home() -> None:
    assert msgspec.msgpack.decode(encode_message(Claim(id=1, kind="http"))[4:]) == {"t": "Claim", "id": 1, "kind": "http"}


def test_a_message_of_a_newer_peer_can_be_refused_by_its_id() -> None:
    with pytest.raises(BadMessageError, match="Rename") as caught:
        decode_message(packed(t="Rename", id=7, to="x"))
    assert caught.value.request_id == 7


def test_a_protocol_of_a_newer_peer_can_be_refused_by_its_id() -> None:
    with pytest.raises(BadMessageError, match="kind") as caught:
        decode_message(packed(t="Claim", id=9, kind="udp"))
    assert caught.value.request_id == 9


@pytest.mark.parametrize("body", [b"", b"\xc1", packed(t="Nothing"), packed(id=3), packed(t="Rename", id=-1), packed(t="Rename", id="7")])
def test_without_a_readable_id_there_is_none(body: bytes) -> None:
    with pytest.raises(BadMessageError) as caught:
        decode_message(body)
    assert caught.value.request_id == (3 if body == packed(id=3) else 0)


@pytest.mark.parametrize(
    "body",
    [
        packed(**hello(identity=bytes(31))),
        packed(**hello(identity=bytes(33))),
        packed(**hello(identity="x" * 32)),
        packed(**hello(version=-1)),
        packed(**hello(version=2**32)),
        packed(**hello(version=True)),
        packed(**hello(version=1.0)),
        packed(**hello(version="1")),
        packed(**hello(token="x" * 1025)),
        packed(t="Hello", version=1),
        packed(t="Claim", id=0, kind="tcp"),
        packed(t="Claim", id=1, kind="tcp", port=65536),
        packed(t="Claim", id=1, kind="tcp", takeover=1),
        packed(t="Granted", id=1, tunnel=2**32, epoch=0, url=""),
        packed(t="Attach", ticket=bytes(16), proof=bytes(32)),
        packed(t="Welcome", scram="", session="", server="", region="", grace_s=float("nan"), limits={"links": 1, "tunnels": 1}),
        packed(t="Activity", tunnel=1, requests=[["GET", "/", 200, 0.1]] * (REQUEST_LINES_MAX + 1)),
        packed(t="Activity", tunnel=1, requests=[["GET", "/" * (PATH_CHARS_MAX + 1), 200, 0.1]]),
        msgspec.msgpack.encode([1, 2]),
        packed(t="Drain", reason="x") + b"\0",
    ],
)
def test_values_out_of_bounds_are_the_peers_fault(body: bytes) -> None:
    with pytest.raises(PeerError):
        decode_message(body)


@pytest.mark.parametrize("count", [b"\xdd\x10\x00\x00\x00", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"])
@pytest.mark.parametrize("key", [b"\xa8requests", b"\xa5never"])
def test_a_promise_of_gigabytes_costs_nothing(count: bytes, key: bytes) -> None:
    with pytest.raises(PeerError):
        decode_message(b"\x83\xa1t\xa8Activity\xa6tunnel\x01" + key + count)


@pytest.mark.parametrize("opener", [b"\x91", b"\x81\xa1x"])
def test_nesting_does_not_reach_the_stack(opener: bytes) -> None:
    body = b"\x82\xa1t\xa5Drain\xa5never" + opener * (PRE_LOGIN_BYTES_MAX // len(opener))
    with pytest.raises(PeerError):
        decode_message(body)


def test_a_peers_text_reaches_our_logs_short_and_printable() -> None:
    with pytest.raises(PeerError) as caught:
        decode_message(packed(t="\x1b[31m\n" + "x" * 3000))
    assert len(str(caught.value)) < 250
    assert set(str(caught.value)) <= set(string.printable) - set("\x1b\n\r\t\v\f")


def test_secrets_do_not_show() -> None:
    secret = b"\x41" * 32
    shown = [
        Hello(version=1, token="laptop", identity=secret, scram="n,,n=a,r=AAAA", agent="x"),
        Proof(scram="c=biws,r=AAAA,p=AAAA"),
        Attach(ticket=secret, proof=secret),
        Ticket(id=1, ticket=secret),
    ]
    assert not [message for message in shown if "AAAA" in repr(message)]
    assert "laptop" in repr(shown[0])


def test_the_fullest_activity_fits_into_a_message() -> None:
    worst = request_line("\U0001f600" * 99, "\U0001f600" * 999, 599, 1e6)
    full = Activity(tunnel=2**32 - 1, requests=[worst] * REQUEST_LINES_MAX, missed=1_000_000)
    assert decode_message(encode_message(full)[4:]) == full


def test_a_long_path_is_cut() -> None:
    assert request_line("GET", "/short", 200, 0.5) == ("GET", "/short", 200, 0.5)
    assert request_line("GET", "/" * 500, 200, 0.5)[1] == "/" * (PATH_CHARS_MAX - 1) + "…"


def test_a_hello_fits_into_the_limit_before_login() -> None:
    longest = Hello(version=1, token="t" * 64, identity=bytes(32), scram="s" * 1024, agent="a" * 1024)
    assert len(encode_message(longest)) < PRE_LOGIN_BYTES_MAX
