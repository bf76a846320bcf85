"""Worst-case cost of every parser: `python -m bench.parsers` prints the table of docs/threats.md.

Each parser of a peer's bytes gets the inputs that cost it most. It measures CPU time, the best of several runs, so that a busy
machine disturbs little. The limit for a stream parser is per byte; for a message of bounded length it is the time of the longest
one, because that is one turn.
"""

import argparse
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from portway.edge.http.head_cache import RequestHeadCache, ResponseHeadCache
from portway.errors import PeerError
from portway.protocol.control.framing import POST_LOGIN_BYTES_MAX, PRE_LOGIN_BYTES_MAX, MessageReader
from portway.protocol.control.messages import Claim, decode_message, encode_message
from portway.protocol.http1.chunked import OVERHEAD_BYTES_FREE, ChunkDecoder, encode_chunk
from portway.protocol.http1.fields import REQUEST_LIMITS, RESPONSE_LIMITS, HeadBuffer
from portway.protocol.http1.rewriting import HeadRewriter
from portway.protocol.names import normalise_host
from portway.protocol.proxy_header import decode
from portway.protocol.proxy_inbound import V2_BYTES_MAX, decode_inbound
from portway.protocol.scram import ScramServer, make_verifier
from portway.protocol.tls_hello import EXTENSIONS_MAX, HELLO_BYTES_MAX, PROTOCOLS_MAX, HelloReader
from portway.protocol.work import TURN_WORK, Work
from portway.protocol.yamux.frame import DATA, HEADER, SYN, WINDOW_UPDATE
from portway.protocol.yamux.limits import YamuxLimits
from portway.protocol.yamux.session import Session
from portway.protocol.yamux.stream import Stream

NS_PER_BYTE_MAX = 100.0
MS_PER_TURN_MAX = 1.0
STREAM_BYTES = 64 * 1024
"""How much of a stream is measured at a time: one read."""
RUNS = 7


@dataclass(frozen=True)
class Case:
    """One input of one parser."""

    parser: str
    description: str
    """Description of the input."""
    data: bytes
    run: Callable[[bytes], None]
    message: bool = False
    """True: `data` is one message of bounded length, which is parsed in one turn."""
    small: bool = False
    """True: the shortest message; its cost per message counts, not its cost per byte."""


@dataclass(frozen=True)
class Cost:
    """Measured cost of a case."""

    case: Case
    seconds: float

    @property
    def ns_per_byte(self) -> float:
        """CPU time per byte of input."""
        return self.seconds / len(self.case.data) * 1e9


def measure(case: Case, runs: int = RUNS) -> Cost:
    """Return the least CPU time of a case; an input that the parser rejects is measured up to its rejection."""
    best = float("inf")
    for _ in range(runs):
        started = time.process_time_ns()
        repeats = 0
        while True:
            try:
                case.run(case.data)
            except PeerError:
                pass
            repeats += 1
            used = time.process_time_ns() - started
            if used > 2_000_000:
                break
        best = min(best, used / repeats / 1e9)
    return Cost(case, best)


# ----------------------------------------------------------------------------------------------------------- the inputs


def all_cases() -> list[Case]:
    """Return all cases, grouped by parser."""
    return [*chunks(), *heads(), *frames(), *control(), *records(), *hellos(), *others()]


