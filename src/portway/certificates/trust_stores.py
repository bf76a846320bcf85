"""Puts a root certificate into the trust stores of the system and of browsers, and takes it out again, by their own programs.

A change is a list of command lines, so that what is shown before is exactly what runs.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

COMMAND_S_MAX = 300.0
"""Includes the time for a password that sudo asks for."""

ANCHORS = Path("/usr/local/share/ca-certificates")
"""Certificates of the administrator on Debian, Ubuntu and Alpine."""

UPDATE = "update-ca-certificates"

SYSTEM_FOLDERS = "/usr/sbin:/sbin"
"""Not on the PATH of users, but where system programs are."""

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "brave-browser", "microsoft-edge")

CHROMIUM_DATABASES = (".pki/nssdb", ".local/share/pki/nssdb", "snap/chromium/current/.pki/nssdb")
"""The first is used by every version, if it exists; new ones create the second, which XDG_DATA_HOME may move."""

FIREFOX_PROFILES = (
    ".mozilla/firefox",
    ".config/mozilla/firefox",
    "snap/firefox/common/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/.mozilla/firefox",
    "Library/Application Support/Firefox/Profiles",
)
"""Folders of profiles, relative to the home directory."""

PROFILES_MAX = 100

NSS_PACKAGES = "libnss3-tools on Debian and Ubuntu, nss-tools on Fedora, nss on Arch and Homebrew"


@dataclass(frozen=True, slots=True)
class Change:
    """What will be done to one trust store."""

    store: str
    """The store in words."""
    commands: tuple[tuple[str, ...], ...]

    def lines(self) -> list[str]:
        """Return the command lines as they can be typed."""
        return [shlex.join(command) for command in self.commands]

    def apply(self) -> str:
        """Run the commands until one fails; return the reason, or "" if all succeeded."""
        for command in self.commands:
            if reason := _run(command):
                return f"{shlex.join(command)}: {reason}"
        return ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes, and what else the user can do."""

    changes: list[Change] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    """Stores that need no change."""
    hints: list[str] = field(default_factory=list)
    """Stores that cannot be changed, with the next step."""


