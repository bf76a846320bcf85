"""Contexts for visitors: versions, ciphers, ALPN, tickets, and what they refuse."""

import contextlib
import gc
import ssl
import weakref
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from portway.certificates.contexts import CONTEXT_S_MAX, SESSIONS_MAX, is_worn, visitor_context
from portway.certificates.interfaces import CertificateSource
from portway.errors import ConfigError
from tests.certificates.kit import bundle, join, trusting
from tests.kit.certificates import Identity, make_identity

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture
def site(tmp_path: Path) -> Identity:
    return make_identity(tmp_path, "app.example.org")


@pytest.mark.parametrize("version", VERSIONS)
def test_visitors_agree_on_http_and_resume_with_a_ticket(site: Identity, version: ssl.TLSVersion) -> None:
    context, client = visitor_context(bundle(site)), trusting(site.cert_file, newest=version)
    client.set_alpn_protocols(["h2", "http/1.1"])

    first = join(context, client, "app.example.org")
    again = join(context, client, "app.example.org", first.client.session)

    assert first.client.selected_alpn_protocol() == "http/1.1"
    assert first.client.version() == {VERSIONS[0]: "TLSv1.2", VERSIONS[1]: "TLSv1.3"}[version]
    assert first.client.session is not None
    assert first.client.session.has_ticket
    assert again.client.session_reused


def test_a_new_context_refuses_the_tickets_of_the_old_one_and_completes_the_handshake(site: Identity) -> None:
    client = trusting(site.cert_file)
    first = join(visitor_context(bundle(site)), client, "app.example.org")

    again = join(visitor_context(bundle(site)), client, "app.example.org", first.client.session)

    assert not again.client.session_reused


def test_a_handshake_sends_one_ticket_and_each_resumption_the_next(site: Identity) -> None:
    context, client = visitor_context(bundle(site)), trusting(site.cert_file)
    session = None
    for resumptions in range(3):
        used = join(context, client, "app.example.org", session)
        assert used.client.session_reused == (resumptions > 0)
        session = used.client.session

    assert _records_after_the_handshake(context, client) == 1


