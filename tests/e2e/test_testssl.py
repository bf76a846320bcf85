"""What testssl.sh finds in the TLS port."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.world import World, event, web

CHECKS = ("--protocols", "--std", "--fs", "--server-preference", "--cipher-per-proto", "--vulnerable")
HARMLESS = {"OK", "INFO", "LOW", "WARN"}
"""WARN: what testssl.sh could not check."""


@pytest.mark.long
@pytest.mark.timeout(600)
def test_no_protocol_cipher_or_vulnerability_is_found(tmp_path: Path) -> None:
    testssl = shutil.which("testssl") or shutil.which("testssl.sh")
    if testssl is None:
        pytest.skip("testssl.sh is not installed; see scripts/test-deps")
    with World(https=True) as world:
        world.start_server()
        event(world.agent(world.token(), *web("app")), "tunnel_up")
        found = tmp_path / "found.json"
        how = ("--quiet", "--warnings", "batch", "--ip", "127.0.0.1", "--sneaky", "--add-ca", world.ca_file, "--jsonfile", found)
        url = f"https://app.localhost:{world.https_port}/"
        done = subprocess.run([testssl, *how, *CHECKS, url], capture_output=True, text=True, timeout=580, check=False)
        findings = json.loads(found.read_text())

    assert {"TLS1", "TLS1_2", "TLS1_3", "heartbleed", "cipher_order"} <= {one["id"] for one in findings}, done
    assert [one for one in findings if one["severity"] not in HARMLESS] == []
