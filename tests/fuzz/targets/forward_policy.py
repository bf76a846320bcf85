"""Rules of the forward proxy: patterns, lines of host lists, and files of http-tunnel."""

import tempfile
from ipaddress import ip_address
from pathlib import Path

from hypothesis import strategies as st

from portway.errors import ConfigError
from portway.forward.config.http_tunnel_file import HttpTunnelFile, read_http_tunnel_file
from portway.forward.policy.list_formats import names_in_line
from portway.forward.policy.pattern_set import PatternSet
from portway.forward.policy.patterns import NetworkPattern, read_pattern
from portway.protocol.names import normalise_host
from tests.fuzz.target import Target, add, outcome, quietly
from tests.fuzz.targets.texts import as_text

TARGETS = (("a.example", 443), ("www.example.com", 80), ("10.1.2.3", 22), ("2001:db8::1", 8443), ("xn--bcher-kva.example", 65535))


def check_pattern(data: bytes) -> None:
    """An accepted pattern decides about every target, and a network contains what it matches."""
    pattern = outcome(lambda: read_pattern(as_text(data)), ConfigError)
    if isinstance(pattern, type):
        return
    patterns = PatternSet([pattern])  # type: ignore[list-item]
    for host, port in TARGETS:
        matched = patterns.match_target(host, port)
        assert matched in (None, pattern)
        if isinstance(pattern, NetworkPattern) and matched is not None:
            assert ip_address(host) in pattern.network


PATTERNS = (
    b"a.example:80,443",
    b"*.example",
    b"*",
    b"10.0.0.0/8:22",
    b"[2001:db8::/32]:443",
    b"re:(a|b)+\\.example:443",
    b"::ffff:10.0.0.0/104",
)
add(
    Target(
        "target_patterns",
        quietly(lambda data: read_pattern(as_text(data)), ConfigError),
        check_pattern,
        PATTERNS,
        (b"*.", b":", b",", b"-", b"/", b"[", b"]", b"re:", b"(?i)", b"{1,1000}", b"%", b"::", b"0x", b"65535", b"\xc3\xbc"),
        st.one_of(st.binary(max_size=60), st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))),
        bytes_max=4096,
        shapes=(
            lambda size: b"a." * (size // 2),
            lambda size: b"a:" + b"1," * (size // 2),
            lambda size: b"1." * (size // 2),
            lambda size: b":" * size,
        ),
    )
)


def check_line(data: bytes) -> None:
    """Names in a line are in the form in which hosts are compared."""
    for name in names_in_line(data) or ():
        assert normalise_host(name) == name.decode("ascii")


add(
    Target(
        "host_lists",
        names_in_line,
        check_line,
        (
            b"ads.example",
            b"0.0.0.0 ads.example b.example # c",
            b"||ads.example^$third-party",
            b"*.ads.example",
            b"! c",
            b"b\xc3\xbccher.example",
            b"::1 a.b",
        ),
        (b"||", b"^", b"$", b"#", b"##", b"!", b"*.", b"127.0.0.1 ", b"\t", b"\r", b"\x00", b"\xe3\x80\x82", b"xn--"),
        bytes_max=4096,
        shapes=(
            lambda size: b"a." * (size // 2),
            lambda size: b"0.0.0.0 " + b"a " * (size // 2),
            lambda size: b"||" + b"a" * size + b"^",
            lambda size: b"\xc3\xbc" * (size // 2),
        ),
    )
)


def read_file(data: bytes) -> HttpTunnelFile:
    """Read a file with this content."""
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(data)
        file.flush()
        return read_http_tunnel_file(Path(file.name))


def check_file(data: bytes) -> None:
    """An accepted file has limits that the engine accepts."""
    found = outcome(lambda: read_file(data), ConfigError)
    if isinstance(found, HttpTunnelFile):
        assert found.initiation_timeout_s > 0
        found.client_policy.check()
        found.target_policy.check()


FILES = (
    b"client_connection:\n  initiation_timeout: 10s\n  relay_policy: &p {idle_timeout: 1min, max_rate_bps: 10000}\ntarget_connection: {relay_policy: *p}\n",
    b"target_connection: {allowed_targets: '.*', dns_cache_ttl: 60s, connect_timeout: 10s, allow_private: true}",
    b"client_connection: !!python/object/apply:os.system [x]",
    b"a: &a [*a]",
)
add(
    Target(
        "http_tunnel_files",
        quietly(read_file, ConfigError),
        check_file,
        FILES,
        (
            b"client_connection:",
            b"relay_policy:",
            b"\n  ",
            b": ",
            b"&a ",
            b"*a",
            b"<<: ",
            b"!!",
            b"- ",
            b"{",
            b"[",
            b"'",
            b'"',
            b"|\n",
            b"10s",
            b"100mb",
            b"\x00",
            b"---\n",
        ),
        bytes_max=2000,
        by_byte=False,
    )
)
