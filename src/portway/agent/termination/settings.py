"""Where an agent that terminates visitors' TLS has its certificates from."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Termination:
    """The source of one tunnel's certificate: a pair of files, a CA by ACME, or else the agent's development CA."""

    cert: Path | None = None
    key: Path | None = None
    acme_email: str = ""
    acme_directory: str = ""
    acme_ca: Path | None = None