def _records_after_the_handshake(server_side: ssl.SSLContext, client_side: ssl.SSLContext) -> int:
    """Return how many records the server sends by itself once it has the client's Finished."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname="app.example.org")
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    client.do_handshake()
    server.do_handshake()
    sent, records = to_client.read(), 0
    while sent:
        records, sent = records + 1, sent[5 + int.from_bytes(sent[3:5]) :]
    return records


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_versions_before_tls_1_2_are_refused(site: Identity) -> None:
    client = trusting(site.cert_file)
    client.minimum_version, client.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")

    with pytest.raises(ssl.SSLError, match=r"(?i)unsupported protocol|alert protocol version"):
        join(visitor_context(bundle(site)), client, "app.example.org")


def test_every_cipher_has_forward_secrecy_and_authenticated_encryption(site: Identity) -> None:
    ciphers = visitor_context(bundle(site)).get_ciphers()

    assert {one["protocol"] for one in ciphers} == {"TLSv1.2", "TLSv1.3"}
    assert [one["name"] for one in ciphers if not one["aead"]] == []
    assert [one["name"] for one in ciphers if one["kea"] not in ("kx-any", "kx-ecdhe")] == []


def test_the_servers_order_of_ciphers_wins(site: Identity) -> None:
    client = trusting(site.cert_file, newest=ssl.TLSVersion.TLSv1_2)
    client.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256")

    joined = join(visitor_context(bundle(site)), client, "app.example.org")

    assert joined.client.cipher() == ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.2", 128)


def test_an_end_without_close_notify_is_an_error(site: Identity) -> None:
    joined = join(visitor_context(bundle(site)), trusting(site.cert_file), "app.example.org")

    joined.to_server.write_eof()

    with pytest.raises(ssl.SSLEOFError):
        joined.server.read(1)


def test_renegotiation_is_switched_off(site: Identity) -> None:
    assert visitor_context(bundle(site)).options & ssl.OP_NO_RENEGOTIATION


def test_a_challenge_gets_its_own_alpn(site: Identity) -> None:
    client = trusting(site.cert_file)
    client.set_alpn_protocols(["acme-tls/1"])

    joined = join(visitor_context(bundle(site), alpn=("acme-tls/1",)), client, "app.example.org")

    assert joined.server.selected_alpn_protocol() == "acme-tls/1"


def test_unusable_certificates_and_keys_are_refused_with_a_reason(site: Identity, tmp_path: Path) -> None:
    encrypted = site.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    certificate = site.cert_file.read_bytes()
    for pem, reason in (
        (b"", "PEM certificate chain"),
        (certificate, "PEM certificate chain"),
        (site.key_file.read_bytes(), "PEM certificate chain"),
        (encrypted + certificate, "unencrypted"),
        (certificate + make_identity(tmp_path, "other.example.org").key_file.read_bytes(), "key values mismatch"),
        (bundle(site)[:-200], "PEM certificate chain"),
    ):
        with pytest.raises(ConfigError, match=reason):
            visitor_context(pem)


def test_a_context_is_worn_after_a_day_or_with_a_full_cache(site: Identity) -> None:
    context, client = visitor_context(bundle(site)), trusting(site.cert_file, newest=ssl.TLSVersion.TLSv1_2)
    client.options |= ssl.OP_NO_TICKET

    assert not is_worn(context, CONTEXT_S_MAX - 1)
    assert is_worn(context, CONTEXT_S_MAX)
    for _ in range(SESSIONS_MAX):
        joined = join(context, client, "app.example.org")
        with contextlib.suppress(ssl.SSLWantReadError):  # OpenSSL forgets the session of a connection without a proper end
            joined.server.unwrap()
    assert is_worn(context, 0.0)


def test_a_replaced_context_ends_with_its_last_connection(site: Identity) -> None:
    context = visitor_context(bundle(site))
    joined = join(context, trusting(site.cert_file), "app.example.org")
    gone = weakref.ref(context)
    del context
    gc.collect()

    assert gone() is joined.server.context
    del joined
    gc.collect()
    assert gone() is None


def test_the_interface_of_sources_is_what_listeners_use() -> None:
    assert {name for name in vars(CertificateSource) if not name.startswith("_")} == {"context_for", "has_trusted"}


def test_a_variant_requires_a_certificate_of_its_ca(site: Identity, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("ca", "member", "stranger")]
    for folder in folders:
        folder.mkdir()
    authority = make_identity(folders[0], "a CA", authority=True)
    member = make_identity(folders[1], "member", signed_by=authority)
    stranger = make_identity(folders[2], "stranger")
    context = visitor_context(bundle(site))
    variant = context.with_client_ca(authority.cert_file.read_text())
    assert context.with_client_ca(authority.cert_file.read_text()) is variant

    client = trusting(site.cert_file)
    client.load_cert_chain(member.cert_file, member.key_file)
    assert join(variant, client, "app.example.org").server.getpeercert(binary_form=True) == member.der
    for other in (None, stranger):
        client = trusting(site.cert_file)
        if other is not None:
            client.load_cert_chain(other.cert_file, other.key_file)
        with pytest.raises(ssl.SSLError):
            join(variant, client, "app.example.org")
    assert join(context, trusting(site.cert_file), "app.example.org").server.getpeercert() is None


def test_variants_are_bounded(site: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portway.certificates.contexts.VARIANTS_MAX", 2)
    context = visitor_context(bundle(site))
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        context.with_client_ca(make_identity(tmp_path / str(number), "a CA", authority=True).cert_file.read_text())
    assert len(context.variants) <= 2


def test_a_variant_has_the_certificates_of_both_key_types(site: Identity, tmp_path: Path) -> None:
    old = make_identity(tmp_path, "app.example.org", rsa_bits=2048)
    authority = make_identity(tmp_path, "a CA", authority=True)
    member = make_identity(tmp_path, "member", signed_by=authority)
    variant = visitor_context(bundle(site), bundle(old)).with_client_ca(authority.cert_file.read_text())
    for identity, ciphers in ((site, "ECDHE+ECDSA"), (old, "ECDHE+aRSA")):
        client = trusting(identity.cert_file, newest=ssl.TLSVersion.TLSv1_2)
        client.set_ciphers(ciphers)
        client.load_cert_chain(member.cert_file, member.key_file)
        assert join(variant, client, "app.example.org").server.getpeercert(binary_form=True) == member.der
