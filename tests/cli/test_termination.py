"""`--terminate agent` and the options that belong to it."""

from pathlib import Path
from typing import Any

import pytest

from portway.agent.termination.settings import Termination
from portway.agent.tunnel_set import claim_for
from portway.certificates.acme.settings import LETS_ENCRYPT
from portway.cli.termination import read_termination
from portway.cli.tunnel_request import tunnel_request
from portway.errors import ConfigError

CERT, KEY = Path("cert.pem"), Path("key.pem")


def test_by_default_tls_ends_at_the_server() -> None:
    assert read_termination({}) is None
    assert read_termination({"terminate": "server"}) is None


def test_each_source_of_a_certificate_is_read() -> None:
    assert read_termination({"terminate": "agent", "cert": CERT, "key": KEY}) == Termination(
        cert=CERT, key=KEY, acme_directory=LETS_ENCRYPT
    )
    assert read_termination({"terminate": "agent", "acme_email": "a@b"}) == Termination(acme_email="a@b", acme_directory=LETS_ENCRYPT)
    assert read_termination({"terminate": "agent"}) == Termination(acme_directory=LETS_ENCRYPT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cert": CERT}, "--cert: requires --terminate agent"),
        ({"acme_email": "a@b"}, "--acme-email: requires --terminate agent"),
        ({"terminate": "agent", "cert": CERT}, "--cert, --key: a certificate and its key belong together"),
        ({"terminate": "agent", "cert": CERT, "key": KEY, "acme_email": "a@b"}, "two sources of one certificate"),
        ({"terminate": "agent", "acme_directory": "https://ca"}, "requires --acme-email"),
        ({"terminate": "agent", "plain_http": "serve"}, "--plain-http: cannot be combined with --terminate agent"),
    ],
)
def test_what_contradicts_is_an_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_termination(options)


def test_the_server_is_asked_for_a_tls_tunnel_without_rules() -> None:
    options = {
        "target": "3000",
        "name": "app",
        "terminate": "agent",
        "deny_ip": ("10.0.0.0/8",),
        "host_header": "rewrite",
        "max_rate": "1mb",
    }
    request = tunnel_request("http", options)
    claim = claim_for(request, b"identity")
    assert (claim.kind, claim.access, claim.rewrite, claim.limits) == ("tls", None, None, None)
    assert request.access is not None
    assert request.rewrite is not None
