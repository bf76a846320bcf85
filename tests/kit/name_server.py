"""Debian's BIND with one zone that accepts signed updates. Skips the test where it is missing."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.kit.programs import Program
from tests.kit.services import command
from tests.kit.sockets import free_port, wait_until_listening

ZONE = """$TTL 60
@ IN SOA ns hostmaster 1 3600 600 86400 60
@ IN NS ns
ns IN A 127.0.0.1
* IN A 127.0.0.1
"""

CONFIG = """
options {{
    directory "{folder}"; pid-file none; session-keyfile "{folder}/session.key"; recursion no; dnssec-validation no;
    listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
}};
controls {{ }};
include "{key}";
zone "{zone}" {{ type primary; file "{folder}/zone"; allow-update {{ key "portway"; }}; }};
"""


@dataclass(frozen=True)
class NameServer:
    """A running server."""

    port: int
    key_file: Path


@contextmanager
def name_server(zone: str) -> Iterator[NameServer]:
    """Run BIND for a zone in which every name is 127.0.0.1."""
    named, keygen = command("named", "/usr/sbin"), command("tsig-keygen", "/usr/sbin")
    with tempfile.TemporaryDirectory(prefix="pw-") as name:
        folder, port = Path(name), free_port()
        key_file = folder / "portway.key"
        key_file.write_bytes(subprocess.run([keygen, "portway"], check=True, capture_output=True, timeout=10).stdout)
        key_file.chmod(0o600)
        (folder / "zone").write_text(ZONE)
        config = folder / "named.conf"
        config.write_text(CONFIG.format(folder=folder, port=port, key=key_file, zone=zone))
        with Program([named, "-g", "-c", config, "-n", "1"], name="named") as program:
            wait_until_listening(port, program, 20)
            program.expect("running", 20, stream="err")
            yield NameServer(port, key_file)
