"""Writes the golden vectors; the same code always writes the same files.

    python -m tests.vectors.make

tests/protocol/test_vectors.py compares the files with what is made here, so neither can change unnoticed. A diff in
a .json is a change of the wire: it needs a line in docs/wire.md, and perhaps a new protocol version.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import msgspec

from portway.protocol.control.codes import DESCRIPTIONS
from portway.protocol.control.messages import (
    AccessRules,
    Activity,
    AskTicket,
    Attach,
    Challenge,
    Claim,
    Drain,
    Ended,
    ExchangeLimits,
    Granted,
    HeadRewrite,
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
    encode_message,
    request_line,
)
from portway.protocol.join_string import JoinString
from portway.protocol.password_hash import PasswordHash
from portway.protocol.proxy_header import Address, ProxyHeader, decode, encode, encode_local, encode_visitor
from portway.protocol.scram import ScramClient, ScramServer, certificate_binding, make_verifier
from portway.protocol.stream_status import StreamStatus
from portway.protocol.yamux import frame as yamux

FOLDER = Path(__file__).parent

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

SECRET = "1jyHHMDSScQ6wlq_Tp3Vn4VtxZrDQrPMHDW8z6hFD8M"
IDENTITY = bytes(range(32))
TICKET = bytes(range(32, 64))
CERTIFICATE = b"any bytes stand in for the DER certificate of the server here"


def make_all() -> dict[str, Json]:
    """Return the content of each file by its name."""
    return {
        "codes.json": _codes(),
        "control.json": _control(),
        "join_string.json": _join_strings(),
        "link_opening.json": _link_opening(),
        "proxy_header.json": _proxy_headers(),
        "scram.json": _scram(),
        "stream_status.json": _statuses(),
        "yamux.json": _yamux(),
    }


def text_of(content: Json) -> str:
    """Return a file's text."""
    return json.dumps(content, indent=2, ensure_ascii=True) + "\n"


def main() -> None:
    """Write every file."""
    for name, content in make_all().items():
        (FOLDER / name).write_text(text_of(content), encoding="ascii")
        print(f"wrote {FOLDER.name}/{name}")


def _codes() -> Json:
    return {"about": "Codes of Refused and Ended, with their meaning.", "codes": dict(DESCRIPTIONS)}


def _statuses() -> Json:
    return {
        "about": "The first byte from agent to server on a visitor's stream.",
        "statuses": [{"name": status.name, "byte": f"{status:02x}", "words": status.description} for status in StreamStatus],
    }


# Control messages ------------------------------------------------------------------------------------------------


