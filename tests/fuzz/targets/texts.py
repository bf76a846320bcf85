"""Text from users and peers: names, addresses, join strings, sizes, settings, logins."""

import re
from collections.abc import Callable

from hypothesis import strategies as st

from portway.agent.target import parse_target
from portway.config.sources import load_settings
from portway.config.values import ListenAddress, PortRange, parse_yes_or_no
from portway.edge.http.password_checks import read_credentials
from portway.errors import ConfigError, MisuseError, PeerError, PortwayError, RefusedError
from portway.protocol.join_string import JoinString, parse
from portway.protocol.names import check_label, normalise_host, split_authority
from portway.protocol.password_hash import MEMORY_BYTES_MAX, PASSWORD_BYTES_MAX, PasswordHash, parse_password_hash
from portway.protocol.scram import ScramClient, ScramServer, make_verifier
from portway.protocol.source_key import source_key
from portway.protocol.units import parse_duration_s, parse_size_bytes
from portway.server.settings import ServerSettings
from tests.fuzz.target import Target, add, outcome, quietly


def as_text(data: bytes) -> str:
    """Return any bytes as text, including surrogates, like arguments and environment variables."""
    return data.decode("utf-8", "surrogateescape")


def of_text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """Return a parser of bytes."""
    return lambda data: read(as_text(data))


# Names


def check_names(data: bytes) -> None:
    """An accepted host is its own normal form, plain ASCII, and the same as text and as bytes."""
    found = outcome(lambda: normalise_host(data), PeerError)
    if isinstance(found, str):
        assert found.isascii()
        assert found == found.lower()
        again = f"[{found}]" if ":" in found and not found.startswith("[") else found
        assert normalise_host(again) == found
    pair = outcome(lambda: split_authority(data), PeerError)
    if isinstance(pair, tuple):
        assert pair[1] is None or 0 <= pair[1] <= 65535
    outcome(lambda: check_label(as_text(data)), PortwayError)
    outcome(lambda: normalise_host(as_text(data)), PeerError)


