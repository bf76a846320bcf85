"""The golden vectors equal the output of the code, and are decoded by it and by independent implementations of the RFCs."""

import base64
import hashlib
import hmac
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest

from portway.errors import ConfigError, PeerError
from portway.protocol.control.framing import MessageReader
from portway.protocol.control.messages import Drain, decode_message, encode_message
from portway.protocol.join_string import parse
from portway.protocol.proxy_header import decode
from portway.protocol.stream_status import StreamStatus
from portway.protocol.yamux.limits import YamuxLimits
from portway.protocol.yamux.session import Session
from portway.protocol.yamux.stream import Stream
from tests.vectors.make import FOLDER, control_messages, make_all, text_of


def load(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="ascii"))


@pytest.mark.parametrize("name", sorted(make_all()))
def test_each_file_equals_the_output_of_the_code(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="ascii") == text_of(make_all()[name]), (
        "run `python -m tests.vectors.make`, and tell docs/wire.md"
    )


def test_there_is_no_file_that_is_not_generated() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == set(make_all())


def test_every_control_message_is_read_back() -> None:
    for entry in load("control.json")["messages"]:
        (body,) = MessageReader(65536).feed(bytes.fromhex(entry["wire"]))
        assert decode_message(body) == control_messages()[entry["name"]]


def test_unknown_fields_are_ignored_and_broken_bodies_refused() -> None:
    vectors = load("control.json")
    assert decode_message(bytes.fromhex(vectors["with_unknown_fields"]["body"])) == Drain(reason="x")
    for entry in vectors["refused_bodies"]:
        with pytest.raises(PeerError):
            decode_message(bytes.fromhex(entry["body"]))
    for length in vectors["refused_lengths_before_login"]:
        with pytest.raises(PeerError):
            MessageReader().feed(bytes.fromhex(length))


def test_the_logins_follow_rfc_5802() -> None:
    """Computed from the text of the RFC, without Portway's own SCRAM."""
    vectors = load("scram.json")
    salted = hashlib.pbkdf2_hmac("sha256", vectors["secret"].encode(), bytes.fromhex(vectors["salt"]), vectors["iterations"])
    client_key, server_key = (hmac.digest(salted, label, "sha256") for label in (b"Client Key", b"Server Key"))
    stored_key = hashlib.sha256(client_key).digest()
    assert (client_key.hex(), stored_key.hex(), server_key.hex()) == (vectors["client_key"], vectors["stored_key"], vectors["server_key"])
    for login in vectors["logins"]:
        about = login["auth_message"].encode()
        cut = len(login["gs2_header"])
        assert about.decode() == ",".join([login["client_first"][cut:], login["server_first"], login["client_final"].rpartition(",p=")[0]])
        proof = bytes(a ^ b for a, b in zip(client_key, hmac.digest(stored_key, about, "sha256"), strict=True))
        assert login["client_final"].endswith(",p=" + base64.b64encode(proof).decode())
        assert login["server_final"] == "v=" + base64.b64encode(hmac.digest(server_key, about, "sha256")).decode()
        session_key = hmac.digest(client_key, b"portway session" + about, "sha256")
        assert login["session_key"] == session_key.hex()
        assert login["attach"]["proof"] == hmac.digest(session_key, bytes.fromhex(login["attach"]["ticket"]), "sha256").hex()


def test_the_binding_is_the_certificates_sha256_behind_the_gs2_header() -> None:
    vectors = load("scram.json")
    certificate = bytes.fromhex(vectors["certificate_der"])
    bound = {"tls": b"p=tls-server-end-point,," + hashlib.sha256(certificate).digest(), "plain": b"n,,"}
    for login in vectors["logins"]:
        assert login["client_final"].startswith(f"c={base64.b64encode(bound[login['link']]).decode()},r=")