@dataclass(frozen=True, slots=True)
class TrustStores:
    """The trust stores of this machine and user."""

    home: Path
    path: str
    """Folders of programs, like $PATH."""
    is_root: bool
    xdg_data: Path | None = None
    """$XDG_DATA_HOME, if it is set."""
    anchors: Path = ANCHORS
    update: tuple[str, ...] = (UPDATE,)
    """Program and its options."""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "TrustStores":
        """Return those of this process's user."""
        xdg = environ.get("XDG_DATA_HOME", "")
        where = Path(xdg) if xdg.startswith("/") else None
        return cls(Path(environ.get("HOME") or "/"), environ.get("PATH", os.defpath), os.geteuid() == 0, where)

    def plan_system(self, roots: Sequence[x509.Certificate], file: Path, *, install: bool) -> Plan:
        """Return how to add the first of `roots`, which is in `file`, to the system's store; or how to remove them all."""
        program = self._find(self.update[0])
        targets = {root: self.anchors / f"portway-dev-ca-{short_fingerprint(root)}.crt" for root in roots}
        if program is None:
            return Plan(hints=[_other_systems(file, install=install)])
        if install:
            target = targets[roots[0]]
            if _is_same(file, target):
                return Plan(done=["the system's store"])
            commands: list[tuple[str, ...]] = [("install", "-m", "0644", str(file), str(target))]
        else:
            present = [target for target in targets.values() if target.exists()]
            if not present:
                return Plan(done=["the system's store"])
            commands = [("rm", "-f", *map(str, present))]
        fresh = () if install else ("--fresh",)  # without it, links to removed certificates remain
        commands.append((program, *self.update[1:], *fresh))
        if not self.is_root:
            sudo = self._find("sudo")
            if sudo is None:
                return Plan(hints=[f"the system's store: requires root; run as root: {' && '.join(map(shlex.join, commands))}"])
            commands = [(sudo, *command) for command in commands]
        return Plan([Change("the system's store (curl, Python, Go and others)", tuple(commands))])

    def plan_browsers(self, roots: Sequence[x509.Certificate], file: Path, *, install: bool) -> Plan:
        """Return how to add the first of `roots`, which is in `file`, to the databases of Chromium and Firefox; or how to remove them all."""
        databases = list(self._databases())
        missing = self._missing_database() if install and not any(words == "Chromium" for words, _ in databases) else None
        if not databases and missing is None:
            return Plan()
        certutil = self._find("certutil")
        if certutil is None:
            return Plan(
                hints=[f"Chromium and Firefox: require the program certutil ({NSS_PACKAGES}); install it, then run this command again"]
            )
        plan = Plan()
        if missing is not None:
            make = (("mkdir", "-p", "-m", "0700", str(missing)), (certutil, "-N", "-d", f"sql:{missing}", "--empty-password"))
            plan.changes.append(Change(f"Chromium ({missing}, new)", (*make, _add(certutil, missing, roots[0], file))))
        for words, folder in databases:
            present = [root for root in roots if not _run((certutil, "-L", "-d", f"sql:{folder}", "-n", nickname(root)))]
            store = f"{words} ({folder})"
            if install and roots[0] not in present:
                plan.changes.append(Change(store, (_add(certutil, folder, roots[0], file),)))
            elif not install and present:
                plan.changes.append(Change(store, tuple((certutil, "-D", "-d", f"sql:{folder}", "-n", nickname(root)) for root in present)))
            else:
                plan.done.append(store)
        return plan

    def _databases(self) -> Iterable[tuple[str, Path]]:
        """Yield the existing NSS databases with the browser that uses them."""
        folders = [self.home / name for name in CHROMIUM_DATABASES] + ([self.xdg_data / "pki/nssdb"] if self.xdg_data else [])
        for folder in dict.fromkeys(folders):
            if (folder / "cert9.db").exists():
                yield "Chromium", folder
        for name in FIREFOX_PROFILES:
            for profile in sorted((self.home / name).glob("*/cert9.db"))[:PROFILES_MAX]:
                yield "Firefox", profile.parent

    def _missing_database(self) -> Path | None:
        """Return where a Chromium that was never started will look."""
        return self.home / CHROMIUM_DATABASES[0] if any(self._find(program) for program in CHROMIUMS) else None

    def _find(self, program: str) -> str | None:
        return shutil.which(program, path=f"{self.path}:{SYSTEM_FOLDERS}" if self.path else SYSTEM_FOLDERS)


def nickname(root: x509.Certificate) -> str:
    """Return the name of a root in NSS databases."""
    return f"Portway development CA {short_fingerprint(root)}"


def short_fingerprint(root: x509.Certificate) -> str:
    """Return the first 64 bits of the SHA-256 of a certificate, in hex."""
    return root.fingerprint(hashes.SHA256()).hex()[:16]


def _add(certutil: str, folder: Path, root: x509.Certificate, file: Path) -> tuple[str, ...]:
    return (certutil, "-A", "-d", f"sql:{folder}", "-n", nickname(root), "-t", "C,,", "-i", str(file))


def _other_systems(file: Path, *, install: bool) -> str:
    name = shlex.quote(str(file))
    if install:
        commands = (f"`sudo trust anchor {name}`", f"`sudo security add-trusted-cert -d -k /Library/Keychains/System.keychain {name}`")
    else:
        commands = (f"`sudo trust anchor --remove {name}`", f"`sudo security remove-trusted-cert -d {name}`")
    return f"the system's store: {UPDATE} not found; on Fedora and Arch run {commands[0]}, on macOS {commands[1]}"


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def _run(command: Sequence[str]) -> str:
    """Run a program; return "" if it succeeded, otherwise why not."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs, and arguments that no stranger chooses
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=COMMAND_S_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not finished after {COMMAND_S_MAX:g} s"
    except OSError as exc:
        return str(exc.strerror or exc)
    if done.returncode == 0:
        return ""
    return (done.stderr or done.stdout).strip().replace("\n", "; ") or f"exit code {done.returncode}"