HOSTS = (
    b"a.localhost",
    b"A.LocalHost.:80",
    b"[::1]:443",
    b"xn--bcher-kva.example",
    b"b\xc3\xbccher.example",
    b"127.0.0.1",
    b"[fe80::1%25eth0]",
)
add(
    Target(
        "names",
        quietly(normalise_host, PeerError),
        check_names,
        HOSTS,
        (b".", b"..", b":", b"[", b"]", b"%", b"xn--", b"@", b"\x00", b"\xe3\x80\x82", b"\xc4\xb0", b"\xef\xbc\xa1", b"-", b"_"),
        st.one_of(st.binary(max_size=80), st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))),
        bytes_max=1000,
        shapes=(
            lambda size: b"a." * (size // 2),
            lambda size: b"a" * size,
            lambda size: b"xn--" * (size // 4),
            lambda size: b"\xc3\xbc" * (size // 2),
        ),
    )
)


def check_source(data: bytes) -> None:
    """Every address has a source."""
    assert isinstance(source_key(as_text(data)), str)


add(
    Target(
        "sources", of_text(source_key), check_source, (b"192.0.2.1", b"2001:db8::1", b"::ffff:192.0.2.1", b"fe80::1%eth0"), bytes_max=100
    )
)


# Passwords

HASH = b"$scrypt$ln=15,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


def check_hash(data: bytes) -> None:
    """An accepted hash needs a bounded amount of memory, and is written in its one form."""
    found = outcome(lambda: parse_password_hash(as_text(data)), ConfigError)
    if isinstance(found, PasswordHash):
        assert 128 * found.block << found.log_n <= MEMORY_BYTES_MAX
        assert parse_password_hash(str(found)) == found


add(
    Target(
        "password-hashes",
        quietly(of_text(parse_password_hash), ConfigError),
        check_hash,
        (HASH, HASH.replace(b"ln=15,r=8,p=1", b"ln=14,r=16,p=2")),
        (b"$", b"scrypt", b"ln=", b",r=", b",p=", b"=", b"/", b"+", b"0", b"99"),
        bytes_max=300,
    )
)

AUTHORIZATIONS = (b"Basic YW5uOnNlc2FtZQ==", b"basic  YW5uOg==", b"Bearer abc", b"Basic " + b"A" * 1400)


def check_credentials(data: bytes) -> None:
    """Only valid base64 with a colon is a user and a password."""
    found = read_credentials(data)
    if found is not None:
        assert b":" not in found[0]
        assert len(found[1]) <= PASSWORD_BYTES_MAX


add(Target("credentials", read_credentials, check_credentials, AUTHORIZATIONS, (b"Basic ", b"=", b":", b"Og=="), bytes_max=2048))


# Join strings


def check_join(data: bytes) -> None:
    """Serialised again it is the same; no error repeats the secret."""
    text = as_text(data)
    try:
        join = parse(text)
    except ConfigError as exc:
        said = str(exc)
        _assert_hidden(text, said)
        return
    assert parse(str(join)) == join
    assert join.secret not in repr(join)


def _assert_hidden(text: str, said: str) -> None:
    """Fail if an error repeats a possible secret: the text between a dot and an @."""
    for secret in re.findall(r"\.([^.@]{22,})(?=@)", text):
        assert text.count(secret) > 1 or secret not in said


SECRET = "Zk3Yx-9_QwErTyUiOpAsDfGhJkLzXcVbNm0123456789"[:43]
JOINS = (
    str(JoinString("id", SECRET, "tunnel.example.org", 4443, bytes(32))),
    str(JoinString("id", SECRET, "::1", 1, None)),
    str(JoinString("id", SECRET, "10.0.0.1", 65535, None, plaintext=True)),
)
add(
    Target(
        "join-string",
        quietly(of_text(parse), ConfigError),
        check_join,
        tuple(join.encode() for join in JOINS),
        (b"portway://", b"?pin=sha256:", b"&", b"links=plaintext", b"@", b":", b"[", b"]", b"/", b" ", b"\n", b"0" * 64, b"\xd9\xa3"),
        bytes_max=2000,
        shapes=(
            lambda size: b"portway://a." + b"b" * size,
            lambda size: JOINS[0].encode() + b"&pin=" * (size // 5),
            lambda size: b"portway://" + b"." * size,
        ),
    )
)


# Settings


def check_values(data: bytes) -> None:
    """Each reader returns a value or the expected form; formatted values can be read again."""
    text = as_text(data)
    for read in (parse_duration_s, parse_size_bytes):
        number = outcome(lambda read=read: read(text), ConfigError)  # type: ignore[misc]
        assert number is ConfigError or (isinstance(number, int | float) and 0 <= number < 1e30)
    address = outcome(lambda: ListenAddress.parse(text), ConfigError)
    if isinstance(address, ListenAddress):
        assert ListenAddress.parse(str(address)) == address
    ports = outcome(lambda: PortRange.parse(text), ConfigError)
    if isinstance(ports, PortRange):
        assert PortRange.parse(str(ports)) == ports
        assert ports.first in ports
    outcome(lambda: parse_yes_or_no(text), ConfigError)


VALUES = (b"1h30m", b"500ms", b"10MiB", b"100mb", b"127.0.0.1:8080", b":80", b"[::1]:443", b"20000-20999", b"yes", b"0")
add(
    Target(
        "values",
        lambda data: [
            quietly(of_text(read), ConfigError)(data) for read in (parse_duration_s, parse_size_bytes, ListenAddress.parse, PortRange.parse)
        ],
        check_values,
        VALUES,
        (
            b"h",
            b"m",
            b"s",
            b"ms",
            b"d",
            b".",
            b"-",
            b":",
            b"kb",
            b"MiB",
            b"9" * 20,
            b"1e9",
            b"_",
            b"+",
            b"\xd9\xa3",
            b"\xc2\xb2",
            b"inf",
            b"nan",
        ),
        st.one_of(st.from_regex(rb"[0-9]{0,14}(\.[0-9]{0,8})?[dhmsMkGib.:-]{0,4}[0-9]{0,6}", fullmatch=True), st.binary(max_size=30)),
        bytes_max=400,
        shapes=(lambda size: b"1" * size, lambda size: b"1h" * (size // 2), lambda size: b"[" + b":" * size),
    )
)


def check_target(data: bytes) -> None:
    """A TARGET is accepted, or the error lists the accepted forms."""
    for kind in ("http", "tcp"):
        found = outcome(lambda kind=kind: parse_target(as_text(data), kind), ConfigError)  # type: ignore[misc]
        if found is not ConfigError:
            assert found.path or found.is_static or 1 <= found.port <= 65535  # type: ignore[attr-defined]
            assert parse_target(found.text, kind).text == found.text  # type: ignore[attr-defined]


add(
    Target(
        "target",
        quietly(of_text(lambda text: parse_target(text, "http")), ConfigError),
        check_target,
        (b"3000", b"localhost:80", b"https://[::1]:8443", b"unix:/run/app.sock", b"http://user@host/"),
        (b"unix:", b"https://", b"http://", b"/", b":", b"[", b"]", b"@", b"%", b"\x00"),
        bytes_max=400,
    )
)


def check_settings(data: bytes) -> None:
    """A value from the environment is accepted, or the error has its name."""
    text = as_text(data)
    for name in ("DOMAIN", "HTTP", "TCP_PORTS", "HOLD", "WORKERS", "ADVERTISE", "DATA", "PLAINTEXT_LINKS"):
        try:
            load_settings(ServerSettings, "server", flags={}, environ={f"PORTWAY_{name}": text}, file=None)
        except ConfigError:
            pass


add(
    Target(
        "settings", check_settings, check_settings, (*VALUES, b"tunnel.example.org", b"/tmp/x", b"4"), (b"\x00", b"~", b"\n"), bytes_max=200
    )
)


# SCRAM

SERVER_NONCE, CLIENT_NONCE, BINDING = "server" * 4, "client" * 4, bytes(32)
VERIFIER = make_verifier("secret", b"salt" * 4)


def _server() -> ScramServer:
    return ScramServer(SERVER_NONCE, BINDING)


def scram_server(data: bytes) -> object:
    """Pass the two messages of a login to a server, cut at the first line break."""
    first, _, final = as_text(data).partition("\n")
    server = _server()
    server.challenge(first, VERIFIER)
    return server.finish(final)


def check_scram_server(data: bytes) -> None:
    """No login without the secret."""
    found = outcome(lambda: scram_server(data), PeerError, RefusedError)
    assert found in (PeerError, RefusedError), "a login was accepted"


def scram_client(data: bytes) -> object:
    """Pass the two messages of a server to a client."""
    first, _, final = as_text(data).partition("\n")
    client = ScramClient("user", "secret", CLIENT_NONCE, BINDING)
    client.first()
    client.respond(first)
    client.verify(final)
    return client


def check_scram_client(data: bytes) -> None:
    """No server without the verifier is accepted."""
    found = outcome(lambda: scram_client(data), PeerError, RefusedError, MisuseError)
    assert found in (PeerError, RefusedError), "a server was believed"


GS2 = "p=tls-server-end-point,,"
FIRST = f"{GS2}n=user,r={CLIENT_NONCE}"
FINAL = f"c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsAAAA,r={CLIENT_NONCE}{SERVER_NONCE},p={'A' * 43}="
CHALLENGE = f"r={CLIENT_NONCE}{SERVER_NONCE},s=c2FsdHNhbHRzYWx0c2FsdA==,i=4096"
_words = (
    b"n=",
    b"r=",
    b"c=",
    b"p=",
    b"s=",
    b"i=",
    b"v=",
    b",",
    b"=",
    b"n,,",
    b"y,,",
    b"\n",
    b"4096",
    b"99999999",
    b"a=",
    b"m=",
    b"\xc3\xbc",
)
add(
    Target(
        "scram-server",
        quietly(scram_server, PeerError, RefusedError),
        check_scram_server,
        (f"{FIRST}\n{FINAL}".encode(), FIRST.encode(), f"n,,n=user,r=x\n{FINAL}".encode()),
        _words,
        bytes_max=1024,
        shapes=(lambda size: FIRST.encode() + b"a" * size, lambda size: f"{FIRST}\n{FINAL}".encode() + b"=" * size),
    )
)
add(
    Target(
        "scram-client",
        quietly(scram_client, PeerError, RefusedError),
        check_scram_client,
        (f"{CHALLENGE}\nv={'A' * 43}=".encode(), f"r={CLIENT_NONCE},s=AAAA,i=1".encode(), b"e=other-error"),
        (*_words, CHALLENGE.encode()),
        bytes_max=1024,
        by_byte=False,  # it computes as many rounds as the server requests, at most 100,000 of PBKDF2, for any input
    )
)
