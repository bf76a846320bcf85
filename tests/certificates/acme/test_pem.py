"""Keys, requests and certificates as PEM."""

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from portway.certificates.acme.pem import ACME_IDENTIFIER, challenge_pem, new_key_pem, request_pem
from portway.certificates.contexts import visitor_context


def test_a_request_has_all_names_and_is_signed_by_its_key() -> None:
    key_pem = new_key_pem()

    request = x509.load_pem_x509_csr(request_pem(key_pem, ("*.example.org", "example.org")))

    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["*.example.org", "example.org"]
    assert request.is_signature_valid
    assert request.public_key() == load_pem_private_key(key_pem, None).public_key()


def test_the_challenge_certificate_of_rfc_8737() -> None:
    pem = challenge_pem("app.example.org", "token.thumbprint")
    certificate = x509.load_pem_x509_certificates(pem)[0]

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    identifier = certificate.extensions.get_extension_for_oid(ACME_IDENTIFIER)

    assert names.get_values_for_type(x509.DNSName) == ["app.example.org"]
    assert identifier.critical
    assert isinstance(identifier.value, x509.UnrecognizedExtension)
    assert identifier.value.value == b"\x04\x20" + hashlib.sha256(b"token.thumbprint").digest()
    visitor_context(pem, alpn=("acme-tls/1",))
