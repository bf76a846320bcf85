"""Reads certificates and keys from a directory of PEM files with any names. Blocking: runs in a thread."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization

from portway.certificates.certificate import Certificate, certificate_of, encode_key, host_names, public_bytes
from portway.config.paths import is_read_only
from portway.errors import ConfigError

FILE_BYTES_MAX = 1024 * 1024
"""A chain with its key has 10 kB."""

FILES_MAX = 10_000
CERTIFICATES_MAX = 2_000
"""Most that are loaded: each context takes 20 kB, and 1.5 ms of CPU time when it is created."""

DEPTH_MAX = 3
"""Levels of folders: certbot and others create one folder per name."""

CHAIN_MAX = 8
"""Most certificates behind a leaf; authorities need one or two."""

_PEM_SUFFIXES = frozenset({".pem", ".crt", ".cer", ".cert", ".key", ".chain"})
"""Files that have to contain PEM; others, like a README, may contain anything."""

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(rb"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----.+?-----END \1PRIVATE KEY-----", re.DOTALL)
_BEGIN = re.compile(rb"-----BEGIN (?:[A-Z0-9 ]*PRIVATE KEY|CERTIFICATE)-----")

Stamp = tuple[int, int, int, int]
"""Changes with every write: device, inode, size, time."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What one file contains."""

    certificates: tuple[x509.Certificate, ...] = ()
    keys: dict[bytes, bytes] = field(default_factory=dict, repr=False)
    """Public key in DER → private key in PEM."""
    fault: str = ""
    """Why nothing can be read from it."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The certificates of a directory, by file, and what is wrong with others."""

    certificates: dict[str, Certificate] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


class CertificateDirectory:
    """A directory of PEM files. Files that have not changed are not read again. For one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Read nothing yet."""
        self.path = path
        self._read: dict[Path, tuple[Stamp, Contents]] = {}

    def stamps(self) -> dict[Path, Stamp]:
        """Return the files that may hold certificates or keys.

        Raises:
            ConfigError: the directory cannot be read.
        """
        try:
            found = dict(islice(self._files(str(self.path), DEPTH_MAX), FILES_MAX + 1))
        except OSError as exc:
            raise ConfigError(f"{exc.filename or self.path}: cannot be read: {exc.strerror}; expected a directory with PEM files") from exc
        if len(found) > FILES_MAX:
            raise ConfigError(f"{self.path}: more than {FILES_MAX} files: expected a directory for certificates only")
        return found

    def load(self, stamps: dict[Path, Stamp], *, again: bool = False) -> Loaded:
        """Return the certificates of the files in `stamps`; with `again`, read also those that have not changed."""
        before = {} if again else self._read
        self._read = {}
        for path, stamp in stamps.items():
            known = before.get(path)
            self._read[path] = (stamp, known[1] if known is not None and known[0] == stamp else _read_file(path))
        return _join(self.path, {path: contents for path, (_, contents) in self._read.items()})

    def _files(self, folder: str, depth: int) -> Iterator[tuple[Path, Stamp]]:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda one: one.name)
        for entry in entries:
            if entry.name.startswith("."):  # drafts of editors, and Kubernetes' own folders
                continue
            try:
                info = entry.stat()  # follows links, as those of certbot
            except OSError:
                continue
            if stat.S_ISREG(info.st_mode):
                yield Path(entry.path), (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)
            elif stat.S_ISDIR(info.st_mode) and depth > 1:
                yield from self._files(entry.path, depth - 1)


def _read_file(path: Path) -> Contents:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
            info = os.fstat(file.fileno())
    except OSError as exc:
        return Contents(fault=f"cannot be read: {exc.strerror}")
    begun = len(_BEGIN.findall(data))
    if not begun:
        return Contents(fault="no PEM certificate or key found") if path.suffix in _PEM_SUFFIXES else Contents()
    if len(data) > FILE_BYTES_MAX:
        return Contents(fault=f"too large: expected at most {FILE_BYTES_MAX} bytes")
    certificates, keys = [found[0] for found in _CERTIFICATE.finditer(data)], [found[0] for found in _KEY.finditer(data)]
    if len(certificates) + len(keys) < begun:
        return Contents(fault="damaged PEM: a line with END is missing")
    if keys and info.st_mode & stat.S_IRWXO and not is_read_only(path):
        return Contents(fault=f"contains a key but is accessible to all users; run `chmod o-rwx {path}`")
    try:
        loaded_keys = dict(_load_key(one) for one in keys)
    except TypeError:
        return Contents(fault="the key is encrypted: expected one without a password")
    except (ValueError, UnsupportedAlgorithm) as exc:
        return Contents(fault=f"damaged or unsupported key: {exc}")
    try:
        return Contents(tuple(_load_certificate(one) for one in certificates), loaded_keys)
    except Exception as exc:  # noqa: BLE001 - the parser raises many kinds, and one file must not cost all others
        return Contents(fault=f"damaged or unsupported certificate: {exc}")