def control_messages() -> dict[str, Message]:
    """Return one message of each kind, and the shapes of a kind that differ."""
    return {
        "Hello": Hello(version=1, token="laptop", identity=IDENTITY, scram=_conversation(tls=True)[0], agent="portway/0.1.0 linux"),
        "Proof": Proof(scram=_conversation(tls=True)[2]),
        "Attach": Attach(ticket=TICKET, proof=hmac.digest(IDENTITY, TICKET, "sha256")),
        "AskTicket": AskTicket(id=1),
        "Claim of a random name": Claim(id=2, kind="http"),
        "Claim of the name that follows from a seed": Claim(id=10, kind="http", name="brave-otter-x7k2q9wm", seed=bytes(range(64, 96))),
        "Claim of a name": Claim(id=3, kind="http", name="app", takeover=True),
        "Claim with limits": Claim(
            id=8, kind="http", name="app", limits=ExchangeLimits(idle_timeout_s=30.0, max_rate_bps=1_000_000, max_total_payload=1 << 33)
        ),
        "Claim with changes of heads": Claim(
            id=9, kind="http", name="app", rewrite=HeadRewrite(host="localhost:3000", request=[("X-Api-Key", "1"), ("Cookie", None)])
        ),
        "Claim with access rules": Claim(id=11, kind="http", name="app", access=AccessRules(plain_http="refuse", hsts_s=31_536_000)),
        "Claim with users and networks": Claim(
            id=12,
            kind="http",
            name="app",
            access=AccessRules(
                users=[("ann", str(PasswordHash(15, 8, 1, bytes(range(16)), bytes(range(32)))))],
                allow_ip=["192.0.2.0/24"],
                deny_ip=["192.0.2.7/32"],
            ),
        ),
        "Claim of a host": Claim(id=4, kind="http", host="app.example.org"),
        "Claim of a tls tunnel": Claim(id=11, kind="tls", host="app.example.org"),
        "Claim of a port": Claim(id=6, kind="tcp", port=20001),
        "Release": Release(id=5, tunnel=1),
        "Release of an agent that may be back": Release(id=10, tunnel=1, keep=True),
        "Measure": Measure(id=7, direction="down", streams=8, seconds=5.0),
        "Challenge": Challenge(scram=_conversation(tls=True)[1]),
        "Welcome": Welcome(
            scram=_conversation(tls=True)[3],
            session="s-7f3a",
            server="0.1.0",
            region="",
            grace_s=60.0,
            limits=Limits(links=4, tunnels=10),
        ),
        "Ticket": Ticket(id=1, ticket=TICKET),
        "Granted name": Granted(id=3, tunnel=0xFFFFFFFF, epoch=1, url="http://app.localhost:8080", name="app"),
        "Granted tls tunnel": Granted(id=11, tunnel=2, epoch=3, url="https://app.example.org", name="app.example.org"),
        "Granted port": Granted(id=6, tunnel=1, epoch=2**64 - 1, url="tcp://127.0.0.1:20001", port=20001),
        "Refused claim": Refused(
            id=3, code="name_in_use", reason="another agent of yours serves it", next_step="Take over with --takeover."
        ),
        "Refused login": Refused(code="bad_credentials", reason="the server does not accept this token"),
        "Released": Released(id=0xFFFFFFFF),
        "Released and held": Released(id=10, kept=True),
        "Drain": Drain(reason="the server is being updated"),
        "Ended": Ended(code="replaced", reason="another session took the name over", next_step=""),
        "Activity": Activity(tunnel=1, requests=[request_line("GET", "/caf\u00e9", 200, 0.25), request_line("POST", "/", 0, 10)], missed=7),
        "Measured": Measured(id=7, bytes=2**33, seconds=3.5, cpu_s=1.75, wait_s=0.25),
    }


def _control() -> Json:
    unknown: dict[str, object] = {"t": "Drain", "reason": "x", "until": 12.5, "more": [None, {"a": b"b"}]}
    return {
        "about": "Control messages. wire = length u32 + msgpack, in hex. Bytes fields (identity, ticket, proof) are in hex here; an epoch may need 64 bits. Fields may come in any "
        "order and defaults may be sent; compare what is decoded, not the bytes.",
        "messages": [
            {"name": name, "message": _json_of(message), "wire": encode_message(message).hex()}
            for name, message in control_messages().items()
        ],
        "with_unknown_fields": {"message": {"t": "Drain", "reason": "x"}, "body": msgspec.msgpack.encode(unknown).hex()},
        "refused_bodies": [
            {"why": why, "body": msgspec.msgpack.encode(body).hex() if body is not None else "c1"}
            for why, body in _refused_bodies().items()
        ],
        "refused_lengths_before_login": ["00000000", "00001001", "ffffffff"],
    }


def _refused_bodies() -> dict[str, dict[str, object] | None]:
    return {
        "unknown message": {"t": "Rename", "id": 7},
        "no name": {"id": 7},
        "missing field": {"t": "Challenge"},
        "request id 0": {"t": "AskTicket", "id": 0},
        "port above 65535": {"t": "Claim", "id": 1, "kind": "tcp", "port": 65536},
        "unknown kind": {"t": "Claim", "id": 1, "kind": "carrier-pigeon"},
        "ticket of 16 bytes": {"t": "Ticket", "id": 1, "ticket": bytes(16)},
        "no msgpack": None,
    }


