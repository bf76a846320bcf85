"""Input from proxies in front: PROXY headers of both versions, and forwarding fields."""

from hypothesis import strategies as st

from portway.errors import PeerError
from portway.protocol.http1.trusted_proxies import HOPS_MAX, Hops, TrustedProxies
from portway.protocol.networks import Networks
from portway.protocol.proxy_header import ProxyHeader
from portway.protocol.proxy_inbound import V2_BYTES_MAX, decode_inbound
from tests.fuzz.target import Target, add, outcome, quietly

TRUSTED = Networks(("10.0.0.0/8",))


def check_announcement(wire: bytes) -> None:
    """A header is never another one when less of it has come, and takes no byte of what follows."""
    found = outcome(lambda: decode_inbound(wire), PeerError)
    if not isinstance(found, tuple):
        return
    header, size = found
    assert isinstance(header, ProxyHeader)
    assert size <= min(len(wire), V2_BYTES_MAX)
    for at in range(size):
        assert outcome(lambda at=at: decode_inbound(wire[:at]), PeerError) is None  # type: ignore[misc]
    assert decode_inbound(wire[:size]) == (header, size)


_end = st.sampled_from(["192.0.2.1", "::1", "2001:db8::1", "::ffff:192.0.2.1", "192.0.2.256", "1", "fe80::1%1", ""])
_port = st.sampled_from(["0", "1", "65535", "65536", "01", "-1", "443 ", ""])
_line = st.builds(
    lambda kind, ends, ports, end: f"PROXY {kind} {ends[0]} {ends[1]} {ports[0]} {ports[1]}{end}".encode(),
    st.sampled_from(["TCP4", "TCP6", "UNKNOWN", "UDP4", "tcp4", ""]),
    st.tuples(_end, _end),
    st.tuples(_port, _port),
    st.sampled_from(["\r\n", "\n", "\r", "", "\r\nGET / HTTP/1.1\r\n", " \r\n"]),
)
add(
    Target(
        "proxy-announcement",
        quietly(decode_inbound, PeerError),
        check_announcement,
        (
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET",
            b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n",
            b"PROXY UNKNOWN\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\1\0\1\0\2",
        ),
        (b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b"\r\n", b" ", b"\x21\x11\0\x0c", b"\x20\0\5\1"),
        _line,
        bytes_max=4500,
        shapes=(
            lambda size: b"PROXY UNKNOWN " + b"x" * size,
            lambda size: b"\r\n\r\n\0\r\nQUIT\n\x21\0\x0f\x00" + b"\x30\0\0" * (size // 3),
        ),
    )
)


def hops_of(value: bytes) -> tuple[Hops, Hops]:
    """Read a value as both families."""
    said = {b"x-forwarded-for": value, b"x-forwarded-host": value, b"x-forwarded-proto": value, b"x-forwarded-port": value}
    return TrustedProxies(TRUSTED, "x-forwarded").parse(said), TrustedProxies(TRUSTED, "forwarded").parse({b"forwarded": value})


def check_hops(value: bytes) -> None:
    """The last entry, from the proxy itself, is used after any prefix; only addresses, hosts and schemes are returned."""
    for hops in hops_of(value):
        assert len(hops.addresses) <= HOPS_MAX
        assert all(address in TRUSTED for address in hops.addresses[1:]), "only proxies stand behind a visitor"
        assert hops.scheme in ("", "http", "https")
        assert not set(hops.host) - set(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]")
    x, _ = hops_of(value + b", 192.0.2.1")
    _, forwarded = hops_of(value + b", for=192.0.2.1;proto=https;host=a.example")
    assert x.addresses == forwarded.addresses == ("192.0.2.1",)
    assert (forwarded.scheme, forwarded.host) == ("https", b"a.example")


_node = st.sampled_from([b"192.0.2.1", b"10.0.0.1", b'"[2001:db8::1]:80"', b"unknown", b"_x", b"[::1]", b'"', b'"a,b', b"\\", b""])
_element = st.builds(lambda name, node, more: name + node + more, st.sampled_from([b"for=", b"For=", b"", b"host=", b";"]), _node, _node)
add(
    Target(
        "forwarding-fields",
        hops_of,
        check_hops,
        (b"192.0.2.1, 10.0.0.1", b'for=192.0.2.1;proto=https, for="[2001:db8::1]:80";host="a"', b'x=", for=1.2.3.4'),
        (b", ", b",", b";", b"for=", b"proto=https", b"host=", b'"', b"\\", b"\n", b"10.0.0.1", b"192.0.2.1", b"[::1]"),
        st.lists(_element, max_size=6).map(b", ".join),
        bytes_max=4000,
        shapes=(lambda size: b'a="\\"' * (size // 5), lambda size: b',a="' * (size // 4), lambda size: b"10.0.0.1," * (size // 9)),
    )
)