def _load_certificate(pem: bytes) -> x509.Certificate:
    """Return a certificate of which everything was read that is used later: the parser reads most parts only then."""
    certificate = x509.load_pem_x509_certificate(pem)
    public_bytes(certificate.public_key())
    _ = certificate.extensions, certificate.subject, certificate.issuer, certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return certificate


def _load_key(pem: bytes) -> tuple[bytes, bytes]:
    key = serialization.load_pem_private_key(pem, None)
    return public_bytes(key.public_key()), encode_key(key)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A certificate with its key, both maybe from different files."""

    label: str
    leaf: x509.Certificate
    chain: list[x509.Certificate]
    key: bytes


def _join(root: Path, found: dict[Path, Contents]) -> Loaded:
    """Join each certificate with its key and its chain, which may be in other files."""
    loaded = Loaded(faults={str(path.relative_to(root)): contents.fault for path, contents in found.items() if contents.fault})
    best: dict[bytes, _Pair] = {}
    """By leaf, the one with the longest chain: certbot writes one file with and one without it."""
    for pair in _pairs(root, found, loaded.faults):
        digest = pair.leaf.fingerprint(hashes.SHA256())
        if digest not in best or len(pair.chain) > len(best[digest].chain):
            best[digest] = pair
    for pair in best.values():
        if len(loaded.certificates) == CERTIFICATES_MAX:
            loaded.faults[pair.label] = f"too many certificates: expected at most {CERTIFICATES_MAX}"
            break
        try:
            loaded.certificates[pair.label] = certificate_of(pair.leaf, pair.chain, pair.key)
        except ConfigError as exc:
            loaded.faults[pair.label] = str(exc)
    return loaded


def _pairs(root: Path, found: dict[Path, Contents], faults: dict[str, str]) -> Iterator[_Pair]:
    keys = {public: pem for contents in found.values() for public, pem in contents.keys.items()}
    folders: dict[Path, dict[x509.Name, list[x509.Certificate]]] = {}
    """The certificates of each folder by subject: a chain may be in a file of its own."""
    for path, contents in found.items():
        folder = folders.setdefault(path.parent, {})
        for one in contents.certificates:
            folder.setdefault(one.subject, []).append(one)
    for path, contents in found.items():
        for number, leaf in enumerate(contents.certificates):
            label = str(path.relative_to(root)) + (f" ({number + 1})" if number else "")
            key, is_authority = keys.get(public_bytes(leaf.public_key())), _is_authority(leaf)
            if key is None:
                if number == 0 and not is_authority:
                    faults[label] = "no file has the key of this certificate"
            elif not is_authority or host_names(leaf):  # others are a private CA's own, beside what it signed
                yield _Pair(label, leaf, _chain(leaf, contents.certificates, folders[path.parent]), key)


def _chain(
    leaf: x509.Certificate, own: tuple[x509.Certificate, ...], near: dict[x509.Name, list[x509.Certificate]]
) -> list[x509.Certificate]:
    """Return the issuers of `leaf` in order, without the root, which clients have; those in its own file come before others."""
    chain: list[x509.Certificate] = []
    last = leaf
    while len(chain) < CHAIN_MAX and last.subject != last.issuer:
        candidates = [one for one in own if one.subject == last.issuer] + near.get(last.issuer, [])
        issuer = next((one for one in candidates if one.subject != one.issuer and _is_issuer(one, last)), None)
        if issuer is None or issuer in chain:
            break
        chain.append(issuer)
        last = issuer
    return chain


def _is_issuer(issuer: x509.Certificate, issued: x509.Certificate) -> bool:
    try:
        issued.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False
