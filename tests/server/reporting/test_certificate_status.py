"""Rows of certificates from events."""

from portway.certificates.events import CertificateDown, CertificateFailed, CertificateUp
from portway.server.reporting.certificate_status import CertificateStatus, CertificateTable

UP = CertificateUp("files", "/etc/site.pem", ("app.example.org",), "Example CA", 2000.0)


def test_a_failure_keeps_what_stays_in_use_and_a_success_clears_it() -> None:
    table = CertificateTable()
    table.update(UP)
    table.update(CertificateFailed("files", "/etc/site.pem", "damaged", stays=True, next_attempt=1500.0))

    assert table.rows() == [
        CertificateStatus("files", "/etc/site.pem", ("app.example.org",), "Example CA", 2000.0, last_error="damaged", next_attempt=1500.0)
    ]
    table.update(UP)
    assert table.rows() == [CertificateStatus("files", "/etc/site.pem", ("app.example.org",), "Example CA", 2000.0)]


def test_a_failure_without_an_earlier_certificate_has_no_expiry() -> None:
    table = CertificateTable()
    table.update(CertificateFailed("acme", "app.example.org", "refused", names=("app.example.org",), next_attempt=5.0))

    assert table.rows() == [CertificateStatus("acme", "app.example.org", ("app.example.org",), last_error="refused", next_attempt=5.0)]
    table.update(UP)
    table.update(CertificateFailed("files", "/etc/site.pem", "gone"))
    assert [(row.source, row.not_after) for row in table.rows()] == [("files", None), ("acme", None)]


def test_rows_are_in_the_order_of_the_sources_until_they_go_down() -> None:
    table = CertificateTable()
    for source in ("dev", "acme", "files"):
        table.update(CertificateUp(source, "x", ("x",), "CA", 1.0))

    assert [row.source for row in table.rows()] == ["files", "acme", "dev"]
    table.update(CertificateDown("acme", "x"))
    table.update(CertificateDown("acme", "unknown"))
    assert [row.source for row in table.rows()] == ["files", "dev"]