def _json_of(message: Message) -> Json:
    fields: dict[str, Json] = {"t": type(message).__name__}
    for name in message.__struct_fields__:
        value: object = getattr(message, name)
        fields[name] = value.hex() if isinstance(value, bytes) else msgspec.to_builtins(value)
    return fields


# SCRAM -----------------------------------------------------------------------------------------------------------

_CLIENT_NONCE = base64.b64encode(bytes(range(100, 124))).decode()
_SERVER_NONCE = base64.b64encode(bytes(range(200, 224))).decode()
_SALT = bytes(range(16))


def _conversation(*, tls: bool) -> list[str]:
    return _converse(tls=tls)[0]


def _converse(*, tls: bool) -> tuple[list[str], bytes]:
    binding = certificate_binding(CERTIFICATE) if tls else None
    client, server = ScramClient("laptop", SECRET, _CLIENT_NONCE, binding), ScramServer(_SERVER_NONCE, binding)
    first = client.first()
    challenge = server.challenge(first, make_verifier(SECRET, _SALT))
    final = client.respond(challenge)
    signature = server.finish(final)
    client.verify(signature)
    return [first, challenge, final, signature], client.session_key


def _scram() -> Json:
    verifier = make_verifier(SECRET, _SALT)
    logins: list[Json] = []
    for tls in (True, False):
        (first, challenge, final, signature), session_key = _converse(tls=tls)
        bare = first.removeprefix("p=tls-server-end-point,,").removeprefix("n,,")
        logins.append(
            {
                "link": "tls" if tls else "plain",
                "gs2_header": first.removesuffix(bare),
                "binding": certificate_binding(CERTIFICATE).hex() if tls else None,
                "client_first": first,
                "server_first": challenge,
                "client_final": final,
                "server_final": signature,
                "auth_message": ",".join([bare, challenge, final.rpartition(",p=")[0]]),
                "session_key": session_key.hex(),
                "attach": {"ticket": TICKET.hex(), "proof": hmac.digest(session_key, TICKET, "sha256").hex()},
            }
        )
    salted = hashlib.pbkdf2_hmac("sha256", SECRET.encode(), _SALT, verifier.iterations)
    return {
        "about": "Two logins with SCRAM-SHA-256. session_key = HMAC-SHA256(ClientKey, 'portway session' + AuthMessage); "
        "attach proof = HMAC-SHA256(session_key, ticket).",
        "user": "laptop",
        "secret": SECRET,
        "salt": _SALT.hex(),
        "iterations": verifier.iterations,
        "certificate_der": CERTIFICATE.hex(),
        "client_key": hmac.digest(salted, b"Client Key", "sha256").hex(),
        "stored_key": verifier.stored_key.hex(),
        "server_key": verifier.server_key.hex(),
        "logins": logins,
    }


# Join strings ----------------------------------------------------------------------------------------------------


def _join_strings() -> Json:
    pin = hashlib.sha256(CERTIFICATE).digest()
    good = [
        JoinString("laptop", SECRET, "tunnel.example.org", 4443, pin),
        JoinString("laptop", SECRET, "tunnel.example.org", 443),
        JoinString("ci_1-a", SECRET, "2001:db8::1", 4443, pin),
        JoinString("laptop", SECRET, "10.0.0.1", 4443, plaintext=True),
    ]
    base = f"portway://laptop.{SECRET}@tunnel.example.org"
    refused = [
        base,
        f"{base}:0",
        f"{base}:65536",
        f"{base}:4443?pin=sha256:abcd",
        f"{base}:4443?pin=sha256:{pin.hex()}&links=plaintext",
        f"{base}:4443?verify=no",
        f"portway://laptop@{SECRET}:4443",
        "portway://laptop.short@tunnel.example.org:4443",
        f"https://laptop.{SECRET}@tunnel.example.org:4443",
    ]
    return {
        "about": "Join strings and their parts.",
        "good": [
            {
                "text": str(join),
                "token_id": join.token_id,
                "secret": join.secret,
                "host": join.host,
                "port": join.port,
                "pin": join.pin.hex() if join.pin else None,
                "plaintext": join.plaintext,
            }
            for join in good
        ],
        "refused": list[Json](refused),
    }


