"""Creates certificates with openssl at run time, for the systems that need files; no secret is saved or committed."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.tools import need

OPENSSL_S_MAX = 20


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate that is its own root: ECDSA P-256, as Portway's own identity is."""

    certificate: Path
    key: Path
    pkcs12: Path
    password: str
    pem: Path
    """Certificate and key in one file."""


def _openssl(*args: str) -> None:
    done = subprocess.run([need("openssl"), *args], capture_output=True, text=True, timeout=OPENSSL_S_MAX, check=False)
    if done.returncode != 0:
        raise BenchError(f"openssl {args[0]} failed: {done.stderr.strip()[-300:]}")


def make_certificate(folder: Path, names: Sequence[str] = ("localhost",)) -> Certificate:
    """Create a certificate for `names` in `folder`.

    Raises:
        BenchError: openssl failed.
        NotInstalled: openssl is missing.
    """
    made = Certificate(folder / "cert.pem", folder / "key.pem", folder / "identity.pfx", "bench", folder / "both.pem")
    cert, key = str(made.certificate), str(made.key)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-subj", f"/CN={names[0]}", "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names), "-days", "7"]
    _openssl("req", "-x509", *curve, "-keyout", key, "-out", cert, *subject)
    _openssl("pkcs12", "-export", "-inkey", key, "-in", cert, "-out", str(made.pkcs12), "-passout", f"pass:{made.password}")
    made.pem.write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
    return made
