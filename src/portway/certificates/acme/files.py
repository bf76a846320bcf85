"""ACME's files in the data directory: account, certificates, orders under way, and failures that outlive a restart.

    acme/CA/account.key, account.json   account; CA is derived from the directory's URL
    acme/CA/certificates/NAME.pem       chain and key in one file: they are replaced together or not at all
    acme/CA/orders/NAME.json            an order whose certificate was requested, so that a restarted server downloads it
    acme/CA/failures.json               back-off of names

Nothing of one CA is used with another one: after a trial with a staging CA, the real one begins anew. All have mode 0600 and are written atomically: a server that is killed finds each file old or new.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from portway.certificates.acme.pem import new_key_pem
from portway.certificates.certificate import Certificate, parse_bundle
from portway.config.files import is_private_file, read_secret, write_secret
from portway.errors import ConfigError
from portway.telemetry.logs import get_log

FOLDER = "acme"

NAME_CHARS_MAX = 200
"""Longer names are saved under their hash: a file name has at most 255 bytes, a part of which the draft of `write_secret` needs."""

OLD_S = 30 * 86400.0
"""How long an expired certificate is saved: by then its name has had no tunnel for long, or no CA issues for it."""

FAILURES_MAX = 150
"""Saved failures, those that wait longest: `read_secret` reads 64 KiB, and each takes at most 400 bytes."""

log = get_log(__name__)


class Account(msgspec.Struct, frozen=True):
    """An account at a CA."""

    uri: str
    directory: str
    email: str = ""


class PendingOrder(msgspec.Struct, frozen=True):
    """An order whose certificate was requested."""

    uri: str
    names: tuple[str, ...]
    key_pem: str

    def __repr__(self) -> str:
        return f"<PendingOrder {self.uri}>"  # the key is a secret


class Failure(msgspec.Struct, frozen=True):
    """The failures of a name."""

    name: str
    failures: int
    not_before: float
    error: str


class AcmeFiles:
    """ACME's part of a data directory. Every method may block."""

    def __init__(self, folder: Path) -> None:
        """`folder` is that of one CA; see `for_ca`."""
        self.folder = folder
        self._key_file = self.folder / "account.key"
        self._account_file = self.folder / "account.json"
        self._certificates = self.folder / "certificates"
        self._orders = self.folder / "orders"
        self._failures_file = self.folder / "failures.json"

    @classmethod
    def for_ca(cls, data: Path, directory_url: str) -> "AcmeFiles":
        """Return the part of a data directory that belongs to the CA with this directory."""
        return cls(data / FOLDER / _folder_name(directory_url))

    @classmethod
    def of_all(cls, data: Path) -> "list[AcmeFiles]":
        """Return the parts of all CAs that a data directory has."""
        return [cls(folder) for folder in sorted((data / FOLDER).glob("*/"))]

    def account_key(self) -> bytes:
        """Return the account's key as PEM; create it first if it is missing.

        Raises:
            ConfigError: it is readable by others, or cannot be written.
        """
        key = read_secret(self._key_file)
        if key is None:
            write_secret(self._key_file, new_key_pem(), replace=False)
            key = read_secret(self._key_file)
        if key is None:
            raise ConfigError(f"{self._key_file}: does not exist")
        return key

    def account(self) -> Account | None:
        """Return the saved account, None if there is none yet or its file is damaged: the CA finds it by its key."""
        with contextlib.suppress(msgspec.DecodeError):
            if (content := read_secret(self._account_file)) is not None:
                return msgspec.json.decode(content, type=Account)
        return None

    def save_account(self, account: Account) -> None:
        """Save the account."""
        write_secret(self._account_file, msgspec.json.encode(account), replace=True)

    def certificates(self) -> Iterator[tuple[Path, Certificate]]:
        """Yield all saved certificates with their files; damaged ones are logged and left."""
        for path in sorted(self._certificates.glob("*.pem")):
            try:
                content = read_secret(path)
                issued = parse_bundle(content) if content is not None else None
            except ConfigError as exc:
                log.warning("saved certificate not used", file=path, reason=exc)
                continue
            if issued is not None:
                yield path, issued

    def remove_old(self, now: float) -> None:
        """Remove the certificates that expired OLD_S before `now`."""
        for path, issued in self.certificates():
            if issued.not_after + OLD_S < now:
                with contextlib.suppress(OSError):
                    path.unlink()

    def save_certificate(self, name: str, issued: Certificate) -> None:
        """Save a certificate, and forget its order."""
        write_secret(self._certificates / f"{_stem(name)}.pem", issued.pem, replace=True)
        self.forget_order(name)

    def order(self, name: str) -> PendingOrder | None:
        """Return the order of a name whose certificate was requested before a restart."""
        path = self._orders / f"{_stem(name)}.json"
        with contextlib.suppress(msgspec.DecodeError):
            if (content := read_secret(path)) is not None:
                return msgspec.json.decode(content, type=PendingOrder)
        return None

    def save_order(self, name: str, order: PendingOrder) -> None:
        """Save an order before its certificate is requested."""
        write_secret(self._orders / f"{_stem(name)}.json", msgspec.json.encode(order), replace=True)

    def forget_order(self, name: str) -> None:
        """Remove the saved order of a name."""
        path = self._orders / f"{_stem(name)}.json"
        if is_private_file(path):
            with contextlib.suppress(OSError):
                path.unlink()

    def failures(self) -> list[Failure]:
        """Return the saved failures; a damaged file counts as empty."""
        with contextlib.suppress(ConfigError, msgspec.DecodeError):
            if (content := read_secret(self._failures_file)) is not None:
                return msgspec.json.decode(content, type=list[Failure])
        return []

    def save_failures(self, failures: list[Failure]) -> None:
        """Save the failures."""
        latest = sorted(failures, key=lambda one: one.not_before)[-FAILURES_MAX:]
        write_secret(
            self._failures_file, msgspec.json.encode([msgspec.structs.replace(one, error=one.error[:50]) for one in latest]), replace=True
        )


def _folder_name(directory_url: str) -> str:
    """Return the CA's host with a hash of the whole URL: readable, and different for each directory."""
    host = urlsplit(directory_url).hostname or "ca"
    return f"{host[:NAME_CHARS_MAX]}-{hashlib.sha256(directory_url.encode()).hexdigest()[:8]}".replace(":", "_")


def order_name(names: tuple[str, ...]) -> str:
    """Return the name that a certificate is ordered and saved under: its wildcard, otherwise its first name."""
    return next((name for name in names if name.startswith("*.")), names[0])


def _stem(name: str) -> str:
    # "@" is in no host name, so that the file of a wildcard is that of no other name.
    text = name.replace("*", "@")
    return text if len(text) <= NAME_CHARS_MAX else hashlib.sha256(name.encode()).hexdigest()