def _repeat(piece: bytes, size: int = STREAM_BYTES) -> bytes:
    return piece * (size // len(piece))


def _decode_chunks(data: bytes) -> None:
    decoder = ChunkDecoder()
    while data and not decoder.done:
        payload, data = decoder.feed(data)
        encode_chunk(payload)


def _decode_chunks_near_the_bound(data: bytes) -> None:
    decoder = ChunkDecoder()
    decoder._overhead = OVERHEAD_BYTES_FREE - 64  # noqa: SLF001 - a state that takes a body an hour to reach
    while data:
        payload, data = decoder.feed(data)
        encode_chunk(payload)


def chunks() -> Iterator[Case]:
    """Yield chunked bodies: to decode, and to frame anew."""
    name = "chunked body"
    tiny, extended = b"1\r\nx\r\n", b"1;\r\nx\r\n"
    yield Case(name, "chunks of 1 byte", _repeat(tiny), _decode_chunks)
    yield Case(name, "with leading zeros", _repeat(b"01\r\nx\r\n"), _decode_chunks)
    yield Case(name, "with extensions", _repeat(extended), _decode_chunks)
    yield Case(name, "every second one with an extension", _repeat(tiny + extended), _decode_chunks)
    yield Case(name, "runs that are just too short", _repeat(tiny * 10 + b"1;" + b"e" * 9 + b"\r\nx\r\n"), _decode_chunks)
    yield Case(name, "chunks of 16 bytes", _repeat(b"10\r\n" + b"x" * 16 + b"\r\n"), _decode_chunks)
    yield Case(name, "8 bytes with an extension, then 1", _repeat(b"8;\r\n01234567\r\n" + tiny), _decode_chunks)
    yield Case(name, "runs behind what cannot be in one", _repeat(b"8;\r\n01234567\r\n" + tiny * 15), _decode_chunks)
    yield Case(name, "at the bound of framing", _repeat(b"1;aa\r\nx\r\n"), _decode_chunks_near_the_bound)
    yield Case("trailers of a chunked body", "the most there may be", b"0\r\n" + b"x:\r\n" * 99 + b"\r\n", _decode_chunks, message=True)


def _understand_request(data: bytes) -> None:
    RequestHeadCache().parse(data)


def _understand_answer(data: bytes) -> None:
    ResponseHeadCache(HeadRewriter("app.example.org", "example.org")).parse(data, b"GET").head(11, keep_alive=True)


def _buffer_head(data: bytes) -> None:
    buffer = HeadBuffer(REQUEST_LIMITS)
    for at in range(0, len(data), 16):
        buffer.feed(data[at : at + 16])


def _fill(start: bytes, piece: bytes, size: int) -> bytes:
    """Return a head of `size` bytes that ends with as many pieces as fit, in one field."""
    return (start + piece * (size // len(piece)))[: size - 4] + b"\r\n\r\n"


def heads() -> Iterator[Case]:
    """Yield heads of requests and responses."""
    get, size = b"GET / HTTP/1.1\r\nHost: a\r\n", REQUEST_LIMITS.bytes_max
    fields = REQUEST_LIMITS.fields_max - 2

    def request(description: str, data: bytes, *, small: bool = False) -> Case:
        return Case("request head", description, data, _understand_request, message=True, small=small)

    yield request("the shortest", get + b"\r\n", small=True)
    yield request("as many of the shortest fields as may be", get + b"x:\r\n" * fields + b"\r\n")
    yield request("as many fields of a hop as may be", get + b"Connection: a\r\n" * fields + b"\r\n")
    yield request("a long path", b"GET /" + b"a" * (size - 100) + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    yield request("a query of many secrets", b"GET /?" + _repeat(b"token=a&", size - 100) + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    yield request("a query of many parts", b"GET /?token" + b"&" * (size - 100) + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    yield request("a long absolute target", b"GET http://a/" + b"a" * (size - 100) + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    yield request("a long host", b"GET / HTTP/1.1\r\nHost: " + b"a." * (size // 2 - 50) + b"\r\n\r\n")
    yield request("a long list in Connection", _fill(get + b"Connection: ", b"a,", size))
    yield request(
        "a long list of names in Connection",
        (get + b"Connection: " + b",".join(b"%x" % n for n in range(40_000)))[: size - 4] + b"\r\n\r\n",
    )
    yield request("a long list in Upgrade", _fill(get + b"Connection: upgrade\r\nUpgrade: ", b"a,", size))
    yield request("a long list in TE", _fill(get + b"TE: ", b"a,", size))
    yield request("a long list in Trailer", _fill(get + b"Transfer-Encoding: chunked\r\nTrailer: ", b"a,", size))
    yield request("spaces behind every value", get + b"x: a \r\n" * fields + b"\r\n")
    yield request("a value of spaces", _fill(get + b"x: a", b" ", size))
    yield Case("request head in pieces", "16 bytes at a time", b"GET / HTTP/1.1\r\n" + b"x" * 30_000, _buffer_head)

    ok, size = b"HTTP/1.1 200 OK\r\n", RESPONSE_LIMITS.bytes_max
    fields = RESPONSE_LIMITS.fields_max - 2

    def answer(description: str, data: bytes, *, small: bool = False) -> Case:
        return Case("answer head", description, data, _understand_answer, message=True, small=small)

    yield answer("the shortest", ok + b"\r\n", small=True)
    yield answer("as many of the shortest fields as may be", ok + b"x:\r\n" * fields + b"\r\n")
    yield answer("a long reason", b"HTTP/1.1 200 " + b"a" * (size - 100) + b"\r\n\r\n")
    yield answer("a long list in Connection", _fill(ok + b"Connection: ", b"a,", size))
    yield answer("a long list of challenges", _fill(b"HTTP/1.1 401 No\r\nWWW-Authenticate: ", b"a,", size))
    yield answer("a long list in Upgrade", _fill(b"HTTP/1.1 426 No\r\nConnection: upgrade\r\nUpgrade: ", b"a,", size))
    yield answer("a cookie with many domains", _fill(ok + b"Set-Cookie: a", b";domain=a", size))
    yield answer("many cookies", ok + b"Set-Cookie: a=b;domain=a\r\n" * fields + b"\r\n")


class _Silent(Stream):
    """A stream that discards its data, because the cost of a visitor is not the parser's."""

    __slots__ = ()

    def deliver(self, view: memoryview) -> None:
        self.receive_window.consumed(len(view))

    def on_credit(self) -> None:
        pass

    def on_peer_fin(self) -> None:
        pass

    def on_reset(self) -> None:
        pass


def _session() -> Session:
    session = Session(
        client=False,
        limits=YamuxLimits(strays_per_s_max=1 << 30, empties_per_s_max=1 << 30, pings_per_s_max=1 << 30),
        make_stream=_Silent,
        on_accept=lambda stream: None,
        on_pong=lambda value: None,
        on_output=lambda: None,
    )
    session.receive(memoryview(b"".join(HEADER.pack(0, WINDOW_UPDATE, SYN, stream_id, 0) for stream_id in range(1, 17, 2))), 0.0)
    return session


def _receive(data: bytes) -> None:
    session, work = _session(), Work()
    view = memoryview(data)
    while view:
        for stream in session.streams.values():
            stream.receive_window.left = 1 << 20
        view = view[session.receive(view, 0.0, work, work.done + TURN_WORK) :]


def frames() -> Iterator[Case]:
    """Yield frames of a link, delivered to streams that discard them."""
    name = "yamux frames"
    crumbs = [HEADER.pack(0, DATA, 0, stream_id, 1) + b"x" for stream_id in (1, 3)]
    yield Case(name, "data of 1 byte for one stream", _repeat(crumbs[0]), _receive)
    yield Case(name, "data of 1 byte for two streams in turns", _repeat(crumbs[0] + crumbs[1]), _receive)
    yield Case(name, "data of 1 byte for an unknown stream", _repeat(HEADER.pack(0, DATA, 0, 99, 1) + b"x"), _receive)
    yield Case(name, "updates by one", _repeat(HEADER.pack(0, WINDOW_UPDATE, 0, 1, 1)), _receive)
    yield Case(name, "empty frames", _repeat(HEADER.pack(0, DATA, 0, 1, 0)), _receive)
    yield Case(name, "pings", _repeat(HEADER.pack(0, 2, SYN, 0, 7)), _receive)


def _read_messages(data: bytes) -> None:
    reader = MessageReader(POST_LOGIN_BYTES_MAX)
    for at in range(0, len(data), 4096):
        reader.feed(data[at : at + 4096])


def _decode_message(data: bytes) -> None:
    decode_message(data)


def control() -> Iterator[Case]:
    """Yield control messages."""
    yield Case("control stream, cut into messages", "messages of 1 byte", _repeat(b"\0\0\0\1x"), _read_messages)

    def unknown(value: object) -> bytes:
        return msgspec.msgpack.encode({"t": "Claim", "id": 1, "kind": "http", "more": value})

    def message(description: str, data: bytes, *, small: bool = False) -> Case:
        return Case("control message", description, data[:POST_LOGIN_BYTES_MAX], _decode_message, message=True, small=small)

    yield message("a claim", encode_message(Claim(id=1, kind="http", name="app"))[4:], small=True)
    yield message("an unknown field with a long list", unknown([0] * (POST_LOGIN_BYTES_MAX - 100)))
    yield message("an unknown field with a map of maps", unknown({str(n): {} for n in range(9000)}))
    yield message("an unknown field that is nested", unknown(None)[:-1] + b"\x91" * (POST_LOGIN_BYTES_MAX - 100))
    yield message(
        "many unknown fields", msgspec.msgpack.encode({"t": "Claim", "id": 1, "kind": "http", **{str(n): 0 for n in range(9000)}})
    )
    yield message("not a message", b"\x91" * POST_LOGIN_BYTES_MAX)
    verifier = make_verifier("secret", b"s" * 16)

    def challenge(data: bytes) -> None:
        ScramServer("n" * 32, None).challenge(data.decode("ascii"), verifier)

    yield Case(
        "login message (SCRAM)", "the longest", b"n,,n=" + b"u" * 64 + b",r=" + b"!" * (PRE_LOGIN_BYTES_MAX - 200), challenge, message=True
    )


def _decrypt(tls: ssl.SSLObject, incoming: ssl.MemoryBIO, data: bytes) -> None:
    incoming.write(data)
    try:
        while tls.read(65536):
            pass
    except ssl.SSLWantReadError:
        pass


def records() -> Iterator[Case]:
    """Yield TLS records: only Portway's cutting of records is measured, the rest is OpenSSL's."""
    from portway.engine.tls_records import RecordFeed  # noqa: PLC0415 - the only part of the engine here

    def cut(data: bytes) -> None:
        bio = ssl.MemoryBIO()
        feed = RecordFeed(bio)
        feed.put(memoryview(data))
        while feed.waiting:
            feed.put_waiting()

    yield Case("TLS records, counted", "the smallest", _repeat(b"\x17\x03\x03\x00\x11" + b"x" * 17), cut)


def _vector(length_bytes: int, content: bytes) -> bytes:
    return len(content).to_bytes(length_bytes, "big") + content


def _extension(kind: int, body: bytes = b"") -> bytes:
    return kind.to_bytes(2, "big") + _vector(2, body)


_NAME = _extension(0, _vector(2, b"\0" + _vector(2, b"a.example")))
_SHARES = _extension(51, bytes(1300))


def _hello(*extensions: bytes, bytes_max: int = HELLO_BYTES_MAX) -> bytes:
    """Return a ClientHello that is filled up to a size with an unknown extension."""
    block = b"".join(extensions)
    fill = _extension(0x1234, bytes(max(0, bytes_max - len(block) - 51)))
    return b"\1" + _vector(3, b"\3\3" + bytes(33) + b"\0\2\x13\1\1\0" + _vector(2, block + fill))


def _in_records(message: bytes, size: int = 1 << 14) -> bytes:
    return b"".join(b"\x16\3\1" + _vector(2, message[at : at + size]) for at in range(0, len(message), size))


def _read_hello(data: bytes, step: int = STREAM_BYTES) -> None:
    reader = HelloReader()
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])


def hellos() -> Iterator[Case]:
    """ClientHellos: the longest in one turn, and those in the smallest records, which come in many."""

    def message(words: str, data: bytes, *, small: bool = False) -> Case:
        return Case("ClientHello", words, data, _read_hello, message=True, small=small)

    names = [_extension(16, _vector(2, b"".join(_vector(1, bytes((at % 256,))) for at in range(PROTOCOLS_MAX))))]
    numbers = [_extension(0x2000 + at) for at in range(EXTENSIONS_MAX - 3)]
    yield message("the shortest", _in_records(_hello(_NAME, bytes_max=0)), small=True)
    yield message("with post-quantum key shares", _in_records(_hello(_NAME, _SHARES, bytes_max=0)))
    yield message("the longest", _in_records(_hello(_NAME)))
    yield message("as many extensions and protocols as may be", _in_records(_hello(_NAME, *names, *numbers)))
    yield message("a long name", _in_records(_hello(_extension(0, _vector(2, b"\0" + _vector(2, b"a." * 30_000))))))
    yield message("many names", _in_records(_hello(_extension(0, _vector(2, b"\1\0\1x" * 15_000)))))
    for size in (1, 2):
        data = _in_records(_hello(_NAME, bytes_max=15_000), size)
        yield Case("ClientHello in records", f"of {size} in reads of 1,460 bytes", data, lambda data: _read_hello(data, 1460))


def others() -> Iterator[Case]:
    """Yield short headers and names."""
    signature = b"\r\n\r\n\0\r\nQUIT\n"

    def proxy(size: int) -> bytes:
        return (
            signature
            + b"\x21\x11"
            + (size - 16).to_bytes(2, "big")
            + bytes(12)
            + b"\xe1\0\0" * ((size - 28) // 3)
            + b"\xe1\0\0"[: (size - 28) % 3]
        )

    yield Case(
        "PROXY header from the server (agent)", "as many values as fit", proxy(511), lambda data: _nothing(decode(data)), message=True
    )
    yield Case(
        "PROXY header from a proxy in front",
        "as many values as fit",
        proxy(V2_BYTES_MAX - 1),
        lambda data: _nothing(decode_inbound(data)),
        message=True,
    )
    yield Case("host name", "the longest", b"a." * 125 + b"a:1", lambda data: _nothing(normalise_host(data)), message=True)


def _nothing(_found: object) -> None:
    """Discard a result."""


# ------------------------------------------------------------------------------------------------------------ the table


def table(costs: list[Cost]) -> str:
    """Return the worst case of each parser, in Markdown."""
    lines = ["| parser | worst input | ns per byte | µs per message |", "|---|---|---:|---:|"]
    for name in dict.fromkeys(cost.case.parser for cost in costs):
        own = [cost for cost in costs if cost.case.parser == name and not cost.case.small]
        worst = max(own, key=lambda cost: cost.seconds if cost.case.message else cost.ns_per_byte)
        small = [cost for cost in costs if cost.case.parser == name and cost.case.small]
        shown = f"{worst.seconds * 1e6:,.0f}" if worst.case.message else ""
        if small:
            shown += f"; the shortest {small[0].seconds * 1e6:,.0f}"
        lines.append(f"| {name} | {worst.case.description} ({len(worst.case.data):,} bytes) | {worst.ns_per_byte:,.0f} | {shown} |")
    return "\n".join(lines)


def faults(costs: list[Cost]) -> list[str]:
    """Return the exceeded limits: per byte of a stream, per message."""
    found = []
    for cost in costs:
        if cost.case.message and cost.seconds * 1e3 > MS_PER_TURN_MAX:
            found.append(f"{cost.case.parser}: {cost.case.description}: {cost.seconds * 1e3:.1f} ms, at most {MS_PER_TURN_MAX:g}")
        elif not cost.case.message and cost.ns_per_byte > NS_PER_BYTE_MAX:
            found.append(f"{cost.case.parser}: {cost.case.description}: {cost.ns_per_byte:.0f} ns per byte, at most {NS_PER_BYTE_MAX:g}")
    return found


def main() -> int:
    """Measure, print the table, and return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(prog="python -m bench.parsers", description="Measure the worst-case cost of every parser.")
    parser.add_argument("--all", action="store_true", help="also print every input, not only the worst")
    options = parser.parse_args()
    costs = [measure(case) for case in all_cases()]
    if options.all:
        for cost in costs:
            print(
                f"{cost.case.parser:38} {cost.case.description:48} {len(cost.case.data):7} {cost.seconds * 1e6:9.1f} µs {cost.ns_per_byte:8.1f} ns/B"
            )
    print(table(costs))
    for fault in faults(costs):
        print(fault, file=sys.stderr)
    return 1 if faults(costs) else 0


if __name__ == "__main__":
    sys.exit(main())