def test_the_join_strings_are_read_back() -> None:
    vectors = load("join_string.json")
    for entry in vectors["good"]:
        join = parse(entry["text"])
        assert (join.token_id, join.secret, join.host, join.port) == (entry["token_id"], entry["secret"], entry["host"], entry["port"])
        assert (join.pin.hex() if join.pin else None, join.plaintext) == (entry["pin"], entry["plaintext"])
    for text in vectors["refused"]:
        with pytest.raises(ConfigError):
            parse(text)


def test_the_preambles_are_read_back() -> None:
    vectors = load("proxy_header.json")
    for entry in vectors["headers"]:
        wire = bytes.fromhex(entry["wire"])
        assert len(wire) <= 512
        result = decode(wire + b"visitor")
        assert result is not None
        header, size = result
        assert size == len(wire) == 16 + int.from_bytes(wire[14:16], "big")
        assert (header.local, header.datagram, header.tunnel_id) == (entry["local"], entry["datagram"], entry["tunnel"])
        assert [list(end) if end else None for end in (header.source, header.destination)] == [entry["source"], entry["destination"]]
    for entry in vectors["refused"]:
        with pytest.raises(PeerError):
            decode(bytes.fromhex(entry["wire"]))


def test_the_status_bytes_are_read_back() -> None:
    for entry in load("stream_status.json")["statuses"]:
        assert StreamStatus.of(int(entry["byte"], 16)).name == entry["name"]


def test_the_yamux_frames_are_the_documented_layout() -> None:
    """Unpacked here by hand, without our own yamux."""
    types, flags = ["Data", "WindowUpdate", "Ping", "GoAway"], {"SYN": 1, "ACK": 2, "FIN": 4, "RST": 8, "UNTOUCHED": 16, "SWITCHED": 32}
    for entry in load("yamux.json")["frames"]:
        wire = bytes.fromhex(entry["wire"])
        version, kind, bits, stream, length = struct.unpack("!BBHII", wire[:12])
        assert (version, types[kind], stream, length) == (0, entry["type"], entry["stream"], entry["length"])
        assert bits == sum(flags[name] for name in entry["flags"])
        assert wire[12:].hex() == entry["body"]
        assert len(wire) == 12 + (length if kind == 0 else 0)


def session(on_pong: Callable[[int], None] = lambda value: None) -> Session:
    def refused(owner: Session, stream_id: int) -> Stream:
        raise AssertionError(f"stream {stream_id} was accepted")

    return Session(
        client=True, limits=YamuxLimits(), make_stream=refused, on_accept=lambda stream: None, on_pong=on_pong, on_output=lambda: None
    )


def test_the_fatal_frames_end_a_session() -> None:
    for entry in load("yamux.json")["fatal"]:
        with pytest.raises(PeerError):
            session().receive(memoryview(bytes.fromhex(entry["wire"])), 0.0)


def test_a_ping_is_answered_as_in_the_vectors() -> None:
    ask, answer = (bytes.fromhex(entry["wire"]) for entry in load("yamux.json")["frames"] if entry["type"] == "Ping")
    peer = session()
    peer.receive(memoryview(ask), 0.0)
    assert bytes(peer.out) == answer
    heard: list[int] = []
    session(heard.append).receive(memoryview(answer), 0.0)
    assert heard == [0xDEADBEEF]


def test_a_link_opens_with_the_messages_of_the_login() -> None:
    received = []
    for step in load("link_opening.json")["steps"]:
        wire = bytes.fromhex(step["wire"])
        _, kind, _, stream, length = struct.unpack("!BBHII", wire[:12])
        assert stream % 2 == (0 if stream == 2 else 1)
        if kind == 0 and stream == 2:
            (body,) = MessageReader().feed(wire[12:])
            assert length == len(wire) - 12
            received.append(decode_message(body))
    known = control_messages()
    names = ["Hello", "Challenge", "Proof", "Welcome", "Claim of a port", "Granted port"]
    assert received == [known[name] for name in names]
    assert [encode_message(message) for message in received] == [encode_message(known[name]) for name in names]
