"""The server's identity: generated once, shared by concurrent starts, private."""

import hashlib
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import portway.server.identity as identity_module
from portway.errors import ConfigError
from portway.server.identity import (
    FILE,
    Advertised,
    certificate_der,
    certificate_pin,
    ensure_identity,
    identity_of,
    read_advertised,
    record_advertised,
)
from portway.server.settings import ServerSettings


def test_the_identity_is_generated_once_and_reused(tmp_path: Path) -> None:
    first = ensure_identity(tmp_path / "data")

    assert ensure_identity(tmp_path / "data") == first
    assert stat.S_IMODE(first.key_file.stat().st_mode) == 0o600
    assert first.pin is not None
    assert len(first.pin) == 32


def test_it_serves_tls_and_a_peer_sees_the_pinned_certificate(tmp_path: Path) -> None:
    identity = ensure_identity(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.cert_file, identity.key_file)
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname = False
    anyone.verify_mode = ssl.CERT_NONE
    to_server, to_agent = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_agent, server_side=True)
    agent = anyone.wrap_bio(to_agent, to_server)
    for _ in range(3):
        for end in (agent, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue

    seen = agent.getpeercert(binary_form=True)
    assert seen is not None
    assert hashlib.sha256(seen).digest() == identity.pin
    assert agent.version() == "TLSv1.3"


def test_concurrent_starts_share_one_identity(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from portway.server.identity import ensure_identity; print(ensure_identity(Path(sys.argv[1])).pin.hex())"
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "data")], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    pins = {one.communicate(timeout=30)[0] for one in both}

    assert len(pins) == 1
    assert [path.name for path in (tmp_path / "data").iterdir()] == [FILE]


def test_the_second_of_two_starts_uses_the_identity_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pem = identity_module._make_pem
    others: list[bytes | None] = []

    def slowly() -> bytes:
        monkeypatch.setattr(identity_module, "_make_pem", make_pem)
        others.append(ensure_identity(tmp_path).pin)  # another process, faster
        return make_pem()

    monkeypatch.setattr(identity_module, "_make_pem", slowly)

    assert [ensure_identity(tmp_path).pin] == others


def test_a_key_that_others_can_read_is_rejected(tmp_path: Path) -> None:
    ensure_identity(tmp_path).key_file.chmod(0o644)

    with pytest.raises(ConfigError, match="chmod 600"):
        ensure_identity(tmp_path)


def test_a_damaged_identity_is_an_error_and_never_replaced(tmp_path: Path) -> None:
    path = ensure_identity(tmp_path).key_file
    path.write_bytes(path.read_bytes()[:300])

    with pytest.raises(ConfigError, match="damaged.*give your agents new join strings"):
        ensure_identity(tmp_path)


def test_a_file_without_a_certificate_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----")
    for name, reason in (("key.pem", "no certificate found"), ("missing.pem", "No such file")):
        with pytest.raises(ConfigError, match=f"{name}: cannot read a certificate: .*{reason}"):
            certificate_der(tmp_path / name)


def test_a_certificate_of_a_ca_has_no_pin(tmp_path: Path) -> None:
    own = ensure_identity(tmp_path / "other")
    settings = ServerSettings(data=tmp_path / "data", agents_certificate=own.cert_file, agents_key=own.key_file)

    assert identity_of(settings).pin is None
    assert identity_of(settings).cert_file == own.cert_file
    assert identity_of(ServerSettings(data=tmp_path / "data")).pin == certificate_pin(tmp_path / "data" / FILE)


def test_a_given_key_that_is_missing_or_readable_by_others_is_rejected(tmp_path: Path) -> None:
    own = ensure_identity(tmp_path / "other")
    with pytest.raises(ConfigError, match="agents_key: .*nowhere does not exist"):
        identity_of(ServerSettings(agents_certificate=own.cert_file, agents_key=tmp_path / "nowhere"))
    own.key_file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        identity_of(ServerSettings(agents_certificate=own.cert_file, agents_key=own.key_file))


def test_the_advertised_endpoint_is_saved(tmp_path: Path) -> None:
    assert read_advertised(tmp_path) is None

    record_advertised(tmp_path, Advertised("example.org", 4443, "ab" * 32))
    record_advertised(tmp_path, Advertised("example.org", 4444, plaintext=True))

    assert read_advertised(tmp_path) == Advertised("example.org", 4444, plaintext=True)


def test_a_damaged_saved_endpoint_is_an_error(tmp_path: Path) -> None:
    record_advertised(tmp_path, Advertised("example.org", 4443))
    (tmp_path / "server.json").write_text('{"host": 1}')

    with pytest.raises(ConfigError, match="start the server once to write it again"):
        read_advertised(tmp_path)
