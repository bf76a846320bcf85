"""How a server is verified: by its pin, or by a CA and its name, and never not at all."""

import contextlib
import hashlib
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from portway.errors import ConfigError, RefusedError
from portway.links.tls import ALPN, agent_tls, server_context
from tests.kit.certificates import Identity, make_identity


def test_the_pinned_certificate_passes_and_any_other_is_refused_in_words(identity: Identity, tmp_path: Path) -> None:
    tls = agent_tls("localhost", bytes.fromhex(identity.pin))
    tls.check(identity.der)
    other = make_identity(tmp_path, "localhost")
    with pytest.raises(RefusedError) as refusal:
        tls.check(other.der)
    assert refusal.value.code == "wrong_pin"
    assert refusal.value.exit_code == 3
    assert other.pin in str(refusal.value)
    assert identity.pin in str(refusal.value)
    assert "intercepted" in refusal.value.next_step


def test_no_certificate_at_all_is_not_the_pinned_one(identity: Identity) -> None:
    tls = agent_tls("localhost", bytes.fromhex(identity.pin))
    for nothing in (None, b""):
        with pytest.raises(RefusedError):
            tls.check(nothing)
    with pytest.raises(RefusedError):
        agent_tls("localhost", hashlib.sha256(b"x").digest()).check(b"")


def test_without_a_pin_names_and_signatures_are_checked() -> None:
    tls = agent_tls("tunnel.example.org", None)
    assert tls.context.verify_mode is ssl.CERT_REQUIRED
    assert tls.context.check_hostname
    assert tls.server_name == "tunnel.example.org"


@pytest.mark.parametrize("pinned", [True, False])
def test_old_versions_are_not_spoken(identity: Identity, pinned: bool) -> None:
    tls = agent_tls("localhost", bytes(32) if pinned else None)
    assert tls.context.minimum_version >= ssl.TLSVersion.TLSv1_2
    context = server_context(str(identity.cert_file), str(identity.key_file))
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert ALPN == "portway/1"


def test_files_that_cannot_be_used_are_named(identity: Identity, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    other = make_identity(tmp_path, "other")
    for cert, key in (
        (tmp_path / "missing.crt", identity.key_file),
        (identity.cert_file, tmp_path / "missing.key"),
        (identity.cert_file, other.key_file),
        (empty, identity.key_file),
    ):
        with pytest.raises(ConfigError) as problem:
            server_context(str(cert), str(key))
        assert str(cert) in str(problem.value)
    for file in (tmp_path / "missing.pem", empty):
        with pytest.raises(ConfigError) as problem:
            agent_tls("localhost", None, str(file))
        assert str(file) in str(problem.value)


def test_an_encrypted_key_is_an_error_and_not_a_question(identity: Identity, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    locked = tmp_path / "locked.key"
    cipher = serialization.BestAvailableEncryption(b"secret")
    locked.write_bytes(identity.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, cipher))
    with pytest.raises(ConfigError, match=r"locked\.key"):
        server_context(str(identity.cert_file), str(locked))
    assert capfd.readouterr() == ("", "")


def test_a_link_leaves_no_tls_session_for_resumption(identity: Identity) -> None:
    tls = agent_tls("localhost", bytes.fromhex(identity.pin))
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.context.wrap_bio(back, there)
    server = server_context(str(identity.cert_file), str(identity.key_file)).wrap_bio(there, back, server_side=True)
    for end in (client, server) * 4:
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    server.write(b"x")
    assert client.read(1) == b"x"
    assert (client.version(), client.selected_alpn_protocol()) == ("TLSv1.3", ALPN)
    assert client.session is None or not client.session.has_ticket