# PROXY headers ---------------------------------------------------------------------------------------------------


def proxy_headers() -> dict[str, bytes]:
    """Return preambles by what they show."""
    four: tuple[Address, Address] = (("192.0.2.1", 50000), ("198.51.100.2", 20001))
    six: tuple[Address, Address] = (("2001:db8::1", 50000), ("2001:db8::2", 443))
    unique = bytes(range(16))
    return {
        "visitor over IPv4": encode_visitor(*four, 1, unique),
        "visitor over IPv6 with SNI and ALPN": encode_visitor(*six, 0xFFFFFFFF, unique, sni="app.example.org", alpn=b"h2"),
        "IPv4 visitor of an IPv6 listener": encode_visitor(("::ffff:192.0.2.1", 1), ("::ffff:192.0.2.2", 2), 3, unique),
        "visitor with ends of both families": encode_visitor(("192.0.2.1", 1), ("2001:db8::2", 443), 3, unique),
        "pooled stream": encode_local(7),
        "pooled stream of a server that understands UNTOUCHED": encode_local(7, wants_untouched=True),
        "UDP over IPv4": encode(ProxyHeader(local=False, source=four[0], destination=four[1], datagram=True)),
        "unix sockets": encode(ProxyHeader(local=False, source=("unix:/run/a", 0), destination=("unix:@abstract", 0))),
        "unspecified": encode(ProxyHeader(local=False)),
        "unknown TLV": encode(ProxyHeader(local=True, tlvs=((0xE0, b"\0\0\0\x07"), (0xEA, b"later")))),
    }


