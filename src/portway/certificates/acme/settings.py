"""Settings of automatic certificates, as a part of the server's."""

import re
from dataclasses import dataclass
from pathlib import Path

from portway.config.fields import setting
from portway.config.values import ListenAddress, parse_path, parse_yes_or_no
from portway.errors import ConfigError

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"

_EMAIL = re.compile(r"[^\s@,<>\"]{1,64}@[^\s@,<>\"]{1,189}", re.ASCII)
_URL = re.compile(r"https://[^\s/?#@]+(/[^\s#]*)?", re.ASCII)


def _read_email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise ConfigError(f"expected an address like me@example.org, got {text!r}")
    return text


def _read_directory(text: str) -> str:
    if not _URL.fullmatch(text):
        raise ConfigError(f"expected the URL of an ACME directory, like {LETS_ENCRYPT}, got {text!r}")
    return text


def _read_dns_server(text: str) -> ListenAddress:
    address = ListenAddress.parse(text if re.search(r":\d+$", text) else f"{text}:53")
    if not address.host or not address.port:
        raise ConfigError(f"expected the host and port of a DNS server, like ns1.example.org:53, got {text!r}")
    return address


@dataclass(frozen=True, slots=True, kw_only=True)
class AcmeSettings:
    """Which CA orders go to, for which names, and how control is proved."""

    acme_email: str = setting(
        "",
        read=_read_email,
        metavar="EMAIL",
        help="Order certificates for tunnels from a CA (ACME), with EMAIL as its contact; you agree to its terms of service by that.",
        shown="",
    )
    """Empty: no orders."""

    acme_directory: str = setting(
        LETS_ENCRYPT,
        read=_read_directory,
        metavar="URL",
        help="Order certificates from the CA with the ACME directory URL.",
        shown="Let's Encrypt",
    )

    acme_ca: Path | None = setting(
        None, read=parse_path, metavar="FILE", help="Verify the CA's own https with the root certificates in FILE (a private CA).", shown=""
    )

    acme_eab: Path | None = setting(
        None,
        read=parse_path,
        metavar="FILE",
        help="Bind the account to your account at the CA with FILE, which has the key id and the HMAC key (base64url) that the CA gave you.",
        shown="",
    )

    acme_random: bool = setting(
        False, read=parse_yes_or_no, help="Order certificates also for names that no token lists in full, like random ones and `dev-*`."
    )

    acme_dns_hook: Path | None = setting(
        None,
        read=parse_path,
        metavar="PROGRAM",
        help="Order a wildcard for all names of the domain; run `PROGRAM add|remove NAME VALUE` to change TXT records.",
        shown="",
    )

    acme_dns_server: ListenAddress | None = setting(
        None,
        read=_read_dns_server,
        metavar="HOST[:PORT]",
        help="Order a wildcard for all names of the domain; send updates of TXT records (RFC 2136) to HOST.",
        shown="",
    )

    acme_dns_key: Path | None = setting(
        None, read=parse_path, metavar="FILE", help="Sign these updates with the TSIG key in FILE, as tsig-keygen writes it.", shown=""
    )

    def check_acme(self, *, is_local: bool, has_https: bool) -> None:
        """Check that the settings make sense together.

        Raises:
            ConfigError: with the setting that is missing or wrong.
        """
        given = [
            key for key in ("acme_ca", "acme_eab", "acme_dns_hook", "acme_dns_server", "acme_dns_key") if getattr(self, key) is not None
        ]
        given += ["acme_random"] * self.acme_random + ["acme_directory"] * (self.acme_directory != LETS_ENCRYPT)
        if given and not self.acme_email:
            raise ConfigError(f"{given[0]}: requires --acme-email (acme_email in a file)")
        if self.acme_email and is_local:
            raise ConfigError("acme_email: requires a domain that the CA can resolve; give one with --domain")
        if self.acme_email and not has_https:
            raise ConfigError("acme_email, https: off leaves no port for certificates; give --https an address")
        if (self.acme_dns_server is None) != (self.acme_dns_key is None):
            raise ConfigError("acme_dns_server, acme_dns_key: expected both or neither")
        if self.acme_dns_hook is not None and self.acme_dns_server is not None:
            raise ConfigError("acme_dns_hook, acme_dns_server: expected one of both")