def _proxy_headers() -> Json:
    tcp4 = proxy_headers()["visitor over IPv4"]
    spoilt: dict[str, Callable[[bytearray], object]] = {
        "version 1 in the command byte": lambda data: data.__setitem__(12, 0x11),
        "unknown command": lambda data: data.__setitem__(12, 0x22),
        "unknown family": lambda data: data.__setitem__(13, 0x41),
        "TLV longer than the header": lambda data: data.__setitem__(30, 0xFF),
        "addresses cut": lambda data: data.__setitem__(slice(14, 16), b"\0\x0b"),
        "length above 512": lambda data: data.__setitem__(slice(14, 16), b"\x01\xf1"),
        "wrong signature": lambda data: data.__setitem__(0, 0x0A),
    }
    refused: list[Json] = [{"why": "PROXY version 1", "wire": b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n".hex()}]
    for why, spoil in spoilt.items():
        data = bytearray(tcp4)
        spoil(data)
        refused.append({"why": why, "wire": data.hex()})
    return {
        "about": "Preambles of streams: PROXY protocol v2. TLV 0xE0 = tunnel id u32, 0xE1 = 1: UNTOUCHED is understood. 'tunnel' is null where there is none.",
        "headers": [{"name": name} | _header_json(wire) | {"wire": wire.hex()} for name, wire in proxy_headers().items()],
        "refused": refused,
    }


def _header_json(wire: bytes) -> dict[str, Json]:
    result = decode(wire)
    assert result is not None
    header = result[0]
    return {
        "local": header.local,
        "datagram": header.datagram,
        "source": list[Json](header.source) if header.source else None,
        "destination": list[Json](header.destination) if header.destination else None,
        "tunnel": header.tunnel_id,
        "tlvs": [[kind, value.hex()] for kind, value in header.tlvs],
    }


# yamux -----------------------------------------------------------------------------------------------------------

_TYPES = {"Data": yamux.DATA, "WindowUpdate": yamux.WINDOW_UPDATE, "Ping": yamux.PING, "GoAway": yamux.GO_AWAY}
_FLAGS = {"SYN": yamux.SYN, "ACK": yamux.ACK, "FIN": yamux.FIN, "RST": yamux.RST, "UNTOUCHED": yamux.UNTOUCHED, "SWITCHED": yamux.SWITCHED}


def _yamux() -> Json:
    frames: list[Json] = []
    for kind in ("Data", "WindowUpdate"):
        for bits in (0, 1, 2, 4, 8, 5, 6, 3):
            body = b"hello" if kind == "Data" and not bits & yamux.RST else b""
            frames.append(_frame_json(kind, bits, 2 if bits & yamux.SYN else 3, len(body) if kind == "Data" else 0x40000, body))
    frames += [_frame_json("Data", bits | yamux.UNTOUCHED, 3, 0) for bits in (yamux.FIN, yamux.RST)]
    frames.append(_frame_json("WindowUpdate", yamux.SWITCHED, 3, 0))
    frames += [_frame_json("Ping", bits, 0, 0xDEADBEEF) for bits in (yamux.SYN, yamux.ACK)]
    frames += [_frame_json("GoAway", 0, 0, code) for code in (0, 1, 2)]
    frames += [_frame_json("Data", 0, 0xFFFFFFFD, 0), _frame_json("WindowUpdate", 0, 1, 0xFFFFFFFF)]
    return {
        "about": "yamux frames: version u8 | type u8 | flags u16 | stream id u32 | length u32, big-endian, then the body of Data.",
        "frames": frames,
        "fatal": [
            {"why": "version 1", "wire": yamux.encode(1, yamux.DATA, 0, 1, 0).hex()},
            {"why": "unknown type", "wire": yamux.encode(0, 4, 0, 1, 0).hex()},
            {"why": "Data on stream 0", "wire": yamux.encode(0, yamux.DATA, yamux.SYN, 0, 0).hex()},
            {"why": "more than 256 KiB with SYN", "wire": yamux.encode(0, yamux.DATA, yamux.SYN, 2, 0x40001).hex()},
        ],
    }


def _frame_json(kind: str, bits: int, stream_id: int, length: int, body: bytes = b"") -> Json:
    return {
        "type": kind,
        "flags": [name for name, bit in _FLAGS.items() if bits & bit],
        "stream": stream_id,
        "length": length,
        "body": body.hex(),
        "wire": (yamux.encode(yamux.VERSION, _TYPES[kind], bits, stream_id, length) + body).hex(),
    }


# The first bytes of a link ---------------------------------------------------------------------------------------


def _link_opening() -> Json:
    messages = control_messages()

    def data(name: str, flags: int = 0) -> str:
        wire = encode_message(messages[name])
        return (yamux.encode(0, yamux.DATA, flags, 2, len(wire)) + wire).hex()

    def update(flags: int, stream_id: int) -> str:
        return yamux.encode(0, yamux.WINDOW_UPDATE, flags, stream_id, 0).hex()

    visitor = proxy_headers()["visitor over IPv4"]
    steps = [
        ("agent", "opens the control stream (2) and says Hello", data("Hello", yamux.SYN)),
        ("server", "accepts the stream", update(yamux.ACK, 2)),
        ("server", "Challenge", data("Challenge")),
        ("agent", "Proof", data("Proof")),
        ("server", "Welcome", data("Welcome")),
        ("agent", "Claim of a port", data("Claim of a port")),
        ("server", "Granted port", data("Granted port")),
        ("server", "opens a visitor's stream (1) with its preamble", (yamux.encode(0, 0, yamux.SYN, 1, len(visitor)) + visitor).hex()),
        ("agent", "accepts the stream", update(yamux.ACK, 1)),
        ("agent", "status byte: connected", (yamux.encode(0, 0, 0, 1, 1) + b"\0").hex()),
    ]
    return {
        "about": "All plaintext bytes of a link from its first to the first visitor, as they may be sent (pings left out). "
        "Inside TLS they are the application data.",
        "steps": [{"from": sender, "what": what, "wire": wire} for sender, what, wire in steps],
    }


if __name__ == "__main__":
    main()
